"""`recollect train ...`: train an agent, keep what came of it in a run folder, and measure it.

`--resume RUN` goes on with a run that was stopped, as if it had not been. Everything of it is as
of its last checkpoint: what the log says of later steps is cut off, and lived through again.
"""

from __future__ import annotations

import argparse
import inspect
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, fields, make_dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch.utils.tensorboard import SummaryWriter

from recollect.cli.display import display
from recollect.errors import ConfigurationError, RecollectError
from recollect.learners import plots, presets
from recollect.learners.checkpoints import Checkpoint, Checkpoints
from recollect.learners.devices import find_device
from recollect.learners.dqn import (
    Counts,
    DQNConfig,
    Progress,
    Seeds,
    evaluate,
    train,
)
from recollect.learners.environments import make_env
from recollect.learners.runs import Log, RunFolder, points

EPISODES = 100
"""Of the final evaluation, unless asked for otherwise."""

EVERY = 10_000
"""Steps between two checkpoints, unless asked for otherwise."""

Config = Annotated[DQNConfig, tyro.conf.arg(name="")]
Folder = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]


@dataclass(frozen=True)
class TrainDQN:
    """Train a DQN (Mnih et al., 2015) and evaluate it.

    The run folder gets the configuration, a log (CSV and TensorBoard), the model and a picture of
    the learning curve. Ctrl-C ends the run early and keeps what was learned; --resume goes on.
    """

    config: Config
    run_dir: Folder = None
    """Where the run is kept; runs/dqn-ENV-seedSEED-TIME unless given."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace the run that --run-dir holds."""
    resume: Folder = None
    """Go on with the run in this folder, with its settings; --steps may be more than it had."""
    checkpoint_every: int = EVERY
    """Steps between two checkpoints, by which a run can go on; 0 for none."""
    test_episodes: int = EPISODES
    """Episodes of the greedy evaluation when training has ended; 0 for none."""

    def run(self) -> int:
        for name in ("checkpoint_every", "test_episodes"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.resume is not None:
            folder = RunFolder(self.resume)
            with _clearly(folder.path), folder.held():
                return self._go_on(folder)
        self._check_can_start()
        folder = RunFolder.create(self.run_dir or _default_folder(self.config), self.overwrite)
        with _clearly(folder.path), folder.held():
            folder.save_config("dqn", self.config, self._options)
            return self._train(folder, None)

    def _check_can_start(self) -> None:
        """Called before a folder is made, or changed, for a run that could not."""
        find_device(self.config.device)
        make_env(self.config.env, training=True).close()

    def _go_on(self, folder: RunFolder) -> int:
        """Trains on from the latest checkpoint of a run."""
        record = folder.load()
        self._check_same(record.config)
        begun = Checkpoints(folder.checkpoint).load()
        counts, steps = Counts.of(begun), self.config.steps
        finished = counts.step >= steps and folder.finished
        evaluated = finished and folder.load_evaluation() is not None
        if finished and (evaluated or not self.test_episodes):
            more = "--steps" if evaluated else "--steps or --test-episodes"
            print(
                f"{folder.path} is finished: {counts.step:,} of {steps:,} steps; "
                f"it goes on if {more} is larger"
            )
            return 0
        self._check_can_start()
        if self.config != record.config or self._options != record.options:
            folder.save_config("dqn", self.config, self._options, record.created)
        folder.evaluation.unlink(missing_ok=True)
        print(
            f"going on with {folder.path} from step {counts.step:,} of {steps:,}: "
            f"{counts.episode:,} episodes, {len(begun.memory):,} steps in memory",
            flush=True,
        )
        return self._train(folder, begun)

    def _check_same(self, config: DQNConfig) -> None:
        """Refuses what would make another run of it.

        Raises:
            ConfigurationError: an option contradicts the run's configuration.
        """
        if self.run_dir is not None or self.overwrite:
            raise ConfigurationError(
                f"--resume goes on in {self.resume} itself, without --run-dir and --overwrite"
            )
        for name in (option.name for option in fields(config)):
            former, given = getattr(config, name), getattr(self.config, name)
            if name == "steps" and given < former:
                raise ConfigurationError(
                    f"--steps must be {former}, as in {self.resume}, or more, got {given}"
                )
            if name != "steps" and given != former:
                option = f"--{name.replace('_', '-')}"
                raise ConfigurationError(
                    f"--resume goes on with the settings of {self.resume}: {option} is {former} "
                    f"there, not {given}; of them only --steps may be changed"
                )

    @property
    def _options(self) -> dict[str, int]:
        """What the run folder has to know besides the configuration."""
        return {"checkpoint_every": self.checkpoint_every, "test_episodes": self.test_episodes}

    def _train(self, folder: RunFolder, begun: Checkpoint | None) -> int:
        config = self.config
        title = f"DQN on {config.env}, seed {config.seed}"
        counts = Counts() if begun is None else Counts.of(begun)
        taken = counts.step, counts.updates
        with _logs(folder, counts) as (log, flush), display(title, config.steps, taken) as show:

            def report(progress: Progress) -> None:
                log(progress)
                show(progress)

            checkpoints = Checkpoints(folder.checkpoint, self.checkpoint_every, before=flush)
            trained = train(config, report, checkpoints, begun)
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
        else:
            folder.save_evaluation(episodes=0)
        print(f"model           {folder.model}")
        print(f"learning curve  {folder.curve}")
        print(f"log             {folder.log}")
        print(f"TensorBoard     {folder.tensorboard}")
        print(f"configuration   {folder.config}")
        if folder.checkpoint.is_dir():
            print(f"checkpoint      {folder.checkpoint}")
            if not finished:
                print(
                    f"to go on        recollect train dqn --resume {shlex.quote(str(folder.path))}"
                )
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
    """`TrainDQN` with the defaults that suit the environment which a command line names, or with
    the settings of the run that it resumes.

    Raises:
        ConfigurationError: it names no run, or a damaged one, or another version's.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--env", nargs="?")
    parser.add_argument("--resume", nargs="?", type=Path)
    known = parser.parse_known_args(list(arguments))[0]
    options = {"checkpoint_every": EVERY, "test_episodes": EPISODES}
    if known.resume is not None:
        record = RunFolder(known.resume).load()
        config = record.config
        options |= {name: record.options.get(name, value) for name, value in options.items()}
        says = f"The defaults below are those of {known.resume}."
    else:
        env = known.env or DQNConfig.env
        config, pattern = presets.preset(env), presets.pattern(env)
        others = ", ".join(other for other in presets.PRESETS if other != pattern)
        says = (
            f"The defaults below are those for {pattern} (others: {others}); `--env NAME --help` "
            "shows an environment's own."
        )
    return make_dataclass(
        "TrainDQN",
        [
            ("config", Config, field(default=config)),
            *((name, int, field(default=value)) for name, value in options.items()),
        ],
        bases=(TrainDQN,),
        frozen=True,
        namespace={"__doc__": f"{inspect.getdoc(TrainDQN)}\n\n{says}"},
    )


def with_learner(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments with the learner between `train` and `--resume`: the run knows which it is."""
    first, *rest = arguments or [""]
    names_run = any(option.partition("=")[0] == "--resume" for option in rest)
    if first == "train" and names_run and rest[0].startswith("-"):
        return [first, "dqn", *rest]
    return arguments


@contextmanager
def _logs(
    folder: RunFolder, counts: Counts
) -> Iterator[tuple[Callable[[Progress], None], Callable[[], None]]]:
    """What writes each report to the CSV file, and what is new in it to TensorBoard, and what
    waits until both have it; of the logs of a run that goes on all that is later is cut off.
    """
    # TensorBoard ignores events from this step on that were written before
    purge = counts.step + 1 if counts.step else None
    with (
        closing(Log(folder.log, keep=counts.reports)) as log,
        closing(SummaryWriter(str(folder.tensorboard), purge_step=purge)) as board,
    ):

        def flush() -> None:
            log.flush()
            board.flush()

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

        yield write, flush


@contextmanager
def _clearly(folder: Path) -> Iterator[None]:
    """Errors that say what is wrong: an OSError that names no file, as that of a full disk, names
    the folder, and a want of memory the option that helps.
    """
    try:
        yield
    except RecollectError:
        raise
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
