"""`Ranks`: which rank a part of the sum of all ranks' shares falls on.

The sums of the first 1, 2, 3, ... shares never change, so where to look for a point is written
down: a search through all of them would wait for memory at every step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recollect.compiled import compiled, fetch

Floats = NDArray[np.float64]

SPARSE = 16
"""Ranks for each part of the sum of which it is written down where it begins."""


class Ranks:
    """Shares of rank**-alpha of the ranks from 1 on. 8.25 bytes a rank."""

    def __init__(self, capacity: int, alpha: float) -> None:
        self._sums = np.cumsum(np.arange(1.0, capacity + 1) ** -alpha)
        parts = max(capacity // SPARSE, 1)
        self._part = float(self._sums[-1]) / parts
        begins = self._sums.searchsorted(np.arange(parts + 1) * self._part, "right")
        self._begins = np.minimum(begins, capacity - 1).astype(np.int32)

    def total(self, count: int) -> float:
        """The sum of the first so many shares."""
        return float(self._sums[count - 1])

    def find(self, points: Floats) -> NDArray[np.int64]:
        """(M,), the ranks, from 0 on, on whose shares these points (M,) of [0, total) fall."""
        return _find(self._sums, self._begins, self._part, points)


@compiled
def _find(
    sums: Floats, begins: NDArray[np.int32], part: float, points: Floats
) -> NDArray[np.int64]:
    found, stop = np.empty(len(points), np.int64), np.empty(len(points), np.int64)
    address = np.uintp(sums.ctypes.data)
    for i in range(len(points)):
        at = np.int64(points[i] / part)
        # by what rounding has carried it too far
        while at > 0 and at * part > points[i]:
            at -= 1
        while at + 2 < len(begins) and (at + 1) * part <= points[i]:
            at += 1
        found[i], stop[i] = begins[at], begins[at + 1]
        fetch(address + np.uintp(8 * ((found[i] + stop[i]) >> 1)))
    for i in range(len(points)):
        low, high = found[i], stop[i]
        while low < high:
            middle = (low + high) >> 1
            if sums[middle] <= points[i]:
                low = middle + 1
            else:
                high = middle
        found[i] = low
    return found
