"""Draws `episode-ends.png`: two episodes in one stream, and the examples that start in them.

    python docs/figures/episode_ends.py

How far each example reaches and what it is discounted by is asked of a memory, not written here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle

import recollect as rc

STEPS = 4
GAMMA = 0.9
INK, QUIET = "#1f2933", "#6b7785"
STEP_FACE, STEP_EDGE = "#e3eefa", "#7aa7d6"
CLOSING_FACE, CLOSING_EDGE = "#f1f2f4", "#9aa5b1"
BOOTSTRAP, TERMINAL = "#1a7f5a", "#c8501e"
LANE, FIRST_LANE = 0.62, -0.62


def examples() -> dict[int, tuple[int, int, float]]:
    """Row number to (steps summed, row of next_obs, discount), for every row that starts one."""
    memory = rc.Memory(
        rc.Schema.steps(obs=rc.Field((), np.int64), action=rc.Field((), np.int64)),
        capacity=100,
        view=rc.NStep(3, gamma=GAMMA),
        seed=0,
    )
    for start, terminated in ((0, True), (STEPS + 1, False)):
        for row in range(start, start + STEPS):
            last = row == start + STEPS - 1
            memory.add(
                obs=row,
                action=0,
                reward=1.0,
                next_obs=row + 1,
                terminated=last and terminated,
                truncated=last and not terminated,
            )
    batch = memory.sample(1_000)
    columns = batch.obs, batch.steps, batch.next_obs, batch.discount
    return {
        int(row): (int(steps), int(after), float(discount))
        for row, steps, after, discount in zip(*columns, strict=True)
    }


def draw_rows(axes: Axes) -> None:
    for row in range(2 * (STEPS + 1)):
        offset = row % (STEPS + 1)
        closing = offset == STEPS
        box = FancyBboxPatch(
            (row + 0.05, 0.0),
            0.9,
            0.92,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=CLOSING_FACE if closing else STEP_FACE,
            edgecolor=CLOSING_EDGE if closing else STEP_EDGE,
            linewidth=1.2,
            linestyle=(0, (3, 2)) if closing else "-",
        )
        axes.add_patch(box)
        name = "ab"[row // (STEPS + 1)]
        axes.text(
            row + 0.5, 0.6, f"${name}_{offset}$", ha="center", va="center", size=15, color=INK
        )
        below = "closing row" if closing else "a step"
        axes.text(row + 0.5, 0.24, below, ha="center", va="center", size=8, color=QUIET)
        axes.text(row + 0.5, 1.06, f"row {row}", ha="center", va="bottom", size=8, color=QUIET)


def draw_episode(axes: Axes, first: int, title: str, end: str, color: str) -> None:
    left, right, top = first + 0.05, first + STEPS + 0.95, 1.47
    axes.plot([left, left, right, right], [top - 0.1, top, top, top - 0.1], color=QUIET, lw=1)
    axes.text(left, top + 0.1, title, va="bottom", size=11, color=INK, weight="bold")
    axes.text(right, top + 0.1, end, ha="right", va="bottom", size=10, color=color)


def draw_arrow(axes: Axes, start: float, stop: float, y: float, color: str) -> None:
    dashes = (0, (2.5, 1.5)) if color == TERMINAL else "-"
    axes.plot([start, stop - 0.1], [y, y], color=color, lw=1.5, linestyle=dashes)
    head = [(stop, y), (stop - 0.12, y + 0.07), (stop - 0.12, y - 0.07)]
    axes.add_patch(Polygon(head, color=color, lw=0))


def draw_example(axes: Axes, row: int, steps: int, after: int, discount: float) -> None:
    y = FIRST_LANE - (row % (STEPS + 1)) * LANE
    color = BOOTSTRAP if discount else TERMINAL
    axes.add_patch(Rectangle((row + 0.1, y - 0.07), steps - 0.2, 0.14, color=color, lw=0))
    draw_arrow(axes, row + steps - 0.1, after + 0.52, y, color)
    label = f"discount ${GAMMA}^{steps}$ = {discount:.2f}" if discount else "discount 0"
    axes.text(row + 0.1, y + 0.13, label, va="bottom", size=9, color=color)


def draw_guides(axes: Axes, lowest: float) -> None:
    for row in range(2 * (STEPS + 1)):
        axes.plot([row + 0.5] * 2, [-0.06, lowest], color="#e4e7eb", lw=0.8, zorder=0)


def draw_legend(axes: Axes, y: float) -> None:
    axes.add_patch(Rectangle((0.1, y - 0.07), 0.7, 0.14, color=QUIET, lw=0))
    axes.text(0.92, y, "rewards summed", va="center", size=9, color=INK)
    for x, color, text in (
        (2.75, BOOTSTRAP, "to next_obs, its value is used"),
        (6.15, TERMINAL, "to next_obs, its value is not used"),
    ):
        draw_arrow(axes, x, x + 0.6, y, color)
        axes.text(x + 0.7, y, text, va="center", size=9, color=INK)


def main() -> None:
    figure = Figure(figsize=(9, 4.9), dpi=170, facecolor="white")
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    lowest = FIRST_LANE - (STEPS - 1) * LANE - 0.2
    draw_guides(axes, lowest)
    draw_rows(axes)
    draw_episode(axes, 0, "Episode a", "terminated after 4 steps", TERMINAL)
    draw_episode(axes, STEPS + 1, "Episode b", "truncated after 4 steps", BOOTSTRAP)
    for row, example in sorted(examples().items()):
        draw_example(axes, row, *example)
    draw_legend(axes, lowest - 0.35)
    axes.set(xlim=(-0.1, 2 * (STEPS + 1) + 0.1), ylim=(lowest - 0.65, 2.0))
    axes.axis("off")
    figure.savefig(Path(__file__).with_name("episode-ends.png"))


if __name__ == "__main__":
    main()
