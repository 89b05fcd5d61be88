"""The ablation: the right runs, each trained once, and what is made of them."""

from __future__ import annotations

from dataclasses import asdict

import pytest

import recollect as rc
from recollect.cli import main
from recollect.experiments import ablation
from recollect.experiments.ablation import ARMS, Ablation, Arm
from recollect.experiments.processes import in_processes
from recollect.learners import dqn
from recollect.learners.environments import make_env
from recollect.learners.runs import RunFolder

ENVS = ("CartPole-v1", "MinAtar/Breakout-v1")


@pytest.fixture
def trained(monkeypatch):
    """Training that takes no time; the configurations that were trained."""
    configs = []

    def train(config, report):
        configs.append(config)
        level = 100.0 * (config.replay == "on") + 10.0 * (config.target == "on") + config.seed
        for step in (400, 900, 1_000):
            known = {"step": step, "episode": step // 10, "epsilon": 0.5, "rows": 9}
            names = dqn.Progress.__dataclass_fields__
            blank = {name: 0 for name in names if name not in known}
            told = {"loss": 0.1, "episode_return": 1.0, "evaluation": level * (step > 400)}
            report(dqn.Progress(**{**blank, **known, **told}))
        network = dqn.make_network(config, make_env(config.env))
        return dqn.Trained(network, level, 1_000, interrupted=False)

    monkeypatch.setattr(ablation, "train", train)
    monkeypatch.setattr(ablation, "EPISODES", 1)
    return configs


def test_the_runs_are_equal_but_for_the_switches_and_the_seed(tmp_path):
    experiment = Ablation(ENVS, 2, tmp_path)
    for env in ENVS:
        tables = [asdict(experiment.config(env, arm, seed)) for arm in ARMS for seed in (1, 2)]
        assert {table["env"] for table in tables} == {env}
        differing = {name for name in tables[0] if len({str(t[name]) for t in tables}) > 1}
        assert differing == {"replay", "target", "seed"}
    assert len({experiment.folder(*run).path for run in experiment.runs()}) == 2 * 2 * 4


def test_steps_are_the_presets_unless_given(tmp_path):
    env, arm = ENVS[0], ARMS[0]
    assert Ablation((env,), 1, tmp_path).config(env, arm, 1).steps == dqn.DQNConfig().steps
    assert Ablation((env,), 1, tmp_path, (77,)).config(env, arm, 1).steps == 77
    for steps, found in [((5,), [5, 5]), ((5, 6), [5, 6])]:
        experiment = Ablation(ENVS, 1, tmp_path, steps)
        assert [experiment.config(env, arm, 1).steps for env in ENVS] == found


def test_the_command_trains_draws_and_tabulates(capsys, tmp_path, trained):
    out = tmp_path / "out"
    arguments = ["experiment", "ablation", "--env", ENVS[1], "--seeds", "2", "--jobs", "1"]
    assert main([*arguments, "--out", str(out)]) == 0
    assert len(trained) == 8
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "1/8  MinAtar/Breakout-v1, replay and target network, seed 1: 111.0  ("
    )
    assert lines[7] == "8/8  MinAtar/Breakout-v1, neither, seed 2: 2.0"
    assert lines[8].split() == ["MinAtar/Breakout-v1", "score", "95", "%", "interval"]
    # two seeds, 1 apart: half the interval is t(1) / 2
    assert lines[9].split() == "replay and target network 111.5 105.1 to 117.9".split()
    assert lines[12].split() == "neither 1.5 -4.9 to 7.9".split()
    assert (out / "ablation.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "ablation.md").read_text()
    assert (
        "| MinAtar/Breakout-v1 | 111.5 (105.1 to 117.9) | 101.5 (95.1 to 107.9) | "
        "11.5 (5.1 to 17.9) | 1.5 (-4.9 to 7.9) |" in text
    )
    assert "| Seaquest | 2,894.4 | 822.6 | 1,003.0 | 275.8 |" in text
    run = out / "MinAtar-Breakout-v1" / "replay-off-target-on-seed2"
    assert (trained[-2].replay, trained[-2].target, trained[-2].seed) == ("off", "on", 2)
    assert RunFolder(run).load().config == trained[-2]
    assert sorted(file.name for file in RunFolder(run).files) == [
        "config.json",
        "curve.png",
        "evaluation.json",
        "log.csv",
        "model.pt",
    ]


def test_finished_runs_are_not_trained_again(tmp_path, trained):
    experiment = Ablation(ENVS[:1], 1, tmp_path)
    experiment.train(1)
    assert len(trained) == 4
    experiment.folder(ENVS[0], Arm("off", "on"), 1).evaluation.unlink()  # as if it was stopped
    lines = []
    Ablation(ENVS[:1], 1, tmp_path).train(1, lines.append)
    assert [(config.replay, config.target) for config in trained[4:]] == [("off", "on")]
    assert lines == [
        "3 of 4 runs are there already",
        "4/4  CartPole-v1, target network alone, seed 1: 11.0",
    ]
    Ablation(ENVS[:1], 2, tmp_path).train(1)  # more seeds: only those are new
    assert [config.seed for config in trained[5:]] == [2] * 4


def test_other_runs_are_not_mixed_with(capsys, tmp_path, trained):
    Ablation(ENVS[:1], 1, tmp_path).train(1)
    with pytest.raises(rc.ConfigurationError, match="holds a run with other options"):
        Ablation(ENVS[:1], 1, tmp_path, (5,)).train(1)
    assert len(trained) == 4


def test_ctrl_c_keeps_what_is_finished(capsys, tmp_path, monkeypatch, trained):
    train = ablation.train

    def interrupted(config, report):
        result = train(config, report)
        return result._replace(interrupted=config.replay == "off")

    monkeypatch.setattr(ablation, "train", interrupted)
    arguments = ["experiment", "ablation", "--env", ENVS[0], "--seeds", "1", "--jobs", "1"]
    assert main([*arguments, "--out", str(tmp_path)]) == 130
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1].startswith("stopped; the same command goes on")
    assert printed.err == "recollect: interrupted\n"
    experiment = Ablation(ENVS[:1], 1, tmp_path)
    assert [experiment.finished(*run) for run in experiment.runs()] == [True, True, False, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "0"], "seeds must be at least 1, got 0"),
        (["--jobs", "0"], "jobs must be at least 1, got 0"),
        (["--steps", "0"], "steps must be at least 1, got 0"),
        (["--steps", "1", "2", "3"], "steps must be one number, or one for each environment"),
        (["--env", "Nowhere-v0"], "cannot make the environment 'Nowhere-v0'"),
        (["--env"], "the ablation needs an environment"),
    ],
)
def test_what_makes_no_sense(capsys, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", "ablation", *options]) == 1
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert not any(tmp_path.iterdir())


def test_two_real_processes(tmp_path):
    """Really trained, but only just."""
    config = dqn.DQNConfig(
        steps=300, warmup=100, train_every=50, gradient_steps=2, hidden=(8,), eval_episodes=1
    )
    tasks = {tmp_path / name: config for name in "ab"}
    assert {*in_processes(ablation._train, [*tasks.items()], 2, ordered=False)} == {*tasks}
    logs = [RunFolder(path).log.read_text() for path in tasks]
    assert logs[0] == logs[1]  # the same seed, the same run
