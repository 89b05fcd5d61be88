"""`recollect train dqn --resume RUN`: what the command leaves is what one without a stop leaves."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recollect.cli import commands, main
from recollect.cli.train import with_learner
from recollect.learners import dqn
from recollect.learners.runs import Log, RunFolder

OPTIONS = [
    *("train", "dqn", "--steps", "800", "--warmup", "100", "--hidden", "8", "--seed", "4"),
    *("--eval-every", "200", "--eval-episodes", "1", "--test-episodes", "2"),
    *("--prioritized", "on", "--checkpoint-every", "300"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert main([*OPTIONS, "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of it, to be changed."""
    return shutil.copytree(finished, tmp_path / "copied")


@contextmanager
def ctrl_c_at(step):
    """Presses it at the first news after so many steps."""
    write = Log.write

    def interrupt(self, report):
        write(self, report)
        if report.step >= step:
            signal.raise_signal(signal.SIGINT)

    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Log, "write", interrupt)
        yield
    signal.signal(signal.SIGINT, former)


class Killed(BaseException):
    """As good as a killed process."""


@pytest.fixture
def stopped(tmp_path, capsys):
    """The folder of the same run, stopped by Ctrl-C."""
    folder = tmp_path / "stopped"
    with ctrl_c_at(450):
        assert main([*OPTIONS, "--run-dir", str(folder)]) == 130
    assert f"recollect train dqn --resume {folder}" in capsys.readouterr().out
    return folder


def scalars(folder):
    """All that TensorBoard shows."""
    board = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {
        # files of the same second are read in no order that means anything
        name: sorted((event.step, event.value) for event in board.Scalars(name))
        for name in board.Tags()["scalars"]
    }


def assert_same(one, two):
    assert (one / "log.csv").read_bytes() == (two / "log.csv").read_bytes()
    assert (one / "evaluation.json").read_bytes() == (two / "evaluation.json").read_bytes()
    assert (one / "curve.png").read_bytes() == (two / "curve.png").read_bytes()
    assert scalars(one) == scalars(two)
    models = [torch.load(folder / "model.pt", weights_only=True) for folder in (one, two)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_after_ctrl_c(finished, stopped, capsys):
    assert not (stopped / "evaluation.json").exists()
    assert main(["train", "dqn", "--resume", str(stopped)]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(f"going on with {stopped} from step 4")
    assert " of 800: " in first and " episodes, " in first and first.endswith("steps in memory")
    assert second == "DQN on CartPole-v1, seed 4: 800 steps"
    assert_same(finished, stopped)
    configs = [json.loads((run / "config.json").read_text()) for run in (finished, stopped)]
    assert configs[0]["config"] == configs[1]["config"]
    assert configs[0]["options"] == configs[1]["options"]


def test_after_sigkill(finished, tmp_path):
    folder = tmp_path / "killed"
    script = (
        "import os, signal, sys\n"
        "from recollect.cli import main\n"
        "from recollect.learners.runs import Log\n"
        "write = Log.write\n"
        "def kill(self, report):\n"
        "    write(self, report)\n"
        "    if report.step >= 450: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Log.write = kill\n"
        "main(sys.argv[1:])\n"
    )
    arguments = [*OPTIONS, "--run-dir", str(folder)]
    killed = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    with (folder / "log.csv").open("a") as log:
        log.write("12")  # as a line that was not finished
    assert main(["train", f"--resume={folder}"]) == 0
    assert_same(finished, folder)


def test_a_stop_in_the_final_evaluation(finished, tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("recollect.cli.train.evaluate", interrupt)
        assert main([*OPTIONS, "--run-dir", str(folder)]) == 130
    assert main(["train", "dqn", "--resume", str(folder)]) == 0
    assert_same(finished, folder)


def test_a_finished_run_says_so(copied, finished, capsys):
    assert main(["train", "dqn", "--resume", str(copied)]) == 0
    assert capsys.readouterr().out == (
        f"{copied} is finished: 800 of 800 steps; it goes on if --steps is larger\n"
    )
    assert_same(finished, copied)


def test_a_finished_run_goes_on_if_there_is_more_to_do(copied, finished, capsys):
    arguments = ["train", "dqn", "--resume", str(copied), "--steps", "1000"]
    assert main([*arguments, "--test-episodes", "3"]) == 0
    printed = capsys.readouterr().out
    assert "from step 800 of 1,000" in printed and "over 3 fresh episodes" in printed
    log, former = ((run / "log.csv").read_text() for run in (copied, finished))
    assert log.startswith(former)
    assert log.splitlines()[-1].startswith("1000,")
    config, former = (json.loads((run / "config.json").read_text()) for run in (copied, finished))
    assert config.pop("config") == former.pop("config") | {"steps": 1_000}
    assert config.pop("options") == former.pop("options") | {"test_episodes": 3}
    assert config == former
    assert RunFolder(copied).load_evaluation()["episodes"] == 3


def test_a_finished_run_that_goes_on_is_not_finished_until_it_is_again(copied):
    with ctrl_c_at(900):
        assert main(["train", "--resume", str(copied), "--steps", "1000"]) == 130
    assert not RunFolder(copied).finished
    assert main(["train", "--resume", str(copied)]) == 0
    assert RunFolder(copied).finished
    assert (copied / "log.csv").read_text().splitlines()[-1].startswith("1000,")


WITHOUT = [*OPTIONS, "--test-episodes", "0"]
"""The same run without a final evaluation."""


@pytest.fixture(scope="module")
def untested(tmp_path_factory):
    """The folder of a run that was never stopped, nor evaluated at its end."""
    folder = tmp_path_factory.mktemp("runs") / "untested"
    assert main([*WITHOUT, "--run-dir", str(folder)]) == 0
    return folder


def contents(folder):
    """The bytes of every file."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_without_a_final_evaluation_is_finished_too(untested, capsys):
    before = contents(untested)
    assert main(["train", "dqn", "--resume", str(untested)]) == 0
    assert capsys.readouterr().out == (
        f"{untested} is finished: 800 of 800 steps; "
        "it goes on if --steps or --test-episodes is larger\n"
    )
    assert contents(untested) == before
    assert RunFolder(untested).load_evaluation() is None
    assert main(["info", str(untested)]) == 0
    assert re.search("final evaluation +none", capsys.readouterr().out)


def test_it_is_evaluated_if_that_is_asked_for_later(finished, untested, tmp_path, capsys):
    folder = shutil.copytree(untested, tmp_path / "run")
    assert main(["train", "dqn", "--resume", str(folder), "--test-episodes", "2"]) == 0
    assert "greedy return over 2 fresh episodes" in capsys.readouterr().out
    assert_same(finished, folder)
    assert main(["train", "dqn", "--resume", str(folder)]) == 0
    assert "is finished: 800 of 800 steps; it goes on if --steps is larger\n" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("step", [450, 800])
def test_a_stop_of_a_run_without_a_final_evaluation(untested, tmp_path, capsys, step):
    folder = tmp_path / "stopped"
    with ctrl_c_at(step):
        assert main([*WITHOUT, "--run-dir", str(folder)]) == 130
    assert not RunFolder(folder).finished
    assert main(["train", "--resume", str(folder)]) == 0
    assert f"going on with {folder} from step {step // 100}" in capsys.readouterr().out
    assert RunFolder(folder).finished
    assert_same(untested, folder)


@pytest.mark.parametrize("options", [OPTIONS, WITHOUT], ids=["tested", "untested"])
def test_a_kill_after_the_last_checkpoint(request, tmp_path, monkeypatch, options):
    """All steps were taken, but what they came to was not saved yet."""

    def kill(self, network):
        raise Killed

    folder = tmp_path / "killed"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(RunFolder, "save_model", kill)
        main([*options, "--run-dir", str(folder)])
    assert (folder / "checkpoint" / "learner-800").exists()
    assert main(["train", "--resume", str(folder)]) == 0
    whole = "finished" if options is OPTIONS else "untested"
    assert_same(request.getfixturevalue(whole), folder)


def test_the_settings_are_those_of_the_run(finished, capsys, monkeypatch):
    command = commands.parse(["train", "dqn", "--resume", str(finished)])
    assert command.config == RunFolder(finished).load().config
    assert (command.checkpoint_every, command.test_episodes) == (300, 2)
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit):
        main(["train", "dqn", "--resume", str(finished), "--help"])
    printed = capsys.readouterr().out
    assert f"The defaults below are those of {finished}" in printed
    assert "(default: 300)" in printed
    # and the next command line begins anew
    assert commands.parse(["train", "dqn"]).config == dqn.DQNConfig()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gamma", "0.5"], "--gamma is 0.99 there, not 0.5; of them only --steps may be"),
        (["--eval-every", "3"], "--eval-every is 200 there, not 3"),
        (["--env", "Acrobot-v1"], "--env is CartPole-v1 there, not Acrobot-v1"),
        (["--hidden", "8", "8"], "--hidden is (8,) there, not (8, 8)"),
        (["--steps", "500"], "--steps must be 800, as in"),
        (["--run-dir", "elsewhere"], "without --run-dir and --overwrite"),
        (["--overwrite"], "without --run-dir and --overwrite"),
        (["--checkpoint-every", "-1"], "checkpoint_every must be 0 or more"),
    ],
)
def test_what_contradicts_is_refused(copied, finished, capsys, options, message):
    assert main(["train", "dqn", "--resume", str(copied), *options]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert_same(finished, copied)


def test_what_does_not_contradict_is_not(copied):
    agreeing = ["--gamma", "0.99", "--seed", "4", "--hidden", "8", "--steps", "800"]
    assert main(["train", "dqn", "--resume", str(copied), *agreeing]) == 0


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda run: shutil.rmtree(run), "there is no run folder"),
        (lambda run: (run / "config.json").unlink(), "is not a run folder"),
        (lambda run: shutil.rmtree(run / "checkpoint"), "checkpoint: there is no checkpoint"),
        (lambda run: (run / "checkpoint" / "learner-800").unlink(), "learner-800: the learner"),
        (lambda run: damage(run / "checkpoint" / "learner-800"), "state is damaged"),
        (lambda run: damage(next(run.glob("checkpoint/memory/rows-*"))), "damaged"),
    ],
)
def test_what_is_missing_or_damaged_is_said_in_one_line(copied, capsys, harm, message):
    before = (copied / "log.csv").read_bytes()
    harm(copied)
    assert main(["train", "dqn", "--resume", str(copied), "--steps", "2000"]) == 1
    error = capsys.readouterr().err
    assert message in error and str(copied) in error and error.count("\n") == 1
    if copied.exists():
        assert (copied / "log.csv").read_bytes() == before


def test_a_run_without_checkpoints(tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = [*OPTIONS, "--checkpoint-every", "0", "--steps", "300", "--run-dir", str(folder)]
    assert main(arguments) == 0
    assert not (folder / "checkpoint").exists()
    assert str(folder / "checkpoint") not in capsys.readouterr().out
    assert main(["train", "dqn", "--resume", str(folder)]) == 1
    assert "there is no checkpoint" in capsys.readouterr().err


def test_a_run_that_is_still_going_on_is_left_alone(copied, finished, capsys):
    with RunFolder(copied).held():
        for arguments in (
            ["train", "dqn", "--resume", str(copied), "--steps", "1500"],
            [*OPTIONS, "--run-dir", str(copied), "--overwrite"],
        ):
            assert main(arguments) == 1
            error = capsys.readouterr().err
            assert f"{copied}: this run is held by process {os.getpid()}" in error
    assert_same(finished, copied)
    assert not (copied / "lock").exists()


def test_a_replaced_run_leaves_no_checkpoint_behind(copied):
    arguments = [*OPTIONS, "--checkpoint-every", "0", "--steps", "300", "--overwrite"]
    assert main([*arguments, "--run-dir", str(copied)]) == 0
    assert not (copied / "checkpoint").exists()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["train", "--resume", "run"], ["train", "dqn", "--resume", "run"]),
        (
            ["train", "--steps", "9", "--resume=run"],
            ["train", "dqn", "--steps", "9", "--resume=run"],
        ),
        (["train", "dqn", "--resume", "run"], ["train", "dqn", "--resume", "run"]),
        (["train", "--help"], ["train", "--help"]),
        (["eval", "--resume"], ["eval", "--resume"]),
        (["train"], ["train"]),
        ([], []),
    ],
)
def test_the_run_knows_which_learner_it_is_of(given, meant):
    assert with_learner(given) == meant
