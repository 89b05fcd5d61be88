"""Timing several callables fairly on a machine that drifts.

The callables take turns (ours, peer, ours, peer, ...), each turn long enough to be measured, and
what is reported is the median over turns.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

TURNS = 31
SECONDS = 0.02
"""Of one turn."""


@dataclass(frozen=True)
class Timing:
    """Microseconds per call, over turns."""

    median: float
    low: float
    """First quartile."""
    high: float
    """Third quartile."""


def interleaved(
    calls: Mapping[str, Callable[[], object]], turns: int = TURNS, seconds: float = SECONDS
) -> dict[str, Timing]:
    """Times each callable in so many turns of about so many seconds."""
    repeats = {name: _repeats(call, seconds) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        for _ in range(turns):
            for name, call in calls.items():
                taken[name].append(_seconds(call, repeats[name]) / repeats[name] * 1e6)
    finally:
        gc.enable()
    return {
        name: Timing(*(float(np.percentile(times, q)) for q in (50, 25, 75)))
        for name, times in taken.items()
    }


def _repeats(call: Callable[[], object], seconds: float) -> int:
    """How many calls take about so long."""
    call()
    repeats = 1
    while (elapsed := _seconds(call, repeats)) < seconds / 4:
        repeats *= 2
    return max(1, round(repeats * seconds / elapsed))


def _seconds(call: Callable[[], object], repeats: int) -> float:
    begun = time.perf_counter()
    for _ in range(repeats):
        call()
    return time.perf_counter() - begun
