"""What `Retention` promises, kept by every rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recollect as rc
from recollect.retention.balanced import Balanced
from recollect.retention.base import Retention
from recollect.retention.droplowest import DropLowest
from recollect.retention.fifo import Fifo
from recollect.retention.reservoir import Reservoir
from shelf import SCHEMA, Shelf, same_state

RULES = {
    "fifo": Fifo,
    "reservoir": Reservoir,
    "balanced": Balanced,
    "droplowest": DropLowest,
    "droplowest-number": lambda: DropLowest(initial=0.5),
}
LABELS = 3
CAPACITIES = st.integers(LABELS, 9)  # every value fits

offers = st.tuples(st.just("offer"), st.lists(st.integers(0, LABELS - 1), max_size=12))
removals = st.tuples(st.just("remove"), st.lists(st.integers(0, 8), max_size=4))
updates = st.tuples(st.just("update"), st.lists(st.integers(0, 8), max_size=4))
resizes = st.tuples(st.just("resize"), CAPACITIES)
lives = st.lists(st.one_of(offers, offers, removals, updates, resizes), max_size=12)

every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())


def live(shelf: Shelf, what: str, value: Any) -> Any:
    if what == "offer":
        return shelf.offer(value)
    if what == "resize":
        return shelf.resize(value)
    slots = [slot for slot in value if slot in shelf.held]
    if what == "remove":
        return shelf.remove(sorted(set(slots)))
    return shelf.rule.update(np.array(slots, np.int64), np.arange(len(slots)) % 3 * 0.5)


@every_rule
@settings(max_examples=80, derandomize=True, deadline=None, database=None)
@given(capacity=CAPACITIES, life=lives, seed=st.integers(0, 9))
def test_a_rule_keeps_its_promises_through_random_lives(
    rule: Callable[[], Retention], capacity: int, life: list[tuple[str, Any]], seed: int
) -> None:
    shelf = Shelf(rule(), capacity, seed)
    for what, value in life:
        before = shelf.copy()
        live(shelf, what, value)
        if what == "offer" and not isinstance(shelf.rule, Fifo):
            # no room is left unused while something is turned away or pushed out
            room = before.capacity - len(before.held)
            assert len(shelf.held) == len(before.held) + min(room, len(value))
            assert len(value) > room or before.held.items() <= shelf.held.items()
        elif what == "update":
            assert shelf.held == before.held
        # the same state and generator lead to the same end
        live(before, what, value)
        assert before.held == shelf.held
        assert same_state(before.rule, shelf.rule)


@every_rule
def test_a_state_says_what_changes_and_is_a_copy(rule: Callable[[], Retention]) -> None:
    shelf = Shelf(rule(), 6)
    empty = shelf.copy()
    shelf.offer([0, 1, 2, 0])
    assert not same_state(shelf.rule, empty.rule)
    untouched = shelf.copy()
    for array in shelf.rule.state().values():
        assert isinstance(array, np.ndarray)
        array[...] = 0
    assert same_state(shelf.rule, untouched.rule)
    shelf.offer([0, 1, 2, 0])
    untouched.offer([0, 1, 2, 0])
    assert shelf.held == untouched.held


@every_rule
def test_an_answer_never_changes_afterwards(rule: Callable[[], Retention]) -> None:
    made = rule()
    made.open(6, SCHEMA)
    rng = np.random.default_rng(0)
    rows = {"label": np.array([0, 1, 2, 0])}
    answer = made.place(rows, 4, rng)
    told = answer.tolist()
    made.remove(answer.copy())
    for _ in range(5):
        made.place(rows, 4, rng)
    assert answer.tolist() == told


@every_rule
def test_a_rule_of_a_memory_cannot_be_used_for_another(rule: Callable[[], Retention]) -> None:
    used = rule()
    used.open(4, SCHEMA)
    with pytest.raises(rc.ConfigurationError, match="belongs to a memory"):
        used.open(4, SCHEMA)


@every_rule
def test_only_fifo_keeps_time_order_and_only_droplowest_looks_at_priorities(
    rule: Callable[[], Retention],
) -> None:
    made = rule()
    assert made.keeps_time_order == isinstance(made, Fifo)
    assert made.takes_priorities == isinstance(made, DropLowest)
    assert type(made).__name__ in repr(made)


@every_rule
def test_a_rule_serves_a_memory(rule: Callable[[], Retention]) -> None:
    """What a memory says that it kept is what it holds, with its values."""
    memory = rc.Memory(SCHEMA, 10, retention=rule(), seed=1)
    rng = np.random.default_rng(2)
    label_of: dict[int, int] = {}
    at: dict[int, int] = {}
    for size in (3, 1, 5, 4, 25, 1, 7, 5, 5):
        labels = rng.integers(0, LABELS, size)
        for key, label in zip(memory.extend(label=labels).tolist(), labels.tolist(), strict=True):
            if key >= 0:
                at[key & 0xFFFFFFFF] = key
                label_of[key] = label
        gone = [key for key in at.values() if key % 7 == 0]
        memory.remove(np.array(gone, np.int64))
        at = {slot: key for slot, key in at.items() if key not in gone}
        batch = memory.sample(200)
        assert len(memory) == len(at)
        assert set(batch.key.tolist()) <= set(at.values())
        assert all(
            label == label_of[key]
            for key, label in zip(batch.key.tolist(), batch.label.tolist(), strict=True)
        )
