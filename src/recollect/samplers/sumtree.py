"""`SumTree`: masses by slot, their sum, and which slot a part of the sum falls on.

The leaves stand in blocks of 16, the blocks' sums in blocks again, so that a million rows take five
levels, of which only the lowest two are too large for a processor's cache. In each block stand the
running sums of its masses, not the masses: to find a point is to count the sums that it has passed,
which takes no branch and no waiting for one addition after the other.

    level 1    | 9 11 11 14 |                       running sums of the blocks' sums 9 2 0 3
    level 0    | 4 4 7 9 | 0 1 1 2 | 0 0 0 0 | ...  running sums of the masses 4 0 3 2  0 1 0 1 ...

Each level is finished for all points before the next begins: their cache misses then overlap, where
one point after the other would wait for each. Beside the sums stands the largest priority below
them, which is what new rows enter at. All is computed from what is below it, never by adding a
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
LAST = np.uintp(WIDTH - 1)
NO_MEMBER = -np.inf
"""The priority at the leaf of a slot that is no member."""


class SumTree:
    """Masses and priorities of members. 25 bytes a row of capacity, O(log N) everything."""

    def __init__(self, capacity: int) -> None:
        blocks = [-(-capacity // WIDTH)]
        while blocks[-1] > 1:
            blocks.append(-(-blocks[-1] // WIDTH))
        self._levels = np.concatenate(([0], np.cumsum(blocks) * WIDTH)).astype(np.int64)
        self._mass = np.zeros(blocks[0] * WIDTH, np.float64)
        self._sums = np.zeros(self._levels[-1], np.float64)
        self._tops = np.full(self._levels[-1] + 1, NO_MEMBER, np.float64)
        self._count = 0

    def __len__(self) -> int:
        """How many members there are."""
        return self._count

    @property
    def total(self) -> float:
        """The sum of all masses."""
        return float(self._sums[-1])

    @property
    def largest(self) -> float:
        """The largest priority of a member; -inf if there is none."""
        return float(self._tops[-1])

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
        _set(self._mass, self._sums, self._tops, self._levels, slots, priority, mass)

    def find(self, points: Floats) -> Slots:
        """The slots on whose mass these points (M,) of [0, total) fall.

        A slot without mass is never found, whatever rounding does, unless there is no mass at all.
        """
        slots = np.zeros(len(points), np.int64)
        _find(self._sums, self._levels, points.copy(), slots)
        return slots

    def mass(self, slots: Slots) -> Floats:
        """(M,)."""
        return self._mass[slots]

    def priority(self, slots: Slots) -> Floats:
        """(M,), of members."""
        return self._tops[slots]

    def members(self) -> Slots:
        """(N,) all members. O(capacity)."""
        return np.flatnonzero(self._tops[: len(self._mass)] > NO_MEMBER)


def points(n: int, total: float, stratified: bool, rng: np.random.Generator) -> Floats:
    """n points of [0, total): independent ones, or one in each of n equal parts of it."""
    uniform = rng.random(n)
    if stratified:
        uniform = (np.arange(n) + uniform) / n
    return uniform * total


@compiled
def _set(
    masses: Floats,
    sums: Floats,
    tops: Floats,
    levels: NDArray[np.int64],
    slots: Slots,
    priority: Floats,
    mass: Floats,
) -> None:
    for i in range(len(slots)):
        masses[np.uintp(slots[i])] = mass[i]
        tops[np.uintp(slots[i])] = priority[i]
    for level in range(len(levels) - 1):
        # of the masses, or of the blocks below
        begin = np.uintp(levels[level - 1]) if level else np.uintp(0)
        known = np.uintp(
            len(masses) if level == 0 else (levels[level] - levels[level - 1]) // WIDTH
        )
        last = -1
        for i in range(len(slots)):
            block = np.intp(slots[i]) >> (SHIFT * (level + 1))
            if block == last:
                continue
            last = block
            first = np.uintp(block * WIDTH)
            here = np.uintp(levels[level])
            total, top = 0.0, NO_MEMBER
            for child in range(first, first + np.uintp(WIDTH)):
                if level == 0:
                    total += masses[child]
                elif child < known:
                    total += sums[begin + child * np.uintp(WIDTH) + LAST]
                sums[here + child] = total
                top = max(top, tops[here + child])
            tops[np.uintp(levels[level + 1]) + np.uintp(block)] = top


@compiled
def _find(sums: Floats, levels: NDArray[np.int64], points: Floats, slots: Slots) -> None:
    for level in range(len(levels) - 2, -1, -1):
        begin = np.uintp(levels[level])
        for i in range(len(points)):
            first = begin + np.uintp(slots[i] * WIDTH)
            child = 0
            for k in range(WIDTH):
                child += np.int64(sums[first + np.uintp(k)] <= points[i])
            if child == WIDTH:
                # rounding carried the point past the end: it belongs to the last that has mass
                child -= 1
                while (
                    child > 0 and sums[first + np.uintp(child)] == sums[first + np.uintp(child - 1)]
                ):
                    child -= 1
            if child > 0:
                points[i] -= sums[first + np.uintp(child - 1)]
            slots[i] = slots[i] * WIDTH + child
