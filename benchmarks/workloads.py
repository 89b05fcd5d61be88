"""What is measured: each workload with its libraries, its floor, and what we want to reach."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks import data
from benchmarks.timing import TURNS, Timing, interleaved

LIBRARIES = (
    "recollect",
    "cpprb",
    "stable_baselines3",
    "tianshou",
    "torchrl",
    "flashbax",
    "rlox",
)
OURS = LIBRARIES[0]
FLOOR = "plain copy"
PARTS = (
    "Prioritized, 100 k rows",
    "Prioritized, 1 M rows",
    "Prioritized, 10 M rows",
    "Ranked, 1 M rows",
    "Mixture of Uniform and Prioritized, 128 of each",
    "Uniform and Prioritized, 128 of each, one after the other",
    "offer 5 to a full Fifo of 100 k",
    "offer 5 to a full Reservoir of 100 k",
    "offer 5 to a full Balanced of 100 k, 10 labels",
    "offer 5 to a full DropLowest of 100 k",
)
LARGE, SMALL = "10 M rows", "100 k rows"


@dataclass(frozen=True)
class Workload:
    """One line of the table."""

    name: str
    title: str
    rows: int
    floor: Callable[[int], Callable[[], object]] | None = None


def copy_of_frames(rows: int) -> Callable[[], object]:
    """Copies as many bytes as 32 transitions of stacked frames are, from random places."""
    source = np.empty((rows, *data.FRAME), np.uint8)
    source[:] = data.frames(0)
    rng = np.random.default_rng(0)

    def copy() -> object:
        begins = rng.integers(0, rows - data.STACK, 64)
        result = np.empty((64, data.STACK, *data.FRAME), np.uint8)
        for place, begin in enumerate(begins):
            result[place] = source[begin : begin + data.STACK]
        return result

    return copy


WORKLOADS = (
    Workload("sample_vectors", "256 uniform transitions of 1 M (HalfCheetah)", 1_000_000),
    Workload("sample_nstep", "256 three-step returns of 1 M (HalfCheetah)", 1_000_000),
    Workload(
        "sample_frames",
        "32 transitions of 4 stacked frames of 100 k (Atari)",
        100_000,
        copy_of_frames,
    ),
    Workload("prioritized", "draw and update 256 prioritized of 1 M (HalfCheetah)", 1_000_000),
    Workload("add_one", "add one step (HalfCheetah)", 1_000_000),
    Workload("add_sixteen", "add sixteen steps at once (HalfCheetah)", 1_000_000),
    Workload("loop", "add one step and draw 256 of 1 M (HalfCheetah)", 1_000_000),
)


@dataclass(frozen=True)
class Result:
    """One workload, measured."""

    workload: Workload
    times: dict[str, Timing]
    missing: dict[str, str]
    """Why a library is not in `times`."""


def measure(workload: Workload, scale: float = 1.0, turns: int = TURNS) -> Result:
    """Times every library that offers the workload, taking turns.

    Args:
        scale: makes the memories smaller, to try the benchmark itself.
        turns: how often each library is timed.
    """
    rows = max(int(workload.rows * scale) // 16_000, 1) * 16_000
    calls: dict[str, Callable[[], object]] = {}
    missing: dict[str, str] = {}
    for library in LIBRARIES:
        try:
            module = importlib.import_module(f"benchmarks.libraries.{library}")
        except ImportError as error:
            missing[library] = f"not installed: {error}"
            continue
        reason = getattr(module, "NOT_OFFERED", {}).get(workload.name)
        if reason:
            missing[library] = reason
        else:
            calls[library] = getattr(module, workload.name)(rows)
    if workload.floor:
        calls[FLOOR] = workload.floor(rows)
    return Result(workload, interleaved(calls, turns), missing)


def measure_parts(scale: float = 1.0, turns: int = TURNS) -> dict[str, Timing]:
    """What our own parts cost, one beside the other; the keys are `PARTS`."""
    ours = importlib.import_module(f"benchmarks.libraries.{OURS}")
    rc = importlib.import_module("recollect")
    million, few = int(1_000_000 * scale), int(100_000 * scale)
    calls = [
        ours.prioritized(few),
        ours.prioritized(million),
        ours.prioritized(10 * million),
        ours.ranked(million),
        ours.mixture(million),
        ours.parts_of_mixture(million),
        ours.offer_five(few, rc.Fifo()),
        ours.offer_five(few, rc.Reservoir()),
        ours.offer_five(few, rc.Balanced(by="label")),
        ours.offer_five(few, rc.DropLowest()),
    ]
    return interleaved(dict(zip(PARTS, calls, strict=True)), turns)


def measure_capacity(scale: float = 1.0, turns: int = TURNS) -> dict[str, Timing]:
    """What a draw of 256 transitions costs us, by capacity."""
    ours = importlib.import_module(f"benchmarks.libraries.{OURS}")
    rows = {SMALL: int(100_000 * scale), LARGE: int(10_000_000 * scale)}
    calls = {name: ours.sample_vectors(count) for name, count in rows.items()}
    return interleaved(calls, turns)
