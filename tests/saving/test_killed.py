"""A process that is killed at any moment loses nothing (CONFORMANCE.md, S2, S3).

A child writes as fast as it can, tells in memory that it shares with its parent what it is about to
do and what is done, and is killed after a random time. The parent looks at what is there, and the
next child goes on with it.
"""

from __future__ import annotations

import mmap
import os
import signal
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recollect as rc
from recollect.rings import NUMBER_MASK
from saving.worlds import EXAMPLES, STEPS, abandon, examples, prove_examples, prove_steps, steps

KILLS = 46
"""Of each of three memories of steps; half as many of each of three of examples. In all 207."""
LONGEST = 0.025
"""Seconds that a child may write."""

STREAMS = 3
CAPACITY = 3 * 50
AT_ONCE = 9
KEPT_IN_MIND = 4096


class Report:
    """Numbers that a child writes and its parent reads, whatever happens to the child."""

    def __init__(self, **shapes: tuple[int, ...]) -> None:
        size = 8 * sum(int(np.prod(shape)) for shape in shapes.values())
        numbers = np.frombuffer(mmap.mmap(-1, size), np.float64)
        first = 0
        for name, shape in shapes.items():
            stop = first + int(np.prod(shape))
            setattr(self, name, numbers[first:stop].reshape(shape))
            first = stop

    def __getattr__(self, name: str) -> np.ndarray:
        raise AttributeError(name)


def kill(write: Callable[[], Any], report: Any, rng: np.random.Generator) -> None:
    """Runs `write` in another process, and kills that: mostly while it writes."""
    report.opened[0] = 0
    child = os.fork()
    if not child:
        try:
            write()
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    if rng.random() < 0.8:
        while not report.opened[0]:
            time.sleep(0.001)
            assert os.waitpid(child, os.WNOHANG) == (0, 0), "the child came to an end by itself"
    time.sleep(rng.random() * LONGEST)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the child came to an end by itself"


def write_steps(path: Path, report: Any, next_step: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    memory = rc.open(path / "memory")
    report.opened[0] = 1
    at, count, latest = list(next_step), 0.0, np.zeros(0, np.int64)
    while True:
        kind = rng.integers(8)
        if kind < 3:
            report.begun[:] = np.array(at) + 1
            keys = memory.add(**steps(np.arange(STREAMS), np.array(at)))
            at = [step + 1 for step in at]
            report.done[:] = at
            latest = np.append(latest, keys)[-120:]
        elif kind < 5:
            stream, many = int(rng.integers(STREAMS)), int(rng.integers(1, AT_ONCE))
            report.begun[stream] = at[stream] + many
            numbers = at[stream] + np.arange(many)
            if many == 1:
                fields = steps(stream, at[stream])
                keys = memory.add(stream=stream, **fields)
            else:
                keys = memory.extend(stream=stream, **steps(np.full(many, stream), numbers))
            at[stream] += many
            report.done[stream] = at[stream]
            latest = np.append(latest, keys)[-120:]
        elif kind == 5 and len(latest):
            keys = rng.choice(latest, 20)
            count += 20
            priority = count + np.arange(20.0)
            slots = keys & NUMBER_MASK, keys >> 40
            report.given[slots[1], slots[0] % KEPT_IN_MIND] = -1  # in the middle of it
            memory.update(keys, priority=priority)
            report.given[slots[1], slots[0] % KEPT_IN_MIND] = priority
            memory.sample(8)
        elif kind == 6 and rng.random() < 0.3:
            memory.cut(int(rng.integers(STREAMS)))
        elif kind == 7 and rng.random() < 0.1:
            memory.flush()
        elif kind == 7 and rng.random() < 0.2:
            memory.save(path / "snapshot")
            report.saved[:] = at


def check_priorities(memory: rc.Memory, keys: dict[int, np.ndarray], given: np.ndarray) -> None:
    """Of all that could be drawn: priorities whose update had returned are what they were."""
    memory.sample(1)
    sampler = memory.sampler.state()
    priority = dict(zip(sampler["members"].tolist(), sampler["priority"].tolist(), strict=True))
    rows: Any = memory.shared.rows
    for stream, mine in keys.items():
        slots, _ = rows.find(mine)
        for key, slot in zip(mine.tolist(), slots.tolist(), strict=True):
            expected = given[stream, (key & NUMBER_MASK) % KEPT_IN_MIND]
            if expected > 0 and slot in priority:
                assert priority[slot] == expected


@pytest.mark.parametrize("seed", range(3))
def test_S3_no_step_is_lost_or_torn_and_no_priority_when_killed(seed: int, folder: Path) -> None:
    rng = np.random.default_rng(seed)
    report: Any = Report(
        begun=(STREAMS,),
        done=(STREAMS,),
        saved=(STREAMS,),
        opened=(1,),
        given=(STREAMS, KEPT_IN_MIND),
    )
    memory = rc.Memory(
        STEPS,
        CAPACITY,
        streams=STREAMS,
        store=rc.Directory(folder / "memory"),
        sampler=rc.Prioritized(alpha=1.0),
    )
    memory.add(**steps(np.arange(STREAMS), 0))
    memory.update(memory.sample(4).key, priority=np.ones(4))  # compiles, once for all children
    memory.close()
    at, tail, room = [1] * STREAMS, [0] * STREAMS, CAPACITY // STREAMS
    report.begun[:] = report.done[:] = 1
    for turn in range(KILLS):
        report.saved[:] = 0
        kill(partial(write_steps, folder, report, at, seed + 10 * turn), report, rng)
        with rc.open(folder / "memory") as memory:
            held = prove_steps(memory)
            assert memory.stats()["chain_breaks"] == 0
            rows: Any = memory.shared.rows
            for stream, (numbers, keys) in held.items():
                newest = int(numbers[-1]) + 1
                assert report.done[stream] <= newest <= report.begun[stream]
                unseen = int(report.begun[stream]) - newest
                # the rows of steps that were being added may have taken the place of as many
                least = int(keys[-1] & NUMBER_MASK) + 2 * unseen + 2 + 1 - room
                assert rows.tail[stream] <= max(least, tail[stream])
                at[stream], tail[stream] = newest, int(rows.tail[stream])
            check_priorities(memory, {s: keys for s, (_, keys) in held.items()}, report.given)
        if (folder / "snapshot" / "recollect.json").exists():
            with rc.open(folder / "snapshot") as memory:
                for stream, (numbers, _) in prove_steps(memory).items():
                    assert report.saved[stream] <= numbers[-1] + 1 <= report.begun[stream]
        report.begun[:] = report.done[:] = at
        # numbers go on from what is there: what is known of others is of keys that are none
        report.given[report.given < 0] = 0
    assert min(at) > 3 * room


def write_examples(path: Path, report: Any, first: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    memory = rc.open(path / "memory")
    report.opened[0] = 1
    at = first
    while True:
        many = int(rng.integers(1, AT_ONCE))
        report.begun[0] = at + many
        keys = memory.extend(**examples(np.arange(at, at + many)))
        kept = np.flatnonzero(keys >= 0)
        report.number[keys[kept] & 0xFFFFFFFF] = 1 + at + kept
        at += many
        report.done[0] = at
        kind = rng.integers(40)
        if kind < 8:
            memory.update(memory.sample(8).key, priority=rng.random(8) * 5)
        elif kind == 8:
            memory.flush()
        elif kind == 9:
            memory.save(path / "snapshot")
        elif kind == 10:
            keys = memory.sample(2).key
            report.number[keys & 0xFFFFFFFF] = -1
            memory.remove(keys)


RETENTIONS = {"reservoir": rc.Reservoir, "drop lowest": rc.DropLowest, "first in": rc.Fifo}


@pytest.mark.parametrize("retention", RETENTIONS)
def test_S3_no_example_is_lost_or_torn_when_killed(retention: str, folder: Path) -> None:
    rng = np.random.default_rng(len(retention))
    capacity = 60
    report: Any = Report(begun=(1,), done=(1,), number=(capacity,), opened=(1,))
    memory = rc.Memory(
        EXAMPLES,
        capacity,
        store=rc.Directory(folder / "memory"),
        sampler=rc.Prioritized(),
        retention=RETENTIONS[retention](),
    )
    memory.extend(**examples(np.arange(70)))
    memory.update(memory.sample(4).key, priority=np.ones(4))
    memory.remove(memory.sample(1).key)
    memory.close()
    at = 70
    for turn in range(KILLS // 2):
        report.number[:] = 0
        report.begun[:] = report.done[:] = at
        kill(partial(write_examples, folder, report, at, turn), report, rng)
        with rc.open(folder / "memory") as memory:
            held = prove_examples(memory)
            added = int(memory.stats()["added"])
            assert report.done[0] <= added <= report.begun[0]
            lost = 0
            for slot, number in enumerate(report.number.tolist()):
                if number > 0 and held.get(slot) != number - 1:
                    # its place was taken by what was being added
                    assert held.get(slot, at) >= report.done[0] or slot not in held
                    lost += 1
            assert lost < AT_ONCE
            # what was being added may be there without having been counted
            at = max(added, max(held.values()) + 1)
            assert at <= report.begun[0]
            memory.extend(**examples(np.arange(added, at)))
            prove_batch_of_examples(memory)
            at = int(memory.stats()["added"])
        if (folder / "snapshot" / "recollect.json").exists():
            with rc.open(folder / "snapshot") as memory:
                prove_examples(memory)
    assert at > 3 * capacity


def prove_batch_of_examples(memory: rc.Memory) -> None:
    batch = memory.sample(30)
    for name, values in examples(batch.number).items():
        np.testing.assert_array_equal(batch[name], values)


@pytest.mark.parametrize("episodes", ["continue", "cut"])
def test_S3_open_episodes_go_on_or_are_cut_as_asked(episodes: Any, folder: Path) -> None:
    memory = rc.Memory(STEPS, CAPACITY, streams=STREAMS, store=rc.Directory(folder / "memory"))
    at = [40, 43, 50]
    for stream, step in enumerate(at):
        memory.extend(stream=stream, **steps(stream, np.arange(step)))
    open_before = ~memory.episodes.ended
    streams = memory.episodes.streams[open_before].tolist()
    assert len(streams) > 0
    abandon(memory)
    with rc.open(folder / "memory", episodes=episodes) as memory:
        held = prove_steps(memory)
        assert [int(numbers[-1]) + 1 for numbers, _ in held.values()] == at
        assert (~memory.episodes.ended).sum() == (0 if episodes == "cut" else len(streams))
        for stream in streams:
            newest = memory[held[stream][1][-1]]
            assert not newest.terminated
            assert newest.truncated == (episodes == "cut")
            # the successor is the true one, whether its episode goes on or not
            np.testing.assert_array_equal(newest.next_obs.place, [stream, at[stream], 0])
        count = len(memory.episodes)
        memory.add(**steps(np.arange(STREAMS), np.array(at)))
        assert memory.stats()["chain_breaks"] == 0
        begun = STREAMS if episodes == "cut" else STREAMS - len(streams)
        assert len(memory.episodes) == count + begun
