"""What is measured beside the peers: each workload with its floor.

The floor is a plain copy of as many bytes as a batch has, from random places of an array as large
as the memory, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks import data
from benchmarks.libraries import opened
from benchmarks.results import Table
from benchmarks.timing import TURNS, Timing, interleaved

FLOOR = "plain copy"

QUIET = 0.1
"""How far apart the quartiles of the plain copy may be, beside its median, on a quiet machine."""
PAUSE, MOST_REPEATS = 10.0, 3
"""Seconds before a table is measured again if it was not quiet, and how often that is done."""


@dataclass(frozen=True)
class Copy:
    """So many runs of so many rows of so many bytes."""

    row: int
    count: int
    run: int = 1

    def open(self, rows: int) -> Callable[[], object]:
        """A call that copies them from random places of an array of so many rows."""
        source = np.ones((rows, self.row), np.uint8)
        rng = np.random.default_rng(0)

        def copy_rows() -> object:
            return source.take(rng.integers(0, rows, self.count), axis=0)

        def copy_runs() -> object:
            begins = rng.integers(0, rows - self.run, self.count)
            result = np.empty((self.count, self.run, self.row), np.uint8)
            for place, begin in enumerate(begins):
                result[place] = source[begin : begin + self.run]
            return result

        return copy_rows if self.run == 1 else copy_runs


@dataclass(frozen=True)
class Workload:
    """One table: a function of each library, over a memory of so many rows."""

    name: str
    title: str
    rows: int
    floor: Copy | None = None


NARROW = 4 + 1 + 1
"""Bytes of a reward and two flags."""
VECTOR = 4 * (data.OBS + data.ACTION) + NARROW
TRANSITION = VECTOR + 4 * data.OBS
IMAGE = int(np.prod(data.IMAGE)) + 4 * data.ACTION + NARROW
FETCH = 4 * (2 * (data.OBSERVATION + 2 * data.GOAL) + data.FETCH_ACTION) + NARROW
FRAME = int(np.prod(data.FRAME))

WORKLOADS = (
    Workload(
        "sample_vectors",
        "256 uniform transitions of 1 M (HalfCheetah)",
        1_000_000,
        Copy(TRANSITION, 256),
    ),
    Workload(
        "sample_nstep",
        "256 three-step returns of 1 M (HalfCheetah)",
        1_000_000,
        Copy(TRANSITION, 256),
    ),
    Workload(
        "sample_frames",
        "32 transitions of 4 stacked frames of 100 k (Atari)",
        100_000,
        Copy(FRAME, 2 * 32, data.STACK),
    ),
    Workload(
        "sequence_frames",
        "16 sequences of 64 steps of 64 x 64 x 3 bytes, of 100 k",
        100_000,
        Copy(IMAGE, *data.IMAGES),
    ),
    Workload(
        "sequence_vectors",
        "64 sequences of 80 steps of 1 M (HalfCheetah)",
        1_000_000,
        Copy(VECTOR, *data.WINDOWS),
    ),
    Workload("prioritized", "draw and update 256 prioritized of 1 M (HalfCheetah)", 1_000_000),
    Workload(
        "hindsight",
        "256 transitions of 1 M, four of five with a goal reached later (Fetch)",
        1_000_000,
        Copy(FETCH, 256),
    ),
    Workload("add_one", "add one step (HalfCheetah)", 1_000_000),
    Workload("add_sixteen", "add sixteen steps at once (HalfCheetah)", 1_000_000),
    Workload("loop", "add one step and draw 256 of 1 M (HalfCheetah)", 1_000_000),
)


def unrest(timing: Timing) -> float:
    """How far apart the quartiles are, beside the median."""
    return (timing.high - timing.low) / timing.median


def measure(workload: Workload, scale: float = 1.0, turns: int = TURNS) -> Table:
    """Times every library that offers the workload, taking turns.

    Where the plain copy's times lie far apart, the machine had other things to do: the table is
    measured again, and of these the one counts whose plain copies lie closest together.

    Args:
        scale: makes the memories smaller, to try the benchmark itself.
        turns: how often each library is timed.
    """
    rows = max(int(workload.rows * scale) // 4_000, 1) * 4_000
    offered, missing, remarks = opened(workload.name)
    calls = {name: getattr(module, workload.name)(rows) for name, module in offered.items()}
    if workload.floor:
        calls[FLOOR] = workload.floor.open(rows)
    times = interleaved(calls, turns)
    for _ in range(MOST_REPEATS):
        if FLOOR not in times or unrest(times[FLOOR]) <= QUIET:
            break
        time.sleep(PAUSE)
        again = interleaved(calls, turns)
        times = min(times, again, key=lambda measured: unrest(measured[FLOOR]))
    return Table(workload.name, workload.title, times, missing=missing, remarks=remarks)
