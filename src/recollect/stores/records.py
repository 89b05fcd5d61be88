"""`Records`: the small fields of rows, which lie side by side, fetched one field at a time.

A second field of the same rows finds them in the processor's cache.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.stores.base import Slots
from recollect.stores.buffers import Buffers


class Records:
    """The fields of a structured array (capacity,), whose bytes must stay where they are."""

    def __init__(self, array: NDArray[Any], buffers: Buffers) -> None:
        self._array = array
        self._buffers = buffers
        self._address: int = array.__array_interface__["data"][0]
        self._fields: dict[str, tuple[int, int, np.dtype[Any], tuple[int, ...]]] = {}
        for name, (dtype, offset, *_) in (array.dtype.fields or {}).items():
            self._fields[name] = offset, dtype.itemsize, dtype.base, dtype.shape

    def take(self, name: str, slots: Slots) -> NDArray[Any]:
        """The field of rows `slots`: C-contiguous, shape of the slots + the field's own.

        Raises:
            IndexError: no row has such a number.
        """
        offset, size, dtype, shape = self._fields[name]
        flat, array = slots.ravel(), self._array
        out = self._buffers.bytes(flat.size * size)
        if not _machine().copy_fields(
            self._address, array.itemsize, array.size, flat, offset, size, out, 0, 0, out
        ):
            raise self._no_such_row(slots)
        taken: NDArray[Any] = np.ndarray(slots.shape + shape, dtype, out)
        return taken

    def take_two(self, name: str, other: str, slots: Slots) -> tuple[NDArray[Any], NDArray[Any]]:
        """Two fields at once, which of few rows takes less time."""
        offset, size, dtype, shape = self._fields[name]
        offset2, size2, dtype2, shape2 = self._fields[other]
        flat, array = slots.ravel(), self._array
        out = self._buffers.bytes(flat.size * size)
        out2 = self._buffers.bytes(flat.size * size2)
        if not _machine().copy_fields(
            self._address, array.itemsize, array.size, flat,
            offset, size, out, offset2, size2, out2,
        ):  # fmt: skip
            raise self._no_such_row(slots)
        lead = slots.shape
        return np.ndarray(lead + shape, dtype, out), np.ndarray(lead + shape2, dtype2, out2)

    def _no_such_row(self, slots: Slots) -> IndexError:
        return IndexError(f"expected rows 0 to {self._array.size - 1}, got {slots}")


@cache
def _machine() -> Any:
    """The machine code; importing it imports Numba, which who only writes does not need."""
    from recollect.stores import copying

    return copying
