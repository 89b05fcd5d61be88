"""A memory of a plain dictionary, in which a retention rule can be tried and checked by itself."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

import recollect as rc
from oracle import chi_square_tail
from recollect.retention.base import Retention

SCHEMA = rc.Schema.examples(label=rc.Field((), np.int64))


class Shelf:
    """Example number n, of those ever offered, lies in `held[slot]`; `label[n]` is its label.

    Every answer of the rule is checked against what `Retention` promises.
    """

    def __init__(self, rule: Retention, capacity: int, seed: int = 0) -> None:
        rule.open(capacity, SCHEMA)
        self.rule = rule
        self.capacity = capacity
        self.rng = np.random.default_rng(seed)
        self.held: dict[int, int] = {}
        self.label: list[int] = []

    def offer(self, labels: Any) -> list[int]:
        labels = np.array(labels, np.int64)
        slots = self.rule.place({"label": labels}, len(labels), self.rng)
        assert isinstance(slots, np.ndarray)
        assert slots.shape == labels.shape
        assert slots.dtype.kind == "i"
        kept = slots[slots != -1].tolist()
        assert len(set(kept)) == len(kept)
        assert all(0 <= slot < self.capacity for slot in kept)
        for slot, label in zip(slots.tolist(), labels.tolist(), strict=True):
            if slot >= 0:
                self.held[slot] = len(self.label)
            self.label.append(label)
        return slots.tolist()

    def offer_one_by_one(self, labels: Any) -> list[int]:
        return [self.offer([label])[0] for label in labels]

    def oldest_first(self) -> list[int]:
        return sorted(self.held, key=self.held.__getitem__)

    def remove(self, slots: Any) -> None:
        self.rule.remove(np.array(slots, np.int64))
        for slot in slots:
            del self.held[slot]

    def resize(self, capacity: int) -> None:
        """As a memory does: what has no room is removed, what lies beyond the end is moved."""
        surplus = len(self.held) - capacity
        if surplus > 0:
            going = self.rule.surplus(surplus, np.array(self.oldest_first()), self.rng)
            assert going.shape == (surplus,)
            assert len(set(going.tolist())) == surplus
            self.remove(going.tolist())
        oldest_first = self.oldest_first()
        free = (slot for slot in range(capacity) if slot not in self.held)
        moved = {slot: slot if slot < capacity else next(free) for slot in oldest_first}
        place = np.full(self.capacity, -1)
        place[list(moved)] = list(moved.values())
        self.held = {moved[slot]: number for slot, number in self.held.items()}
        self.capacity = capacity
        self.rule.resize(capacity, place, np.array(list(moved.values()), np.int64))

    def numbers(self) -> list[int]:
        return sorted(self.held.values())

    def sizes(self) -> dict[int, int]:
        labels = [self.label[number] for number in self.held.values()]
        return {label: labels.count(label) for label in sorted(set(labels))}

    def copy(self) -> Shelf:
        return copy.deepcopy(self)


def same_state(one: Retention, other: Retention) -> bool:
    mine, theirs = one.state(), other.state()
    return mine.keys() == theirs.keys() and all(
        mine[name].dtype == theirs[name].dtype and np.array_equal(mine[name], theirs[name])
        for name in mine
    )


def even_sample_tail(counts: Any, size: int, trials: int) -> float:
    """How likely such counts are, of how often each of n was in a random sample of this size.

    What is drawn without replacement varies less than Pearson's statistic expects, by the factor
    (1 - size / n) n / (n - 1).
    """
    counts = np.asarray(counts, np.float64)
    n = len(counts)
    expected = np.full(n, trials * size / n)
    spread = np.sqrt((n - 1) / n / (1 - size / n))
    return chi_square_tail(expected + (counts - expected) * spread, expected)
