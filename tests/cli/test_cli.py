"""The command line: what it prints, what it leaves behind, and how it fails."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import signal
import subprocess
import sys

import pytest
import torch
from rich.console import Console

import recollect as rc
from recollect.cli import commands, display, main
from recollect.cli import train as train_command
from recollect.learners import dqn
from recollect.learners.runs import Log

QUICK = [
    *("train", "dqn", "--steps", "700", "--warmup", "200", "--hidden", "8"),
    *("--eval-every", "300", "--eval-episodes", "1"),
]
FILES = ["config.json", "curve.png", "evaluation.json", "log.csv", "model.pt"]


@pytest.fixture(autouse=True)
def _few_episodes(monkeypatch):
    monkeypatch.setattr(train_command, "EPISODES", 2)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"recollect {rc.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["train", "--version"]),
        (["train", "--help"], ["dqn"]),
        (["train", "dqn", "--help"], ["--env", "--seed", "--run-dir", "Discount"]),
    ],
)
def test_help(capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert not stop.value.code
    printed = capsys.readouterr().out
    assert all(word in printed for word in words)


def test_every_option_says_what_it_does(capsys):
    with pytest.raises(SystemExit):
        main(["train", "dqn", "--help"])
    printed = capsys.readouterr().out
    # the option, a placeholder for its value, two blanks or more, and the explanation
    explained = re.findall(r"^\W*--([a-z-]+)(?: \S+)*?  +[A-Z]", printed, flags=re.MULTILINE)
    options = [field.name.replace("_", "-") for field in dataclasses.fields(dqn.DQNConfig)]
    assert explained == ["run-dir", "overwrite", *options]


def test_a_run_leaves_everything_in_its_folder(capsys, tmp_path):
    folder = tmp_path / "run"
    assert main([*QUICK, "--seed", "5", "--run-dir", str(folder)]) == 0
    assert names(folder) == FILES

    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines[0] == "dqn on CartPole-v1, seed 5: 700 steps"
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["step", "300/700"],
        ["step", "600/700"],
        ["step", "700/700"],
    ]
    for name in ("return", "evaluation", "loss", "epsilon", "steps/s", "rows"):
        assert f"  {name} " in lines[1]
    assert lines[4].startswith("greedy return over 2 fresh episodes: mean ")
    for file in ("config.json", "curve.png", "log.csv", "model.pt"):
        assert str(folder / file) in printed.out

    config = json.loads((folder / "config.json").read_text())["config"]
    assert (config["seed"], config["steps"], config["hidden"]) == (5, 700, [8])
    env = dqn.make_env(config["env"])
    network = dqn.QNetwork(env, tuple(config["hidden"]))
    network.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    returns = dqn.evaluate(network, env, 2, seed=dqn.Seeds.of(config["seed"]).test)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation == {
        "episodes": 2,
        "mean": returns.mean(),
        "standard_deviation": returns.std(),
        "min": returns.min(),
    }


def test_the_folder_is_named_after_the_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(QUICK) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("dqn-CartPole-v1-seed1-20")
    assert f"runs/{folder.name}/model.pt" in capsys.readouterr().out.replace("\\", "/")


def test_a_run_is_replaced_only_on_request(capsys, tmp_path):
    arguments = [*QUICK, "--run-dir", str(tmp_path / "run")]
    assert main(arguments) == 0
    first = (tmp_path / "run" / "log.csv").read_text()
    capsys.readouterr()
    assert main(arguments) == 1
    assert "holds a run already; --overwrite replaces it" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert (tmp_path / "run" / "log.csv").read_text() == first  # the same seed, the same run
    assert names(tmp_path / "run") == FILES


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "Expected one of {train}"),
        (["train"], 2, "Expected one of {dqn}"),
        (["trian"], 2, "Unrecognized options: trian"),
        (["train", "dqn", "--sede", "3"], 2, "Unrecognized options: --sede"),
        (["train", "dqn", "--seed", "one"], 2, "--seed"),
        (["train", "dqn", "--seed"], 2, "--seed"),
        (["train", "dqn", "--gamma", "2"], 1, "gamma must be between 0 and 1, got 2.0"),
        (["train", "dqn", "--env", "Nowhere-v0"], 1, "cannot make the environment 'Nowhere-v0'"),
        (["train", "dqn", "--env", "Pendulum-v1"], 1, "DQN needs discrete actions"),
        (["train", "dqn", "--device", "abacus"], 1, "cannot use the device 'abacus'"),
        (["train", "dqn", "--run-dir", "full"], 1, "full is not empty"),
        (["train", "dqn", "--run-dir", "file"], 1, "file: File exists"),
        (["train", "dqn", "--run-dir", "file/run"], 1, "Not a directory"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(
    capsys, tmp_path, monkeypatch, arguments, status, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("")
    assert main(arguments) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("recollect: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert names(tmp_path) == ["file", "full"]  # and nothing is left behind


def test_no_permission_to_write(capsys, tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    assert main(["train", "dqn", "--run-dir", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err == f"recollect: {tmp_path / 'run'}: Permission denied\n"


@pytest.mark.parametrize("package", ["torch", "tyro", "gymnasium", "matplotlib", "rich"])
def test_a_missing_extra_is_named(capsys, monkeypatch, package):
    for loaded in list(sys.modules):
        ours = loaded.startswith(("recollect.cli.", "recollect.learners"))
        if ours or loaded.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["train", "dqn"]) == 1
    assert capsys.readouterr().err == (
        f'recollect: {package} is not installed: pip install "recollect[train]"\n'
    )


def test_ctrl_c_keeps_what_was_learned(capsys, tmp_path, monkeypatch):
    write = Log.write

    def interrupt(self, report):
        write(self, report)
        if report.step >= 400:
            raise KeyboardInterrupt

    monkeypatch.setattr(Log, "write", interrupt)
    assert main([*QUICK, "--run-dir", str(tmp_path / "run")]) == 130
    printed = capsys.readouterr().out
    assert "stopped at step 4" in printed
    assert str(tmp_path / "run" / "model.pt") in printed
    assert names(tmp_path / "run") == [name for name in FILES if name != "evaluation.json"]


def test_ctrl_c_in_the_final_evaluation(capsys, tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_command, "evaluate", interrupt)
    assert main([*QUICK, "--run-dir", str(tmp_path / "run")]) == 130
    assert str(tmp_path / "run" / "model.pt") in capsys.readouterr().out
    assert (tmp_path / "run" / "model.pt").exists()


def test_ctrl_c_elsewhere(capsys, monkeypatch):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "parse", interrupt)
    assert main(["train", "dqn"]) == 130
    assert capsys.readouterr().err == "recollect: interrupted\n"


def test_a_real_ctrl_c_in_a_real_process(tmp_path):
    # Python installs no handler where the parent ignores the signal, as background jobs do
    script = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from recollect.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = [*QUICK, "--steps", "100000000", "--run-dir", str(tmp_path / "run")]
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            for line in process.stdout:
                if line.startswith("step"):
                    break
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert err == ""
    assert process.returncode == 130
    assert "stopped at step" in out
    assert (tmp_path / "run" / "model.pt").exists()


def test_the_live_display_shows_every_figure(monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    monkeypatch.setattr(display, "Console", lambda: console)
    with display.display("dqn on Somewhere-v0", 1_000) as show:
        show(dqn.Progress(step=10, episode=1, epsilon=0.5, rows=11, episode_return=4.0))
        show(dqn.Progress(step=500, episode=2, epsilon=0.25, rows=510, loss=0.125))
        show(
            dqn.Progress(
                step=1_000, episode=3, epsilon=0.125, rows=1_013, loss=0.0625, evaluation=37.5
            )
        )
    last = screen.getvalue()
    for text in ("dqn on Somewhere-v0", "100%", "1,000/1,000 steps", "4.0", "37.5", "0.0625"):
        assert text in last
    assert "1,013" in last


def test_the_return_on_display_is_a_mean_of_the_latest_episodes():
    figures = display.Figures(100)
    for value in range(30):
        progress = dqn.Progress(step=value, episode=value, epsilon=1, rows=1, episode_return=value)
        read = figures.read(progress)
    assert read["return"] == f"{sum(range(10, 30)) / 20:.1f}"
    assert read["loss"] == read["evaluation"] == "-"
