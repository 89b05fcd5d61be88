"""Who may do what when several processes share a memory, and what the death of one leaves."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recollect as rc
from recollect.saving import manifest
from saving.actors import (
    SCHEMA,
    Child,
    actor,
    add_from,
    children,
    numbers,
    one,
    prove_returns,
    rows,
    wait_until,
)
from saving.worlds import ends, prove_steps

STREAMS = 2
ROOM = 60
KILLS = 8


def made(path: Path, **settings: Any) -> rc.Memory:
    given = {"streams": STREAMS, "capacity": STREAMS * ROOM, "seed": 1} | settings
    given |= {"view": rc.Transition(gamma=0.9), "store": rc.Directory(path / "memory")}
    return rc.Memory(SCHEMA, **given)


def step(stream: int, number: int) -> dict[str, Any]:
    fields: dict[str, Any] = one(rows(stream, np.arange(number, number + 1)), 0)
    return fields


def test_an_early_actor_waits_and_a_late_one_need_not(folder: Path) -> None:
    done = numbers(STREAMS)

    def early() -> None:
        with rc.open(folder / "memory", stream=0) as writer:
            writer.add(**step(0, 0))
            done[0] = 1

    with pytest.raises(rc.StorageError, match="memory"):
        rc.open(folder / "memory", stream=0, timeout=0.05)
    with children(early) as (child,):
        time.sleep(0.05)
        with made(folder) as memory:
            wait_until(lambda: done[0])
            child.join()
            with rc.open(folder / "memory", stream=1, timeout=0) as late:
                late.add(**step(1, 0))
            assert len(memory) == 2


@pytest.mark.parametrize("episodes", ["continue", "cut"])
def test_S3_the_stream_of_a_killed_actor_can_be_taken(episodes: Any, folder: Path) -> None:
    rng = np.random.default_rng(3)
    done, first = numbers(STREAMS), 0
    opened = numbers(1)

    def add(first: int) -> None:
        with rc.open(folder / "memory", stream=0, episodes=episodes) as writer:
            opened[0] += 1
            add_from(writer, 0, first, done, lambda: False)

    cuts = 0
    with made(folder) as memory, rc.open(folder / "memory", stream=1) as other:
        for kill in range(KILLS):
            with children(partial(add, first)) as (child,):
                wait_until(lambda kill=kill: opened[0] > kill)
                told = int(done[0])
                wait_until(lambda told=told: done[0] > told)
                time.sleep(rng.random() * 0.01)
                child.kill()
            # the learner and the other actor go on meanwhile
            other.add(**step(1, kill))
            if memory.eligible:
                prove_returns(memory.sample(32), 1, 0.9) if episodes == "continue" else None
            (held, keys), _ = prove_steps(memory).values()
            assert done[0] - 1 <= held[-1] <= done[0] + 8
            first = int(held[-1]) + 1
            was_open = not any(ends(0, held[-1]))
            if kill % 2:
                # taken twice, by one who adds nothing
                rc.open(folder / "memory", stream=0, episodes=episodes).close()
                stats = memory.stats()
                cuts += was_open and episodes == "cut"
                assert (memory[keys[-1]].truncated or not was_open) == (
                    episodes == "cut" or not was_open
                )
                assert stats["chain_breaks"] == 0
        assert memory.stats()["added"] == first + KILLS
        assert cuts > 0 or episodes == "continue"


def test_a_stopped_actor_keeps_its_stream_and_hinders_nobody(folder: Path) -> None:
    done, stop = numbers(STREAMS), numbers(1)
    works = [partial(actor, folder / "memory", k, done, lambda: stop[0]) for k in range(STREAMS)]
    with children(*works) as (first, second), made(folder) as memory:
        wait_until(done.all)
        with rc.open(folder / "memory", mode="r") as third:
            stand_still(first, third)
        with pytest.raises(rc.LockedError, match=f"stream 0 is held by process {first.pid}"):
            rc.open(folder / "memory", stream=0)
        there, other = done.copy()
        wait_until(lambda: done[1] > other + 2 * ROOM)
        prove_returns(memory.sample(32), 1, 0.9)
        assert done[0] == there
        first.go_on()
        wait_until(lambda: done[0] > there)
        stop[0] = 1
        first.join()
        second.join()
        assert memory.stats()["added"] == done.sum()


def stand_still(child: Child, memory: rc.Memory) -> None:
    """Stops it, but not in the moment in which it keeps others from looking."""
    with memory.shared.lock:
        child.stop()


def test_a_new_learner_takes_over_from_a_killed_one(folder: Path) -> None:
    done, stop = numbers(STREAMS), numbers(1)
    learns = numbers(1)

    def learn() -> None:
        memory = made(folder, sampler=rc.Prioritized())
        while True:
            if memory.eligible:
                batch = memory.sample(8)
                memory.update(batch.key, priority=np.ones(8))
                learns[0] += 1

    works = [partial(actor, folder / "memory", k, done, lambda: stop[0]) for k in range(STREAMS)]
    with children(learn, *works) as (learner, *actors):
        wait_until(lambda: learns[0] > 3 and done.all())
        for again in (made, lambda folder: rc.open(folder / "memory")):
            with pytest.raises(rc.LockedError, match=f"held by process {learner.pid}"):
                again(folder)
        learner.kill()
        told = done.copy()
        wait_until(lambda: (done > told + 2 * ROOM).all())
        for again in (
            lambda folder: made(folder, sampler=rc.Prioritized()),
            lambda folder: rc.open(folder / "memory"),
        ):
            told = done.copy()
            with again(folder) as memory:
                held = prove_steps(memory)
                assert all(held[k][0][-1] >= told[k] - 1 for k in range(STREAMS))
                prove_returns(memory.sample(32), 1, 0.9)
        stop[0] = 1
        for each in actors:
            each.join()
        with rc.open(folder / "memory") as memory:
            assert memory.stats()["added"] == done.sum()
            assert memory.stats()["chain_breaks"] == 0


def test_nobody_takes_what_another_has(folder: Path) -> None:
    here = f"held by process {os.getpid()}, this one"
    with made(folder) as memory, rc.open(folder / "memory", stream=0) as writer:
        writer.extend(**rows(0, np.arange(2)))
        with pytest.raises(rc.LockedError, match=f"stream 0 is {here}"):
            rc.open(folder / "memory", stream=0)
        with pytest.raises(rc.LockedError, match=f"memory is {here}"):
            rc.open(folder / "memory")
        # the learner adds to a stream that is free, and to no other
        before = memory.stats()
        for work in (
            lambda: memory.add(stream=0, **step(0, 2)),
            lambda: memory.add(stream=[1, 0], **rows_of_both(2, 0)),
            lambda: memory.cut(0),
            memory.clear,
            lambda: memory.resize(400),
        ):
            with pytest.raises(rc.LockedError, match=f"stream 0 is {here}"):
                work()
            assert memory.stats() == before
        memory.add(stream=1, **step(1, 0))
        with pytest.raises(rc.LockedError, match=f"stream 1 is {here}"):
            rc.open(folder / "memory", stream=1)
        writer.add(**step(0, 2))
        assert memory.capacity == STREAMS * ROOM
        assert memory.sample(8).key.size == 8
        writer.close()
        with pytest.raises(rc.ClosedError):
            writer.add(**step(0, 3))
        memory.add(stream=[0, 1], **rows_of_both(3, 1))
        assert {k: len(held) for k, (held, _) in prove_steps(memory).items()} == {0: 4, 1: 2}
    with made(folder) as memory, rc.open(folder / "memory", stream=1) as writer:
        writer.add(**step(1, 2))
        assert memory.stats()["added"] == 7
        assert writer.stats()["added"] == 7
        assert memory.stats()["chain_breaks"] == 0


def rows_of_both(zero: int, one: int) -> dict[str, Any]:
    fields = rows(np.arange(2), np.array([zero, one]))
    return fields


def test_a_memory_is_resized_by_its_only_user(folder: Path) -> None:
    with made(folder) as memory, rc.open(folder / "memory", mode="r") as third:
        with rc.open(folder / "memory", stream=0) as writer:
            writer.extend(**rows(0, np.arange(50)))
            held = prove_steps(third)
            with pytest.raises(rc.LockedError, match="stream 0"):
                memory.resize(STREAMS * 20)
            writer.extend(**rows(0, np.arange(50, 60)))
            assert len(prove_steps(memory)[0][0]) >= len(held[0][0]) - 2
        memory.resize(STREAMS * 200)
        memory.extend(stream=0, **rows(0, np.arange(60, 160)))
        assert len(prove_steps(memory)[0][0]) > 100
        # who looks in cannot see the new rows, and is told so
        looks = (lambda: third.sample(4), third.stats, lambda: third[0], lambda: third.episodes)
        for look in looks:
            with pytest.raises(rc.StorageError, match="resized"):
                look()
        with rc.open(folder / "memory", mode="r") as again:
            assert len(again) == len(memory)
            prove_steps(again)


@pytest.mark.parametrize("given", [False, True], ids=["as made", "with a part given"])
def test_who_looks_in_while_it_is_resized_sees_the_new_rows_or_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    read = manifest.read
    with made(folder) as memory:
        memory.extend(stream=0, **rows(0, np.arange(50)))
        capacities = iter([STREAMS * 100, STREAMS * 200])

        def read_just_before(path: Path) -> dict[str, Any]:
            """What is read no longer holds when it is returned, twice."""
            found = read(path)
            for capacity in capacities:
                memory.resize(capacity)
                break
            return found

        monkeypatch.setattr(manifest, "read", read_just_before)
        if given:
            with pytest.raises(rc.StorageError, match="resized it meanwhile; open it again"):
                rc.open(folder / "memory", mode="r", sampler=rc.Uniform())
            return
        with rc.open(folder / "memory", mode="r") as third:
            assert third.capacity == memory.capacity == STREAMS * 200
            prove_steps(third)


def test_a_memory_that_grows_has_one_writer(folder: Path) -> None:
    with made(folder, capacity=None) as memory:
        with pytest.raises(rc.ConfigurationError, match="grows"):
            rc.open(folder / "memory", stream=0)
        memory.extend(stream=0, **rows(0, np.arange(3_000)))
        with rc.open(folder / "memory", mode="r") as third:
            assert len(third) == 3_000


def test_who_looks_in_changes_nothing(folder: Path) -> None:
    with made(folder) as memory, rc.open(folder / "memory", mode="r") as third:
        key = memory.add(stream=0, **step(0, 0))
        before = memory.stats()
        for work in (
            lambda: third.add(stream=0, **step(0, 1)),
            lambda: third.update(key, note=np.zeros(2)),
            lambda: third.remove(key),
            third.clear,
            lambda: third.resize(400),
        ):
            with pytest.raises((rc.ReadOnlyError, rc.ConfigurationError), match="memory"):
                work()
        assert third.stats()["added"] == before["added"] == 1
        memory.add(stream=0, **step(0, 1))
        assert third.stats()["added"] == 2


def refusals(memory: rc.Memory) -> list[Callable[[], Any]]:
    return [
        lambda: memory.sample(4),
        lambda: memory.update(np.array([0]), priority=np.ones(1)),
        lambda: memory.update(np.array([0]), note=np.zeros((1, 2))),
        lambda: memory.remove(np.array([0])),
        lambda: memory.add(stream=1, **step(1, 1)),
        lambda: memory.extend(stream=1, **rows(1, np.arange(1, 4))),
        lambda: memory.cut(),
        memory.clear,
        memory.flush,
        memory.stats,
        lambda: memory.save("/nowhere"),
        lambda: memory.resize(400),
        lambda: memory.reader(),
        lambda: memory.episodes,
        lambda: memory[0],
    ]


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("limited", [True, False])
def test_a_forked_child_uses_no_memory_of_its_parent(
    alone: bool, limited: bool, folder: Path
) -> None:
    limiter = rc.ReplayRatio(4.0, tolerance=1000) if limited else None
    with made(folder, sampler=rc.Prioritized(), limiter=limiter) as memory:
        writer = rc.open(folder / "memory", stream=0)
        writer.add(**step(0, 0))
        memory.add(stream=1, **step(1, 0))
        if alone:
            writer.close()
            memory.add(stream=0, **step(0, 1))
        memory.flush()
        files = {p: p.read_bytes() for p in (folder / "memory").rglob("*") if p.is_file()}

        def try_all() -> None:
            for work in refusals(memory):
                with pytest.raises(rc.ClosedError, match="of which this one is a copy"):
                    work()
            if not alone:
                with pytest.raises(rc.ClosedError, match="of which this one is a copy"):
                    writer.add(**step(0, 1))
            with rc.open(folder / "memory", mode="r") as third:
                assert third.stats()["added"] == 2 + alone
            writer.close()
            memory.close()

        with children(try_all) as (child,):
            child.join()
        assert files == {p: p.read_bytes() for p in (folder / "memory").rglob("*") if p.is_file()}
        memory.sample(4)
        if not alone:
            writer.add(**step(0, 1))
        with pytest.raises(rc.LockedError):
            rc.open(folder / "memory")


def test_a_forked_child_keeps_nothing_when_its_parent_dies(folder: Path) -> None:
    child_of_child = numbers(1)

    def parent() -> None:
        memory, writer = made(folder), rc.open(folder / "memory", stream=0)
        writer.add(**step(0, 0))
        with memory.shared.lock:
            # as when another thread is just looking
            pid = os.fork()
            if not pid:
                child_of_child[0] = os.getpid()
                time.sleep(60)
                os._exit(0)
        time.sleep(60)

    with children(parent) as (child,):
        wait_until(lambda: child_of_child[0])
        time.sleep(0.02)
        child.kill()
        try:
            with made(folder) as memory, rc.open(folder / "memory", stream=0) as writer:
                writer.add(**step(0, 1))
                assert memory.stats()["added"] == 2
        finally:
            os.kill(int(child_of_child[0]), 9)


def test_S5_closing_while_another_thread_draws(folder: Path) -> None:
    done, stop = numbers(STREAMS), numbers(1)
    works = [partial(actor, folder / "memory", k, done, lambda: stop[0]) for k in range(STREAMS)]

    def draw(memory: rc.Memory, errors: list[Exception]) -> None:
        try:
            while True:
                prove_returns(memory.sample(8), 1, 0.9)
        except Exception as error:
            errors.append(error)

    with children(*works) as actors:
        for _ in range(4):
            memory, errors = made(folder), []
            wait_until(lambda memory=memory: memory.eligible)
            threads = [threading.Thread(target=draw, args=(memory, errors)) for _ in range(2)]
            for thread in threads:
                thread.start()
            time.sleep(0.05)
            memory.close()
            for thread in threads:
                thread.join()
            assert [type(error) for error in errors] == [rc.ClosedError] * 2
        stop[0] = 1
        for each in actors:
            each.join()
