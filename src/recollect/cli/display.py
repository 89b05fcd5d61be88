"""Progress on the terminal: a live bar where there is one, plain lines otherwise."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text

from recollect.learners import dqn

Show = Callable[[dqn.Progress], None]

EPISODES = 20
"""Over which the return on display is averaged."""

SPEED = 10.0
"""Seconds over which speeds are measured."""

LIVE = 0.1
"""Seconds between two pictures on a terminal."""


class Figures:
    """What the display says, gathered from the reports.

    Args:
        steps: of the whole run.
        begun: steps and gradient steps that were taken before the clock began to run.
    """

    def __init__(
        self,
        steps: int,
        clock: Callable[[], float] = time.monotonic,
        begun: tuple[int, int] = (0, 0),
    ) -> None:
        self.steps = steps
        self._clock = clock
        self._returns: deque[float] = deque(maxlen=EPISODES)
        self._evaluation: float | None = None
        self._past = deque([(clock(), *begun)])

    def take(self, progress: dqn.Progress) -> None:
        """Notes what this report says that later ones do not say again."""
        if progress.episode_return is not None:
            self._returns.append(progress.episode_return)
        if progress.evaluation is not None:
            self._evaluation = progress.evaluation

    def read(self, progress: dqn.Progress) -> dict[str, str]:
        """Each figure by name, as of this report."""
        mean = sum(self._returns) / len(self._returns) if self._returns else None
        steps, updates = self._speeds(progress)
        left = max(self.steps - progress.step, 0) / steps if steps else None
        return {
            "return": _number(mean, ",.1f"),
            "evaluation": _number(self._evaluation, ",.1f"),
            "loss": _number(progress.loss, ".4f"),
            "epsilon": _number(progress.epsilon, ".2f"),
            "steps/s": _number(steps, ",.0f"),
            "updates/s": _number(updates, ",.0f"),
            "replay ratio": _number(progress.replay_ratio, ".1f"),
            "rows": _number(progress.rows, ",d"),
            "memory": _size(progress.bytes),
            "left": "-" if left is None else _duration(left),
        }

    def _speeds(self, progress: dqn.Progress) -> tuple[float, float]:
        """Steps and gradient steps in a second, of late."""
        now = self._clock()
        self._past.append((now, progress.step, progress.updates))
        while len(self._past) > 2 and self._past[1][0] < now - SPEED:
            self._past.popleft()
        then, step, updates = self._past[0]
        seconds = max(now - then, 1e-9)
        return (progress.step - step) / seconds, (progress.updates - updates) / seconds


@contextmanager
def display(title: str, steps: int, begun: tuple[int, int] = (0, 0)) -> Iterator[Show]:
    """Shows each report that it is given: live on a terminal, else a line for each evaluation."""
    console = Console()
    figures = Figures(steps, begun=begun)
    if console.is_terminal:
        with _live(console, title, figures) as show:
            yield show
    else:
        print(f"{title}: {steps:,} steps", flush=True)
        yield _lines(figures)


def _lines(figures: Figures) -> Show:
    def show(progress: dqn.Progress) -> None:
        figures.take(progress)
        if progress.evaluation is not None:
            line = "  ".join(f"{name} {figure}" for name, figure in figures.read(progress).items())
            print(f"step {progress.step:,}/{figures.steps:,}  {line}", flush=True)

    return show


@contextmanager
def _live(console: Console, title: str, figures: Figures) -> Iterator[Show]:
    drawn = -LIVE
    with Live(console=console, auto_refresh=False) as live:

        def show(progress: dqn.Progress) -> None:
            nonlocal drawn
            figures.take(progress)
            now = time.monotonic()
            if now - drawn >= LIVE or progress.step >= figures.steps:
                live.update(_picture(title, figures, progress), refresh=True)
                drawn = now

        yield show


def _picture(title: str, figures: Figures, progress: dqn.Progress) -> Group:
    """A title, a bar, and the figures in as many columns as fit."""
    share = min(progress.step / figures.steps, 1)
    return Group(
        Text.assemble((title, "bold"), f"  {progress.step:,}/{figures.steps:,} steps {share:.0%}"),
        Padding(ProgressBar(total=figures.steps, completed=progress.step), 0),
        Columns(
            [
                Text.assemble((f"{name} ", "dim"), figure)
                for name, figure in figures.read(progress).items()
            ],
            padding=(0, 3),
        ),
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
