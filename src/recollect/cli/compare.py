"""`recollect compare RUN RUN ...`: several runs in one picture and one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from recollect.errors import ConfigurationError
from recollect.learners import plots
from recollect.learners.dqn import DQNConfig
from recollect.learners.runs import Interval, RunFolder, points, score

COLUMNS = ("", "best weights", "95 % interval", "last fifth", "95 % interval", "seeds", "steps")
"""Best weights: the final evaluation, of the weights that did best in training. Last fifth: the
mean of the evaluations in the last fifth of training, which shows whether the agent stayed good."""


@dataclass(frozen=True)
class Compare:
    """Draw the learning curves of several runs in one picture, and print a table of results."""

    paths: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(metavar="RUN [RUN ...]", help_behavior_hint="(required)"),
    ]
    """The run folders. Those that differ in nothing but the seed become one curve, their mean and
    its 95 % interval (Student's t); curves are named after what differs between them."""
    out: Annotated[Path, tyro.conf.arg(metavar="PATH")] = Path("comparison.png")
    """Where the picture goes; .png, .svg or .pdf."""

    def run(self) -> int:
        if not self.paths:
            raise ConfigurationError("which runs? Give one run folder or more")
        groups = grouped([RunFolder(path) for path in self.paths])
        self.out.parent.mkdir(parents=True, exist_ok=True)
        draw(self.out, groups)
        print_table(COLUMNS, map(results, groups))
        print(f"picture  {self.out}")
        return 0


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed."""

    label: str
    """What differs from the other groups."""
    config: DQNConfig
    """With seed 0."""
    folders: list[RunFolder]


def grouped(folders: Sequence[RunFolder]) -> list[Group]:
    """The runs, in groups of those that differ in nothing but the seed, in order of appearance.

    Raises:
        ConfigurationError: a folder holds no run, or two hold the same.
    """
    members: dict[DQNConfig, dict[int, RunFolder]] = {}
    for folder in folders:
        config = folder.load().config
        group = members.setdefault(replace(config, seed=0), {})
        if config.seed in group:
            first = group[config.seed].path
            raise ConfigurationError(
                f"{first} and {folder.path} are the same run: equal options, and seed {config.seed}"
            )
        group[config.seed] = folder
    labels = _labels([*members])
    return [
        Group(label, config, [*group.values()])
        for label, (config, group) in zip(labels, members.items(), strict=True)
    ]


def _labels(configs: Sequence[DQNConfig]) -> list[str]:
    """For each configuration what it does not share with all others."""
    tables = [asdict(config) for config in configs]
    differing = [name for name in tables[0] if any(t[name] != tables[0][name] for t in tables)]
    if not differing:
        return [configs[0].env]
    return [", ".join(option(name, table[name]) for name in differing) for table in tables]


def option(name: str, value: Any) -> str:
    """An option as one says it: "replay off", "steps 60,000", "hidden 128 x 128"."""
    if isinstance(value, bool):
        value = "on" if value else "off"
    elif isinstance(value, int):
        value = f"{value:,}"
    elif isinstance(value, tuple):
        value = " x ".join(map(str, value))
    return value if name == "env" else f"{name.replace('_', ' ')} {value}"


def draw(path: Path, groups: Sequence[Group]) -> None:
    """Saves the picture.

    Raises:
        ConfigurationError: a run has no evaluations to draw, or the picture's format is unknown.
    """
    seeds = {len(group.folders) for group in groups}
    curves = []
    for index, group in enumerate(groups):
        runs = [points(folder.log, "evaluation") for folder in group.folders]
        for folder, run in zip(group.folders, runs, strict=True):
            if not run:
                raise ConfigurationError(f"{folder.path} was not evaluated yet: nothing to draw")
        color = plots.PALETTE[index % len(plots.PALETTE)]
        style = plots.STYLES[index // 2 % len(plots.STYLES)]
        curves.append(plots.Curve(group.label, runs, color, style))
    envs = [*dict.fromkeys(group.config.env for group in groups)]
    subtitle = f"return of the greedy policy (line: mean of the last {plots.SMOOTH} evaluations)"
    if seeds == {1}:
        subtitle += ", one seed" + (" each" if len(groups) > 1 else "")
    else:
        count = " to ".join(map(str, dict.fromkeys((min(seeds), max(seeds)))))
        subtitle += f"\nmean over {count} seeds, and its 95 % interval (Student's t)"
    plots.comparison(path, "DQN on " + ", ".join(envs), subtitle, curves)


def results(group: Group) -> list[str]:
    """The group's line in the table."""
    evaluations = [folder.load_evaluation() for folder in group.folders]
    means = [evaluation["mean"] for evaluation in evaluations if evaluation is not None]
    steps = sorted({_steps(folder) for folder in group.folders})
    seeds = f"{len(group.folders)}"
    if len(means) < len(group.folders):
        seeds += f" ({len(means)} evaluated)"
    scores = [score(folder) for folder in group.folders]
    return [
        group.label,
        *cells(means),
        *cells(scores),
        seeds,
        " to ".join(f"{step:,}" for step in dict.fromkeys((steps[0], steps[-1]))),
    ]


def _steps(folder: RunFolder) -> int:
    taken = points(folder.log, "step")
    return taken[-1][0] if taken else 0


def cells(values: Sequence[float]) -> tuple[str, str]:
    """The mean over seeds and its interval."""
    if not values:
        return "-", "-"
    value = Interval.of(values)
    ends = f"{value.low:,.1f} to {value.high:,.1f}" if len(values) > 1 else "-"
    return f"{value.mean:,.1f}", ends


def print_table(columns: Sequence[str], rows: Any) -> None:
    """A table: with colours and rules on a terminal, in plain aligned columns elsewhere."""
    lines = [list(columns), *map(list, rows)]
    console = Console()
    if console.is_terminal:
        table = Table(header_style="bold", border_style="dim")
        for index, name in enumerate(columns):
            table.add_column(name, justify="right" if index else "left")
        for line in lines[1:]:
            table.add_row(*line)
        console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
