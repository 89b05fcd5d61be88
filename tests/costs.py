"""What a call costs in bytes and calls, since time is nobody's to promise."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any


def cost(call: Callable[[], Any]) -> tuple[int, int]:
    """(bytes allocated at the most, function calls made) of one call.

    Garbage is not collected meanwhile: whoever asked to be told of that would be called too.
    """
    calls = 0

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        sys.setprofile(count)
        call()
        sys.setprofile(None)
    finally:
        gc.enable()
    return peak, calls
