"""`DropLowest`: the lowest priority makes room."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.retention.base import Retention, Rows
from recollect.retention.slots import FreeSlots, is_partition
from recollect.schema import Schema
from recollect.states import Saved
from recollect.stores.base import Slots

if TYPE_CHECKING:
    from recollect.heap import PriorityQueue


class DropLowest(Retention):
    """Examples of the lowest priorities make room, of equal ones the oldest.

    Priorities are those given to `memory.update`. A new example is always kept: it has none yet,
    and enters at the largest live one. As everywhere, rows leave before rows enter: an offer of B
    to a full memory takes the places of the B lowest that were held before, and only of more than
    fit the first are not kept. O(log N) an example and update; 32 bytes a row of capacity, 56 with
    `initial="max"`, which takes a second heap.

    Args:
        initial: the priority of new examples; "max" is the largest live one, 1.0 where there is
            none or it is 0.
    """

    row_bytes = 32

    def __init__(self, initial: float | Literal["max"] = "max") -> None:
        if initial != "max":
            number = isinstance(initial, (int, float, np.number)) and not isinstance(initial, bool)
            if not number or not 0 <= initial < math.inf:
                raise ConfigurationError(
                    f'initial: expected "max" or a finite number from 0 up, got {initial!r}'
                )
        self.initial = initial if initial == "max" else float(initial)
        self._capacity = 0
        self._free: FreeSlots
        self._queue: PriorityQueue

    def __repr__(self) -> str:
        return f"DropLowest(initial={self.initial!r})"

    def open(self, capacity: int, schema: Schema) -> None:
        if self._capacity:
            raise ConfigurationError(f"retention: this {self!r} belongs to a memory; make another")
        from recollect.heap import PriorityQueue

        self._capacity = capacity
        self._free = FreeSlots(capacity)
        initial = None if self.initial == "max" else float(self.initial)
        self._queue = PriorityQueue(capacity, initial, highest_first=False)

    def place(self, rows: Mapping[str, Any], count: int, rng: np.random.Generator) -> Slots:
        kept = min(count, self._capacity)
        slots = self._free.take(kept)
        if len(slots) < kept:
            lowest = self._queue.first(kept - len(slots))
            self._queue.leave(lowest)
            slots = np.concatenate((slots, lowest)) if len(slots) else lowest
        self._queue.enter(slots)
        return slots if kept == count else np.concatenate((np.full(count - kept, -1), slots))

    def update(self, slots: Slots, priority: NDArray[np.float64]) -> None:
        self._queue.update(slots, priority)

    def remove(self, slots: Slots) -> None:
        self._queue.leave(slots)
        self._free.give_back(slots)

    def surplus(self, count: int, held: Slots, rng: np.random.Generator) -> Slots:
        return self._queue.first(count)

    def resize(self, capacity: int, place: NDArray[np.int64], held: Slots) -> None:
        self._queue = self._queue.resized(capacity, place)
        self._free = FreeSlots(capacity, held)
        self._capacity = capacity

    def state(self) -> dict[str, NDArray[Any]]:
        return {
            "capacity": np.array(self._capacity),
            **self._queue.state(),
            "free": self._free.all(),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        saved = Saved(repr(self), state, [*self._queue.names, "free"], self._capacity)
        free, members = saved.slots("free"), saved.slots("members")
        saved.check("free", is_partition(self._capacity, free, members), "all that hold nothing")
        self._queue.restore(saved)
        self._free.restore(free)

    def recover(
        self,
        held: Slots,
        arrivals: int,
        rows: Rows,
        priority: NDArray[np.float64] | None = None,
        earlier: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self._queue.enter(held, priority)
        self._free = FreeSlots(self._capacity, held)
