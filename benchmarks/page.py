"""The page: what was measured as tables, and beside it what we wanted to reach."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import CAPACITY, RATIOS, REACHED
from benchmarks.goals import GOALS
from benchmarks.libraries import LIBRARIES, OURS
from benchmarks.results import Report, Table, shown, spelled
from benchmarks.timing import FEW_TURNS
from benchmarks.workloads import FLOOR

NOTES = Path(__file__).parent / "notes.md"


def page(report: Report) -> str:
    """The whole document, notes included."""
    lines = [*_head(report.about)]
    for table in report.tables.values():
        lines += _shown(table)
    lines += _behind(report)
    lines += _goals(report)
    return "\n".join(lines) + "\n" + NOTES.read_text(encoding="utf-8")


def _head(about: dict[str, str]) -> list[str]:
    return [
        "# Benchmarks",
        "",
        "recollect beside its peers, each table in one process and all in one run. `make bench` "
        "makes this page again, on your machine; `make bench-compare BASE=old.json` says what has "
        "changed since.",
        "",
        f"- Measured on {about['date']}: {about['machine']}, {about['python']}.",
        f"- Versions: {about['versions']}.",
        "- Every library gets the same data and is driven as its documentation says. The libraries "
        f"take turns, {about['turns']} turns of about 20 ms each; a number is the median over "
        "turns of what a call takes, with the quartiles in brackets.",
        "- What is drawn is complete: obs, action, reward, next obs and how the step ended; a "
        "sequence holds every observation once. Stable-Baselines3 and TorchRL answer with torch "
        "tensors, Flashbax with JAX arrays, the others with NumPy arrays.",
        f"- *{FLOOR}* is the floor: copying as many bytes from random places of an array as "
        "large, and nothing else.",
        "- Where the quartiles of the plain copy lie more than a tenth of it apart, the machine "
        "had other things to do. The table is then measured again, up to three times, and the one "
        "counts whose plain copies lie closest together.",
        "- Bytes a step are measured in a process for each library, as what the system gave it. "
        "Reverb, which wants other versions of what it builds on, is measured there alone.",
        "- What is saved or loaded, processes that add at once, and loaders are timed once a "
        f"turn, in at most {FEW_TURNS} turns.",
        "- A memory is saved when it is on the disk: where a library leaves that to the system, it "
        "is waited for. It is loaded from the system's cache. There the floor is a file of as many "
        "bytes as ours.",
        "",
        f"![Each library beside ours, by workload]({RATIOS})",
        "",
        f"![Our cost by capacity and by number of episodes]({CAPACITY})",
        "",
    ]


def _shown(table: Table) -> Iterator[str]:
    yield f"## {table.title[0].upper()}{table.title[1:]}"
    yield ""
    beside = OURS in table.times
    yield f"| {table.column} | {table.unit} |" + (" beside ours | |" if beside else "")
    yield "|---|---:|" + ("---:|---|" if beside else "")
    for name, time in table.fastest_first:
        spelling = f"**{name}**" if name == OURS else spelled(name)
        ratio = table.beside_ours(name)
        ending = "" if ratio is None else f" {ratio:.2f} x | {table.remarks.get(name, '')} |"
        yield f"| {spelling} | {shown(time)} |{ending}"
    for name, reason in table.missing.items():
        yield f"| {spelled(name)} | - |" + (f" - | {reason} |" if beside else "")
    yield ""


def _behind(report: Report) -> Iterator[str]:
    yield "## Where a peer is ahead"
    yield ""
    for table in report.tables.values():
        ratios = [
            f"{spelled(name)} {ratio:.2f} x"
            for name, _ in table.fastest_first
            if name in LIBRARIES and (ratio := table.beside_ours(name)) is not None and ratio < 1
        ]
        if ratios:
            yield f"- {table.title}: {', '.join(ratios)}"
    yield ""


def _goals(report: Report) -> Iterator[str]:
    yield "## What we wanted to reach"
    yield ""
    yield f"![What was measured beside what was wanted]({REACHED})"
    yield ""
    yield "| goal | at most | measured |  |"
    yield "|---|---:|---:|---|"
    for goal in GOALS:
        ratio = goal.measured(report.tables)
        if ratio is not None:
            reached = "yes" if ratio <= goal.limit else "no"
            yield f"| {goal.title} | {goal.limit:.2f} | {ratio:.2f} | {reached} |"
    yield ""
