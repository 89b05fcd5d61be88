"""Pictures of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure  # not pyplot: no window, and no state shared with the caller
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, NullFormatter

from recollect.errors import ConfigurationError
from recollect.learners.runs import Interval

Points = Sequence[tuple[int, float]]
"""(step, value) pairs, in order."""

WINDOW = 20
"""Episodes in the moving average."""

SMOOTH = 5
"""Evaluations in the moving average."""

BLUE, ORANGE = "#0b5394", "#f0871f"
"""Told apart by everyone, and in grey: one is dark, the other is light."""

PALETTE = (BLUE, ORANGE, "#2a9d8f", "#8e4585", "#6b6b6b", "#c9a800")
STYLES = ("-", (0, (5, 1.5)), "-.", ":")

GREY = "0.45"


def learning_curve(
    path: Path, title: str, episodes: Points, evaluations: Points, losses: Points = ()
) -> None:
    """Saves a PNG: above, the return of each episode, its moving average, and the greedy
    evaluations; below, if there are any, the losses.
    """
    panels = 2 if losses else 1
    figure = Figure(figsize=(8, 4.5 if panels == 1 else 5.6), dpi=150, layout="constrained")
    ratios = [3, 1.2][:panels]
    grid = figure.subplots(panels, sharex=True, squeeze=False, height_ratios=ratios)
    above = grid[0, 0]
    if episodes:
        steps, returns = np.array(episodes, dtype=float).T
        window = min(WINDOW, len(returns))
        average = np.convolve(returns, np.ones(window) / window, mode="valid")
        above.plot(
            steps, returns, color=BLUE, alpha=0.3, linewidth=0, marker=".", markersize=4,
            markeredgewidth=0, label="training episode",
        )  # fmt: skip
        label = f"mean of the last {window} episodes"
        above.plot(steps[window - 1 :], average, color=BLUE, linewidth=2, label=label)
    if evaluations:
        steps, scores = np.array(evaluations, dtype=float).T
        above.plot(
            steps, scores, color=ORANGE, linestyle=(0, (1, 1.5)), linewidth=1.2, marker="o",
            markersize=5.5, markeredgecolor="white", markeredgewidth=0.8, label="greedy evaluation",
        )  # fmt: skip
    above.set_title(title, loc="left", fontweight="bold", pad=24)
    _dress(above, "return")
    if episodes or evaluations:
        # above the panel, where no curve can pass
        above.legend(
            frameon=False, loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=3, borderaxespad=0.1,
            fontsize=9, handlelength=1.4, columnspacing=1.4, handletextpad=0.4,
        )  # fmt: skip
    if losses:
        below = grid[1, 0]
        below.plot(*np.array(losses, dtype=float).T, color=GREY, linewidth=0.9)
        _dress(below, "loss")
        least, most = min(loss for _, loss in losses), max(loss for _, loss in losses)
        if most > 30 * least > 0:
            below.set_yscale("log")
            below.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            below.yaxis.set_minor_formatter(NullFormatter())
        else:
            _from_zero(below)
    grid[-1, 0].set_xlabel("steps")
    _save(figure, path)


@dataclass(frozen=True)
class Curve:
    """What one group of runs, equal but for their seeds, has reached, and how to draw it."""

    label: str
    runs: Sequence[Points]
    """The evaluations of each run."""
    color: str
    style: str | tuple[int, tuple[float, ...]] = "-"

    def intervals(self) -> tuple[list[int], list[Interval]]:
        """The mean over the runs and its interval, at the steps at which all of them have some.

        Each run is smoothed first: what counts is the mean of its last `SMOOTH` evaluations.
        """
        tables = [dict(smoothed(run)) for run in self.runs]
        steps = sorted(set.intersection(*(set(table) for table in tables)))
        return steps, [Interval.of([table[step] for table in tables]) for step in steps]

    @property
    def ink(self) -> tuple[float, float, float]:
        """The colour, dark enough to be read as text."""
        red, green, blue = to_rgb(self.color)
        return 0.72 * red, 0.72 * green, 0.72 * blue


def smoothed(run: Points) -> list[tuple[int, float]]:
    """The mean of the last `SMOOTH` values, or of as many as there are."""
    values = [value for _, value in run]
    windows = (values[max(end - SMOOTH, 0) : end] for end in range(1, len(values) + 1))
    means = (sum(window) / len(window) for window in windows)
    return [(step, mean) for (step, _), mean in zip(run, means, strict=True)]


def comparison(path: Path, title: str, subtitle: str, curves: Sequence[Curve]) -> None:
    """Saves a picture of all curves, each with its name at its end and its 95 % interval.

    Raises:
        ConfigurationError: the path's ending names no format for pictures.
    """
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    ends = [_draw(axes, curve) for curve in curves]
    _title(axes, title, subtitle)
    _dress(axes, "return")
    _limit(axes, curves)
    axes.set_xlabel("steps")
    low, high = axes.get_ylim()
    places = _apart([(end - low) / (high - low) for end in ends], gap=0.075)
    for curve, place in zip(curves, places, strict=True):
        axes.text(
            1.01, place, curve.label, color=curve.ink, transform=axes.transAxes, va="center",
            fontsize=11, fontweight="bold", linespacing=1.1,
        )  # fmt: skip
    _save(figure, path)


def factorial(
    path: Path,
    title: str,
    caption: str,
    rows: Sequence[tuple[str, Sequence[Curve], Sequence[Sequence[float]]]],
) -> None:
    """Saves a picture with a row for each environment: learning curves, and scores.

    Args:
        path: of the PNG.
        title: of the whole.
        caption: what is seen, in small letters below.
        rows: the environment's name, its curves, and for each curve the score of each run. The
            scores' panel names the curves, so it is the legend as well.
    """
    layout = ConstrainedLayoutEngine(h_pad=0.1)
    figure = Figure(figsize=(9, 3.1 * len(rows) + 1.0), dpi=150, layout=layout)
    grid = figure.subplots(len(rows), 2, squeeze=False, width_ratios=[1.6, 1])
    for (name, curves, scores), (left, right) in zip(rows, grid, strict=True):
        for curve in curves:
            _draw(left, curve)
        _title(left, name)
        _dress(left, "return")
        _limit(left, curves)
        left.set_xlabel("steps")
        _scores(right, curves, scores)
    figure.suptitle(title, x=0.008, ha="left", fontweight="bold", fontsize=13)
    figure.supxlabel(caption, x=0.008, ha="left", fontsize=8.5, color=GREY)
    _save(figure, path)


def _scores(axes: Axes, curves: Sequence[Curve], scores: Sequence[Sequence[float]]) -> None:
    for row, (curve, values) in enumerate(zip(curves, scores, strict=True)):
        mean, half = Interval.of(values)
        axes.plot(
            values, [row + 0.28] * len(values), color=curve.color, alpha=0.5, marker="o",
            linewidth=0, markersize=4.5, markeredgewidth=0,
        )  # fmt: skip
        if len(values) > 1:
            axes.plot(
                [mean - half, mean + half], [row] * 2, color=curve.color, linewidth=2,
                linestyle=curve.style,
            )  # fmt: skip
        axes.plot(
            mean, row, color=curve.color, marker="D", markersize=6.5, markeredgewidth=1.5,
            markerfacecolor=curve.color if curve.style == "-" else "white",
        )  # fmt: skip
        axes.annotate(
            _short(mean), (mean, row), (0, 7), textcoords="offset points", ha="center",
            fontsize=9, fontweight="bold", color=curve.ink,
        )  # fmt: skip
    axes.set_ylim(len(curves) - 0.4, -0.6)
    labels = [curve.label.replace(" target", "\ntarget") for curve in curves]
    axes.set_yticks(range(len(curves)), labels, fontsize=9.5)
    for label, curve in zip(axes.get_yticklabels(), curves, strict=True):
        label.set_color(curve.ink)
        label.set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(lambda score, _: _short(score))
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    reached = [value for values in scores for value in values]
    low, high = _span(reached, margin=0.12)
    axes.set_xlim(min(0, low) if min(reached) >= 0 else low, high)
    axes.set_xlabel("score")


def _draw(axes: Axes, curve: Curve) -> float:
    """Draws a curve with its band, and returns the height at which it ends."""
    steps, intervals = curve.intervals()
    means, halves = np.array(intervals).T
    if len(curve.runs) > 1:
        axes.fill_between(
            steps, means - halves, means + halves, color=curve.color, alpha=0.16, linewidth=0
        )
    else:
        axes.plot(
            *np.array(curve.runs[0], dtype=float).T, color=curve.color, alpha=0.45, linewidth=0.7,
            marker="o", markersize=4, markeredgewidth=0,
        )  # fmt: skip
    marker = "o" if len(steps) == 1 else ""
    axes.plot(steps, means, color=curve.color, linestyle=curve.style, linewidth=2.2, marker=marker)
    return float(means[-1])


def _title(axes: Axes, title: str, subtitle: str = "") -> None:
    axes.set_title(title, loc="left", fontweight="bold", pad=8 + 12 * len(subtitle.splitlines()))
    if subtitle:
        axes.annotate(
            subtitle, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points",
            fontsize=9, color=GREY,
        )  # fmt: skip


def _dress(axes: Axes, what: str) -> None:
    axes.set_ylabel(what)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(lambda value, _: _short(value))
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)


def _short(value: float) -> str:
    """As many digits as say something: 12,345, 123.4 as 123, 12.3, 1.23."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}"


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """The places, moved apart where two are closer than `gap`, as little as may be."""
    moved = list(places)
    order = sorted(range(len(moved)), key=moved.__getitem__)
    for _ in range(100):
        for below, above in pairwise(order):
            lacking = gap - (moved[above] - moved[below])
            if lacking > 1e-6:
                moved[below] -= lacking / 2
                moved[above] += lacking / 2
    return moved


def _save(figure: Figure, path: Path) -> None:
    endings = figure.canvas.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in endings:
        known = ", ".join(f".{ending}" for ending in ("png", "svg", "pdf"))
        raise ConfigurationError(f"cannot draw {path}: its name must end in {known}")
    figure.savefig(path)


def _limit(axes: Axes, curves: Sequence[Curve]) -> None:
    """Shows what the runs have reached; of two or three seeds, intervals go far beyond that."""
    values = [
        value
        for curve in curves
        for run in curve.runs
        for _, value in (run if len(curve.runs) == 1 else smoothed(run))
    ]
    low, high = _span(values, margin=0.05)
    axes.set_ylim(0 if min(values) >= 0 else low, high)


def _span(values: Sequence[float], margin: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    beyond = margin * ((high - low) or abs(high) or 1)
    return low - beyond, high + beyond


def _from_zero(axes: Axes) -> None:
    """Returns that are never negative are best judged from zero."""
    if axes.dataLim.ymin >= 0:
        axes.set_ylim(bottom=0)
