"""A directory may be several times as large as the RAM that its process may have.

Pages of files are the system's, which takes them back when it needs them; what a process has for
itself is limited here. So this shows that no part of a memory in a directory keeps, or takes for a
while, as much as the rows are.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

import recollect as rc
from recollect.saving import snapshot
from saving.actors import Child

resource = pytest.importorskip("resource")

ALLOWED = 24 << 20
"""Bytes that the process may have, beside those that it had at the beginning."""

STEPS, SIDE = 1500, 256
"""Frames of 64 KiB: four times as much as is allowed."""

SCHEMA = rc.Schema.steps(obs=rc.Field((SIDE, SIDE), np.uint8), action=rc.Field((), np.int64))


def frames(number: np.ndarray) -> np.ndarray:
    """(M, SIDE, SIDE), of 256 steps in a row each another one."""
    code = number[:, None] * 7 + np.arange(SIDE)
    return np.repeat(code.astype(np.uint8)[:, None], SIDE, axis=1)


def steps(number: np.ndarray) -> dict[str, Any]:
    never = np.zeros(len(number), np.bool_)
    return {
        "obs": frames(number),
        "action": number,
        "reward": number.astype(np.float32),
        "next_obs": frames(number + 1),
        "terminated": number % 100 == 99,
        "truncated": never,
    }


def limit() -> None:
    """Lets this process have so much memory of its own; pages of files do not count."""
    status = Path("/proc/self/status").read_text()
    (mine,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData")]
    most = (mine << 10) + ALLOWED
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def fill_and_read(path: Path) -> None:
    limit()
    with pytest.raises(MemoryError):
        rc.Memory(SCHEMA, STEPS)
    sampler = rc.Prioritized()
    with rc.Memory(SCHEMA, STEPS, store=rc.Directory(path), sampler=sampler, seed=0) as memory:
        for first in range(0, 2 * STEPS, 20):
            memory.extend(**steps(np.arange(first, first + 20)))
            batch = memory.sample(16)
            memory.update(batch.key, priority=batch.reward)
            prove(batch)
        memory.save(path.with_name("snapshot"))
    with rc.open(path) as memory, rc.open(path, mode="r") as other:
        for _ in range(100):
            prove(memory.sample(16))
            prove(other.sample(16))
        assert len(memory) > STEPS * 0.95
        memory.resize(STEPS + 100)
        memory.extend(**steps(np.arange(2 * STEPS, 2 * STEPS + 20)))
        prove(memory.sample(16))
    # a snapshot is read into another directory, piece by piece
    with rc.open(path.with_name("snapshot"), store=rc.Directory(path.with_name("other"))) as memory:
        prove(memory.sample(16))


def prove(batch: rc.Batch) -> None:
    np.testing.assert_array_equal(batch.obs, frames(batch.action))
    np.testing.assert_array_equal(batch.next_obs, frames(batch.action + 1))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="as Linux tells it")
def test_a_memory_several_times_the_ram_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # one segment is in RAM at a time, and all here is small
    monkeypatch.setattr(snapshot, "SEGMENT_BYTES", 1 << 21)
    with TemporaryDirectory(dir=tmp_path) as name:  # not kept: it is large
        folder = Path(name)
        store = rc.Directory(folder / "first")
        # compiles, and loads what is loaded when it is used first
        with rc.Memory(SCHEMA, 8, store=store, sampler=rc.Prioritized()) as memory:
            memory.extend(**steps(np.arange(4)))
            memory.update(memory.sample(4).key, priority=np.ones(4))
        Child(lambda: fill_and_read(folder / "memory")).join()
