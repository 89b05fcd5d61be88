"""What was measured, as it is printed, drawn, compared and kept as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.libraries import LIBRARIES, OURS
from benchmarks.timing import Timing

PACKAGES = {"stable_baselines3": "stable-baselines3"}
"""Where a library's package has another name."""


@dataclass(frozen=True)
class Table:
    """One thing that was measured, for each library or for each of our own parts."""

    name: str
    title: str
    times: dict[str, Timing]
    """By library or part."""
    unit: str = "microseconds"
    column: str = "library"
    """What the rows are."""
    missing: dict[str, str] = field(default_factory=dict)
    """Why a library is not in `times`."""
    remarks: dict[str, str] = field(default_factory=dict)
    """What is to be known about a row."""
    points: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Of a cost that is drawn as lines: each row's line and its place on the axis."""

    @property
    def fastest_first(self) -> list[tuple[str, Timing]]:
        """The rows, ordered where they are libraries; parts stay as they are."""
        rows = list(self.times.items())
        return rows if self.points or OURS not in self.times else sorted(rows, key=_median)

    def beside_ours(self, name: str) -> float | None:
        """How many times what ours takes, if ours is there."""
        ours = self.times.get(OURS)
        return self.times[name].median / ours.median if ours else None

    def lines(self) -> Iterator[str]:
        """As plain text."""
        yield self.title
        for name, time in self.fastest_first:
            ratio = self.beside_ours(name)
            beside = "" if ratio is None else f"  {ratio:7.2f} x ours"
            yield f"  {name:58}{shown(time):>28}{beside}"
        for name, reason in self.missing.items():
            yield f"  {name:58}{'-':>28}  {reason}"


@dataclass(frozen=True)
class Report:
    """A whole run."""

    about: dict[str, str]
    tables: dict[str, Table]

    def save(self, path: Path) -> None:
        """Writes JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Report:
        """Reads what `save` wrote."""
        stored = json.loads(path.read_text(encoding="utf-8"))
        tables = {name: _table(values) for name, values in stored["tables"].items()}
        return cls(stored["about"], tables)


def about(turns: int, scale: float) -> dict[str, str]:
    """When, where and with what a run was made."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "date": str(date.today()),
        "machine": f"{_processor()}, {cores} cores, {platform.system()}",
        "python": f"Python {platform.python_version()}, NumPy {_version('numpy')}",
        "versions": ", ".join(f"{spelled(library)} {_version(library)}" for library in LIBRARIES),
        "turns": str(turns),
        "scale": str(scale),
    }


def shown(time: Timing) -> str:
    """The median and the quartiles, to three figures."""
    if time.low == time.high:
        return _figures(time.median)
    return f"{_figures(time.median)} ({_figures(time.low)} to {_figures(time.high)})"


def spelled(library: str) -> str:
    """The library's name as its authors write it."""
    return library.replace("_", "-")


def _figures(value: float) -> str:
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 1000 else 0
    return f"{value:,.{digits}f}"


def _median(row: tuple[str, Timing]) -> float:
    return row[1].median


def _table(values: dict[str, Any]) -> Table:
    values["times"] = {name: Timing(**time) for name, time in values["times"].items()}
    values["points"] = {name: (line, at) for name, (line, at) in values["points"].items()}
    return Table(**values)


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
