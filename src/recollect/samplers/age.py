"""`Oldest` and `Newest`: the order of a queue, and of a stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.samplers.base import Sampler
from recollect.states import Saved
from recollect.stores.base import Slots

if TYPE_CHECKING:
    from recollect.samplers.order import Line


class ByAge(Sampler):
    """Draws members in the order of their ages, and from the first on again.

    Nothing is left to chance: the probability is NaN, the weight 1. O(1) an entry and exit, O(n) a
    draw, 8 bytes a row of capacity.
    """

    newest_first: bool

    def __init__(self) -> None:
        self._capacity = 0
        self._line: Line

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def open(self, capacity: int) -> None:
        if self._capacity:
            raise ConfigurationError(f"sampler: this {self!r} belongs to a reader; make another")
        from recollect.samplers.order import Line

        self._capacity = capacity
        self._line = Line(capacity)

    def __len__(self) -> int:
        return len(self._line) if self._capacity else 0

    def enter(self, slots: Slots) -> None:
        self._line.enter(slots)

    def leave(self, slots: Slots) -> None:
        self._line.leave(slots)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Slots, NDArray[np.float64]]:
        slots = self._line.newest(n) if self.newest_first else self._line.oldest(n)
        return slots, np.full(n, np.nan)

    def probability(self, slots: Slots) -> NDArray[np.float64]:
        return np.full(len(slots), np.nan)

    def resize(self, capacity: int, place: NDArray[np.int64]) -> None:
        members = place[self._members()]
        self._capacity = 0
        self.open(capacity)
        self.enter(members)

    def state(self) -> dict[str, NDArray[Any]]:
        return {"capacity": np.array(self._capacity), "members": self._members()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.enter(Saved(repr(self), state, ["members"], self._capacity).slots("members"))

    def _members(self) -> Slots:
        return self._line.oldest(len(self._line))


class Oldest(ByAge):
    """Draws the n oldest members, oldest first; of fewer members, from the oldest on again.

    In a memory with `max_draws=1` this is a queue that empties as it is replayed: each row is drawn
    once, in the order of entry. Probability NaN, weight 1, costs as of `ByAge`.
    """

    newest_first = False


class Newest(ByAge):
    """Draws the n newest members, newest first; of fewer members, from the newest on again.

    As one part of a `Mixture` it is combined experience replay (Zhang & Sutton 2017, "A deeper look
    at experience replay"): the newest transition in every batch. Probability NaN, weight 1, costs
    as of `ByAge`.
    """

    newest_first = True
