"""Pictures of what a classifier still knows after each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from recollect.learners.plots import BLUE, GREY, PALETTE, STYLES
from recollect.learners.rehearsal import average_accuracy
from recollect.learners.runs import Interval

COLORS = (*PALETTE, "black")

Matrix = NDArray[np.float64]
"""(T, T): accuracy after each task (row) on each task (column), NaN on those not met yet."""


def one_run(path: Path, title: str, accuracy: Matrix, tasks: Sequence[str]) -> None:
    """Saves a PNG: the accuracy matrix of a run, and its mean over the tasks so far.

    Args:
        path: of the PNG.
        title: of the whole.
        accuracy: of the tasks that were finished.
        tasks: their names.
    """
    figure = Figure(figsize=(9, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
    _matrix(left, accuracy, tasks)
    _curve(right, "", [accuracy], BLUE, "-")
    _dress_curves(right, len(tasks))
    right.set_title("mean over the tasks so far", loc="left", fontsize=11)
    figure.suptitle(title, x=0.008, ha="left", fontweight="bold", fontsize=13)
    figure.savefig(path)


def methods(
    path: Path,
    title: str,
    caption: str,
    results: Mapping[str, Sequence[Matrix]],
    tasks: Sequence[str],
) -> None:
    """Saves a PNG: the average accuracy of each method, and the accuracy matrix of each.

    Args:
        path: of the PNG.
        title: of the whole.
        caption: what is seen, in small letters below.
        results: by method's name, the accuracy matrix of each run.
        tasks: their names.
    """
    columns = 4
    rows = -(-len(results) // columns)
    height = 3.6 + 2.55 * rows
    figure = Figure(figsize=(11, height + 0.9), dpi=150, layout="constrained")
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.6, 2.55 * rows])
    above, below = parts[:, 0]
    left, right = above.subplots(1, 2, width_ratios=[1.25, 1])
    for index, (name, runs) in enumerate(results.items()):
        color = COLORS[index % len(COLORS)]
        _curve(left, name, runs, color, STYLES[index % len(STYLES)])
        _final(right, index, runs, color)
    _dress_curves(left, len(tasks))
    left.set_title("mean over the tasks so far", loc="left", fontsize=11)
    left.legend(frameon=False, fontsize=9, handlelength=2.8, loc="lower left")
    _dress_final(right, list(results))
    grid = below.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, runs) in zip(grid, results.items(), strict=False):
        _matrix(axes, np.mean(runs, axis=0), tasks, name)
    for axes in grid[len(results) :]:
        axes.set_axis_off()
    figure.suptitle(title, x=0.008, ha="left", fontweight="bold", fontsize=13)
    figure.supxlabel(caption, x=0.008, ha="left", fontsize=8.5, color=GREY)
    figure.savefig(path)


def _matrix(axes: Axes, accuracy: Matrix, tasks: Sequence[str], title: str = "") -> None:
    axes.imshow(100 * accuracy, cmap="Blues", vmin=0, vmax=100)
    for (after, task), share in np.ndenumerate(accuracy):
        if not np.isnan(share):
            axes.text(
                task, after, f"{100 * share:.0f}", ha="center", va="center", fontsize=9,
                color="white" if share > 0.6 else "black",
            )  # fmt: skip
    axes.set_title(title or "right answers, in %", loc="left", fontsize=11)
    axes.set_xticks(range(len(tasks)), tasks, fontsize=8)
    axes.set_yticks(range(len(tasks)), tasks, fontsize=8)
    axes.set_xlabel("tested on", fontsize=9)
    axes.set_ylabel("after", fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _curve(axes: Axes, name: str, runs: Sequence[Matrix], color: str, style: Any) -> None:
    averages = 100 * np.array([average_accuracy(run) for run in runs])
    means, halves = np.array([Interval.of(column) for column in averages.T]).T
    after = np.arange(1, len(means) + 1)
    if len(runs) > 1:
        axes.fill_between(
            after, means - halves, means + halves, color=color, alpha=0.14, linewidth=0
        )
    axes.plot(
        after, means, color=color, linestyle=style, linewidth=2, marker="o", markersize=4,
        label=name,
    )  # fmt: skip


def _dress_curves(axes: Axes, tasks: int) -> None:
    axes.set_ylim(0, 102)
    axes.set_xticks(range(1, tasks + 1))
    axes.set_xlabel("tasks learned")
    axes.set_ylabel("accuracy, %")
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _final(axes: Axes, row: int, runs: Sequence[Matrix], color: str) -> None:
    values = [100 * float(average_accuracy(run)[-1]) for run in runs]
    mean, half = Interval.of(values)
    if len(runs) > 1:
        axes.plot([mean - half, mean + half], [row] * 2, color=color, linewidth=2)
    axes.plot(
        values, [row + 0.25] * len(values), color=color, alpha=0.5, marker="o", linewidth=0,
        markersize=4, markeredgewidth=0,
    )  # fmt: skip
    axes.plot(mean, row, color=color, marker="D", markersize=6)
    axes.annotate(
        f"{mean:.1f}", (mean, row), (0, 7), textcoords="offset points", ha="center", fontsize=9,
        fontweight="bold",
    )  # fmt: skip


def _dress_final(axes: Axes, names: Sequence[str]) -> None:
    axes.set_title("in the end, over all tasks", loc="left", fontsize=11)
    axes.set_xlim(0, 102)
    axes.set_ylim(len(names) - 0.4, -0.7)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("accuracy, %")
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
