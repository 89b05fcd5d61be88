"""Snapshots: of one moment, incremental, and loaded without a second copy (S1, S2, S6)."""

from __future__ import annotations

import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recollect as rc
from recollect.saving import manifest, snapshot
from recollect.stores import files
from saving.worlds import (
    EXAMPLES,
    STEPS,
    abandon,
    examples,
    prove_batch,
    prove_examples,
    prove_steps,
    steps,
)


class Counter:
    """How many bytes are written to files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        for module, name in ((snapshot, "write"), (manifest, "replace"), (files.Writing, "write")):
            monkeypatch.setattr(module, name, self._counting(getattr(module, name)))

    def _counting(self, write: Any) -> Any:
        def counted(parts: Any) -> Iterator[Any]:
            for part in parts:
                self.bytes += memoryview(part).nbytes
                yield part

        return lambda *of: write(*of[:-1], counted(of[-1]))

    def of(self, memory: rc.Memory, path: Path) -> int:
        self.bytes = 0
        memory.save(path)
        return self.bytes


def test_S1_a_second_save_writes_what_is_new(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "SEGMENT_BYTES", 200_000)
    counter = Counter(monkeypatch)
    memory = rc.Memory(STEPS, 4000, sampler=rc.Uniform())
    memory.extend(**steps(0, np.arange(6000)))
    path = folder / "snapshot"
    all_of_it = counter.of(memory, path)
    assert all_of_it > 4000 * 1100
    nothing = counter.of(memory, path)
    assert nothing < 0.02 * all_of_it
    at, written = 6000, 0
    for turn in range(12):
        memory.extend(**steps(0, np.arange(at, at + 40)))
        at += 40
        written += counter.of(memory, path) - nothing
        with rc.open(path) as found:
            np.testing.assert_array_equal(prove_steps(found)[0][0], prove_steps(memory)[0][0])
        if turn == 5:
            # what is loaded from it goes on in the same way
            memory = rc.open(path)
    # a hundredth is new each time; now and then half of a segment of the oldest is written anew
    assert 12 * 0.01 * all_of_it < written < 12 * 0.025 * all_of_it
    # whole turns of the ring leave nothing of the first segments behind
    for first in range(at, at + 3 * 1500, 1500):
        memory.extend(**steps(0, np.arange(first, first + 1500)))
        memory.save(path)
    size = sum(file.stat().st_size for file in path.iterdir())
    assert size < 2.2 * all_of_it
    with rc.open(path) as found:
        np.testing.assert_array_equal(prove_steps(found)[0][0], prove_steps(memory)[0][0])


def test_S1_another_memory_replaces_a_snapshot_wholly(folder: Path) -> None:
    path = folder / "snapshot"
    first, second = rc.Memory(STEPS, 100), rc.Memory(EXAMPLES, 30)
    first.extend(**steps(0, np.arange(80)))
    second.extend(**examples(np.arange(50)))
    for turn in range(2):
        first.save(path)
        with rc.open(path) as found:
            assert list(prove_steps(found)[0][0]) == list(prove_steps(first)[0][0])
        second.save(path)
        with rc.open(path) as found:
            assert prove_examples(found) == prove_examples(second)
        second.extend(**examples(np.arange(50, 55) + 5 * turn))
        second.save(path)
        with rc.open(path) as found:
            assert prove_examples(found) == prove_examples(second)


def test_S1_a_snapshot_of_a_stream_that_another_process_cut(folder: Path) -> None:
    """Rows that others write, and marks that they change, are told apart from those saved."""
    learner = rc.Memory(STEPS, 200, streams=2, store=rc.Directory(folder / "memory"))
    with rc.open(folder / "memory", stream=1) as actor:
        for number in range(30):
            actor.add(**steps(1, number))
            learner.add(stream=0, **steps(0, number))
            if number % 7 == 3:
                learner.save(folder / "snapshot")
                actor.cut()
                learner.save(folder / "snapshot")
            with rc.open(folder / "memory", mode="r") as there:
                expected = prove_steps(there)
            if number % 7 == 3:
                with rc.open(folder / "snapshot") as found:
                    found.shared.rows.check()  # type: ignore[union-attr]
                    for stream, (numbers, keys) in prove_steps(found).items():
                        np.testing.assert_array_equal(numbers, expected[stream][0])
                        np.testing.assert_array_equal(keys, expected[stream][1])
    learner.close()


@pytest.mark.parametrize("where", ["ram", "directory"])
def test_S1_a_save_holds_one_moment_while_others_go_on(
    where: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step's priority is a function of it, given at once: rows and priorities fit together."""
    monkeypatch.setattr(snapshot, "SEGMENT_BYTES", 25_000)
    store = rc.Ram() if where == "ram" else rc.Directory(folder / "memory")
    memory = rc.Memory(STEPS, 150, store=store, sampler=rc.Prioritized(alpha=1.0, epsilon=0.0))
    stop, failed, added = threading.Event(), [], [0]

    def add() -> None:
        with memory.shared.lock:
            memory.update(memory.add(**steps(0, added[0])), priority=added[0] + 1.0)
            added[0] += 1

    for _ in range(200):
        add()

    def go_on() -> None:
        try:
            while not stop.is_set():
                add()
                if added[0] % 5 == 0:
                    memory.sample(4)
        except BaseException as error:
            failed.append(error)

    def sync_with_more(descriptor: int) -> None:
        before = added[0]
        while added[0] < before + 25 and not failed and not stop.is_set():
            stop.wait(0.001)

    monkeypatch.setattr(files, "sync", sync_with_more)
    thread = threading.Thread(target=go_on)
    thread.start()
    moved = 0
    try:
        for _ in range(3):
            before = added[0]
            memory.save(folder / "snapshot")
            after = added[0]
            with rc.open(folder / "snapshot") as found:
                numbers, keys = prove_steps(found)[0]
                assert before - 1 <= numbers[-1] < after
                assert len(numbers) > 100
                state: Any = found.sampler.state()
                slots, _ = found.shared.rows.find(keys)
                order = np.argsort(slots)
                np.testing.assert_array_equal(state["members"], slots[order])
                np.testing.assert_array_equal(state["priority"], numbers[order] + 1.0)
                assert found.stats()["added"] == numbers[-1] + 1
                moved += int(after - 1 > numbers[-1] + 100)
    finally:
        stop.set()
        thread.join()
    assert not failed
    assert moved
    memory.close()


def test_S6_loading_takes_no_second_copy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the memory itself takes there is one segment at a time."""
    monkeypatch.setattr(snapshot, "SEGMENT_BYTES", 1 << 21)
    memory = rc.Memory(STEPS, 60_000)
    numbers = np.arange(1000)
    for first in range(0, 50_000, 1000):
        memory.extend(**steps(0, numbers + first))
    memory.save(folder / "snapshot")
    size = memory.shared.store.nbytes
    del memory
    tracemalloc.start()
    try:
        loaded = rc.open(folder / "snapshot")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size <= peak <= 1.05 * size
    prove_batch(loaded.sample(500))


@pytest.mark.parametrize("way", ["saved", "killed"])
def test_P9_a_reservoir_goes_on_in_mid_stream(way: str, folder: Path) -> None:
    """Every arrival has the same chance k / n to be held, before the break and after it."""
    schema = rc.Schema.examples(number=rc.Field((), np.int64))
    counts, trials, offered, k = np.zeros(60), 80, 60, 12
    for seed in range(trials):
        store = rc.Ram() if way == "saved" else rc.Directory(folder / f"memory-{seed}")
        memory = rc.Memory(schema, k, store=store, retention=rc.Reservoir(), seed=seed)
        memory.extend(number=np.arange(20))
        if way == "saved":
            memory.save(folder / "snapshot")
            memory = rc.open(folder / "snapshot")
            memory.extend(number=np.arange(20, 40))
        else:
            memory.flush()
            memory.extend(number=np.arange(20, 40))
            abandon(memory)
            memory = rc.open(folder / f"memory-{seed}")
        memory.extend(number=np.arange(40, 60))
        held = memory.shared.rows.whole(memory.shared.rows.held())["number"]
        assert len(held) == k
        counts[held] += 1
    expected = trials * k / offered
    # of three parts of what was offered none is favoured: 4 standard deviations
    for part in counts.reshape(3, 20).sum(axis=1):
        spread = np.sqrt(trials * k * (1 / 3) * (2 / 3) * (offered - k) / (offered - 1))
        assert abs(part - 20 * expected) < 4 * spread
    assert ((counts - expected) ** 2 / expected).sum() / (1 - k / offered) < 110


AT_EXIT = """
import atexit, sys
import numpy as np
import recollect as rc

memory = rc.Memory(rc.Schema.examples(number=rc.Field((), np.int64)), 10)
memory.extend(number=np.arange(7))
atexit.register(memory.save, sys.argv[1])
"""


def test_a_memory_is_saved_when_the_interpreter_leaves(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT, folder / "snapshot"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    with rc.open(folder / "snapshot") as memory:
        assert sorted(memory.sample(100).number.tolist())[::99] == [0, 6]
