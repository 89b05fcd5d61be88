"""`ReplayRatio` where actors in other processes add and the learner samples."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recollect as rc
from saving.actors import SCHEMA, actor, add_from, children, numbers, one, rows, wait_until
from saving.worlds import prove_steps

STREAMS = 2
MOST_AT_ONCE = 8
"""Steps that `add_from` adds in one call."""


def made(path: Path, limiter: rc.ReplayRatio | None, **settings: Any) -> rc.Memory:
    given = {"streams": STREAMS, "capacity": STREAMS * 2_000, "seed": 1} | settings
    return rc.Memory(SCHEMA, store=rc.Directory(path / "memory"), limiter=limiter, **given)


def step(stream: int, number: int) -> dict[str, Any]:
    fields: dict[str, Any] = one(rows(stream, np.arange(number, number + 1)), 0)
    return fields


@pytest.mark.parametrize(
    ("ratio", "least", "tolerance", "batch"),
    [(2.0, 100, None, 32), (0.5, 1, 64.0, 16), (8.0, 40, 200.0, 64)],
)
def test_draws_for_each_row_that_actors_add(
    ratio: float, least: int, tolerance: float | None, batch: int, folder: Path
) -> None:
    done, stop = numbers(STREAMS), numbers(1)
    works = [partial(actor, folder / "memory", k, done, lambda: stop[0]) for k in range(STREAMS)]
    # without a tolerance that is given, the learner makes as much room as its batch needs
    room = ratio * STREAMS + batch if tolerance is None else tolerance
    ahead = ratio * STREAMS * MOST_AT_ONCE
    limiter = rc.ReplayRatio(ratio, min_size=least, tolerance=tolerance)
    with children(*works) as actors, made(folder, limiter) as memory:
        for _ in range(30):
            memory.sample(batch)
            stats = memory.stats()
            balance = ratio * max(stats["added"] - least, 0) - stats["sampled"]
            assert stats["added"] >= least
            assert -room <= balance <= room + ahead
        # where nobody samples any more, actors come to where they must wait, and go no further
        allowed = (room + stats["sampled"]) / ratio + least
        wait_until(lambda: memory.stats()["added"] > allowed - 1)
        for _ in range(50):
            time.sleep(0.002)
            assert memory.stats()["added"] <= allowed + STREAMS * MOST_AT_ONCE
        stop[0] = 1
        limiter.change(tolerance=1e6)
        for each in actors:
            each.join()
        assert memory.stats()["added"] == done.sum()


def test_each_side_waits_no_longer_than_it_should(folder: Path) -> None:
    limiter = rc.ReplayRatio(1.0, min_size=3, tolerance=6.0, timeout=0.2)
    with made(folder, limiter) as memory, rc.open(folder / "memory", stream=0) as writer:
        begun = time.monotonic()
        with pytest.raises(rc.LimiterTimeoutError, match="sample: waited"):
            memory.sample(4)
        assert time.monotonic() - begun >= 0.2
        for number in range(9):
            writer.add(**step(0, number))
        with pytest.raises(rc.LimiterTimeoutError, match="9 added, 9 allowed"):
            writer.add(**step(0, 9))
        with pytest.raises(rc.LimiterTimeoutError):
            writer.extend(**rows(0, np.arange(9, 12)))
        assert memory.stats()["added"] == 9
        memory.sample(4)
        for number in range(9, 13):
            writer.add(**step(0, number))
        with pytest.raises(rc.LimiterTimeoutError):
            writer.add(**step(0, 13))
        assert memory.stats()["chain_breaks"] == 0
        assert memory.stats()["sample_waited"] >= 0.2
    # nobody is there who would sample
    with (
        rc.open(folder / "memory", stream=0) as writer,
        pytest.raises(rc.LimiterTimeoutError, match="does not sample"),
    ):
        writer.add(**step(0, 13))


def test_a_learner_that_adds_too_shares_the_ratio(folder: Path) -> None:
    limiter = rc.ReplayRatio(2.0, tolerance=20.0, timeout=0.05)
    with made(folder, limiter) as memory, rc.open(folder / "memory", stream=0) as writer:
        # the first row earns nothing, ten more fill the tolerance, whoever adds them
        for number in range(5):
            writer.add(**step(0, number))
            memory.add(stream=1, **step(1, number))
            assert memory.stats()["added"] == 2 * number + 2
        writer.add(**step(0, 5))
        with pytest.raises(rc.LimiterTimeoutError):
            writer.add(**step(0, 6))
        assert len(memory) == 11
        with pytest.raises(rc.LimiterTimeoutError):
            memory.add(stream=1, **step(1, 5))
        memory.sample(4)
        memory.add(stream=1, **step(1, 5))
        writer.add(**step(0, 6))
        with pytest.raises(rc.LimiterTimeoutError):
            writer.add(**step(0, 7))


def test_rows_that_are_refused_count_as_offered(folder: Path) -> None:
    schema = rc.Schema.steps(
        obs=rc.Field((), np.float32, finite="drop"), action=rc.Field((), np.int64)
    )
    limiter = rc.ReplayRatio(1.0, tolerance=10.0, timeout=0.05)
    store = rc.Directory(folder / "memory")
    fields: dict[str, Any] = {"action": 0, "reward": 0.0, "terminated": False, "truncated": False}
    with (
        rc.Memory(schema, 400, streams=2, store=store, limiter=limiter) as memory,
        rc.open(folder / "memory", stream=0) as writer,
    ):
        for _ in range(11):
            assert writer.add(obs=np.nan, next_obs=0.0, **fields) == -1
        with pytest.raises(rc.LimiterTimeoutError):
            writer.add(obs=np.nan, next_obs=0.0, **fields)
        assert memory.stats()["dropped"] == 11
        assert memory.stats()["added"] == 0
        limiter.sample(6)
        for _ in range(3):
            memory.add(stream=1, obs=np.nan, next_obs=0.0, **fields)
            writer.add(obs=1.0, next_obs=1.0, **fields)
        with pytest.raises(rc.LimiterTimeoutError):
            writer.add(obs=1.0, next_obs=1.0, **fields)


def test_two_threads_that_sample_both_hear_of_the_actors(folder: Path) -> None:
    done, stop = numbers(STREAMS), numbers(1)
    works = [partial(actor, folder / "memory", k, done, lambda: stop[0]) for k in range(STREAMS)]
    with children(*works), made(folder, rc.ReplayRatio(1.0)) as memory:

        def draw() -> None:
            for _ in range(12):
                memory.sample(16)

        threads = [threading.Thread(target=draw) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert memory.stats()["sampled"] == 2 * 12 * 16


def test_S5_closing_ends_the_waiting(folder: Path) -> None:
    errors: list[Exception] = []
    memory = made(folder, rc.ReplayRatio(1.0))

    def draw() -> None:
        try:
            memory.sample(4)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=draw)
    thread.start()
    time.sleep(0.05)
    memory.close()
    thread.join(20)
    assert [type(error) for error in errors] == [rc.ClosedError]


@pytest.mark.parametrize("way", ["kill", "close"])
def test_the_ratio_holds_when_the_learner_was_away(way: str, folder: Path) -> None:
    done, stop = numbers(STREAMS), numbers(1)
    sampled = numbers(1)
    ratio, batch, least = 2.0, 16, 50

    def limiter() -> rc.ReplayRatio:
        return rc.ReplayRatio(ratio, min_size=least, tolerance=64.0)

    def learn(calls: int) -> None:
        with made(folder, limiter()) as memory:
            for _ in range(calls):
                memory.sample(batch)
                sampled[0] += batch
            if way == "kill":
                time.sleep(60)

    def add(stream: int) -> None:
        with rc.open(folder / "memory", stream=stream, timeout=20) as writer:
            add_from(writer, stream, 0, done, lambda: stop[0])

    works = [partial(add, k) for k in range(STREAMS)]
    lives = 3
    with children(*works) as actors:
        for life in range(lives):
            with children(partial(learn, 20)) as (learner,):
                wait_until(lambda life=life: sampled[0] == (life + 1) * 20 * batch)
                if way == "close":
                    learner.join()
            there = int(done.sum())
            time.sleep(0.1)
            # without a learner they go on as far as it allowed
            most = (2 * 64 / ratio + STREAMS * MOST_AT_ONCE) * (life + 1)
            expected = least + sampled[0] / ratio
            assert abs(done.sum() - expected) <= most
            assert done.sum() - there <= 2 * 64 / ratio + STREAMS * MOST_AT_ONCE
        with made(folder, limiter()) as memory:
            memory.sample(batch)
            stop[0] = 1  # not before: what is sampled next may have yet to be added
            assert memory.limiter is not None
            memory.limiter.change(tolerance=1e6)
            for each in actors:
                each.join()
            prove_steps(memory)
            assert memory.stats()["added"] == done.sum()
        # who opens it without a limiter keeps nobody waiting
    with made(folder, None) as memory, rc.open(folder / "memory", stream=0) as writer:
        first = int(done[0])
        writer.extend(**rows(0, np.arange(first, first + 500)))
        assert memory.stats()["added"] == done.sum() + 500
