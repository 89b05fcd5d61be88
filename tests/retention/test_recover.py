"""A rule goes on after a crash with what is found held, as well as can be known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import chi_square_tail
from recollect.retention.base import Retention
from shelf import SCHEMA, Shelf, even_sample_tail

UNLIKELY = 1e-3
RULES: dict[str, Callable[[], Retention]] = {
    "fifo": rc.Fifo,
    "reservoir": rc.Reservoir,
    "balanced": rc.Balanced,
    "droplowest": rc.DropLowest,
}


def recovered(
    shelf: Shelf,
    make: Callable[[], Retention],
    *,
    arrivals: int | None = None,
    priority: Mapping[int, float] | None = None,
    earlier: Mapping[str, Any] | None = None,
) -> Shelf:
    """Another shelf with the same examples, whose rule is a fresh one that was told of them.

    Args:
        priority: by number; earlier: a state of the rule.
    """
    other = shelf.copy()
    other.rule = make()
    other.rule.open(shelf.capacity, SCHEMA)
    held = np.array(shelf.oldest_first(), np.int64)

    def rows(slots: Any) -> dict[str, Any]:
        return {"label": np.array([shelf.label[shelf.held[slot]] for slot in slots], np.int64)}

    known = None if priority is None else np.array([priority[shelf.held[slot]] for slot in held])
    given = len(shelf.label) if arrivals is None else arrivals
    other.rule.recover(held, given, rows, known, earlier)
    return other


@pytest.mark.parametrize("make", RULES.values(), ids=RULES)
@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_held_a_recovered_rule_keeps_its_promises(
    make: Callable[[], Retention], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shelf = Shelf(make(), int(rng.integers(3, 10)), seed)
    for _ in range(seed % 4):
        shelf.offer(rng.integers(0, 3, rng.integers(0, 15)))
        shelf.remove(rng.permutation(sorted(shelf.held))[: rng.integers(0, 3)].tolist())
        shelf.resize(int(rng.integers(3, 10)))
    shelf = recovered(shelf, make, arrivals=int(rng.integers(0, 2 * len(shelf.label) + 1)))
    for _ in range(10):
        room, labels = shelf.capacity - len(shelf.held), rng.integers(0, 3, rng.integers(0, 12))
        held = len(shelf.held)
        shelf.offer(labels)  # checks every answer
        if not isinstance(shelf.rule, rc.Fifo):
            assert len(shelf.held) == held + min(room, len(labels))
        shelf.remove(rng.permutation(sorted(shelf.held))[: rng.integers(0, 3)].tolist())
        shelf.resize(int(rng.integers(3, 10)))
    shelf.offer([0, 1, 2] * 9)
    assert len(shelf.held) == shelf.capacity


@pytest.mark.parametrize("make", RULES.values(), ids=RULES)
def test_a_state_of_something_else_is_refused(make: Callable[[], Retention]) -> None:
    shelf = Shelf(make(), 5)
    shelf.offer([0, 1, 2])
    if isinstance(shelf.rule, (rc.Fifo, rc.Balanced)):  # the others do not look at it
        with pytest.raises(rc.ConfigurationError, match="saved state"):
            recovered(shelf, make, earlier={"capacity": np.array(5)})


@pytest.mark.parametrize("sizes", [[3], [7], [7, 4], [40, 2], [1] * 23, []], ids=str)
@pytest.mark.parametrize("remove", [0, 2])
def test_fifo_goes_on_behind_the_newest(sizes: list[int], remove: int) -> None:
    shelf = Shelf(rc.Fifo(), 7)
    for size in sizes:
        shelf.offer([0] * size)
    shelf.remove(shelf.oldest_first()[:-1][:remove])
    other = recovered(shelf, rc.Fifo)
    for size in (1, 3, 2, 7, 9):
        assert shelf.offer([0] * size) == other.offer([0] * size)
        assert shelf.held == other.held


@pytest.mark.parametrize("known", [True, False])
def test_fifo_goes_on_after_its_slots_changed_places(known: bool) -> None:
    shelf = Shelf(rc.Fifo(), 7)
    shelf.offer([0] * 10)
    shelf.resize(11)
    shelf.offer([0] * 2)
    earlier = shelf.rule.state() if known else None
    shelf.offer([0] * 6)
    other = recovered(shelf, rc.Fifo, earlier=earlier)
    for size in (1, 2, 5, 11):
        slots = shelf.offer([0] * size), other.offer([0] * size)
        assert shelf.numbers() == other.numbers()
        assert not known or slots[0] == slots[1]


def test_fifo_forgets_the_oldest_first_in_whatever_order_they_lie() -> None:
    """As a memory leaves them whose places `swap` chose."""
    shelf = Shelf(rc.Fifo(), 6)
    shelf.offer([0] * 6)
    shelf.held = dict(zip([4, 0, 5, 2], range(2, 6), strict=True))
    other = recovered(shelf, rc.Fifo)
    for expected in ([2, 3, 4, 5, 6, 7], [3, 4, 5, 6, 7, 8], [4, 5, 6, 7, 8, 9]):
        while len(other.label) <= expected[-1]:
            other.offer([0])
        assert other.numbers() == expected


@pytest.mark.parametrize("crash_after", [3, 8, 25])
def test_P9_a_recovered_reservoir_gives_every_arrival_the_same_chance(crash_after: int) -> None:
    counts, trials = np.zeros(40, np.int64), 2_000
    for seed in range(trials):
        shelf = Shelf(rc.Reservoir(), 7, seed)
        shelf.offer([0] * crash_after)
        shelf = recovered(shelf, rc.Reservoir)
        shelf.offer([0] * (40 - crash_after))
        counts[shelf.numbers()] += 1
    assert even_sample_tail(counts, 7, trials) > UNLIKELY


def test_droplowest_goes_on_with_the_priorities_that_are_known() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        shelf = Shelf(rc.DropLowest(), 8)
        shelf.offer([0] * int(rng.integers(1, 20)))
        slots = np.array(sorted(shelf.held))
        values = rng.choice([0.0, 0.5, 2.0, 7.0], len(slots))
        shelf.rule.update(slots, values)
        priority = {shelf.held[s]: v for s, v in zip(slots.tolist(), values, strict=True)}
        other = recovered(shelf, rc.DropLowest, priority=priority)
        for size in (1, 3, 2, 12):
            shelf.offer([0] * size)
            other.offer([0] * size)
            assert shelf.numbers() == other.numbers()


def test_droplowest_without_priorities_forgets_the_oldest_first() -> None:
    shelf = Shelf(rc.DropLowest(), 4)
    shelf.offer([0] * 9)
    other = recovered(shelf, rc.DropLowest)
    other.offer([0])
    other.offer([0])
    assert other.numbers() == [7, 8, 9, 10]


def arrivals_of(shelf: Shelf) -> dict[int, int]:
    state = shelf.rule.state()
    return dict(zip(state["values"].tolist(), state["arrivals"].tolist(), strict=True))


GIVEN = np.random.default_rng(5).choice(4, 300, p=[0.6, 0.3, 0.08, 0.02])


def test_balanced_knows_its_groups_and_with_an_earlier_state_what_arrived() -> None:
    shelf = Shelf(rc.Balanced(), 12)
    shelf.offer(GIVEN)
    other = recovered(shelf, rc.Balanced, earlier=shelf.rule.state())
    assert arrivals_of(other) == arrivals_of(shelf)
    assert arrivals_of(shelf) == dict(enumerate(np.bincount(GIVEN).tolist()))
    for group in other.rule._groups.in_order():
        theirs = [s for s, n in shelf.held.items() if shelf.label[n] == group.value]
        assert sorted(group.slots) == sorted(theirs)
    assert other.sizes() == shelf.sizes()


def test_balanced_gives_what_is_not_known_to_those_that_hold_most() -> None:
    shelf = Shelf(rc.Balanced(), 12)
    shelf.offer([0] * 60 + [1] * 30 + [2] * 2)  # 5, 5 and 2 are held
    known = arrivals_of(recovered(shelf, rc.Balanced))
    assert known[2] == 2
    assert known[0] == known[1] == 45  # nothing tells them apart
    earlier = shelf.rule.state()
    shelf.offer([0, 0, 1] * 20 + [3])
    known = arrivals_of(recovered(shelf, rc.Balanced, earlier=earlier))
    assert (known[2], known[3]) == (2, 1)
    assert known[0] == pytest.approx(100, abs=2) and known[1] == pytest.approx(50, abs=2)
    # what was counted of a value that is gone was not of the others
    shelf.remove([s for s in shelf.held if shelf.label[shelf.held[s]] == 1])
    known = arrivals_of(recovered(shelf, rc.Balanced, earlier=earlier))
    assert 1 not in known and known[0] <= len(shelf.label) - 30


def test_balanced_that_was_never_full_has_lost_nothing() -> None:
    shelf = Shelf(rc.Balanced(), 12)
    shelf.offer([0, 0, 0, 1, 1, 2])
    assert arrivals_of(recovered(shelf, rc.Balanced)) == {0: 3, 1: 2, 2: 1}
    empty = recovered(Shelf(rc.Balanced(), 12), rc.Balanced)
    assert arrivals_of(empty) == {}


def test_a_recovered_balanced_still_samples_each_value_evenly() -> None:
    """Saved after 60 arrivals, crashed after 80, gone on with to 160."""
    labels = np.tile([0, 0, 1, 0, 0, 1, 0, 1], 20)
    trials, counts = 2_000, np.zeros(160, np.int64)
    for seed in range(trials):
        shelf = Shelf(rc.Balanced(), 10, seed)
        shelf.offer(labels[:60])
        earlier = shelf.rule.state()
        shelf.offer(labels[60:80])
        shelf = recovered(shelf, rc.Balanced, earlier=earlier)
        shelf.offer(labels[80:])
        assert shelf.sizes() == {0: 5, 1: 5}
        counts[shelf.numbers()] += 1
    for value in (0, 1):
        assert even_sample_tail(counts[labels == value], 5, trials) > UNLIKELY
    # it would not, had the rule forgotten what arrived before
    forgetful = np.zeros(160, np.int64)
    for seed in range(200):
        shelf = Shelf(rc.Balanced(), 10, seed)
        shelf.offer(labels[:80])
        shelf = recovered(shelf, rc.Balanced, arrivals=0)
        shelf.offer(labels[80:])
        forgetful[shelf.numbers()] += 1
    halves = forgetful.reshape(2, 80).sum(axis=1)
    assert chi_square_tail(halves, np.full(2, halves.mean())) < 1e-9
