"""Progress on the terminal: a live bar where there is one, plain lines otherwise."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from recollect.learners import dqn

Show = Callable[[dqn.Progress], None]

EPISODES = 20
"""Over which the return on display is averaged."""


class Figures:
    """What the display says, gathered from the reports."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._returns: deque[float] = deque(maxlen=EPISODES)
        self._evaluation: float | None = None
        self._begun = time.monotonic()

    def read(self, progress: dqn.Progress) -> dict[str, str]:
        """Each figure by name, up to date with this report."""
        if progress.episode_return is not None:
            self._returns.append(progress.episode_return)
        if progress.evaluation is not None:
            self._evaluation = progress.evaluation
        mean = sum(self._returns) / len(self._returns) if self._returns else None
        seconds = max(time.monotonic() - self._begun, 1e-9)
        return {
            "return": _number(mean, ".1f"),
            "evaluation": _number(self._evaluation, ".1f"),
            "loss": _number(progress.loss, ".4f"),
            "epsilon": _number(progress.epsilon, ".2f"),
            "steps/s": _number(progress.step / seconds, ",.0f"),
            "rows": _number(progress.rows, ",d"),
        }


@contextmanager
def display(title: str, steps: int) -> Iterator[Show]:
    """Shows each report that it is given: live on a terminal, else a line for each evaluation."""
    console = Console()
    figures = Figures(steps)
    if console.is_terminal:
        with _live(console, title, figures) as show:
            yield show
    else:
        print(f"{title}: {steps:,} steps", flush=True)
        yield _lines(figures)


def _lines(figures: Figures) -> Show:
    def show(progress: dqn.Progress) -> None:
        read = figures.read(progress)
        if progress.evaluation is not None:
            line = "  ".join(f"{name} {figure}" for name, figure in read.items())
            print(f"step {progress.step:,}/{figures.steps:,}  {line}", flush=True)

    return show


@contextmanager
def _live(console: Console, title: str, figures: Figures) -> Iterator[Show]:
    bar = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:,}/{task.total:,} steps"),
        TimeRemainingColumn(),
        console=console,
    )
    task = bar.add_task(title, total=figures.steps)
    with Live(bar, console=console, refresh_per_second=8) as live:

        def show(progress: dqn.Progress) -> None:
            bar.update(task, completed=progress.step)
            live.update(Group(bar, _table(figures.read(progress))))

        yield show


def _table(figures: dict[str, str]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for name in figures:
        table.add_column(name, justify="right", min_width=8)
    table.add_row(*figures.values())
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
