"""`SumTree`: masses by slot, their sum, and which slot a part of the sum falls on.

The slots stand in groups of 16, the groups' sums in blocks of 16, those blocks' sums in blocks
again, so that a million rows take five levels, of which only the slots themselves are too large for
a processor's cache. A block holds three lines: masses, their running sums, and priorities, whose
largest is what new rows enter at.

    blocks       9 13  0  3  |  9 22 22 25  |  5 7 - 3
    mass         4  0  3  2     5  8  0  0     ...           (here four wide)
    priority     5  0  4  3     6  7  0  -     ...

To find a point is to count the running sums that it has passed, which takes no branch; those of a
group are made on the way, since fetching them would take longer. Each level is finished for all
points before the next begins: their cache misses then overlap, where one point after the other
would wait for each. All is computed from what is below it, never by adding a difference, so errors
cannot add up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recollect.compiled import compiled, fetch
from recollect.stores.base import Slots

Floats = NDArray[np.float64]

WIDTH = 16
SHIFT = 4
AHEAD = 8
"""So many slots or points before it is looked at, memory is asked for."""
LINE = 8 * WIDTH
"""Bytes of a group's masses, or of a line of a block."""
MASS, SUM, PRIORITY = 0, 1, 2
"""The lines of a block."""
NO_MEMBER = -np.inf
"""The priority of a slot that is no member."""


class SumTree:
    """Masses and priorities of members. 18 bytes a row of capacity, O(log N) everything."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        groups = -(-capacity // WIDTH)
        self._mass = np.zeros(groups * WIDTH, np.float64)
        self._priority = np.full(groups * WIDTH, NO_MEMBER)
        blocks = [-(-groups // WIDTH)]
        while blocks[-1] > 1:
            blocks.append(-(-blocks[-1] // WIDTH))
        self._levels = np.concatenate(([0], np.cumsum(blocks)[:-1])).astype(np.uintp)
        self._blocks = np.zeros((sum(blocks), 3, WIDTH), np.float64)
        self._blocks[:, PRIORITY] = NO_MEMBER
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
        _put(self._mass, self._priority, self._blocks, slots, priority, mass)
        _add_up(self._mass, self._blocks, self._levels, slots)

    def find(self, points: Floats) -> tuple[Slots, Floats]:
        """The slots on whose mass these points (M,) of [0, total) fall, and these masses (M,).

        A slot without mass is never found, whatever rounding does, unless there is no mass at all.
        """
        return _find(self._mass, self._blocks, self._levels, points)

    def mass(self, slots: Slots) -> Floats:
        """(M,)."""
        return self._mass[slots]

    def priority(self, slots: Slots) -> Floats:
        """(M,), of members."""
        return self._priority[slots]

    def members(self) -> tuple[Slots, Floats]:
        """(N,) all members, and their priorities. O(capacity)."""
        slots = np.flatnonzero(self._priority > NO_MEMBER)
        return slots, self._priority[slots]


def points(n: int, total: float, stratified: bool, rng: np.random.Generator) -> Floats:
    """n points of [0, total): independent ones, or one in each of n equal parts of it."""
    uniform = rng.random(n)
    if stratified:
        uniform = (np.arange(n) + uniform) / n
    return uniform * total


@compiled
def _put(
    masses: Floats,
    priorities: Floats,
    blocks: Floats,
    slots: Slots,
    priority: Floats,
    mass: Floats,
) -> None:
    """Writes masses and priorities, and the largest priority of each group."""
    address, count = np.uintp(priorities.ctypes.data), len(slots)
    for i in range(count):
        if i + AHEAD < count:
            fetch(address + np.uintp(8 * slots[i + AHEAD]))
        slot, group = np.uintp(slots[i]), np.uintp(slots[i] >> SHIFT)
        before = priorities[slot]
        masses[slot], priorities[slot] = mass[i], priority[i]
        above, at = group >> np.uintp(SHIFT), group % np.uintp(WIDTH)
        if priority[i] >= blocks[above, PRIORITY, at]:
            blocks[above, PRIORITY, at] = priority[i]
        elif before == blocks[above, PRIORITY, at]:
            largest, first = NO_MEMBER, group << np.uintp(SHIFT)
            for k in range(np.uintp(WIDTH)):
                largest = max(largest, priorities[first + k])
            blocks[above, PRIORITY, at] = largest


@compiled
def _add_up(masses: Floats, blocks: Floats, levels: NDArray[np.uintp], slots: Slots) -> None:
    """Makes the sums above these slots right again, and the largest priorities above groups."""
    last = -1
    for i in range(len(slots)):
        group = np.intp(slots[i]) >> SHIFT
        if group == last:
            continue
        last = group
        total, first = 0.0, np.uintp(group << SHIFT)
        for k in range(np.uintp(WIDTH)):
            total += masses[first + k]
        blocks[np.uintp(group >> SHIFT), MASS, np.uintp(group % WIDTH)] = total
    for level in range(len(levels)):
        last = -1
        for i in range(len(slots)):
            node = np.intp(slots[i]) >> (SHIFT * (level + 2))
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
def _fetch_line(address: np.uintp) -> None:
    fetch(address)
    fetch(address + np.uintp(LINE // 2))


@compiled
def _find(
    masses: Floats, blocks: Floats, levels: NDArray[np.uintp], points: Floats
) -> tuple[Slots, Floats]:
    slots, left = np.zeros(len(points), np.int64), points.copy()
    count = len(points)
    for level in range(len(levels) - 1, -1, -1):
        sums = np.uintp(blocks[levels[level], SUM].ctypes.data)
        for i in range(count):
            if i + AHEAD < count:
                _fetch_line(sums + np.uintp(3 * LINE) * np.uintp(slots[i + AHEAD]))
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
    found = np.empty(len(points), np.float64)
    address = np.uintp(masses.ctypes.data)
    for i in range(count):
        if i + AHEAD < count:
            _fetch_line(address + np.uintp(LINE) * np.uintp(slots[i + AHEAD]))
        first = np.uintp(slots[i] << SHIFT)
        child, total = 0, 0.0
        for k in range(np.uintp(WIDTH)):
            total += masses[first + k]
            child += np.int64(total <= left[i])
        if child == WIDTH:
            child -= 1
            while child > 0 and masses[first + np.uintp(child)] == 0:
                child -= 1
        slots[i] = slots[i] * WIDTH + child
        found[i] = masses[first + np.uintp(child)]
    return slots, found
