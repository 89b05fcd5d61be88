"""Processes that add to one directory at once, each to a stream of its own.

What they add is numbered, and when all are done it is looked at: nothing may be lost.

`python -m benchmarks.actors PATH STREAM STEPS` is one of them. It says that it is ready, begins
when it is told to, and prints when it began and when it was done.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.libraries import OURS
from benchmarks.results import Table
from benchmarks.saved import remove
from benchmarks.timing import FEW_TURNS, TURNS, spread

STEPS = 100_000
"""Of each; their numbers must be exact as 32-bit floats."""

ONE, FOUR = "one process", "four processes"
PROCESSES = {ONE: 1, FOUR: 4}

ROOT = Path(__file__).parent.parent


def actors(scale: float = 1.0, turns: int = TURNS, *, folder: Path) -> Table:
    """Microseconds for each step, over all processes.

    Args:
        folder: where the directories are; it is left as it was found.

    Raises:
        RuntimeError: a step is missing, or not as it was added.
    """
    steps = max(int(STEPS * scale), 100)
    taken: dict[str, list[float]] = {name: [] for name in PROCESSES}
    for turn in range(min(turns, FEW_TURNS)):
        for name, count in PROCESSES.items():
            path = folder / f"{name}-{turn}"
            taken[name].append(added(path, count, steps) / (count * steps) * 1e6)
            remove(path)
    times = {name: spread(values) for name, values in taken.items()}
    title = "adding a step (HalfCheetah) to a directory, by how many processes add at once"
    return Table("actors", title, times, column="who adds, each to its own stream")


def added(path: Path, count: int, steps: int) -> float:
    """Seconds from when the first process begins until the last one is done."""
    rc = importlib.import_module("recollect")
    ours = importlib.import_module(f"benchmarks.libraries.{OURS}")
    rows = steps + -(-steps // data.EPISODE) + 1
    with ExitStack() as opened:
        store = rc.Directory(path)
        memory = opened.enter_context(
            rc.Memory(ours.VECTORS, count * rows, streams=count, store=store)
        )
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.actors", str(path)]
        processes: list[Any] = [
            opened.enter_context(
                subprocess.Popen(
                    [*command, str(stream), str(steps)],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for stream in range(count)
        ]
        for process in processes:
            _line(process)
        for process in processes:
            process.stdin.write("begin\n")
            process.stdin.flush()
        begun, done = np.array([_line(process).split() for process in processes], float).T
        check(memory, count, steps)
    return float(done.max() - begun.min())


def _line(process: Any) -> str:
    """The next one that it prints."""
    line: str = process.stdout.readline()
    if not line:
        raise RuntimeError(f"an actor ended with {process.wait()}")
    return line


def check(memory: Any, count: int, steps: int) -> None:
    """Raises where a stream does not hold the steps 0, 1, 2, ... up to so many."""
    for stream in range(count):
        held = [each["reward"] for each in memory.episodes if each.stream == stream]
        numbers = np.concatenate(held) if held else np.zeros(0)
        if not np.array_equal(numbers, np.arange(steps)):
            raise RuntimeError(
                f"stream {stream}: {steps} steps were added, {len(numbers)} are held"
            )


def add(path: str, stream: int, steps: int) -> None:
    """What one process does."""
    rc = importlib.import_module("recollect")
    episode = data.vectors(data.EPISODE)
    del episode["reward"]
    each = [{name: values[t] for name, values in episode.items()} for t in range(data.EPISODE)]
    with rc.open(path, stream=stream) as writer:
        print("ready", flush=True)
        sys.stdin.readline()
        begun = time.monotonic()
        for step in range(steps):
            writer.add(reward=float(step), **each[step % data.EPISODE])
        print(begun, time.monotonic(), flush=True)


if __name__ == "__main__":
    add(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
