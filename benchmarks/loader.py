"""What a loader saves, on Atari's shapes: 4 stacked frames of 84 x 84.

Waiting is the share of a loop's time that goes into asking for batches, its training step being
2 ms of matrix products on one thread.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from benchmarks import data
from benchmarks.libraries import OURS
from benchmarks.results import Table
from benchmarks.timing import FEW_TURNS, TURNS, spread

ROWS = 100_000
STEP = 0.002
"""Seconds of a training step."""
SMALL, LARGE = 32, 512
"""Transitions in a batch."""
SECONDS = 1.0
"""Of each turn: a loader needs some batches to get going."""

PLAIN, ONE, TWO = "sample", "loader, one thread", "loader, two threads"
DETERMINISTIC = f"{TWO}, deterministic"

Next = Callable[[], object]


def waiting(scale: float = 1.0, turns: int = TURNS) -> Table:
    """The share of the time, in percent."""
    torch = importlib.import_module("torch")
    used = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        step = training_step(torch)
        times = _measured(
            scale, turns, SMALL, lambda batches, seconds: 100 * waited(batches, step, seconds)
        )
    finally:
        torch.set_num_threads(used)
    title = f"waiting for {SMALL} transitions, beside training steps of {STEP * 1e3:g} ms (Atari)"
    return Table("waiting", title, times, "% of the time", "who makes the batches")


def throughput(scale: float = 1.0, turns: int = TURNS) -> Table:
    """Microseconds that a batch takes, where nothing else is to be done."""
    times = _measured(scale, turns, LARGE, lambda batches, seconds: 1e6 * each(batches, seconds))
    title = f"{LARGE} transitions, one batch after the other (Atari)"
    return Table("throughput", title, times, column="who makes the batches")


def _measured(
    scale: float, turns: int, size: int, measure: Callable[[Next, float], float]
) -> dict[str, Any]:
    ours = importlib.import_module(f"benchmarks.libraries.{OURS}")
    memory = ours.stored_frames(max(int(ROWS * scale), 1_000), [data.frames(data.EPISODE)])
    taken: dict[str, list[float]] = {}
    for _ in range(min(turns, FEW_TURNS)):
        for name, source in sources(memory, size).items():
            with source as batches:
                taken.setdefault(name, []).append(measure(batches, max(SECONDS * scale, 0.01)))
    return {name: spread(values) for name, values in taken.items()}


def sources(memory: Any, size: int) -> dict[str, AbstractContextManager[Next]]:
    """What gives batches, by name: each a context manager around a function."""

    @contextmanager
    def plain() -> Iterator[Next]:
        yield lambda: memory.sample(size)

    @contextmanager
    def loader(threads: int, deterministic: bool) -> Iterator[Next]:
        with memory.loader(size, threads=threads, deterministic=deterministic) as loader:
            yield loader.__next__

    return {
        PLAIN: plain(),
        ONE: loader(1, False),
        TWO: loader(2, False),
        DETERMINISTIC: loader(2, True),
    }


def training_step(torch: Any) -> Next:
    """Matrix products, which let other threads run, for as long as a training step takes."""
    a, b = torch.randn(256, 256), torch.randn(256, 256)

    def step() -> None:
        end = time.perf_counter() + STEP
        while time.perf_counter() < end:
            torch.mm(a, b)

    return step


def waited(batches: Next, step: Next, seconds: float) -> float:
    """The share of the time that goes into asking for batches."""
    for _ in range(10):
        batches()
        step()
    waited, begun = 0.0, time.perf_counter()
    while (now := time.perf_counter()) < begun + seconds:
        batches()
        waited += time.perf_counter() - now
        step()
    return waited / (time.perf_counter() - begun)


def each(batches: Next, seconds: float) -> float:
    """Seconds that a batch takes, each let go before the next is asked for."""
    for _ in range(10):
        batches()
    count, begun = 0, time.perf_counter()
    while time.perf_counter() < begun + seconds:
        batches()
        count += 1
    return (time.perf_counter() - begun) / count
