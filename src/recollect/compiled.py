"""`compiled`: a function of loops over arrays, as machine code; and `fetch`, of use in such loops.

Importing this module imports Numba, which takes half a second; whoever needs it imports it when it
is first used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function, compiled when it is first called; others may run meanwhile.

    The machine code is kept for the next process where there is a folder to keep it in.
    """
    try:
        kept: Callable[P, R] = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # Numba found no folder that it may write to
        kept = numba.njit(nogil=True)(function)
    return kept


def _fetching(typing: Any, address: Any) -> Any:
    """The types of `fetch`, and what writes its machine code."""

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


fetch: Any = intrinsic(_fetching)
"""Has the cache line at an address, of type np.uintp, fetched, and does not wait for it."""
