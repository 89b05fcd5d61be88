"""`recollect info PATH`: what is in a run folder, or in a memory's folder?"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from recollect.cli.compare import option
from recollect.cli.memory_info import print_facts, print_memory, size
from recollect.learners.runs import RunFolder, points
from recollect.saving.summary import summary
from recollect.stores.directory import MANIFEST


@dataclass(frozen=True)
class Info:
    """Say what a run's folder holds, or a memory's, which may be in use meanwhile."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PATH")]
    """A run folder; or a memory, a directory or a snapshot."""
    json: bool = False
    """Print JSON, for programs."""

    def run(self) -> int:
        if (self.path / MANIFEST).is_file():
            told = summary(self.path)
            if self.json:
                print(json.dumps(told, indent=1))
            else:
                print_memory(told)
            return 0
        folder = RunFolder(self.path)
        facts = describe(folder)
        files = {str(f.relative_to(self.path)): f.stat().st_size for f in folder.files}
        if self.json:
            print(json.dumps({"path": str(self.path), "kind": "run", **facts, "files": files}))
            return 0
        console = Console(highlight=False, soft_wrap=True, markup=False)
        console.print(str(self.path), style="bold")
        print_facts(console, facts)
        console.print("  files", style="dim")
        for name, count in files.items():
            console.print(f"    {name:{max(map(len, files))}}  {size(count):>9}")
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
