"""`recollect verify`: what it prints, and its exit status."""

from __future__ import annotations

import os

import numpy as np
import pytest

import recollect as rc
from recollect.cli import main

SCHEMA = rc.Schema.steps(obs=rc.Field((3,), np.float32), action=rc.Field((), np.int64))


@pytest.fixture
def memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    memory = rc.Memory(SCHEMA, 50, store=rc.Directory("memory"), seed=0)
    for step in range(30):
        memory.add(
            obs=np.full(3, step, np.float32),
            action=0,
            reward=1.0,
            next_obs=np.full(3, step + 1, np.float32),
            terminated=False,
            truncated=step % 7 == 6,
        )
        if step % 7 == 6:
            memory.cut()
    yield memory
    memory.close()


@pytest.mark.filterwarnings("ignore::recollect.errors.ChainBreakWarning")
def test_nothing_is_wrong(capsys, memory):
    memory.save("snapshot")
    for path in ("memory", "snapshot"):
        assert main(["verify", path]) == 0
        printed = capsys.readouterr()
        assert printed.out == f"{path}: nothing is wrong\n"
        assert printed.err == ""


def test_each_finding_is_a_line(capsys, memory):
    memory.shared.store.mark[4] += np.uint32(32)
    os.truncate("memory/rows-1/state", 40)
    assert main(["verify", "memory"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "memory/rows-1/state: cut short: 40 bytes, its header alone takes more",
        "memory/rows-1/narrow: stream 0: rows 4 and 5: not as far into their episodes as the rows "
        "before them say",
    ]


def test_the_checkpoint_of_a_run(capsys, memory):
    memory.save("run/checkpoint/memory")
    assert main(["verify", "run"]) == 0
    assert capsys.readouterr().out == "run/checkpoint/memory: nothing is wrong\n"
    with open("run/checkpoint/memory/rows-1", "r+b") as file:
        file.write(b"x")
    assert main(["verify", "run"]) == 1
    assert capsys.readouterr().out.startswith("run/checkpoint/memory/rows-1: this is no file of")


def test_no_memory(capsys, tmp_path):
    assert main(["verify", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "no memory is here: it has no recollect.json" in printed.err
