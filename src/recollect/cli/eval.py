"""`recollect eval RUN`: how good is what a run has learned?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import tyro

from recollect.errors import ConfigurationError
from recollect.learners.dqn import Seeds, evaluate
from recollect.learners.environments import make_env
from recollect.learners.runs import load

_optional = partial(tyro.conf.arg, help_behavior_hint="")


@dataclass(frozen=True)
class Evaluate:
    """Evaluate what a run has learned: mean, spread and minimum of its returns, acting greedily."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The run folder."""
    episodes: int = 100
    """How many to play."""
    seed: Annotated[int | None, _optional(metavar="INT")] = None
    """Of the environment; that of the evaluation at the end of training unless given."""
    device: Annotated[str | None, _optional(metavar="STR")] = None
    """Where the network lives; where it was trained unless given."""

    def run(self) -> int:
        if self.episodes < 1:
            raise ConfigurationError(f"episodes must be at least 1, got {self.episodes}")
        if self.seed is not None and self.seed < 0:
            raise ConfigurationError(f"seed must be 0 or more, got {self.seed}")
        config, network = load(self.path, self.device)
        # as in training: on a busy machine further threads spend their time waiting
        torch.set_num_threads(config.threads)
        env = make_env(config.env)
        try:
            seed = Seeds.of(config.seed).test if self.seed is None else self.seed
            returns = evaluate(network, env, self.episodes, seed)
        finally:
            env.close()
        print(
            f"greedy return over {self.episodes:,} episodes of {config.env}: "
            f"mean {returns.mean():,.1f}, standard deviation {returns.std():,.1f}, "
            f"minimum {returns.min():,.1f}"
        )
        return 0
