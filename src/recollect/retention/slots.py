"""What rules that choose slots by themselves share: the free slots, and who was pushed out."""

from __future__ import annotations

import numpy as np

from recollect.states import are_distinct
from recollect.stores.base import Slots


class FreeSlots:
    """Slots that hold nothing, a stack: the one emptied last is filled first. 8 bytes a row."""

    def __init__(self, capacity: int, held: Slots | None = None) -> None:
        """Slots 0 to capacity - 1 but those held, to be filled in order. O(capacity)."""
        is_free = np.ones(capacity, np.bool_)
        if held is not None:
            is_free[held] = False
        self._stack = np.zeros(capacity, np.int64)
        self._count = 0
        self.give_back(np.flatnonzero(is_free)[::-1])

    def __len__(self) -> int:
        return self._count

    def take(self, count: int) -> Slots:
        """(count,) slots, or all there are if they are fewer."""
        last = self._count
        self._count = max(last - count, 0)
        slots: Slots = self._stack[self._count : last][::-1].copy()
        return slots

    def give_back(self, slots: Slots) -> None:
        """(M,) distinct slots that were emptied."""
        self._stack[self._count : self._count + len(slots)] = slots
        self._count += len(slots)

    def restore(self, free: Slots) -> None:
        """(F,) alone are free, to be filled in this order."""
        self._count = 0
        self.give_back(free[::-1])

    def all(self) -> Slots:
        """(F,) in the order in which they will be filled."""
        slots: Slots = self._stack[: self._count][::-1].copy()
        return slots


def is_partition(capacity: int, free: Slots, held: Slots) -> bool:
    """Whether each slot is in one of the two; in each they are distinct."""
    both = np.concatenate((free, held))
    return len(both) == capacity and are_distinct(both, capacity)


def without_pushed_out(slots: Slots) -> Slots:
    """Of equal slots only the last stays, the others become -1. Changes `slots` (count,)."""
    latest_first = np.flatnonzero(slots >= 0)[::-1]
    if len(latest_first) > 1:
        _, last = np.unique(slots[latest_first], return_index=True)
        slots[np.delete(latest_first, last)] = -1
    return slots
