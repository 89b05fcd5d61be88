"""`HighestPriority` and `LowestPriority`: priority queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.samplers.base import Sampler
from recollect.samplers.weights import checked_number
from recollect.states import Saved
from recollect.stores.base import Slots

if TYPE_CHECKING:
    from recollect.heap import PriorityQueue


class ByPriority(Sampler):
    """Draws members in the order of their priorities, equal ones oldest first, and round again.

    Drawing changes no priority: what was drawn comes first until its priority changes. Nothing is
    left to chance: the probability is NaN, the weight 1. O(log N) an entry, exit and update,
    O(n log n) a draw.

    Args:
        initial: the priority of new rows; "max" is the largest live one, 1.0 where there is none
            or it is 0.
    """

    highest_first: bool

    row_bytes = 24

    def __init__(self, initial: float | Literal["max"] = "max") -> None:
        self.initial = initial if initial == "max" else checked_number("initial", initial, 0)
        self._capacity = 0
        self._queue: PriorityQueue

    def __repr__(self) -> str:
        return f"{type(self).__name__}(initial={self.initial!r})"

    def open(self, capacity: int) -> None:
        if self._capacity:
            raise ConfigurationError(f"sampler: this {self!r} belongs to a reader; make another")
        from recollect.heap import PriorityQueue

        self._capacity = capacity
        initial = None if self.initial == "max" else float(self.initial)
        self._queue = PriorityQueue(capacity, initial, self.highest_first)

    def __len__(self) -> int:
        return len(self._queue) if self._capacity else 0

    def enter(self, slots: Slots) -> None:
        self._queue.enter(slots)

    def leave(self, slots: Slots) -> None:
        self._queue.leave(slots)

    def update(self, slots: Slots, priority: NDArray[np.float64]) -> None:
        self._queue.update(slots, priority)

    def priority(self, slots: Slots) -> NDArray[np.float64]:
        return self._queue.priority(slots)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Slots, NDArray[np.float64]]:
        return self._queue.first(n), np.full(n, np.nan)

    def probability(self, slots: Slots) -> NDArray[np.float64]:
        return np.full(len(slots), np.nan)

    def resize(self, capacity: int, place: NDArray[np.int64]) -> None:
        self._queue = self._queue.resized(capacity, place)
        self._capacity = capacity

    def state(self) -> dict[str, NDArray[Any]]:
        """The members with priorities and ages, in no particular order."""
        return {"capacity": np.array(self._capacity), **self._queue.state()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._queue.restore(Saved(repr(self), state, self._queue.names, self._capacity))


class HighestPriority(ByPriority):
    """Draws the n members of the highest priorities in order; 24 bytes a row of capacity.

    Arguments and costs as of `ByPriority`.
    """

    highest_first = True


class LowestPriority(ByPriority):
    """Draws the n members of the lowest priorities in order.

    Arguments and costs as of `ByPriority`; 24 bytes a row of capacity, 48 with `initial="max"`,
    which takes a second heap.
    """

    highest_first = False
