"""Killed before any line of what writes, a memory comes back whole (CONFORMANCE.md, S2, S3).

A child opens a copy of a small memory, does one thing to it, and ends at the n-th line of the code
that it passes; n is 1, 2, 3, ... until the thing is done.
"""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recollect as rc
from recollect.saving import manifest, snapshot
from recollect.streams import Streams
from saving.worlds import EXAMPLES, STEPS, examples, prove_examples, prove_steps, steps

ROWS = (
    *("streams.py", "ownership.py", "rings.py", "examples.py", "cursors.py"),
    *("arrays.py", "directory.py", "shared.py"),
)
SAVING = ("snapshot.py", "manifest.py", "files.py")
PASSED_OVER = ("_checksums", "whole", "held", "check", "<listcomp>", "<dictcomp>", "<genexpr>")
STREAMS, ROOM, FIRST = 2, 20, 41
KILLED, DONE = 9, 0
STRIDES = {"extend": 3, "extend far": 11, "cut": 2, "remove": 2, "rewrite": 3, "save": 9}
"""Of what passes many lines, or few that write, not each is tried."""


class End:
    """Ends this process before the n-th line of these files."""

    def __init__(self, line: int, files: tuple[str, ...]) -> None:
        self.left = line
        self.files = files

    def __call__(self, frame: Any, event: str, argument: Any) -> Any:
        code = frame.f_code
        if os.path.basename(code.co_filename) not in self.files or code.co_name in PASSED_OVER:
            return None
        if event == "line":
            self.left -= 1
            if not self.left:
                os._exit(KILLED)
        return self


def killed_at(
    line: int, path: Path, do: Callable[[rc.Memory], Any], files: tuple[str, ...] = ROWS
) -> bool:
    """Whether the child was killed before it was done."""
    child = os.fork()
    if not child:
        try:
            memory = rc.open(path)
            rows = memory.shared.rows
            if isinstance(rows, Streams):
                rows.claim(np.arange(rows.count))
            sys.settrace(End(line, files))
            do(memory)
            sys.settrace(None)
            os._exit(DONE)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (KILLED, DONE)
    return os.waitstatus_to_exitcode(status) == KILLED


def some_keys(memory: rc.Memory) -> Any:
    rows = memory.shared.rows
    return rows.keys(rows.held()[3:6])


ON_STEPS: dict[str, tuple[Callable[[rc.Memory], Any], int]] = {
    "add": (lambda memory: memory.add(**steps(np.arange(STREAMS), FIRST)), 1),
    "add one": (lambda memory: memory.add(stream=0, **steps(0, FIRST)), 1),
    "extend": (lambda memory: memory.extend(stream=0, **steps(0, FIRST + np.arange(7))), 7),
    "extend far": (lambda memory: memory.extend(stream=0, **steps(0, FIRST + np.arange(30))), 30),
    "cut": (lambda memory: memory.cut(), 0),
    "remove": (lambda memory: memory.remove(some_keys(memory)), 0),
}


@pytest.mark.parametrize("what", ON_STEPS)
def test_S3_steps_killed_at_every_line(what: str, folder: Path) -> None:
    do, many = ON_STEPS[what]
    with rc.Memory(
        STEPS, STREAMS * ROOM, streams=STREAMS, store=rc.Directory(folder / "base")
    ) as memory:
        for step in range(FIRST):
            memory.add(**steps(np.arange(STREAMS), step))
        before = prove_steps(memory)
    line = 1
    while True:
        path = folder / "memory"
        shutil.copytree(folder / "base", path)
        was_killed = killed_at(line, path, do)
        with rc.open(path) as memory:
            rows: Any = memory.shared.rows
            newest = []
            for stream, (numbers, keys) in prove_steps(memory).items():
                # what is held was held before and is older than what may be missing, or is new
                newest.append(int(numbers[-1]))
                lowest = int(before[stream][1][-1]) + 2 * many + 3 - ROOM
                assert rows.tail[stream] <= max(lowest - (stream << 40), 0)
                known = dict(zip(*(part.tolist() for part in before[stream]), strict=True))
                for number, key in zip(numbers.tolist(), keys.tolist(), strict=True):
                    assert known.get(number, key) == key
            assert min(newest) >= FIRST - 1 and max(newest) < FIRST + many
            memory.add(stream=1, **steps(1, newest[1] + 1))
            memory.extend(stream=0, **steps(0, newest[0] + 1 + np.arange(9)))
            assert memory.stats()["chain_breaks"] == 0
            prove_steps(memory)
        shutil.rmtree(path)
        if not was_killed:
            break
        line += STRIDES.get(what, 1)
    assert line > 10


ON_EXAMPLES: dict[str, Callable[[rc.Memory], Any]] = {
    "extend": lambda memory: memory.extend(**examples(FIRST + np.arange(5))),
    "remove": lambda memory: memory.remove(some_keys(memory)),
    "rewrite": lambda memory: memory.update(
        some_keys(memory),
        number=memory[some_keys(memory)].number,
    ),
}


@pytest.mark.parametrize("what", ON_EXAMPLES)
def test_S3_examples_killed_at_every_line(what: str, folder: Path) -> None:
    with rc.Memory(EXAMPLES, 16, store=rc.Directory(folder / "base")) as memory:
        memory.extend(**examples(np.arange(FIRST)))
        before = prove_examples(memory)
    line = 1
    while True:
        path = folder / "memory"
        shutil.copytree(folder / "base", path)
        was_killed = killed_at(line, path, ON_EXAMPLES[what])
        with rc.open(path) as memory:
            held = prove_examples(memory)
            changed = {slot for slot in before if held.get(slot) != before[slot]}
            assert len(changed) <= {"extend": 5, "remove": 3, "rewrite": 0}[what]
            for slot in changed:
                assert slot not in held or FIRST <= held[slot] < FIRST + 5
            assert FIRST <= memory.stats()["added"] <= FIRST + 5
            first = max(memory.stats()["added"], max(held.values()) + 1)
            memory.extend(**examples(np.arange(first, first + 20)))
            assert len(prove_examples(memory)) == 16
        shutil.rmtree(path)
        if not was_killed:
            break
        line += STRIDES.get(what, 1)
    assert line > 10


@pytest.mark.parametrize("known", [True, False], ids=["the next", "another"])
def test_S2_a_save_killed_at_every_line(
    known: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the memory that was saved there before, which writes what is new; and by another."""
    monkeypatch.setattr(snapshot, "SEGMENT_BYTES", 10_000)
    memory = rc.Memory(STEPS, ROOM)
    memory.extend(**steps(0, np.arange(FIRST)))
    memory.save(folder / "base" / "snapshot")
    before = prove_steps(memory)[0][0].tolist()
    more = steps(0, FIRST + np.arange(9))
    memory.extend(**more)
    after = prove_steps(memory)[0][0].tolist()
    memory.save(folder / "base" / "other")

    line, found_after = 1, 0
    while True:
        shutil.copytree(folder / "base", folder / "copy")
        path = folder / "copy" / "snapshot"

        def save(memory: rc.Memory, path: Path = path) -> None:
            if known:
                memory.extend(**more)
            memory.save(path)

        opened = path if known else folder / "copy" / "other"
        was_killed = killed_at(line, opened, save, SAVING)
        with rc.open(path) as found:
            there = prove_steps(found)[0][0].tolist()
            assert there in (before, after)
            found_after += there == after
            found.extend(**steps(0, there[-1] + 1 + np.arange(5)))
            found.save(path)
            expected = prove_steps(found)[0]
        with rc.open(path) as found:
            np.testing.assert_array_equal(prove_steps(found)[0], expected)
        content = manifest.read(path)
        named = {f"rows-{number}" for number, _ in content["segments"]}
        assert {file.name for file in path.iterdir()} == {
            "recollect.json", content["state"], *named
        }  # fmt: skip
        shutil.rmtree(folder / "copy")
        if not was_killed:
            break
        assert there == before or found_after  # once it is there, it stays
        line += STRIDES["save"]
    assert 1 < found_after < line / STRIDES["save"] / 2
