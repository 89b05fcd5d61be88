"""`compiled`: a function of loops over arrays, as machine code.

Importing this module imports Numba, which takes half a second; whoever needs it imports it when it
is first used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

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
