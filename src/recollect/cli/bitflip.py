"""`recollect experiment bitflip`: the bit flipping of hindsight experience replay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from recollect.cli.compare import print_table
from recollect.errors import ConfigurationError
from recollect.experiments.bitflip import Bitflip


@dataclass(frozen=True)
class RunBitflip:
    """DQN that is hardly ever rewarded, with hindsight and without (as Andrychowicz et al., 2017,
    figure 1).
    """

    sizes: tuple[int, ...] = (5, 10, 15, 20)
    """Numbers of bits."""
    seeds: int = 3
    """How many runs of each kind, equal in everything but the seed."""
    epochs: int = 15
    """Of each run, 2,000 gradient steps each: 1 to 2 seconds of a processor."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/bitflip")
    """Where picture and table are kept."""
    jobs: int = 2
    """Runs at a time, each in a process and on a processor of its own."""

    def run(self) -> int:
        if self.jobs < 1:
            raise ConfigurationError(f"jobs must be at least 1, got {self.jobs}")
        experiment = Bitflip(self.sizes, self.seeds, self.epochs, self.out)
        results = experiment.run(self.jobs, lambda line: print(line, flush=True))
        picture, table = experiment.draw(results), experiment.tabulate(results)
        columns = ["bits", "agent", "success rate in the end", "epochs until 0.9"]
        print_table(columns, experiment.rows(results))
        print(f"picture  {picture}")
        print(f"table    {table}")
        return 0
