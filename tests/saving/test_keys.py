"""A key names the same row for ever, wherever the memory goes on (CONFORMANCE.md, R3).

One memory lives through everything that a memory can come back from, and is filled several times
over in between. Of every key that it ever gave is known what it was given for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recollect as rc
from saving.worlds import EXAMPLES, STEPS, abandon, examples, prove_examples, prove_steps, steps

STREAMS = 2


def closed(memory: rc.Memory, path: Path) -> rc.Memory:
    memory.close()
    return rc.open(folder_of(memory))


def killed(memory: rc.Memory, path: Path) -> rc.Memory:
    abandon(memory)
    return rc.open(folder_of(memory))


def copied(memory: rc.Memory, path: Path) -> rc.Memory:
    memory.close()
    return rc.open(folder_of(memory), store=rc.Ram())


def saved(memory: rc.Memory, path: Path) -> rc.Memory:
    memory.save(path / "snapshot")
    return rc.open(path / "snapshot")


def settled(memory: rc.Memory, path: Path) -> rc.Memory:
    """From a snapshot into a directory."""
    memory.save(path / "snapshot")
    return rc.open(path / "snapshot", store=rc.Directory(path / f"memory-{next(NUMBERS)}"))


def resized(memory: rc.Memory, path: Path) -> rc.Memory:
    memory.resize({120: 90, 90: 120}[memory.capacity])
    return memory


NUMBERS = iter(range(1000))
WAYS = (closed, killed, resized, copied, saved, resized, settled, killed, closed) * 2


def folder_of(memory: rc.Memory) -> Path:
    store: Any = memory.shared.store
    folder: Path = store.path
    return folder


def test_R3_keys_of_steps_are_valid_and_unique_wherever_they_go_on(folder: Path) -> None:
    store = rc.Directory(folder / "memory")
    memory = rc.Memory(STEPS, 120, streams=STREAMS, store=store, sampler=rc.Prioritized(), seed=0)
    given: dict[int, tuple[int, int]] = {}
    at = 0
    for way in WAYS:
        for many in (1, 90, 9):
            for stream in range(STREAMS):
                numbers = np.arange(at, at + many)
                keys = memory.extend(stream=stream, **steps(stream, numbers)).tolist()
                assert not given.keys() & set(keys)
                given |= {key: (stream, at + k) for k, key in enumerate(keys)}
            at += many
        memory = way(memory, folder)
        held = {
            key: (stream, number)
            for stream, (numbers, keys) in prove_steps(memory).items()
            for number, key in zip(numbers.tolist(), keys.tolist(), strict=True)
        }
        assert len(held) == len(memory) > 60
        assert held.items() <= given.items()
        assert {key for key in given if key in memory} == held.keys()
        for key in list(held)[::9]:
            assert memory[key].action == held[key][0] * 1_000_000 + held[key][1]
        stale = memory.stats()["stale_updates"]
        assert memory.update(np.array(list(given)), priority=np.ones(len(given))) == len(held)
        assert memory.stats()["stale_updates"] == stale + len(given) - len(held)
    assert at > 20 * 60
    memory.close()


@pytest.mark.parametrize("retention", [rc.Fifo, rc.Reservoir, rc.DropLowest])
def test_R3_keys_of_examples_are_valid_and_unique_wherever_they_go_on(
    retention: Any, folder: Path
) -> None:
    store, sampler = rc.Directory(folder / "memory"), rc.Prioritized()
    memory = rc.Memory(EXAMPLES, 120, store=store, sampler=sampler, retention=retention(), seed=0)
    given: dict[int, int] = {}
    at = 0
    for way in WAYS:
        numbers = np.arange(at, at + 150)
        keys = memory.extend(**examples(numbers))
        memory.remove(memory.sample(4).key)
        kept = keys != -1
        assert not given.keys() & set(keys[kept].tolist())
        given |= dict(zip(keys[kept].tolist(), numbers[kept].tolist(), strict=True))
        at += 150
        memory = way(memory, folder)
        rows: Any = memory.shared.rows
        slots = np.array(list(prove_examples(memory)))
        found = rows.keys(slots).tolist()
        assert {key for key in given if key in memory} == set(found)
        for key in found:
            assert memory[key].number == given[key]
        stale = memory.stats()["stale_updates"]
        assert memory.update(np.array(list(given)), priority=np.ones(len(given))) == len(found)
        assert memory.stats()["stale_updates"] == stale + len(given) - len(found)
    memory.close()
