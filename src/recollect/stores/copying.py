"""`copy_fields`: fields of many rows, as machine code.

A row that is drawn at random is a cache miss. The rows to come are asked for while the present one
is copied, so that misses overlap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from recollect.compiled import compiled, fetch

AHEAD = 16
"""Rows that are asked for before they are copied."""

LINE = 64
"""Bytes of a cache line."""

MOST_LINES = 4
"""That are asked for of a row; what is longer the processor sees coming."""

WHOLE = LINE * MOST_LINES
"""Rows of so many bytes are fetched with all their fields, of which others will be copied next."""


def _copying(typing: Any, target: Any, source: Any, size: Any) -> Any:
    """The types of `_copy`, and what writes its machine code."""

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        word, pointer = values[0].type, ir.IntType(8).as_pointer()
        copy = builder.module.declare_intrinsic("llvm.memcpy", [pointer, pointer, word])
        places = [builder.inttoptr(value, pointer) for value in values[:2]]
        never = ir.Constant(ir.IntType(1), 0)
        # of a size that is known here, a copy is one move and no call
        single = [ir.Constant(word, size) for size in (4, 8)]
        end = builder.append_basic_block("copied")
        any_size = builder.append_basic_block("any_size")
        switch = builder.switch(values[2], any_size)
        for size in single:
            block = builder.append_basic_block()
            switch.add_case(size, block)
            builder.position_at_end(block)
            builder.call(copy, [*places, size, never])
            builder.branch(end)
        builder.position_at_end(any_size)
        builder.call(copy, [*places, values[2], never])
        builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.uintp), generate


_copy: Any = intrinsic(_copying)
"""Copies so many bytes from one address to another."""


@compiled
def _within(slots: NDArray[np.intp], capacity: int) -> bool:
    """Whether there are such rows."""
    largest = np.uintp(0)
    for place in range(len(slots)):
        # taken for unsigned, negative ones are the largest of all
        largest = max(largest, np.uintp(slots[place]))
    return len(slots) == 0 or largest < np.uintp(capacity)


@compiled
def _copy_rows(
    address: int, stride: int, slots: NDArray[np.intp], offset: int, size: int, out: Any
) -> None:
    first, step, width = np.uintp(address), np.uintp(stride), np.uintp(size)
    field, target = first + np.uintp(offset), np.uintp(out.ctypes.data)
    begin, span = (first, step) if stride <= WHOLE else (field, width)
    count = len(slots)
    for place in range(min(AHEAD, count)):
        _fetch_lines(begin + step * np.uintp(slots[place]), span)
    for place in range(count - AHEAD):
        _fetch_lines(begin + step * np.uintp(slots[place + AHEAD]), span)
        _copy(target, field + step * np.uintp(slots[place]), width)
        target += width
    for place in range(max(count - AHEAD, 0), count):
        _copy(target, field + step * np.uintp(slots[place]), width)
        target += width


@compiled
def _fetch_lines(address: np.uintp, span: np.uintp) -> None:
    """Of so many bytes, at most those of `MOST_LINES`."""
    last = address + min(span, np.uintp(LINE * MOST_LINES)) - np.uintp(1)
    while address < last:
        fetch(address)
        address += np.uintp(LINE)
    fetch(last)


@compiled
def copy_fields(
    address: int,
    stride: int,
    capacity: int,
    slots: NDArray[np.intp],
    offset: int,
    size: int,
    out: Any,
    offset2: int,
    size2: int,
    out2: Any,
) -> bool:
    """Copies one field of rows, or two, one row after the other.

    Args:
        address: where row 0 lies; the next lies `stride` bytes further.
        capacity: how many rows there are.
        slots: (N,), the rows that are wanted.
        offset, size: where in a row the field is, and its bytes.
        out: (N * size,) bytes.
        offset2, size2, out2: the same of another field; of size 0 if there is none. Numba takes
            longer to look at a list of fields than to copy them.

    Returns:
        Whether there are such rows; if not, nothing of them was read.
    """
    if not _within(slots, capacity):
        return False
    _copy_rows(address, stride, slots, offset, size, out)
    if size2:
        _copy_rows(address, stride, slots, offset2, size2, out2)
    return True
