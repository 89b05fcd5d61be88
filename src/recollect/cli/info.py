"""`recollect info RUN`: what is in a run folder?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from recollect.cli.compare import option
from recollect.learners.runs import RunFolder, points


@dataclass(frozen=True)
class Info:
    """Say what a run folder holds: what was trained, how, how far it came, and which files."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The run folder."""

    def run(self) -> int:
        folder = RunFolder(self.path)
        facts = describe(folder)
        width = max(map(len, facts))
        console = Console(highlight=False, soft_wrap=True, markup=False)
        console.print(str(self.path), style="bold")
        for name, fact in facts.items():
            console.print(f"  {name:{width}}", style="dim", end="")
            console.print(f"  {fact}")
        console.print("  files", style="dim")
        names = [str(file.relative_to(self.path)) for file in folder.files]
        for name, file in zip(names, folder.files, strict=True):
            console.print(f"    {name:{max(map(len, names))}}  {_size(file.stat().st_size):>9}")
        return 0


def describe(folder: RunFolder) -> dict[str, str]:
    """Each fact about a run by its name.

    Raises:
        ConfigurationError: the folder holds no run, or a damaged one, or another version's.
    """
    record = folder.load()
    config = record.config
    episodes = points(folder.log, "episode")
    taken, ended = episodes[-1] if episodes else (0, 0)
    best = max(points(folder.log, "evaluation"), key=lambda point: point[1], default=None)
    final = folder.load_evaluation()
    stopped = datetime.fromtimestamp(folder.log.stat().st_mtime).astimezone()
    defaults = asdict(type(config)())
    changed = [
        option(name, value)
        for name, value in asdict(config).items()
        if value != defaults[name] and name not in ("env", "seed")
    ]
    return {
        "learner": f"{record.learner}, recollect {record.version}",
        "environment": config.env,
        "seed": str(config.seed),
        "started": f"{record.created:%Y-%m-%d %H:%M}, trained for {span(stopped - record.created)}",
        "steps": f"{taken:,} of {config.steps:,}",
        "episodes": f"{ended:,.0f}",
        "best evaluation": "-" if best is None else f"{best[1]:,.1f}, at step {best[0]:,}",
        "final evaluation": "none"
        if final is None
        else f"mean {final['mean']:,.1f}, standard deviation {final['standard_deviation']:,.1f}, "
        f"minimum {final['min']:,.1f}, over {final['episodes']:,.0f} episodes",
        "changed options": ", ".join(changed) or "none",
    }


def span(time: timedelta) -> str:
    """A time as one says it: "42 s", "3 min 5 s", "2 h 10 min"."""
    seconds = max(round(time.total_seconds()), 0)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
