"""Timing several callables fairly on a machine that drifts.

The callables take turns (ours, peer, ours, peer, ...), each turn long enough to be measured, and
what is reported is the median over turns.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

TURNS = 31
SECONDS = 0.02
"""Of one turn."""
FEW_TURNS = 5
"""For what takes long enough to be measured once a turn."""


@dataclass(frozen=True)
class Timing:
    """Microseconds per call, or what else a table's unit is, over turns."""

    median: float
    low: float
    """First quartile."""
    high: float
    """Third quartile."""


def interleaved(
    calls: Mapping[str, Callable[[], object]], turns: int = TURNS, seconds: float | None = None
) -> dict[str, Timing]:
    """Times each callable in so many turns of about so many seconds, SECONDS if not given."""
    repeats = {name: _repeats(call, seconds or SECONDS) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        for _ in range(turns):
            for name, call in calls.items():
                taken[name].append(timed(call, repeats[name]) / repeats[name] * 1e6)
    finally:
        gc.enable()
    return {name: spread(times) for name, times in taken.items()}


def spread(values: Sequence[float]) -> Timing:
    """Median and quartiles of what was measured several times."""
    return Timing(*(float(np.percentile(values, q)) for q in (50, 25, 75)))


def timed(call: Callable[[], object], repeats: int = 1) -> float:
    """Seconds that so many calls take together."""
    begun = time.perf_counter()
    for _ in range(repeats):
        call()
    return time.perf_counter() - begun


def _repeats(call: Callable[[], object], seconds: float) -> int:
    """How many calls take about so long."""
    call()
    repeats = 1
    # of two, since a call may now and then do what was put off, such as to sort a million rows
    while (elapsed := min(timed(call, repeats), timed(call, repeats))) < seconds / 4:
        repeats *= 2
    return max(1, round(repeats * seconds / elapsed))
