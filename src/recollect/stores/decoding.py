"""`decode_rows`: rows out of many compressed runs, as one piece of machine code.

A run is decoded into a scratch buffer that stays in the processor's cache, and the rows that are
wanted are copied from there to where they belong. The interpreter is not needed from the first run
to the last, so threads that do this run side by side, and beside those that compute.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from recollect.compiled import compiled

Indices = NDArray[np.intp]
Bytes = NDArray[np.uint8]


def _calling(
    typing: Any, function: Any, context: Any, target: Any, room: Any, source: Any, size: Any
) -> Any:
    """The types of `_call`, and what writes its machine code."""

    def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:
        word = values[0].type
        kind = ir.FunctionType(word, [word] * 5)
        return builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])

    return types.uintp(*[types.uintp] * 6), generate


_call: Any = intrinsic(_calling)
"""Calls the C function at an address; all are words, pointers too, and so is the answer. The
address is an argument, so that the machine code can be kept for processes where it is another."""


@compiled
def decode_rows(
    function: int,
    context: int,
    joined: Bytes,
    ends: Indices,
    scratch: Bytes,
    first: Indices,
    last: Indices,
    order: Indices,
    slots: Indices,
    out: Bytes,
) -> int:
    """Decodes run after run and copies rows out of each.

    Args:
        function, context: what `codecs.Native` says.
        joined: all compressed runs, one after the other; (R,) `ends` says where each of them ends.
        scratch: (rows of a run, bytes of a row).
        first, last: (R,), which part of `order` is of each run.
        order: places in `slots` and in `out`.
        slots: (N,), the slots that are wanted.
        out: (N, bytes of a row).

    Returns:
        The first run that does not decode to so many bytes; -1 if all do.
    """
    run = len(scratch)
    width = np.uintp(scratch.shape[1])
    room = np.uintp(scratch.size)
    target = np.uintp(scratch.ctypes.data)
    source = np.uintp(joined.ctypes.data)
    begin = 0
    for number in range(len(ends)):
        end = ends[number]
        size = np.uintp(end - begin)
        if _call(np.uintp(function), np.uintp(context), target, room, source, size) != room:
            return number
        source += size
        begin = end
        for position in range(first[number], last[number]):
            row = order[np.uintp(position)]
            to = out[row]
            held = scratch[slots[row] % run]
            # byte by byte in the source is many at once in the machine; slices are not
            for byte in range(width):
                to[byte] = held[byte]
    return -1
