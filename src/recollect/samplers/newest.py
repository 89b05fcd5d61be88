"""`Newest`: the order of a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.samplers.base import Sampler
from recollect.stores.base import Slots

if TYPE_CHECKING:
    from recollect.samplers.order import Line


class Newest(Sampler):
    """Draws the n newest members, newest first; of fewer members, from the newest on again.

    As one part of a `Mixture` it is combined experience replay (Zhang & Sutton 2017, "A deeper look
    at experience replay"): the newest transition in every batch. Nothing is left to chance: the
    probability is NaN, the weight 1. O(1) an entry and exit, O(n) a draw, 8 bytes a row of
    capacity.
    """

    def __init__(self) -> None:
        self._capacity = 0
        self._line: Line

    def __repr__(self) -> str:
        return "Newest()"

    def open(self, capacity: int) -> None:
        if self._capacity:
            raise ConfigurationError("sampler: this Newest() belongs to a reader; make another")
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
        return self._line.newest(n), np.full(n, np.nan)

    def probability(self, slots: Slots) -> NDArray[np.float64]:
        return np.full(len(slots), np.nan)

    def resize(self, capacity: int, place: NDArray[np.int64]) -> None:
        members = place[self._members()]
        self._capacity = 0
        self.open(capacity)
        self.enter(members)

    def state(self) -> dict[str, NDArray[Any]]:
        return {"members": self._members()}

    def _members(self) -> Slots:
        return self._line.oldest(len(self._line))
