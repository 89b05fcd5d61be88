"""The command line: what it prints, what it leaves behind, and how it fails."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import re
import signal
import subprocess
import sys

import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import recollect as rc
from recollect.cli import commands, display, main
from recollect.cli import train as train_command
from recollect.learners import dqn, presets
from recollect.learners.environments import make_env
from recollect.learners.runs import Log, points

QUICK = [
    *("train", "dqn", "--steps", "700", "--warmup", "200", "--hidden", "8"),
    *("--eval-every", "300", "--eval-episodes", "1", "--test-episodes", "2"),
]
FILES = [
    *("checkpoint", "config.json", "curve.png", "evaluation.json", "log.csv", "model.pt"),
    "tensorboard",
]
FIGURES = (
    *("return", "evaluation", "loss", "epsilon", "steps/s", "updates/s", "replay ratio"),
    *("rows", "memory", "left"),
)


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
    own = ["run-dir", "overwrite", "resume", "checkpoint-every", "test-episodes"]
    assert explained == [*own, *options]


@pytest.mark.parametrize(
    ("arguments", "pattern", "hidden"),
    [
        ([], "CartPole-*", "128 128"),
        (["--env", "MinAtar/Breakout-v1"], "MinAtar/*", "128"),
        (["--env=ALE/Pong-v5"], "ALE/*", "512"),
        (["--env", "LunarLander-v3"], "*", "128 128"),
        (["--env"], "CartPole-*", "128 128"),
    ],
)
def test_help_says_which_preset_holds(capsys, monkeypatch, arguments, pattern, hidden):
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit):
        main(["train", "dqn", "--help", *arguments])
    printed = capsys.readouterr().out
    assert f"those for {pattern} (others:" in printed
    assert re.search(rf"--hidden .* \(default: {hidden}\)", printed)


def test_a_preset_holds_for_what_is_not_given():
    command = commands.parse(["train", "dqn", "--env", "ALE/Pong-v5", "--steps", "9"])
    assert command.config == presets.preset("ALE/Pong-v5", steps=9)
    # and the next command line begins anew
    assert commands.parse(["train", "dqn"]).config == dqn.DQNConfig()


def test_a_run_leaves_everything_in_its_folder(capsys, tmp_path):
    folder = tmp_path / "run"
    assert main([*QUICK, "--seed", "5", "--run-dir", str(folder)]) == 0
    assert names(folder) == FILES

    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines[0] == "DQN on CartPole-v1, seed 5: 700 steps"
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["step", "300/700"],
        ["step", "600/700"],
        ["step", "700/700"],
    ]
    for name in FIGURES:
        assert f"  {name} " in lines[1]
    assert lines[4].startswith("greedy return over 2 fresh episodes: mean ")
    for file in ("config.json", "curve.png", "log.csv", "model.pt", "tensorboard"):
        assert str(folder / file) in printed.out

    config = json.loads((folder / "config.json").read_text())["config"]
    assert (config["seed"], config["steps"], config["hidden"]) == (5, 700, [8])
    env = make_env(config["env"])
    network = dqn.make_network(dqn.DQNConfig(seed=5, hidden=(8,)), env)
    network.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    returns = dqn.evaluate(network, env, 2, seed=dqn.Seeds.of(config["seed"]).test)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation == {
        "episodes": 2,
        "mean": returns.mean(),
        "standard_deviation": returns.std(),
        "min": returns.min(),
    }

    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("evaluation")] == [300, 600, 700]
    assert [event.value for event in board.Scalars("return")] == pytest.approx(
        [value for _, value in points(folder / "log.csv", "episode_return")]
    )


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
        ([], 2, "Expected one of {train, "),
        (["train"], 2, "Expected one of {rehearsal, dqn}"),
        (["trian"], 2, "Unrecognized options: trian"),
        (["train", "dqn", "--sede", "3"], 2, "Unrecognized options: --sede"),
        (["train", "dqn", "--seed", "one"], 2, "--seed"),
        (["train", "dqn", "--seed"], 2, "--seed"),
        (["train", "dqn", "--gamma", "2"], 1, "gamma must be between 0 and 1, got 2.0"),
        (["train", "dqn", "--env", "Nowhere-v0"], 1, "cannot make the environment 'Nowhere-v0'"),
        (["train", "dqn", "--env", "Pendulum-v1"], 1, "DQN needs discrete actions"),
        (["train", "dqn", "--env", "Acrobot-v1", "--env"], 2, "--env"),
        (["train", "dqn", "--env", "ALE/Nowhere-v5"], 1, "cannot make the environment 'ALE/Now"),
        (["train", "dqn", "--env", "MinAtar/Pong-v1"], 1, "cannot make the environment 'MinA"),
        (["train", "dqn", "--replay", "maybe"], 2, "--replay"),
        (["train", "dqn", "--test-episodes", "-1"], 1, "test_episodes must be 0 or more"),
        (["train", "dqn", "--checkpoint-every", "-1"], 1, "checkpoint_every must be 0 or more"),
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


@pytest.mark.parametrize(
    ("env", "module"), [("ALE/Pong-v5", "ale_py"), ("MinAtar/Breakout-v1", "minatar.gym")]
)
def test_a_missing_extra_of_an_environment_is_named(capsys, monkeypatch, env, module):
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["train", "dqn", "--env", env]) == 1
    error = capsys.readouterr().err
    assert 'is not installed: pip install "recollect[gym]"' in error
    assert error.count("\n") == 1


def test_a_disk_that_fills_while_logging(capsys, tmp_path, monkeypatch):
    write = Log.write

    def full(self, report):
        if report.step > 300:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, report)

    monkeypatch.setattr(Log, "write", full)
    folder = tmp_path / "run"
    assert main([*QUICK, "--run-dir", str(folder)]) == 1
    assert capsys.readouterr().err == f"recollect: {folder}: No space left on device\n"


def test_a_disk_that_fills_while_saving(capsys, tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    folder = tmp_path / "run"
    assert main([*QUICK, "--run-dir", str(folder)]) == 1
    assert capsys.readouterr().err == f"recollect: {folder}: No space left on device\n"
    left = ["checkpoint", "config.json", "log.csv", "tensorboard"]  # and no part of a model
    assert names(folder) == left


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


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_keeps_what_was_learned(capsys, tmp_path, monkeypatch, times):
    write = Log.write

    def interrupt(self, report):
        write(self, report)
        if report.step >= 400:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    # as in any process in the foreground
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(Log, "write", interrupt)
    try:
        assert main([*QUICK, "--run-dir", str(tmp_path / "run")]) == 130
    finally:
        assert signal.signal(signal.SIGINT, former) is signal.default_int_handler
    printed = capsys.readouterr().out
    assert "stopped at step 4" in printed
    assert str(tmp_path / "run" / "model.pt") in printed
    # the second one does not wait for a moment at which a checkpoint can be made
    assert ("recollect train dqn --resume" in printed) == (times == 1)
    missing = ["evaluation.json"] if times == 1 else ["checkpoint", "evaluation.json"]
    assert names(tmp_path / "run") == [name for name in FILES if name not in missing]


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


@pytest.fixture
def screen(monkeypatch, request):
    """What a terminal of some width got."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=request.param)
    monkeypatch.setattr(display, "Console", lambda: console)
    monkeypatch.setattr(display, "LIVE", 0.0)
    return screen


@pytest.mark.parametrize("screen", [120, 80, 40, 15], indirect=True)
def test_the_live_display_shows_every_figure(screen, request):
    with display.display("dqn on Somewhere-v0", 1_000) as show:
        show(dqn.Progress(step=10, episode=1, epsilon=0.5, rows=11, episode_return=4.0))
        show(dqn.Progress(step=500, episode=2, epsilon=0.25, rows=510, loss=0.125))
        last = len(screen.getvalue())
        show(
            dqn.Progress(
                step=1_000,
                episode=3,
                epsilon=0.125,
                rows=1_013,
                bytes=12_345_678,
                updates=400,
                replay_ratio=51.2,
                loss=0.0625,
                evaluation=37.5,
            )
        )
    drawn = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue()[last:])
    width = request.node.callspec.params["screen"]
    assert max(map(len, re.split(r"[\r\n]+", drawn))) <= width
    words = " ".join(drawn.split())
    for text in ("dqn on Somewhere-v0", "100%", "1,000/1,000", "4.0", "37.5", "0.0625", "1,013"):
        assert text in words
    for text in ("replay ratio 51.2", "memory 12.3 MB", "left 0:00", "updates/s"):
        assert text in words or width < 20


@pytest.mark.parametrize("screen", [80], indirect=True)
def test_the_live_display_is_not_drawn_more_often_than_one_can_see(screen, monkeypatch):
    monkeypatch.setattr(display, "LIVE", 1e9)
    with display.display("dqn on Somewhere-v0", 1_000) as show:
        show(dqn.Progress(step=10, episode=1, epsilon=0.5, rows=11))
        first = len(screen.getvalue())
        for step in range(20, 50):
            show(dqn.Progress(step=step, episode=1, epsilon=0.5, rows=11))
        assert len(screen.getvalue()) == first
        show(dqn.Progress(step=1_000, episode=1, epsilon=0.5, rows=11))  # but the end is shown
        assert len(screen.getvalue()) > first


def test_the_return_on_display_is_a_mean_of_the_latest_episodes():
    figures = display.Figures(100)
    for value in range(30):
        progress = dqn.Progress(step=value, episode=value, epsilon=1, rows=1, episode_return=value)
        figures.take(progress)
    read = figures.read(progress)
    assert read["return"] == f"{sum(range(10, 30)) / 20:.1f}"
    assert read["loss"] == read["evaluation"] == "-"


def test_speeds_are_those_of_late():
    now = 0.0
    figures = display.Figures(10_000, clock=lambda: now)
    for step in range(0, 1_001, 10):  # ten steps a second
        read = figures.read(dqn.Progress(step=step, episode=0, epsilon=1, rows=1))
        now += 1.0
    assert (read["steps/s"], read["updates/s"]) == ("10", "0")
    assert read["left"] == "15:00"
    for index in range(1, 31):  # then a hundred, with two updates for each
        now += 1.0
        step = 1_000 + 100 * index
        progress = dqn.Progress(step=step, episode=0, epsilon=1, rows=1, updates=200 * index)
        read = figures.read(progress)
    assert (read["steps/s"], read["updates/s"], read["left"]) == ("100", "200", "1:00")


def test_speeds_of_a_run_that_goes_on_are_those_since_then():
    now = 0.0
    figures = display.Figures(10_000, clock=lambda: now, begun=(5_000, 900))
    now = 2.0
    read = figures.read(dqn.Progress(step=5_100, episode=0, epsilon=1, rows=1, updates=950))
    assert (read["steps/s"], read["updates/s"], read["left"]) == ("50", "25", "1:38")


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1 KB"), (5_320_000, "5.32 MB"), (7.1e9, "7.1 GB")],
)
def test_sizes(count, said):
    assert display._size(count) == said
