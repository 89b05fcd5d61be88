"""`recollect experiment cliffwalk`: the Blind Cliffwalk of prioritized experience replay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from recollect.cli.compare import print_table
from recollect.errors import ConfigurationError
from recollect.experiments.cliffwalk import CHECKED, Cliffwalk


@dataclass(frozen=True)
class RunCliffwalk:
    """What is replayed, and how soon values are learned (as Schaul et al., 2016, figure 2)."""

    sizes: tuple[int, ...] = tuple(range(2, 17))
    """Numbers of states n; of each, 2^(n+1) - 2 transitions are replayed, so that the largest takes
    about as long as all others."""
    seeds: int = 10
    """How often each is done, under every rule with the same first values and transitions."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/cliffwalk")
    """Where picture and table are kept."""
    jobs: int = 2
    """Processes at a time."""

    def run(self) -> int:
        if self.jobs < 1:
            raise ConfigurationError(f"jobs must be at least 1, got {self.jobs}")
        experiment = Cliffwalk(self.sizes, self.seeds, self.out)
        results = experiment.run(self.jobs, lambda line: print(line, flush=True))
        picture, table = experiment.draw(results), experiment.tabulate(results)
        verdicts = experiment.verdicts(results)
        if verdicts:
            columns = [f"n = {CHECKED}", "median (quartiles)", "range", "within"]
            print_table(columns, verdicts)
        else:
            print(f"the ranges are for n = {CHECKED}, which is not among the sizes")
        print(f"picture  {picture}")
        print(f"table    {table}")
        return 0
