"""A rule goes on from a saved state exactly as the saved one does (CONFORMANCE.md, S1 and P9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import recollect as rc
from recollect.retention.base import Retention
from shelf import SCHEMA, Shelf, even_sample_tail, same_state

UNLIKELY = 1e-3
Random = np.random.Generator

RULES: dict[str, Callable[[], Retention]] = {
    "fifo": rc.Fifo,
    "reservoir": rc.Reservoir,
    "balanced": rc.Balanced,
    "droplowest": rc.DropLowest,
    "droplowest-number": lambda: rc.DropLowest(0.5),
}
every_rule = pytest.mark.parametrize("make", RULES.values(), ids=RULES)


def changed(state: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**state, **changes}


def restored_shelf(shelf: Shelf, make: Callable[[], Retention]) -> Shelf:
    """Another shelf with the same examples, whose rule is a fresh one that was restored."""
    other = shelf.copy()
    other.rule = make()
    other.rule.open(shelf.capacity, SCHEMA)
    state = shelf.rule.state()
    other.rule.restore(state)
    for array in state.values():
        array[...] = 0
    return other


def happen(shelves: list[Shelf], count: int, rng: Random) -> None:
    """The same to all of them, which have to answer alike."""
    for _ in range(count):
        held = sorted(shelves[0].held)
        what = rng.choice(["offer", "offer", "offer", "remove", "update", "update", "resize"])
        some = rng.permutation(held)[: rng.integers(0, 4)].tolist()
        if what == "offer":
            labels = rng.choice(3, rng.integers(0, 9), p=[0.7, 0.2, 0.1])
            answers = [shelf.offer(labels) for shelf in shelves]
            assert all(answer == answers[0] for answer in answers)
        elif what == "resize" and rng.random() < 0.3:
            capacity = int(rng.integers(3, 15))
            for shelf in shelves:
                shelf.resize(capacity)
        elif what == "remove":
            for shelf in shelves:
                shelf.remove(some)
        else:
            priority = rng.choice([0.0, 0.5, 2.0], len(some))
            for shelf in shelves:
                shelf.rule.update(np.array(some, np.int64), priority)
    for shelf in shelves[1:]:
        assert shelf.held == shelves[0].held
        assert same_state(shelf.rule, shelves[0].rule)


@every_rule
@pytest.mark.parametrize("seed", range(40))
def test_S1_a_rule_goes_on_as_the_saved_one(make: Callable[[], Retention], seed: int) -> None:
    rng = np.random.default_rng(seed)
    shelf = Shelf(make(), int(rng.integers(3, 12)), seed)
    happen([shelf], 25 if seed else 0, rng)
    happen([shelf, restored_shelf(shelf, make)], 40, rng)


@every_rule
def test_a_rules_state_that_does_not_fit_is_refused(make: Callable[[], Retention]) -> None:
    shelf = Shelf(make(), 7)
    shelf.offer([0, 1, 1, 0, 2])
    shelf.remove([1])
    state = shelf.rule.state()
    name = type(shelf.rule).__name__
    fresh = make()
    fresh.open(7, SCHEMA)
    before = fresh.state()
    for bad in (
        {},
        changed(state, more=np.zeros(1)),
        *({n: v for n, v in state.items() if n != gone} for gone in state),
        *(changed(state, **{n: v.astype(str)}) for n, v in state.items()),
        *(changed(state, **{n: v - 1000}) for n, v in state.items() if n != "values"),
        *(changed(state, **{n: v + 1000}) for n, v in state.items() if n in ("turn", "free")),
        *(changed(state, **{n: v[1:]}) for n, v in state.items() if v.ndim),
    ):
        if bad.keys() == state.keys() and isinstance(fresh, rc.Reservoir) and len(bad["free"]) == 2:
            continue  # that one fits: a reservoir does not know what is held
        with pytest.raises(rc.ConfigurationError, match=name):
            fresh.restore(bad)
        assert {n: v.tolist() for n, v in fresh.state().items()} == {
            n: v.tolist() for n, v in before.items()
        }
    other = make()
    other.open(8, SCHEMA)
    with pytest.raises(rc.ConfigurationError, match="capacity: expected 8 rows, got 7"):
        other.restore(state)


@pytest.mark.parametrize("saved_after", [3, 8, 20])
def test_P9_every_arrival_has_the_same_chance_after_a_restore(saved_after: int) -> None:
    counts, trials = np.zeros(40, np.int64), 2_000
    for seed in range(trials):
        shelf = Shelf(rc.Reservoir(), 7, seed)
        shelf.offer([0] * saved_after)
        shelf = restored_shelf(shelf, rc.Reservoir)
        shelf.offer([0] * (40 - saved_after))
        counts[shelf.numbers()] += 1
    assert even_sample_tail(counts, 7, trials) > UNLIKELY
