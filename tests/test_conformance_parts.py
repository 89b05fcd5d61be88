"""CONFORMANCE.md, R2, R3, R8 and P8, for every sampler and every retention rule."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import recollect as rc
from costs import cost
from oracle import GENERATION_SHIFT, Look, leaves
from recollect.retention.base import Retention
from recollect.samplers.base import Sampler
from selfproving import known_world, prove, schema, stacked, view

SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "Uniform": rc.Uniform,
    "Prioritized": rc.Prioritized,
    "Ranked": rc.Ranked,
    "Weighted": rc.Weighted,
    "Weighted, lowest first": lambda: rc.Weighted(0.5, lowest_first=True),
    "Recent, window": lambda: rc.Recent(window=9),
    "Recent, decay": lambda: rc.Recent(decay=0.9),
    "Shuffled": rc.Shuffled,
    "Oldest": rc.Oldest,
    "Newest": rc.Newest,
    "HighestPriority": rc.HighestPriority,
    "LowestPriority": rc.LowestPriority,
    "Mixture": lambda: rc.Mixture({rc.Newest(): 0.25, rc.Prioritized(): 0.75}),
}
FIXED = {"Oldest", "Newest", "HighestPriority", "LowestPriority"}
RETENTIONS: dict[str, Callable[[], Retention]] = {
    "Fifo": rc.Fifo,
    "Reservoir": rc.Reservoir,
    "Balanced": rc.Balanced,
    "DropLowest": rc.DropLowest,
}
EXAMPLES = rc.Schema.examples(number=rc.Field((), np.int64), label=rc.Field((), np.int64))
LOOK = Look(3, 0.9, 2)

every_sampler = pytest.mark.parametrize("name", SAMPLERS)
every_retention = pytest.mark.parametrize("name", RETENTIONS)


def test_every_part_is_here() -> None:
    public = [getattr(rc, name) for name in rc.__all__]
    for base, makers in ((Sampler, SAMPLERS), (Retention, RETENTIONS)):
        there = {p for p in public if inspect.isclass(p) and issubclass(p, base)}
        assert there == {type(make()) for make in makers.values()}


def filled(name: str, capacity: int = 60, steps: int = 200, **settings: Any) -> rc.Memory:
    memory = rc.Memory(
        schema("flat"), capacity, view=view(LOOK), sampler=SAMPLERS[name](), **settings
    )
    memory.extend(**stacked(known_world("flat", 0, steps)))
    return memory


@every_sampler
def test_what_any_sampler_draws_is_eligible_and_whole(name: str) -> None:
    memory = filled(name, seed=0)
    rng = np.random.default_rng(0)
    for first in range(200, 320, 8):
        memory.extend(**stacked(known_world("flat", 0, 8, first)))
        batch = memory.sample(40)
        prove(batch, "flat", LOOK)
        if memory.sampler.takes_priorities:
            assert memory.update(batch.key, priority=rng.random(40) + 0.1) == 40
        if first % 3 == 0:
            memory.remove(batch.key[:2])
            assert not set(batch.key[:2].tolist()) & set(memory.sample(200).key.tolist())


@every_sampler
def test_R2_stale_keys_are_ignored_and_counted_under_any_sampler(name: str) -> None:
    memory = rc.Memory(schema("flat"), 60, view=view(LOOK), sampler=SAMPLERS[name](), seed=0)
    world = known_world("flat", 0, 300)
    old = memory.extend(**stacked(world[:40]))
    memory.extend(**stacked(world[40:]))
    before = {key: value.copy() for key, value in memory.sampler.state().items()}
    if memory.sampler.takes_priorities:
        memory.sample(1)
        before = {key: value.copy() for key, value in memory.sampler.state().items()}
        assert memory.update(old, priority=np.full(40, 9.0)) == 0
        assert memory.stats()["stale_updates"] == 40
        after = memory.sampler.state()
        assert before.keys() == after.keys()
        for part, value in before.items():
            np.testing.assert_array_equal(value, after[part])
    else:
        with pytest.raises(rc.PriorityError):
            memory.update(old, priority=np.full(40, 9.0))


@every_sampler
def test_P8_a_seed_decides_every_draw_of_any_sampler(name: str) -> None:
    one, same, other = (filled(name, seed=seed) for seed in (3, 3, 4))
    draws = [[memory.sample(5) for _ in range(40)] for memory in (one, same, other)]
    for a, b in zip(draws[0], draws[1], strict=True):
        columns = dict(leaves(b))
        for path, column in leaves(a):
            np.testing.assert_array_equal(column, columns[path])
    if name not in FIXED:
        alike = np.mean([(a.key == c.key).mean() for a, c in zip(draws[0], draws[2], strict=True)])
        assert alike < 0.5


@every_sampler
def test_R8_the_work_of_a_call_does_not_grow_with_the_capacity(name: str) -> None:
    """In bytes and Python calls; what compiled loops do is counted by their own tests."""
    costs = []
    for capacity in (1_000, 100_000):
        memory = rc.Memory(EXAMPLES, capacity, sampler=SAMPLERS[name](), seed=0)
        memory.extend(number=np.arange(capacity), label=np.zeros(capacity, np.int64))
        keys = memory.sample(64).key

        def turn(memory: rc.Memory = memory, keys: np.ndarray = keys) -> None:
            memory.add(number=1, label=0)
            memory.sample(64)
            if memory.sampler.takes_priorities:
                memory.update(keys, priority=np.ones(64))

        for _ in range(3):
            turn()
        costs.append(cost(turn))
    (small_peak, small_calls), (large_peak, large_calls) = costs
    assert abs(large_peak - small_peak) < 8_192
    assert abs(large_calls - small_calls) <= 8


@every_retention
def test_R8_an_offer_costs_the_same_whatever_the_capacity(name: str) -> None:
    costs = []
    for capacity in (1_000, 100_000):
        memory = rc.Memory(EXAMPLES, capacity, retention=RETENTIONS[name](), seed=0)
        numbers = np.arange(capacity)
        memory.extend(number=numbers, label=numbers % 7)

        def offer(memory: rc.Memory = memory) -> None:
            memory.extend(number=np.zeros(5, np.int64), label=np.full(5, 3))

        for _ in range(3):
            offer()
        costs.append([cost(offer) for _ in range(5)])
    # what is kept is a matter of chance, so the dearest of a few calls is compared
    (small_peak, small_calls), (large_peak, large_calls) = (np.max(c, axis=0) for c in costs)
    assert abs(large_peak - small_peak) < 8_192
    assert large_calls <= small_calls + 60


@every_retention
@pytest.mark.parametrize("sampler", ["Uniform", "Prioritized", "Oldest", "Shuffled"])
def test_R3_keys_are_unique_and_name_their_example_under_any_retention(
    name: str, sampler: str
) -> None:
    memory = rc.Memory(
        EXAMPLES, 20, retention=RETENTIONS[name](), sampler=SAMPLERS[sampler](), seed=0
    )
    rng = np.random.default_rng(0)
    number_of: dict[int, int] = {}
    for turn in range(120):
        numbers = np.arange(turn * 6, turn * 6 + 6)
        keys = memory.extend(number=numbers, label=rng.integers(0, 4, 6))
        for key, number in zip(keys.tolist(), numbers.tolist(), strict=True):
            if key >= 0:
                assert key not in number_of, "a key was given out twice"
                assert key & (1 << GENERATION_SHIFT) - 1 < 20
                number_of[key] = number
        batch = memory.sample(30)
        assert [number_of[key] for key in batch.key.tolist()] == batch.number.tolist()
        if memory.sampler.takes_priorities or name == "DropLowest":
            memory.update(batch.key, priority=rng.random(30))
        if turn % 10 == 9:
            memory.remove(batch.key[:3])
    assert len(memory) <= 20


@pytest.mark.parametrize("name", ["Reservoir", "Balanced", "DropLowest"])
def test_steps_refuse_a_retention_that_breaks_their_order(name: str) -> None:
    with pytest.raises(rc.ConfigurationError, match="time order"):
        rc.Memory(schema("flat"), 60, retention=RETENTIONS[name]())
