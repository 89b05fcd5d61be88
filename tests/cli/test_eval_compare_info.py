"""`recollect eval`, `compare` and `info`: what they say of runs, and how they fail."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

import recollect as rc
from recollect.cli import compare, main
from recollect.learners import dqn
from recollect.learners.environments import make_env
from recollect.learners.runs import Log, RunFolder

CONFIG = dqn.DQNConfig(hidden=(4,), steps=1_000, seed=1)
PNG = b"\x89PNG"


def make_run(path, config=CONFIG, level=100.0, finished=True, evaluations=5):
    """The folder of a run that was never trained."""
    folder = RunFolder.create(path)
    folder.save_config("dqn", config)
    log = Log(folder.log)
    for index in range(1, evaluations + 1):
        report = dict(step=200 * index, episode=index, epsilon=0.5, rows=9)
        blank = {name: 0 for name in dqn.Progress.__dataclass_fields__ if name not in report}
        told = {"loss": 0.1 * index, "episode_return": level / 2, "evaluation": level + index}
        log.write(dqn.Progress(**{**blank, **report, **told}))
    log.close()
    torch.manual_seed(config.seed)
    folder.save_model(dqn.make_network(config, make_env(config.env)))
    if finished:
        folder.save_evaluation(episodes=100, mean=level, standard_deviation=1.5, min=level - 2)
    return folder


@pytest.fixture
def four(tmp_path, monkeypatch):
    """Replay on and off, two seeds each: names relative to the working directory."""
    monkeypatch.chdir(tmp_path)
    for replay, level in (("on", 300.0), ("off", 20.0)):
        for seed in (1, 2):
            config = replace(CONFIG, replay=replay, seed=seed)
            make_run(tmp_path / f"{replay}{seed}", config, level + 10 * seed)
    return ["on1", "off1", "on2", "off2"]


def test_eval_repeats_the_evaluation_at_the_end_of_training(capsys, tmp_path):
    folder = make_run(tmp_path / "run")
    assert main(["eval", str(folder.path), "--episodes", "3"]) == 0
    env = make_env(CONFIG.env)
    torch.manual_seed(CONFIG.seed)
    network = dqn.make_network(CONFIG, env)
    returns = dqn.evaluate(network, env, 3, dqn.Seeds.of(CONFIG.seed).test)
    assert capsys.readouterr().out == (
        f"greedy return over 3 episodes of CartPole-v1: mean {returns.mean():.1f}, "
        f"standard deviation {returns.std():.1f}, minimum {returns.min():.1f}\n"
    )


def test_eval_has_a_seed(capsys, tmp_path):
    path = str(make_run(tmp_path / "run").path)
    said = set()
    for seed in ("5", "5", "6"):
        assert main(["eval", path, "--episodes", "4", "--seed", seed]) == 0
        said.add(capsys.readouterr().out)
    assert len(said) == 2


def test_compare_draws_and_tabulates_groups(capsys, four):
    assert main(["compare", *four, "--out", "pictures/replay.png"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = [re.split(r"\s{2,}", line) for line in printed.out.splitlines()]
    # t(1) = 12.706, times half the difference of two: 5
    assert lines == [
        ["", "best weights", "95 % interval", "last fifth", "95 % interval", "seeds", "steps"],
        ["replay on", "315.0", "251.5 to 378.5", "320.0", "256.5 to 383.5", "2", "1,000"],
        ["replay off", "35.0", "-28.5 to 98.5", "40.0", "-23.5 to 103.5", "2", "1,000"],
        ["picture", "pictures/replay.png"],
    ]
    with open("pictures/replay.png", "rb") as picture:
        assert picture.read(4) == PNG


def test_compare_of_single_seeds_gives_no_interval(capsys, four):
    assert main(["compare", "on1", "off1"]) == 0
    line = re.split(r"\s{2,}", capsys.readouterr().out.splitlines()[1])
    assert line == ["replay on", "310.0", "-", "315.0", "-", "1", "1,000"]
    with open("comparison.png", "rb") as picture:
        assert picture.read(4) == PNG


def test_compare_of_one_run(capsys, four):
    assert main(["compare", "on1"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("CartPole-v1")


def test_compare_counts_the_runs_that_were_not_evaluated(capsys, four, tmp_path):
    (tmp_path / "on2" / "evaluation.json").unlink()
    assert main(["compare", "on1", "on2"]) == 0
    line = re.split(r"\s{2,}", capsys.readouterr().out.splitlines()[1])
    assert line[1:3] == ["310.0", "-"]
    assert line[5] == "2 (1 evaluated)"


def test_the_table_has_rules_on_a_terminal(monkeypatch):
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100)
    monkeypatch.setattr(compare, "Console", lambda: terminal)
    compare.print_table(["", "score"], [["replay on", "1,000.0"]])
    assert "replay on" in screen.getvalue()
    assert "│" in screen.getvalue()


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ([{}], ["CartPole-v1"]),
        ([{"replay": "on"}, {"replay": "off"}], ["replay on", "replay off"]),
        ([{"env": "Acrobot-v1"}, {}], ["Acrobot-v1", "CartPole-v1"]),
        (
            [{"hidden": (8,), "steps": 60_000}, {"hidden": (64, 32), "steps": 60_000}],
            ["hidden 8", "hidden 64 x 32"],
        ),
        (
            [{"steps": 60_000}, {"gamma": 0.9}],
            ["steps 60,000, gamma 0.99", "steps 1,000, gamma 0.9"],
        ),
    ],
)
def test_labels_say_only_what_differs(changes, labels):
    assert compare._labels([replace(CONFIG, **change) for change in changes]) == labels


def test_info_says_what_there_is(capsys, tmp_path):
    folder = make_run(tmp_path / "run", replace(CONFIG, replay="off", seed=3))
    (tmp_path / "run" / "tensorboard").mkdir()
    (tmp_path / "run" / "tensorboard" / "events.out.tfevents.1").write_bytes(bytes(2_500))
    assert main(["info", str(folder.path)]) == 0
    printed = capsys.readouterr().out
    facts = dict(re.findall(r"^  (\S+(?: \S+)*)  +(.+)$", printed, flags=re.M))
    assert printed.splitlines()[0] == str(folder.path)
    assert facts["learner"].startswith("dqn, recollect ")
    assert facts["environment"] == "CartPole-v1"
    assert facts["seed"] == "3"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d, trained for \d s", facts["started"])
    assert facts["steps"] == "1,000 of 1,000"
    assert facts["episodes"] == "5"
    assert facts["best evaluation"] == "105.0, at step 1,000"
    assert facts["final evaluation"] == (
        "mean 100.0, standard deviation 1.5, minimum 98.0, over 100 episodes"
    )
    assert facts["changed options"] == "steps 1,000, hidden 4, replay off"
    sizes = dict(re.findall(r"^    (\S+) +(\S+ k?B)$", printed, flags=re.M))
    assert [*sizes] == [
        "config.json",
        "log.csv",
        "model.pt",
        "evaluation.json",
        "tensorboard/events.out.tfevents.1",
    ]
    assert sizes["tensorboard/events.out.tfevents.1"] == "2.5 kB"


def test_info_of_a_run_that_has_only_begun(capsys, tmp_path):
    folder = make_run(tmp_path / "run", finished=False, evaluations=0)
    assert main(["info", str(folder.path)]) == 0
    printed = capsys.readouterr().out
    assert "0 of 1,000" in printed
    assert re.search("final evaluation +none", printed)


def test_info_as_json(capsys, tmp_path):
    folder = make_run(tmp_path / "run")
    assert main(["info", str(folder.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == "run"
    assert told["environment"] == "CartPole-v1"
    assert [*told["files"]] == ["config.json", "log.csv", "model.pt", "evaluation.json"]


SCHEMA = rc.Schema.steps(
    obs={"image": rc.Field((40, 40), np.uint8), "speed": rc.Field((2,), np.float32)},
    action=rc.Field((), np.int64),
)


def fill(memory, steps, episode=7):
    """Steps of reward 2 for stream 0, 3 for stream 1, and so on; stream 0 is never cut."""
    streams = memory.streams
    for step in range(steps):
        number = np.arange(streams) * 1000 + step
        obs = {"image": np.zeros((streams, 40, 40), np.uint8)}
        flags = np.arange(streams) * (step % episode == episode - 1) > 0
        memory.add(
            obs=obs | {"speed": np.stack((number, number), axis=1).astype(np.float32)},
            action=number,
            reward=2.0 + np.arange(streams),
            next_obs=obs | {"speed": np.stack((number, number), axis=1).astype(np.float32) + 1},
            terminated=flags,
            truncated=np.zeros(streams, bool),
        )


def told_of(capsys, path):
    assert main(["info", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def memory(tmp_path):
    memory = rc.Memory(
        SCHEMA, 180, streams=3, view=rc.NStep(2, gamma=0.9), sampler=rc.Prioritized(),
        store=rc.Directory(tmp_path / "memory"), seed=0,
    )  # fmt: skip
    fill(memory, 100)
    yield memory
    memory.close()


def test_info_of_a_memory_says_what_the_memory_says(capsys, tmp_path, memory, monkeypatch):
    monkeypatch.setattr("recollect.saving.contents.PART_BYTES", 200)
    keys = np.unique(memory.sample(40).key)
    memory.update(keys, priority=np.arange(float(len(keys))))
    memory.save(tmp_path / "snapshot")
    episodes, stats = memory.episodes, memory.stats()
    whole = episodes.held == episodes.lengths
    ended = episodes.ended
    for path in (tmp_path / "memory", tmp_path / "snapshot"):
        told = told_of(capsys, path)
        for name in ("rows", "steps", "episodes", "added"):
            assert told[name] == stats[name], name
        assert told["ages"]["mean"] == pytest.approx(stats["mean_age"])
        returns, lengths = episodes.returns[whole & ended], episodes.lengths[ended]
        assert told["returns"] == {
            "count": len(returns), "min": returns.min(), "mean": returns.mean(),
            "max": returns.max(),
        }  # fmt: skip
        assert told["lengths"]["count"] == len(lengths)
        assert told["lengths"]["mean"] == lengths.mean()
        for stream, one in enumerate(told["streams"]):
            mine = (episodes.streams == stream) & ended
            assert one["episodes"] == (episodes.streams == stream).sum()
            last = episodes.lengths[mine].tolist()
            assert one["last_length"] == (last[-1] if last else None)
            assert one["open"] == (~episodes.ended[episodes.streams == stream]).any()
        assert [field["bytes"] for field in told["schema"]["fields"]] == [1600, 8, 8, 4]
    told = told_of(capsys, tmp_path / "memory")
    assert told["priorities"] == {
        "count": len(keys), "min": 0, "mean": (len(keys) - 1) / 2, "max": len(keys) - 1,
        "zero": 1 / len(keys), "of": stats["steps"],
    }  # fmt: skip
    assert told["learner"] == {"pid": os.getpid(), "holds": True}
    assert told["counters"] == {"sampled": 0, "updated": 0, "stale_updates": 0}
    memory.close()
    told = told_of(capsys, tmp_path / "memory")
    assert told["learner"] == {"pid": os.getpid(), "holds": False}
    assert told["counters"]["sampled"] == 40


def test_info_of_a_memory_in_80_columns(capsys, tmp_path, memory):
    assert main(["info", str(tmp_path / "memory")]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    facts = dict(re.findall(r"^  (\S+(?: \S+)*)  +(.+)$", "\n".join(lines[1:]), flags=re.M))
    assert lines[0] == str(tmp_path / "memory")
    assert facts["kind"] == "directory of steps, format 1.0"
    assert facts["learner"] == f"process {os.getpid()}"
    assert facts["view"] == "NStep(n=2, gamma=0.9)"
    assert facts["sampler"].startswith("Prioritized(alpha=0.6, beta=0.4, ")
    assert facts["capacity"] == "180 rows"
    assert facts["returns"].startswith("mean 24.50, 21.00 to 28.00, of ")
    assert facts["priorities"] == "none"
    assert re.search(r"^obs.image +40 x 40 +uint8 +1,600$", printed, re.M)
    writer = f"process {os.getpid()}"
    assert re.search(rf"^0 +59 +1 +yes +- +- +{writer}$", printed, re.M)
    assert re.search(rf"^2 +\d+ +\d+ +yes +28.00 +7 +{writer}$", printed, re.M)
    assert max(map(len, lines[1:])) <= 80


def test_info_of_examples(capsys, tmp_path):
    schema = rc.Schema.examples(x=rc.Field((3,), np.float32), label=rc.Field((), np.int64))
    path = tmp_path / "memory"
    with rc.Memory(
        schema, 50, retention=rc.Reservoir(), store=rc.Directory(path), seed=0
    ) as memory:
        memory.extend(x=np.zeros((90, 3), np.float32), label=np.arange(90))
        memory.save(tmp_path / "snapshot")
        stats = memory.stats()
        for where in (path, tmp_path / "snapshot"):
            told = told_of(capsys, where)
            assert (told["steps"], told["added"]) == (50, 90)
            assert told["ages"]["mean"] == pytest.approx(stats["mean_age"])
        assert main(["info", str(path)]) == 0
        printed = capsys.readouterr().out
        assert re.search(r"examples +50 of 90 that were added$", printed, re.M)
        assert "stream" not in printed


def test_info_of_what_holds_a_function(capsys, tmp_path):
    schema = rc.Schema.examples(x=rc.Field((3,), np.float32))
    path = tmp_path / "memory"

    def double(batch):
        return batch

    rc.Memory(schema, 50, transforms=[double], store=rc.Directory(path)).close()
    assert main(["info", str(path)]) == 0
    assert "double>]" in capsys.readouterr().out


def test_info_while_another_process_writes(capsys, tmp_path, memory):
    memory.close()
    path = tmp_path / "memory"
    child = os.fork()
    if not child:
        try:
            with rc.open(path) as mine:
                while True:
                    mine.cut()
                    fill(mine, 50)
        finally:
            os._exit(1)
    try:
        before = told_of(capsys, path)["added"]
        end = time.monotonic() + 20
        while (told := told_of(capsys, path))["added"] == before and time.monotonic() < end:
            time.sleep(0.01)
        for _ in range(10):
            told = told_of(capsys, path)
            assert told["learner"] == {"pid": child, "holds": True}
            assert 100 < told["rows"] <= 180
            assert told["returns"]["min"] >= 2
            assert told["returns"]["max"] <= 4 * 50
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert told_of(capsys, path)["learner"] == {"pid": child, "holds": False}


def test_info_of_a_damaged_memory(capsys, tmp_path, memory):
    memory.close()
    os.truncate(tmp_path / "memory" / "rows-1" / "packed", 10)
    check_fails(capsys, ["info", str(tmp_path / "memory")], 1, "packed: expected")


@pytest.mark.parametrize("command", ["eval", "compare", "info"])
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda run: run.rename(run.parent / "elsewhere"), "there is no run folder run"),
        (lambda run: (run / "config.json").unlink(), "is not a run folder: it has no config.json"),
        (lambda run: (run / "config.json").write_text("{"), "config.json is damaged: "),
        (lambda run: other_options(run), "belongs to recollect 9.0, whose dqn had other options"),
    ],
)
def test_what_is_wrong_with_a_run_is_said_in_one_line(
    capsys, tmp_path, monkeypatch, command, harm, message
):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run")
    harm(tmp_path / "run")
    check_fails(capsys, [command, "run"], 1, message)
    assert not (tmp_path / "comparison.png").exists()


def other_options(run):
    content = json.loads((run / "config.json").read_text())
    content["config"]["magic"] = 1
    (run / "config.json").write_text(json.dumps(content | {"recollect": "9.0"}))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["eval"], 2, "RUN"),
        (["compare"], 1, "which runs?"),
        (["compare", "run", "run"], 1, "run and run are the same run: equal options, and seed 1"),
        (["compare", "run", "--out", "x.doc"], 1, "cannot draw x.doc: its name must end in .png"),
        (["compare", "run", "--out", "run/log.csv/x.png"], 1, "run/log.csv"),
        (["eval", "run", "--episodes", "0"], 1, "episodes must be at least 1, got 0"),
        (["eval", "run", "--seed", "-1"], 1, "seed must be 0 or more, got -1"),
        (["eval", "run", "--device", "abacus"], 1, "cannot use the device 'abacus'"),
        (["info", "run", "more"], 2, "more"),
    ],
)
def test_what_makes_no_sense(capsys, tmp_path, monkeypatch, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run")
    check_fails(capsys, arguments, status, message)


def test_nothing_to_draw(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run", evaluations=0)
    check_fails(capsys, ["compare", "run"], 1, "run was not evaluated yet: nothing to draw")


def test_a_folder_that_may_not_be_read(capsys, tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run")

    def refuse(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.read_text", refuse)
    for command in ("eval", "compare", "info"):
        check_fails(capsys, [command, str(folder.path)], 1, "config.json: Permission denied")


def test_a_full_disk(capsys, four, monkeypatch):
    def fill(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fill)
    check_fails(capsys, ["compare", *four], 1, "No space left on device")


def check_fails(capsys, arguments, status, message):
    assert main(arguments) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("recollect: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["train", "eval", "compare", "info", "verify", "experiment"]),
        (["eval"], ["RUN", "--episodes", "--seed", "--device"]),
        (["compare"], ["RUN [RUN ...]", "--out", "95 % interval"]),
        (["info"], ["PATH", "--json"]),
        (["verify"], ["PATH"]),
        (["experiment"], ["ablation"]),
        (["experiment", "ablation"], ["--env", "--seeds", "--steps", "--out", "--jobs"]),
    ],
)
def test_help(capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--help"])
    assert not stop.value.code
    printed = capsys.readouterr().out
    assert all(word in printed for word in words)
    assert np.all([len(line) <= 120 for line in printed.splitlines()])
