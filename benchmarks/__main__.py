"""`python -m benchmarks`: measures, prints the table, and writes docs/benchmarks.md."""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import os
import platform
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from benchmarks.timing import TURNS, Timing
from benchmarks.workloads import (
    FLOOR,
    LARGE,
    LIBRARIES,
    OURS,
    PARTS,
    SMALL,
    WORKLOADS,
    Result,
    measure,
    measure_capacity,
    measure_parts,
)

PACKAGES = {"stable_baselines3": "stable-baselines3"}
NOTES = Path(__file__).parent / "notes.md"
DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks")
    parser.add_argument("--scale", type=float, default=1.0, help="smaller memories, for a trial")
    parser.add_argument("--turns", type=int, default=TURNS, help="how often each is timed")
    parser.add_argument("--out", type=Path, default=DOCUMENT, help="where the page is written")
    options = parser.parse_args()
    logging.disable()  # torchrl tells of each storage it makes

    results = []
    for workload in WORKLOADS:
        print(f"\n{workload.title}", flush=True)
        result = measure(workload, options.scale, options.turns)
        results.append(result)
        for line in lines(result):
            print(line, flush=True)
    capacity = measure_capacity(options.scale, options.turns)
    parts = measure_parts(options.scale, options.turns)
    page = "\n".join([*_head(), *_tables(results), *_goals(results, capacity, parts)]) + "\n"
    options.out.write_text(page + NOTES.read_text(encoding="utf-8"), encoding="utf-8")
    print(f"\nwritten to {options.out}")


def lines(result: Result) -> Iterator[str]:
    """The result as plain text, fastest first."""
    ours = result.times[OURS].median
    for name, time in sorted(result.times.items(), key=lambda item: item[1].median):
        yield f"  {name:18}{time.median:10.2f} us  {time.median / ours:7.2f} x ours"
    for name, reason in result.missing.items():
        yield f"  {name:18}{'-':>10}     {reason}"


def _head() -> list[str]:
    versions = ", ".join(
        f"{library.replace('_', '-')} {_version(library)}" for library in LIBRARIES
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        "# Benchmarks",
        "",
        "recollect beside its peers, all in one process and one run. `make bench` makes this page "
        "again, on your machine.",
        "",
        f"- Measured on {date.today()}: {_processor()}, {cores} cores, {platform.system()}, "
        f"Python {platform.python_version()}, NumPy {_version('numpy')}.",
        f"- Versions: {versions}.",
        "- Every library gets the same data and is driven as its documentation says. The libraries "
        f"take turns, {TURNS} turns of about 20 ms each; a number is the median over turns in "
        "microseconds a call, with the quartiles in brackets.",
        "- What is drawn is complete: obs, action, reward, next obs and how the step ended. "
        "Stable-Baselines3 and TorchRL answer with torch tensors, Flashbax with JAX arrays, the "
        "others with NumPy arrays.",
        "- *plain copy* is the floor: copying as many bytes from random places of an array as "
        "large, and nothing else.",
        "",
    ]


def _tables(results: list[Result]) -> Iterator[str]:
    for result in results:
        ours = result.times[OURS].median
        yield f"## {result.workload.title[0].upper()}{result.workload.title[1:]}"
        yield ""
        yield "| library | microseconds | beside ours |"
        yield "|---|---:|---:|"
        for name, time in sorted(result.times.items(), key=lambda item: item[1].median):
            shown = f"**{name}**" if name == OURS else name.replace("_", "-")
            yield f"| {shown} | {_shown(time)} | {time.median / ours:.2f} x |"
        for name, reason in result.missing.items():
            yield f"| {name.replace('_', '-')} | - | {reason} |"
        yield ""


def _goals(
    results: list[Result], capacity: dict[str, Timing], parts: dict[str, Timing]
) -> Iterator[str]:
    times = {result.workload.name: result.times for result in results}
    yield "## Cost by capacity"
    yield ""
    yield "| 256 uniform transitions of | microseconds |"
    yield "|---|---:|"
    for name, time in capacity.items():
        yield f"| {name} | {_shown(time)} |"
    yield ""
    yield "## What our own parts cost"
    yield ""
    yield "Prioritized, Ranked and Mixture: draw 256 of HalfCheetah's shape and update all of them."
    yield ""
    yield "| part | microseconds |"
    yield "|---|---:|"
    for name, time in parts.items():
        yield f"| {name} | {_shown(time)} |"
    yield ""
    yield "## What we wanted to reach"
    yield ""
    yield "| goal | at most | measured |  |"
    yield "|---|---:|---:|---|"
    for title, limit, ratio in (*_ratios(times, capacity), *_ratios_of_parts(times, parts)):
        if ratio is not None:
            yield f"| {title} | {limit:.2f} | {ratio:.2f} | {'yes' if ratio <= limit else 'no'} |"
    yield ""


def _ratios(
    times: dict[str, dict[str, Timing]], capacity: dict[str, Timing]
) -> Iterator[tuple[str, float, float | None]]:
    def ratio(workload: str, other: str) -> float | None:
        here = times[workload]
        return here[OURS].median / here[other].median if other in here else None

    frames = times["sample_frames"]
    peers = [time.median for name, time in frames.items() if name not in (OURS, FLOOR)]
    yield "uniform transitions, beside rlox", 1.3, ratio("sample_vectors", "rlox")
    yield "uniform transitions, beside cpprb", 0.5, ratio("sample_vectors", "cpprb")
    single, several = times["sample_vectors"][OURS].median, times["sample_nstep"][OURS].median
    yield "three-step returns, beside our single step", 2.0, several / single
    yield "stacked frames, beside the plain copy", 1.4, ratio("sample_frames", FLOOR)
    if peers:
        yield "stacked frames, beside the best peer", 1.0, frames[OURS].median / min(peers)
    yield "add one, beside Stable-Baselines3", 1.5, ratio("add_one", "stable_baselines3")
    yield "add sixteen, beside cpprb", 1.5, ratio("add_sixteen", "cpprb")
    yield "the usual loop, beside Stable-Baselines3", 0.6, ratio("loop", "stable_baselines3")
    yield "10 M rows, beside 100 k rows", 2.0, capacity[LARGE].median / capacity[SMALL].median


def _ratios_of_parts(
    times: dict[str, dict[str, Timing]], parts: dict[str, Timing]
) -> Iterator[tuple[str, float, float | None]]:
    here = times["prioritized"]
    peers = [time.median for name, time in here.items() if name != OURS]
    if peers:
        yield "prioritized, beside the best peer", 0.45, here[OURS].median / min(peers)
    few, million, many, ranked, mixture, alone, fifo, *others = (parts[n].median for n in PARTS)
    yield "prioritized, 10 M rows beside 100 k", 2.5, many / few
    yield "ranked, beside prioritized", 2.0, ranked / million
    yield "mixture, beside its parts one after the other", 1.3, mixture / alone
    for name, time in zip(("reservoir", "balanced", "lowest dropped"), others, strict=True):
        yield f"offer 5, {name}, beside first in, first out", 3.0, time / fifo


def _shown(time: Timing) -> str:
    digits = 2 if time.median < 10 else 1
    return f"{time.median:.{digits}f} ({time.low:.{digits}f} to {time.high:.{digits}f})"


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(PACKAGES.get(library, library))
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
