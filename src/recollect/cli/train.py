"""`recollect train ...`: train an agent, keep what came of it in a run folder, and measure it."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, make_dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch.utils.tensorboard import SummaryWriter

from recollect.cli.display import display
from recollect.errors import ConfigurationError
from recollect.learners import plots, presets
from recollect.learners.dqn import DQNConfig, Progress, Seeds, evaluate, find_device, train
from recollect.learners.environments import make_env
from recollect.learners.runs import Log, RunFolder, points

EPISODES = 100
"""Of the final evaluation, unless asked for otherwise."""

Config = Annotated[DQNConfig, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class TrainDQN:
    """Train a DQN (Mnih et al., 2015) and evaluate it.

    The run folder gets the configuration, a log (CSV and TensorBoard), the model and a picture of
    the learning curve. Ctrl-C ends the run early and keeps what was learned.
    """

    config: Config
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """Where the run is kept; runs/dqn-ENV-seedSEED-TIME unless given."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace the run that --run-dir holds."""
    test_episodes: int = EPISODES
    """Episodes of the greedy evaluation when training has ended; 0 for none."""

    def run(self) -> int:
        config = self.config
        if self.test_episodes < 0:
            raise ConfigurationError(f"test_episodes must be 0 or more, got {self.test_episodes}")
        # before a folder is made for a run that cannot start
        find_device(config.device)
        make_env(config.env, training=True).close()
        folder = RunFolder.create(self.run_dir or _default_folder(config), self.overwrite)
        with _clearly(folder.path):
            return self._run(folder)

    def _run(self, folder: RunFolder) -> int:
        config = self.config
        folder.save_config("dqn", config)
        title = f"DQN on {config.env}, seed {config.seed}"
        with _logs(folder) as log, display(title, config.steps) as show:

            def report(progress: Progress) -> None:
                log(progress)
                show(progress)

            trained = train(config, report)
        folder.save_model(trained.network)
        returns, evaluations, losses = (
            points(folder.log, column) for column in ("episode_return", "evaluation", "loss")
        )
        plots.learning_curve(folder.curve, title, returns, evaluations, losses)
        finished = not trained.interrupted
        if trained.interrupted:
            print(f"stopped at step {trained.steps:,} of {config.steps:,}")
        elif self.test_episodes:
            finished = self._evaluate(trained.network, folder)
        print(f"model           {folder.model}")
        print(f"learning curve  {folder.curve}")
        print(f"log             {folder.log}")
        print(f"TensorBoard     {folder.path / 'tensorboard'}")
        print(f"configuration   {folder.config}")
        return 0 if finished else 130

    def _evaluate(self, network: torch.nn.Module, folder: RunFolder) -> bool:
        """Whether it was not interrupted."""
        episodes = self.test_episodes
        try:
            with closing(make_env(self.config.env)) as env:
                returns = evaluate(network, env, episodes, Seeds.of(self.config.seed).test)
        except KeyboardInterrupt:
            print("final evaluation stopped")
            return False
        mean, spread, least = float(returns.mean()), float(returns.std()), float(returns.min())
        folder.save_evaluation(episodes=episodes, mean=mean, standard_deviation=spread, min=least)
        print(
            f"greedy return over {episodes} fresh episodes: "
            f"mean {mean:.1f}, standard deviation {spread:.1f}, minimum {least:.1f}"
        )
        return True


def train_dqn(arguments: Sequence[str]) -> type[TrainDQN]:
    """`TrainDQN` with the defaults that suit the environment which a command line names."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--env", nargs="?")
    env = parser.parse_known_args(list(arguments))[0].env or DQNConfig.env
    pattern = presets.pattern(env)
    others = ", ".join(known for known in presets.PRESETS if known != pattern)
    says = (
        f"The defaults below are those for {pattern} (others: {others}); `--env NAME --help` "
        "shows an environment's own."
    )
    return make_dataclass(
        "TrainDQN",
        [("config", Config, field(default=presets.preset(env)))],
        bases=(TrainDQN,),
        frozen=True,
        namespace={"__doc__": f"{inspect.getdoc(TrainDQN)}\n\n{says}"},
    )


@contextmanager
def _logs(folder: RunFolder) -> Iterator[Callable[[Progress], None]]:
    """Writes each report to the CSV file, and what is new in it to TensorBoard."""
    with (
        closing(Log(folder.log)) as log,
        closing(SummaryWriter(str(folder.path / "tensorboard"))) as board,
    ):

        def write(progress: Progress) -> None:
            log.write(progress)
            news = {"return": progress.episode_return, "evaluation": progress.evaluation}
            if news == {"return": None, "evaluation": None}:
                news = {
                    "loss": progress.loss,
                    "epsilon": progress.epsilon,
                    "replay ratio": progress.replay_ratio,
                    "rows": progress.rows,
                }
            for name, value in news.items():
                if value is not None:
                    board.add_scalar(name, value, progress.step)

        yield write


@contextmanager
def _clearly(folder: Path) -> Iterator[None]:
    """Errors that say what is wrong: an OSError that names no file, as that of a full disk, names
    the folder, and a want of memory the option that helps.
    """
    try:
        yield
    except MemoryError as error:
        raise ConfigurationError(
            f"not enough memory; a smaller --capacity takes less ({error})"
        ) from error
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(folder)) from error


def _default_folder(config: DQNConfig) -> Path:
    env = re.sub(r"[^\w.-]+", "-", config.env)
    return Path("runs") / f"dqn-{env}-seed{config.seed}-{datetime.now():%Y%m%d-%H%M%S}"
