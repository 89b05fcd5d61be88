"""The pytest plug-in, run as another project would: on a right buffer, and on a wrong one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TOYS = Path(__file__).parent / "toys.py"
WRONG = """
from my_toys import Right

class TakesTheNext(Right):
    def gather(self, rows):
        return super().gather(rows) | {"next_obs": super().gather(rows)["obs"]}
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "my_toys.py").write_text(TOYS.read_text())
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")
    return tmp_path


def pytest_run(project, *arguments):
    command = [sys.executable, "-m", "pytest", "-p", "recollect.conformance.plugin", "-rsf"]
    command += ["-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True)


def counts(output):
    return {
        word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped)", output)
    }


def test_a_right_buffer_passes_and_skips_what_it_does_not_offer(project):
    done = pytest_run(project, "--replay-adapter=my_toys:Right", "--replay-case=B")
    assert done.returncode == 0, done.stdout + done.stderr
    # the project's own test is run as well
    assert counts(done.stdout) == {"passed": 23, "skipped": 3}
    assert "notices that an episode was reset without being told so" in done.stdout


def test_a_wrong_buffer_fails_and_says_what_is_wrong(project):
    arguments = ("--replay-adapter=wrong:TakesTheNext", "--replay-case=B3", "--replay-case=R7")
    done = pytest_run(project, *arguments, "-v")
    assert done.returncode == 1
    assert counts(done.stdout)["failed"] >= 2
    assert "TakesTheNext[B3.transitions]" in done.stdout
    assert "at a truncation, next_obs is the final observation" in done.stdout
    assert "next observation is (stream 0, episode" in done.stdout


@pytest.mark.parametrize("name", ["nowhere:Adapter", "my_toys:Nothing", "my_toys:NAMES"])
def test_an_adapter_that_is_none_is_said_so(project, name):
    done = pytest_run(project, f"--replay-adapter={name}")
    assert done.returncode not in (0, 1)
    assert f"--replay-adapter={name}" in done.stderr


def test_without_an_adapter_nothing_is_added(project):
    assert counts(pytest_run(project).stdout) == {"passed": 1}
