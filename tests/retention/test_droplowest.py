"""`DropLowest` beside a list that is sorted whenever somebody asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recollect as rc
from recollect.retention.droplowest import DropLowest
from shelf import SCHEMA, Shelf

PRIORITIES = st.sampled_from([0.0, 0.5, 0.5, 1.0, 2.0, 7.25])
offers = st.tuples(st.just("offer"), st.integers(0, 12))
removals = st.tuples(st.just("remove"), st.sets(st.integers(0, 8), max_size=4))
updates = st.tuples(
    st.just("update"), st.lists(st.tuples(st.integers(0, 8), PRIORITIES), max_size=8)
)
resizes = st.tuples(st.just("resize"), st.integers(1, 9))
lives = st.lists(st.one_of(offers, updates, updates, removals, resizes), max_size=15)


class Sorted:
    """Numbers of held examples with their priorities; slots do not matter to it."""

    def __init__(self, capacity: int, initial: float | str) -> None:
        self.capacity = capacity
        self.initial = initial
        self.priority: dict[int, float] = {}
        self.offered = 0

    def drop_lowest(self, count: int) -> None:
        order = sorted(self.priority, key=lambda number: (self.priority[number], number))
        for number in order[:count]:
            del self.priority[number]

    def offer(self, count: int) -> None:
        numbers = range(self.offered, self.offered + count)
        self.offered += count
        kept = numbers[max(count - self.capacity, 0) :]
        self.drop_lowest(max(len(self.priority) + len(kept) - self.capacity, 0))
        if self.initial == "max":
            entry = max(self.priority.values(), default=0.0) or 1.0
        else:
            entry = float(self.initial)
        self.priority |= dict.fromkeys(kept, entry)

    def resize(self, capacity: int) -> None:
        self.drop_lowest(max(len(self.priority) - capacity, 0))
        self.capacity = capacity


@pytest.mark.parametrize("initial", ["max", 0, 0.5, np.float32(3)], ids=str)
@settings(max_examples=120, derandomize=True, deadline=None, database=None)
@given(capacity=st.integers(1, 9), life=lives)
def test_the_lowest_makes_room_and_of_equal_ones_the_oldest(
    initial: Any, capacity: int, life: list[tuple[str, Any]]
) -> None:
    shelf = Shelf(DropLowest(initial), capacity)
    oracle = Sorted(capacity, initial)
    for what, value in life:
        if what == "offer":
            shelf.offer([0] * value)
            oracle.offer(value)
        elif what == "resize":
            shelf.resize(value)
            oracle.resize(value)
        elif what == "remove":
            slots = sorted(value & shelf.held.keys())
            for slot in slots:
                del oracle.priority[shelf.held[slot]]
            shelf.remove(slots)
        else:
            pairs = [(slot, priority) for slot, priority in value if slot in shelf.held]
            shelf.rule.update(
                np.array([slot for slot, _ in pairs], np.int64),
                np.array([priority for _, priority in pairs], np.float64),
            )
            oracle.priority |= {shelf.held[slot]: priority for slot, priority in pairs}
        assert shelf.numbers() == sorted(oracle.priority)
        state = shelf.rule.state()
        assert dict(
            zip(
                [shelf.held[slot] for slot in state["members"].tolist()],
                state["priority"].tolist(),
                strict=True,
            )
        ) == pytest.approx(oracle.priority)


def test_P6_a_new_example_enters_at_the_largest_live_priority() -> None:
    shelf = Shelf(DropLowest(), 3)
    shelf.offer([0] * 3)
    for priorities, expected in (([5, 0, 1], 5.0), ([2, 0, 1], 2.0), ([0, 0, 0], 1.0)):
        slots = np.array(sorted(shelf.held))
        shelf.rule.update(slots, np.array(priorities, np.float64))
        (slot,) = shelf.offer([0])
        state = shelf.rule.state()
        assert state["priority"][state["members"].tolist().index(slot)] == expected


def test_P7_of_duplicates_in_one_update_the_last_counts() -> None:
    shelf = Shelf(DropLowest(), 2)
    shelf.offer([0, 0])
    shelf.rule.update(np.array([0, 1, 0]), np.array([0.0, 0.5, 9.0]))
    assert shelf.offer([0]) == [1]


def test_a_memory_tells_the_rule_its_priorities_though_the_sampler_has_none() -> None:
    memory = rc.Memory(SCHEMA, 4, retention=DropLowest(), seed=0)
    keys = memory.extend(label=np.arange(4))
    assert memory.update(keys, priority=np.array([3.0, 0.5, 2.0, 1.0])) == 4
    memory.extend(label=np.array([4, 5]))
    assert set(memory.sample(200).label.tolist()) == {0, 2, 4, 5}
    with pytest.raises(rc.PriorityError):
        memory.update(keys, priority=np.array([1.0, np.nan, 1.0, 1.0]))
    assert memory.update(keys[1:2], priority=np.array([9.0])) == 0
    memory.add(label=6)
    assert set(memory.sample(200).label.tolist()) == {0, 4, 5, 6}


@pytest.mark.parametrize("initial", [-1, np.nan, np.inf, "min", True, None, [1.0]], ids=str)
def test_an_initial_priority_that_is_none_is_refused(initial: Any) -> None:
    with pytest.raises(rc.ConfigurationError, match="initial"):
        DropLowest(initial)
