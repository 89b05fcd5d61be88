"""`Buffers`: memory for large outputs, used again once nobody holds it.

A fresh array of a megabyte costs more for its page faults than for the bytes that are copied into
it. So those in use and a few more are remembered, and one that only this object still refers to is
handed out again. Whoever holds an array, or anything made of it without a copy, keeps it: that is
what reference counts count.
"""

from __future__ import annotations

import math
import sys
import threading
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

BYTE = np.dtype(np.uint8)

LARGE = 1 << 17
"""From so many bytes on the system is asked for fresh pages, and recycling pays."""

MOST_FREE = 8
"""Kept though they are not what is asked for: the large fields of a batch or two."""

MOST = 64
"""Remembered, with those in use: enough for the batches that a loader has on their way."""

RECYCLES = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Without the interpreter's lock reference counts are not exact, and nothing is recycled."""


class Buffers:
    """The latest large outputs of a store."""

    def __init__(self) -> None:
        self._remembered: deque[NDArray[np.uint8]] = deque(maxlen=MOST)
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array whose contents are undefined, and that nobody else holds."""
        buffer = self.bytes(math.prod(shape) * dtype.itemsize)
        array: NDArray[Any] = np.ndarray(shape, dtype, buffer)
        return array

    def bytes(self, size: int) -> NDArray[np.uint8]:
        """So many bytes, whose contents are undefined, and that nobody else holds."""
        if size < LARGE or not RECYCLES:
            return np.empty(size, BYTE)
        with self._lock:
            buffer = self._unused(size)
            if buffer is None:
                buffer = np.empty(size, BYTE)
                self._remembered.append(buffer)
            return buffer

    def _unused(self, size: int) -> NDArray[np.uint8] | None:
        """One of this size that nobody holds; if there is none, the oldest of other sizes go."""
        counts = _references(self._remembered)
        free = [place for place, count in enumerate(counts) if count == ALONE]
        for place in free:
            if self._remembered[place].nbytes == size:
                return self._remembered[place]
        for place in reversed(free[:-MOST_FREE]):
            del self._remembered[place]
        return None


def _references(buffers: deque[NDArray[np.uint8]]) -> list[int]:
    return [sys.getrefcount(buffer) for buffer in buffers]


ALONE = _references(deque([np.empty(0, np.uint8)]))[0]
"""What is counted for a buffer that nobody holds; counting itself adds to it."""
