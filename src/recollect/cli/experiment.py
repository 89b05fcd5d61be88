"""`recollect experiment ...`: reproduce published results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from recollect.cli.compare import cells, print_table
from recollect.errors import ConfigurationError
from recollect.experiments import ablation


@dataclass(frozen=True)
class RunAblation:
    """DQN with and without replay, with and without target network (as Mnih et al., 2015)."""

    env: tuple[str, ...] = ("CartPole-v1", "MinAtar/Breakout-v1")
    """Gymnasium's names of the environments."""
    seeds: int = 5
    """How many runs of each kind, equal in everything but the seed."""
    steps: Annotated[
        tuple[int, ...], tyro.conf.arg(metavar="INT [INT ...]", help_behavior_hint="")
    ] = ()
    """Steps of each run: one number for all environments, or one for each; those of the
    environments' presets unless given."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/ablation")
    """Where runs, picture and table are kept. The whole takes hours: if it is stopped, the same
    command goes on with the runs that are not finished."""
    jobs: int = 2
    """Runs at a time, each in a process and on a processor of its own."""

    def run(self) -> int:
        if self.jobs < 1:
            raise ConfigurationError(f"jobs must be at least 1, got {self.jobs}")
        experiment = ablation.Ablation(self.env, self.seeds, self.out, self.steps)
        try:
            experiment.train(self.jobs, lambda line: print(line, flush=True))
        except KeyboardInterrupt:
            print("stopped; the same command goes on with the runs that are not finished")
            raise
        picture, table = experiment.draw(), experiment.tabulate()
        for env, scores in experiment.scores().items():
            rows = [[arm.label, *cells(values)] for arm, values in scores.items()]
            print_table([env, "score", "95 % interval"], rows)
        print(f"picture  {picture}")
        print(f"table    {table}")
        return 0
