"""`SumTree`: masses by slot, their sum, and which slot a part of the sum falls on.

The slots stand in blocks of 16, the blocks' sums in blocks again, so that a million rows take five
levels, of which only the lowest two are too large for a processor's cache. A block holds three
lines: masses, their running sums, and priorities, whose largest is what new rows enter at.

    level 1    9  2  0  3  |  9 11 11 14  |  5 2 - 3
    level 0    4  0  3  2  |  4  4  7  9  |  5 0 4 3        (here four wide)
               0  1  0  1  |  0  1  1  2  |  0 1 0 2   ...

To find a point is to count the running sums that it has passed, which takes no branch. Each level
is finished for all points before the next begins: their cache misses then overlap, where one point
after the other would wait for each. All is computed from what is below it, never by adding a
difference, so errors cannot add up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recollect.compiled import compiled
from recollect.stores.base import Slots

Floats = NDArray[np.float64]

WIDTH = 16
SHIFT = 4
MASS, SUM, PRIORITY = 0, 1, 2
"""The lines of a block."""
NO_MEMBER = -np.inf
"""The priority of a slot that is no member."""


class SumTree:
    """Masses and priorities of members. 26 bytes a row of capacity, O(log N) everything."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        blocks = [-(-capacity // WIDTH)]
        while blocks[-1] > 1:
            blocks.append(-(-blocks[-1] // WIDTH))
        self._levels = np.concatenate(([0], np.cumsum(blocks)[:-1])).astype(np.uintp)
        self._blocks = np.zeros((sum(blocks), 3, WIDTH), np.float64)
        self._blocks[:, PRIORITY] = NO_MEMBER
        self._slots = self._blocks[: blocks[0]]
        self._count = 0

    def __len__(self) -> int:
        """How many members there are."""
        return self._count

    @property
    def total(self) -> float:
        """The sum of all masses."""
        return float(self._blocks[-1, SUM, -1])

    @property
    def largest(self) -> float:
        """The largest priority of a member; -inf if there is none."""
        return float(self._blocks[-1, PRIORITY].max())

    def enter(self, slots: Slots, priority: Floats, mass: Floats) -> None:
        """(M,) distinct slots become members."""
        self._count += len(slots)
        self.set(slots, priority, mass)

    def leave(self, slots: Slots) -> None:
        """(M,) distinct members are none any more."""
        self._count -= len(slots)
        self.set(slots, np.full(len(slots), NO_MEMBER), np.zeros(len(slots)))

    def set(self, slots: Slots, priority: Floats, mass: Floats) -> None:
        """(M,) members get priorities and masses; of duplicates the last counts."""
        _set(self._blocks, self._levels, slots, priority, mass)

    def find(self, points: Floats) -> tuple[Slots, Floats]:
        """The slots on whose mass these points (M,) of [0, total) fall, and these masses (M,).

        A slot without mass is never found, whatever rounding does, unless there is no mass at all.
        """
        return _find(self._blocks, self._levels, points)

    def mass(self, slots: Slots) -> Floats:
        """(M,)."""
        masses: Floats = self._slots[slots >> SHIFT, MASS, slots % WIDTH]
        return masses

    def priority(self, slots: Slots) -> Floats:
        """(M,), of members."""
        priorities: Floats = self._slots[slots >> SHIFT, PRIORITY, slots % WIDTH]
        return priorities

    def members(self) -> tuple[Slots, Floats]:
        """(N,) all members, and their priorities. O(capacity)."""
        priority = self._slots[:, PRIORITY].reshape(-1)
        slots = np.flatnonzero(priority > NO_MEMBER)
        return slots, priority[slots]


def points(n: int, total: float, stratified: bool, rng: np.random.Generator) -> Floats:
    """n points of [0, total): independent ones, or one in each of n equal parts of it."""
    uniform = rng.random(n)
    if stratified:
        uniform = (np.arange(n) + uniform) / n
    return uniform * total


@compiled
def _set(
    blocks: Floats, levels: NDArray[np.uintp], slots: Slots, priority: Floats, mass: Floats
) -> None:
    for i in range(len(slots)):
        block, at = np.uintp(slots[i] >> SHIFT), np.uintp(slots[i] % WIDTH)
        blocks[block, MASS, at] = mass[i]
        blocks[block, PRIORITY, at] = priority[i]
    for level in range(len(levels)):
        last = -1
        for i in range(len(slots)):
            node = np.intp(slots[i]) >> (SHIFT * (level + 1))
            if node == last:
                continue
            last = node
            block = levels[level] + np.uintp(node)
            total, largest = 0.0, NO_MEMBER
            for k in range(np.uintp(WIDTH)):
                total += blocks[block, MASS, k]
                blocks[block, SUM, k] = total
                largest = max(largest, blocks[block, PRIORITY, k])
            if level + 1 < len(levels):
                above, at = levels[level + 1] + np.uintp(node >> SHIFT), np.uintp(node % WIDTH)
                blocks[above, MASS, at] = total
                blocks[above, PRIORITY, at] = largest


@compiled
def _find(blocks: Floats, levels: NDArray[np.uintp], points: Floats) -> tuple[Slots, Floats]:
    slots, left = np.zeros(len(points), np.int64), points.copy()
    for level in range(len(levels) - 1, -1, -1):
        for i in range(len(points)):
            block = levels[level] + np.uintp(slots[i])
            child = 0
            for k in range(np.uintp(WIDTH)):
                child += np.int64(blocks[block, SUM, k] <= left[i])
            if child == WIDTH:
                # rounding carried the point past the end: it belongs to the last that has mass
                child -= 1
                while child > 0 and blocks[block, MASS, np.uintp(child)] == 0:
                    child -= 1
            if child > 0:
                left[i] -= blocks[block, SUM, np.uintp(child - 1)]
            slots[i] = slots[i] * WIDTH + child
    masses = np.empty(len(points), np.float64)
    for i in range(len(points)):
        masses[i] = blocks[np.uintp(slots[i] >> SHIFT), MASS, np.uintp(slots[i] % WIDTH)]
    return slots, masses
