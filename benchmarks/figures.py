"""The pictures beside the tables."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks.goals import GOALS
from benchmarks.libraries import LIBRARIES, OURS
from benchmarks.results import Report, Table, spelled
from benchmarks.workloads import FLOOR

RATIOS = "figures/benchmark-ratios.png"
CAPACITY = "figures/benchmark-costs.png"
REACHED = "figures/benchmark-goals.png"
"""Beside the page."""

INK, GRID = "#333333", "#dddddd"
ACCENT, PEER, BARE, MISSED = "#0b6e4f", "#9aa5b1", "#e0c36a", "#c8553d"
LINES = (ACCENT, MISSED, "#3d6cb9")
COLUMNS = 3
MOST_BARS = len(LIBRARIES) + 2
WIDTH = 12.0
FARTHEST = 20.0
"""What lies farther from a limit is drawn as an arrow."""


def draw(report: Report, folder: Path) -> None:
    """Writes the pictures below the folder of the page."""
    matplotlib.use("Agg")
    (folder / RATIOS).parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"font.size": 9, "text.color": INK, "axes.edgecolor": GRID}):
        _ratios(report).savefig(folder / RATIOS, dpi=110)
        _costs(report).savefig(folder / CAPACITY, dpi=110)
        _reached(report).savefig(folder / REACHED, dpi=110)


def _ratios(report: Report) -> Any:
    """Small charts, one for each workload, of each library's cost as a multiple of ours."""
    from matplotlib.figure import Figure

    tables = [table for table in report.tables.values() if OURS in table.times]
    rows = -(-len(tables) // COLUMNS)
    figure = Figure(figsize=(WIDTH, 2.2 * rows + 0.5), layout="constrained")
    charts = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    ratios = [table.beside_ours(name) or 1.0 for table in tables for name in table.times]
    for chart, table in zip(charts, tables, strict=False):
        _bars(chart, table)
        # the same scale in all, with room for the numbers at the ends of the bars
        chart.set_xlim(min(ratios, default=1) / 6, max(ratios, default=1) * 6)
    for chart in charts[len(tables) :]:
        chart.set_visible(False)
    figure.suptitle("Cost beside ours: to the left cheaper, to the right dearer (logarithmic)")
    return figure


def _bars(chart: Any, table: Table) -> None:
    names = [name for name, _ in table.fastest_first][::-1]
    for place, name in enumerate(names):
        ratio = table.beside_ours(name) or 1.0
        color = BARE if name == FLOOR else PEER
        chart.barh(place, ratio - 1, left=1, color=color, height=0.7)
        chart.annotate(
            f"{ratio:.2f}",
            (ratio, place),
            (4 if ratio >= 1 else -4, 0),
            textcoords="offset points",
            ha="left" if ratio >= 1 else "right",
            va="center",
            fontsize=8,
        )
    chart.set_xscale("log")
    chart.axvline(1, color=ACCENT, linewidth=2)
    chart.set_yticks(range(len(names)), [spelled(name) for name in names])
    for label, name in zip(chart.get_yticklabels(), names, strict=True):
        if name.startswith(OURS):
            label.set(color=ACCENT, fontweight="bold")
    chart.set_ylim(len(names) - MOST_BARS - 0.5, len(names) - 0.5)
    chart.set_title(textwrap.fill(table.title, 40), fontsize=9, loc="left")
    _bare(chart)
    chart.spines["bottom"].set_visible(False)
    chart.tick_params(axis="x", labelbottom=False)


def _costs(report: Report) -> Any:
    """Lines of what a draw costs us, by capacity and by number of episodes."""
    from matplotlib.figure import Figure

    tables = [table for table in report.tables.values() if table.points]
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    charts = figure.subplots(1, max(len(tables), 1), squeeze=False).ravel()
    for chart, table in zip(charts, tables, strict=False):
        _lines(chart, table)
    return figure


def _lines(chart: Any, table: Table) -> None:
    kinds = dict.fromkeys(line for line, _ in table.points.values())
    for color, kind in zip(LINES, kinds, strict=False):
        measured = [
            (place, table.times[row]) for row, (line, place) in table.points.items() if line == kind
        ]
        places = [place for place, _ in measured]
        chart.plot(
            places, [time.median for _, time in measured], color=color, marker="o", ms=4, label=kind
        )
        chart.fill_between(
            places,
            [time.low for _, time in measured],
            [time.high for _, time in measured],
            color=color,
            alpha=0.2,
            linewidth=0,
        )
    sizes = sorted({place for _, place in table.points.values()})
    chart.set_xscale("log")
    chart.set_xticks(sizes, [_short(size) for size in sizes])
    chart.set_ylim(bottom=0)
    chart.legend(
        frameon=False,
        labelcolor="linecolor",
        loc="upper left",
        bbox_to_anchor=(0, -0.08),
        ncols=2,
    )
    chart.set_ylabel(table.unit)
    chart.set_title(table.title, fontsize=10, loc="left")
    _bare(chart)
    chart.grid(axis="y", color=GRID, linewidth=0.6)


def _reached(report: Report) -> Any:
    """A line for each goal that was measured: how far from its limit, on which side."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    measured = [(goal, goal.measured(report.tables)) for goal in GOALS]
    shares = [(goal, value / goal.limit) for goal, value in measured if value is not None][::-1]
    figure = Figure(figsize=(WIDTH, 0.21 * len(shares) + 0.8), layout="constrained")
    chart = figure.subplots()
    for place, (_, share) in enumerate(shares):
        color = ACCENT if share <= 1 else MISSED
        shown = min(max(share, 1 / FARTHEST), FARTHEST)
        marker = "o" if shown == share else "<" if share < 1 else ">"
        chart.plot((1, shown), (place, place), color=color, linewidth=1.5)
        chart.plot(shown, place, marker, color=color, ms=5)
    chart.axvline(1, color=INK, linewidth=1)
    chart.set_xscale("log")
    chart.set_xlim(1 / FARTHEST / 1.2, FARTHEST * 1.2)
    chart.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} x"))
    chart.grid(axis="x", color=GRID, linewidth=0.6)
    chart.set_yticks(range(len(shares)), [goal.title.replace("`", "") for goal, _ in shares])
    chart.set_ylim(-0.8, len(shares) - 0.2)
    missed = sum(share > 1 for _, share in shares)
    chart.set_title(
        f"Measured beside the limit: {len(shares) - missed} goals reached, {missed} not "
        "(to the left better, logarithmic)",
        fontsize=10,
        loc="left",
    )
    _bare(chart)
    return figure


def _short(size: float) -> str:
    """10000 as 10 k."""
    for unit, factor in (("M", 10**6), ("k", 1_000)):
        if size >= factor:
            return f"{size / factor:g} {unit}"
    return f"{size:g}"


def _bare(chart: Any) -> None:
    for side in ("top", "right", "left"):
        chart.spines[side].set_visible(False)
    chart.tick_params(which="both", length=0)
