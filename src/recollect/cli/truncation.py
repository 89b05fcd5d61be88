"""`recollect experiment truncation`: what it costs to treat truncation as termination."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from recollect.cli.compare import print_table
from recollect.errors import ConfigurationError
from recollect.experiments.truncation import Truncation


@dataclass(frozen=True)
class RunTruncation:
    """Bootstrapping where a time limit ended the episode, right and deliberately wrong (after Pardo
    et al., 2018).
    """

    limits: tuple[int, ...] = (3, 5, 10, 20, 50)
    """Steps after which the episodes that are replayed end; about 8 seconds of a processor for each
    and seed."""
    seeds: int = 5
    """How many runs at each time limit, equal in everything but the seed."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/truncation")
    """Where picture and table are kept."""
    jobs: int = 2
    """Runs at a time, each in a process and on a processor of its own."""

    def run(self) -> int:
        if self.jobs < 1:
            raise ConfigurationError(f"jobs must be at least 1, got {self.jobs}")
        experiment = Truncation(self.limits, self.seeds, self.out)
        results = experiment.run(self.jobs, lambda line: print(line, flush=True))
        picture, table = experiment.draw(results), experiment.tabulate(results)
        columns = ["time limit", "value, right", "wrong", "Pendulum, right", "wrong"]
        print_table(columns, experiment.rows(results))
        print(f"picture  {picture}")
        print(f"table    {table}")
        return 0
