"""`copy_field`: one field of many rows, as machine code.

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

from recollect.compiled import compiled

AHEAD = 16
"""Rows that are asked for before they are copied."""


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


def _fetching(typing: Any, address: Any) -> Any:
    """The types of `_fetch`, and what writes its machine code."""

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        number, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        fetch = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [pointer],
            ir.FunctionType(ir.VoidType(), [pointer, number, number, number]),
        )
        # to be read, kept in all caches, data
        hints = [ir.Constant(number, hint) for hint in (0, 3, 1)]
        builder.call(fetch, [builder.inttoptr(values[0], pointer), *hints])
        return context.get_dummy_value()

    return types.void(types.uintp), generate


_copy: Any = intrinsic(_copying)
"""Copies so many bytes from one address to another."""
_fetch: Any = intrinsic(_fetching)
"""Has the cache line at an address fetched, and does not wait for it."""


@compiled
def _within(slots: NDArray[np.intp], capacity: int) -> bool:
    """Whether there are such rows."""
    largest = np.uintp(0)
    for place in range(len(slots)):
        # taken for unsigned, negative ones are the largest of all
        largest = max(largest, np.uintp(slots[place]))
    return len(slots) == 0 or largest < np.uintp(capacity)


@compiled
def _copy_rows(address: int, stride: int, size: int, slots: NDArray[np.intp], out: Any) -> None:
    first, step, width = np.uintp(address), np.uintp(stride), np.uintp(size)
    last = first + width - np.uintp(1)
    target = np.uintp(out.ctypes.data)
    count = len(slots)
    for place in range(min(AHEAD, count)):
        distance = step * np.uintp(slots[place])
        _fetch(first + distance)
        _fetch(last + distance)
    for place in range(count - AHEAD):
        distance = step * np.uintp(slots[place + AHEAD])
        _fetch(first + distance)
        _fetch(last + distance)
        _copy(target, first + step * np.uintp(slots[place]), width)
        target += width
    for place in range(max(count - AHEAD, 0), count):
        _copy(target, first + step * np.uintp(slots[place]), width)
        target += width


@compiled
def copy_field(
    address: int, stride: int, capacity: int, slots: NDArray[np.intp], size: int, out: Any
) -> bool:
    """Copies a field of rows, one after the other.

    Args:
        address: where the field of row 0 lies; that of the next lies `stride` bytes further.
        capacity: how many rows there are.
        slots: (N,), the rows that are wanted.
        size: bytes of the field.
        out: (N * size,) bytes.

    Returns:
        Whether there are such rows; if not, nothing of them was read.
    """
    if not _within(slots, capacity):
        return False
    _copy_rows(address, stride, size, slots, out)
    return True


@compiled
def copy_two(
    address: int,
    stride: int,
    capacity: int,
    slots: NDArray[np.intp],
    size: int,
    out: Any,
    other: int,
    other_size: int,
    other_out: Any,
) -> bool:
    """The same for two fields; the other one of row 0 lies at `other`."""
    if not _within(slots, capacity):
        return False
    _copy_rows(address, stride, size, slots, out)
    _copy_rows(other, stride, other_size, slots, other_out)
    return True
