"""`ReplayRatio`: who runs ahead waits, nobody waits for ever, and the ratio is kept."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import recollect as rc

SCHEMA = rc.Schema.examples(number=rc.Field((), np.int64))


def memory_with(limiter: rc.ReplayRatio, **settings: Any) -> rc.Memory:
    return rc.Memory(SCHEMA, 1_000, limiter=limiter, seed=0, **settings)


def test_adding_and_sampling_from_two_threads_keep_the_ratio() -> None:
    limiter = rc.ReplayRatio(4.0, min_size=10, tolerance=40, timeout=30)
    memory = memory_with(limiter)
    seen: list[float] = []

    def act() -> None:
        for number in range(500):
            memory.add(number=number)

    def learn() -> None:
        for _ in range((500 - 10) * 4 // 16):
            batch = memory.sample(16)
            assert (batch.number >= 0).all()
            stats = memory.stats()
            seen.append(stats["sampled"] - 4.0 * (stats["added"] - 10))

    threads = [threading.Thread(target=act), threading.Thread(target=learn)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = memory.stats()
    assert stats["added"] == 500
    assert stats["sampled"] == len(seen) * 16 == 1952
    # what is counted lags behind what was admitted by at most one call of either side
    assert max(map(abs, seen)) <= 40 + 16 + 4
    assert stats["add_waited"] + stats["sample_waited"] > 0
    assert stats["add_waited"] == limiter.waited["add"]


def test_one_thread_alone_is_told_that_it_waits_for_nobody() -> None:
    memory = memory_with(rc.ReplayRatio(1.0, min_size=5, tolerance=10, timeout=0.01))
    with pytest.raises(TimeoutError, match="sample: waited"):
        memory.sample(1)
    for number in range(15):
        memory.add(number=number)
    with pytest.raises(rc.LimiterTimeoutError, match="add: waited"):
        memory.add(number=99)
    assert memory.stats()["added"] == 15
    for _ in range(4):
        memory.sample(5)
    with pytest.raises(rc.LimiterTimeoutError, match="sample"):
        memory.sample(1)
    assert memory.stats()["sampled"] == 20
    memory.add(number=15)
    memory.sample(1)


def test_what_failed_does_not_count() -> None:
    limiter = rc.ReplayRatio(1.0, min_size=2, tolerance=5, timeout=0.01)
    memory = memory_with(limiter)
    for _ in range(20):
        with pytest.raises(rc.SchemaError):
            memory.add(number="x")
    memory.extend(number=np.arange(2))
    memory.remove(memory.sample(2).key)
    memory.clear()
    for _ in range(20):
        with pytest.raises(rc.EmptyMemoryError):
            memory.sample(2)
    memory.extend(number=np.arange(7))
    with pytest.raises(rc.LimiterTimeoutError):
        memory.add(number=1)


def test_settings_change_while_somebody_waits() -> None:
    limiter = rc.ReplayRatio(1.0, min_size=100, tolerance=20, timeout=30)
    memory = memory_with(limiter)
    memory.extend(number=np.arange(30))
    got: list[int] = []
    learner = threading.Thread(target=lambda: got.append(len(memory.sample(8).key)))
    learner.start()
    limiter.change(min_size=30)
    learner.join()
    assert got == [8]
    assert (limiter.samples_per_insert, limiter.min_size, limiter.tolerance) == (1.0, 30, 20)
    limiter.change(samples_per_insert=2.0)
    assert limiter.samples_per_insert == 2.0


def test_closing_wakes_who_waits() -> None:
    memory = memory_with(rc.ReplayRatio(1.0, min_size=5))
    errors: list[BaseException] = []

    def learn() -> None:
        try:
            memory.sample(1)
        except rc.ClosedError as error:
            errors.append(error)

    learner = threading.Thread(target=learn)
    learner.start()
    memory.close()
    learner.join()
    assert len(errors) == 1


@pytest.mark.parametrize("ratio", [0.1, 1.0, 3.7])
@pytest.mark.parametrize("batch_size", [1, 32])
def test_without_a_tolerance_two_threads_never_wait_for_each_other_for_ever(
    ratio: float, batch_size: int
) -> None:
    memory = memory_with(rc.ReplayRatio(ratio, min_size=3, timeout=30))
    rounds = 40

    def act() -> None:
        while memory.stats()["sampled"] < rounds * batch_size:
            memory.extend(number=np.arange(5))

    def learn() -> None:
        for _ in range(rounds):
            memory.sample(batch_size)
        memory.limiter.change(tolerance=1e9)

    threads = [threading.Thread(target=task) for task in (act, learn)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert memory.stats()["sampled"] == rounds * batch_size


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"samples_per_insert": 0}, "samples_per_insert"),
        ({"samples_per_insert": float("nan")}, "samples_per_insert"),
        ({"samples_per_insert": "1"}, "samples_per_insert"),
        ({"samples_per_insert": 1, "min_size": 0}, "min_size"),
        ({"samples_per_insert": 1, "min_size": 1.5}, "min_size"),
        ({"samples_per_insert": 1, "tolerance": -1}, "tolerance"),
        ({"samples_per_insert": 10, "tolerance": 5}, "wait for each other"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(rc.ConfigurationError, match=named):
        rc.ReplayRatio(**settings)


def test_calls_that_would_wait_for_ever_are_refused_at_once() -> None:
    limiter = rc.ReplayRatio(1.0, tolerance=10)
    memory = memory_with(limiter)
    memory.extend(number=np.arange(5))
    with pytest.raises(rc.ConfigurationError, match="at least 18, got"):
        memory.sample(32)
    with pytest.raises(rc.ConfigurationError, match=r"at least 20\.5, got"):
        memory.extend(number=np.arange(40))
    memory.sample(8)
    with pytest.raises(rc.ConfigurationError, match="another"):
        memory_with(limiter)
    with pytest.raises(rc.ConfigurationError, match="tolerance"):
        limiter.change(tolerance=0.1)
    assert limiter.tolerance == 10
    with pytest.raises(rc.ConfigurationError, match="limiter"):
        rc.Memory(SCHEMA, 10, limiter=2.0)
