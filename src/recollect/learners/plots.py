"""Pictures of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure  # not pyplot: no window, and no state shared with the caller

Points = Sequence[tuple[int, float]]
"""(step, value) pairs, in order."""

WINDOW = 20
"""Episodes in the moving average."""


def learning_curve(path: Path, title: str, episodes: Points, evaluations: Points) -> None:
    """Saves a PNG: the return of each episode, its moving average, and the greedy evaluations."""
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    if episodes:
        steps, returns = np.array(episodes, dtype=float).T
        window = min(WINDOW, len(returns))
        average = np.convolve(returns, np.ones(window) / window, mode="valid")
        axes.plot(steps, returns, color="#9ecae1", linewidth=0.8, label="episode")
        axes.plot(
            steps[window - 1 :],
            average,
            color="#08519c",
            linewidth=2,
            label=f"mean of the last {window} episodes",
        )
    if evaluations:
        steps, scores = np.array(evaluations, dtype=float).T
        axes.plot(
            steps,
            scores,
            color="#e6550d",
            linestyle=":",
            linewidth=1,
            marker="o",
            markersize=5,
            markeredgecolor="white",
            label="greedy evaluation",
        )
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel("steps")
    axes.set_ylabel("return")
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)
    if episodes or evaluations:
        axes.legend(frameon=False, loc="best")
    figure.savefig(path)
