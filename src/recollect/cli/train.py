"""`recollect train ...`: train an agent, keep what came of it in a run folder, and measure it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import torch
import tyro

from recollect.cli.display import display
from recollect.learners import plots
from recollect.learners.dqn import (
    DQNConfig,
    Progress,
    Seeds,
    evaluate,
    find_device,
    make_env,
    train,
)
from recollect.learners.runs import Log, RunFolder, points

EPISODES = 100
"""Of the final evaluation."""


@dataclass(frozen=True)
class TrainDQN:
    """Train a DQN (Mnih et al., 2015) and evaluate it over 100 episodes.

    The run folder gets the configuration, a log, the model and a picture of the learning curve.
    Ctrl-C ends the run early and keeps what was learned.
    """

    config: Annotated[DQNConfig, tyro.conf.arg(name="")]
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Where the run is kept; runs/dqn-ENV-seedSEED-TIME unless given."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace the run that --run-dir holds."""

    def run(self) -> int:
        config = self.config
        # before a folder is made for a run that cannot start
        find_device(config.device)
        make_env(config.env).close()
        folder = RunFolder.create(self.run_dir or _default_folder(config), self.overwrite)
        folder.save_config("dqn", config)

        log = Log(folder.log)
        try:
            with display(f"dqn on {config.env}, seed {config.seed}", config.steps) as show:

                def report(progress: Progress) -> None:
                    log.write(progress)
                    show(progress)

                trained = train(config, report)
        finally:
            log.close()
        torch.save(trained.network.state_dict(), folder.model)
        plots.learning_curve(
            folder.curve,
            f"DQN on {config.env}, seed {config.seed}",
            points(folder.log, "episode_return"),
            points(folder.log, "evaluation"),
        )
        finished = not trained.interrupted
        if trained.interrupted:
            print(f"stopped at step {trained.steps:,} of {config.steps:,}")
        else:
            finished = self._evaluate(trained.network, folder)
        print(f"model           {folder.model}")
        print(f"learning curve  {folder.curve}")
        print(f"log             {folder.log}")
        print(f"configuration   {folder.config}")
        return 0 if finished else 130

    def _evaluate(self, network: torch.nn.Module, folder: RunFolder) -> bool:
        """Whether it was not interrupted."""
        env = make_env(self.config.env)
        try:
            returns = evaluate(network, env, EPISODES, Seeds.of(self.config.seed).test)
        except KeyboardInterrupt:
            print("final evaluation stopped")
            return False
        finally:
            env.close()
        mean, spread, least = float(returns.mean()), float(returns.std()), float(returns.min())
        folder.save_evaluation(episodes=EPISODES, mean=mean, standard_deviation=spread, min=least)
        print(
            f"greedy return over {EPISODES} fresh episodes: "
            f"mean {mean:.1f}, standard deviation {spread:.1f}, minimum {least:.1f}"
        )
        return True


def _default_folder(config: DQNConfig) -> Path:
    env = re.sub(r"[^\w.-]+", "-", config.env)
    return Path("runs") / f"dqn-{env}-seed{config.seed}-{datetime.now():%Y%m%d-%H%M%S}"
