"""`Mixture`: several samplers over the same rows, each drawing its fraction of every batch.

The hard thing is the probability of a row, which every part may have drawn, while some parts draw
in a fixed order that leaves nothing to chance; see `_probability`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError, PriorityError
from recollect.samplers.base import Sampler
from recollect.samplers.weights import (
    Normalize,
    beta_at,
    checked_beta,
    checked_normalize,
    importance_weights,
)
from recollect.schedules import Schedule
from recollect.shares import checked_fractions, split
from recollect.states import joined, parted
from recollect.stores.base import Slots


class Mixture(Sampler):
    """Draws from several samplers at once, those of the first part first.

        rc.Mixture({rc.Newest(): 1 / 32, rc.Uniform(): 31 / 32})

    is combined experience replay (Zhang & Sutton 2017, "A deeper look at experience replay") with
    batches of 32: the newest transition is in every one of them.

    Of n rows a part draws its share n * fraction, rounded down, and one more as often as makes
    its share exact. The probability is that of all parts together: n times it is how often the row
    is expected in a batch of n. A part of fixed order counts with the rows that it is about to
    draw. Priorities go to every part that takes any.

    Costs what its parts cost, and each part's `probability` of the rows that the others drew.

    Args:
        parts: samplers, each made for this mixture, and their fractions, which sum to 1.
        beta: of the weights (N * probability)**-beta, 0 to 1, a number or a schedule over sample
            calls. None is that of the part that has one, with its `normalize`; without any, or
            with 0, the weights are 1.
        normalize: "batch" divides weights by the batch's largest, None leaves them as they are.

    Raises:
        ConfigurationError: fractions that do not sum to 1, a part that is no sampler or is itself a
            mixture (give its parts), or parts of different beta where none was given.
    """

    def __init__(
        self,
        parts: Mapping[Sampler, float],
        beta: float | Schedule | None = None,
        normalize: Normalize = "batch",
    ) -> None:
        self.fractions = checked_fractions("Mixture", parts)
        self.parts = dict(parts)
        for part in self.parts:
            if not isinstance(part, Sampler):
                raise ConfigurationError(f"Mixture: expected samplers, got {part!r}")
            if isinstance(part, Mixture):
                raise ConfigurationError(f"Mixture: expected the parts of {part!r} in its place")
        self.beta: float | Schedule
        self.normalize: Normalize
        if beta is None:
            self.beta, self.normalize = self._correction_of_parts()
        else:
            self.beta, self.normalize = checked_beta(beta), checked_normalize(normalize)

    def _correction_of_parts(self) -> tuple[float | Schedule, Normalize]:
        """The beta and `normalize` of the parts that have a beta other than 0."""
        found: list[tuple[float | Schedule, Normalize]] = [
            (beta, getattr(part, "normalize", "batch"))
            for part in self.parts
            if (beta := getattr(part, "beta", 0))
        ]
        if any(one != found[0] for one in found):
            raise ConfigurationError(
                f"Mixture: its parts differ in (beta, normalize), {found!r}: expected beta=..."
            )
        return found[0] if found else (0.0, "batch")

    def __repr__(self) -> str:
        parts = zip(self.parts, self.fractions, strict=True)
        return f"Mixture({{{', '.join(f'{part!r}: {share:g}' for part, share in parts)}}})"

    def __len__(self) -> int:
        return len(next(iter(self.parts)))

    @property
    def row_bytes(self) -> int:  # type: ignore[override]
        return sum(part.row_bytes for part in self.parts)

    @property
    def takes_priorities(self) -> bool:
        return any(part.takes_priorities for part in self.parts)

    def open(self, capacity: int) -> None:
        # a part that belongs to a reader already shows in a copy, before any part has changed
        for part in self.parts:
            copy.deepcopy(part).open(1)
        for part in self.parts:
            part.open(capacity)

    def enter(self, slots: Slots) -> None:
        for part in self.parts:
            part.enter(slots)

    def leave(self, slots: Slots) -> None:
        for part in self.parts:
            part.leave(slots)

    def check(self, priority: NDArray[np.float64]) -> None:
        for part in self.parts:
            part.check(priority)

    def update(self, slots: Slots, priority: NDArray[np.float64]) -> None:
        if not self.takes_priorities:
            raise PriorityError(f"update: no part of {self!r} has priorities")
        self.check(priority)
        for part in self.parts:
            if part.takes_priorities:
                part.update(slots, priority)

    def priority(self, slots: Slots) -> NDArray[np.float64]:
        return next(part for part in self.parts if part.takes_priorities).priority(slots)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Slots, NDArray[np.float64]]:
        counts = split(n, self.fractions, rng).tolist()
        drawn = [
            part.draw(count, rng)[0] if count else _NONE
            for part, count in zip(self.parts, counts, strict=True)
        ]
        slots = np.concatenate(drawn)
        return slots, self._probability(slots, drawn, rng)

    def probability(self, slots: Slots) -> NDArray[np.float64]:
        """NaN where a part draws in a fixed order: what it adds depends on how many are drawn."""
        parts = zip(self.parts, self.fractions, strict=True)
        total: NDArray[np.float64] = sum(
            (fraction * part.probability(slots) for part, fraction in parts), np.zeros(len(slots))
        )
        return total

    def weight(
        self, probability: NDArray[np.float64], eligible: int, call: int
    ) -> NDArray[np.float32]:
        return importance_weights(probability, eligible, beta_at(self.beta, call), self.normalize)

    def resize(self, capacity: int, place: NDArray[np.int64]) -> None:
        for part in self.parts:
            part.resize(capacity, place)

    def state(self) -> dict[str, NDArray[Any]]:
        """Each part's, behind the part's number and a dot."""
        return joined(part.state() for part in self.parts)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        for part, saved in zip(self.parts, parted(repr(self), state, len(self.parts)), strict=True):
            part.restore(saved)
        if len({len(part) for part in self.parts}) > 1:
            raise ConfigurationError(f"{self!r}: its saved state has parts of different members")

    def _probability(
        self, slots: Slots, drawn: list[Slots], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """How often each slot (n,) is expected in a batch of n, divided by n.

        A part of fixed order gives the first rows of that order for certain, as many as its share
        rounded down, and the next one with the chance that the share was rounded up.
        """
        n = len(slots)
        total = np.zeros(n)
        for part, fraction, picks in zip(self.parts, self.fractions.tolist(), drawn, strict=True):
            probability = part.probability(slots)
            if not math.isnan(probability[0]):
                total += probability * fraction
                continue
            certain = int(n * fraction + 1e-9)
            chance = n * fraction - certain
            if chance > 1e-9:
                if len(picks) == certain:
                    # drawn again, a fixed order is the same, and shows who would have been next
                    picks, _ = part.draw(certain + 1, rng)
                total += (slots == picks[certain]) * (chance / n)
            if certain:
                total += _times(slots, picks[:certain]) / n
        return total


_NONE: Slots = np.zeros(0, np.intp)


def _times(slots: Slots, picks: Slots) -> NDArray[Any]:
    """(n,), how often each slot is among the picks."""
    if len(picks) == 1:
        return np.equal(slots, picks)
    ordered = np.sort(picks)
    times: NDArray[np.intp] = ordered.searchsorted(slots, "right") - ordered.searchsorted(slots)
    return times
