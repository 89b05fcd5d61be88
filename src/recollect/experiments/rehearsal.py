"""What a small memory is worth to a classifier that learns one task after the other.

All methods of `learners.rehearsal` learn the same streams: several seeds each, and equal in
everything else, the test images, the order, the first weights and the gradient steps. What is
compared is the average accuracy over all tasks after the last one, and forgetting. Since a seed
gives every method the same stream, two methods are compared seed by seed: what counts is the mean
of the differences, and its 95 % confidence interval by Student's t.

What is known of the order, from Chaudhry et al. (2019) and Buzzega et al. (2020), is that a random
sample of the past helps more than the latest examples, which the network has just learned from, and
that stored logits help further; no method can hope for more than learning all tasks mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

import recollect as rc
from recollect.errors import ConfigurationError
from recollect.experiments.processes import in_processes
from recollect.learners import rehearsal_plots
from recollect.learners.rehearsal import (
    Method,
    RehearsalConfig,
    average_accuracy,
    forgetting,
    make_network,
    tasks_of,
    train,
)
from recollect.learners.runs import Interval

METHODS: tuple[Method, ...] = get_args(Method)

LABELS: dict[Method, str] = {
    "finetune": "fine-tuning",
    "fifo": "FIFO rehearsal",
    "er": "reservoir (ER)",
    "balanced": "balanced",
    "der++": "DER++",
    "mir": "MIR",
    "joint": "joint",
}

CHAIN: tuple[Method, ...] = ("finetune", "fifo", "er", "der++", "joint")
"""From what forgets most to what forgets least."""

Matrices = dict[Method, list[NDArray[np.float64]]]
"""For each method the accuracy matrix of each seed."""


@dataclass(frozen=True)
class Comparison:
    """The experiment, and where its picture and table are kept."""

    seeds: int
    out: Path
    config: RehearsalConfig = field(default_factory=RehearsalConfig)
    """Of all runs, but for the method and the seed."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigurationError(f"seeds must be at least 1, got {self.seeds}")

    def run(self, jobs: int, say: Callable[[str], None] = lambda line: None) -> Matrices:
        """Trains every method with every seed, in so many processes.

        Raises:
            ConfigurationError, MissingExtraError, SchemaError: as `rehearsal.train` does.
            RecollectError: a process died.
        """
        make_network(self.config, tasks_of(self.config))
        self.out.mkdir(parents=True, exist_ok=True)
        configs = [
            replace(self.config, method=method, seed=seed)
            for seed in range(1, self.seeds + 1)
            for method in METHODS
        ]
        results: Matrices = {method: [] for method in METHODS}
        found = in_processes(_train, configs, jobs)
        for done, (config, accuracy) in enumerate(zip(configs, found, strict=True), start=1):
            results[config.method].append(accuracy)
            average = 100 * average_accuracy(accuracy)[-1]
            counted = f"{done:{len(str(len(configs)))}}/{len(configs)}"
            say(f"{counted}  {LABELS[config.method]}, seed {config.seed}: {average:.1f} %")
        return results

    def draw(self, results: Matrices) -> Path:
        """Saves the picture."""
        path = self.out / "rehearsal.png"
        caption = f"{self._settings()}.\nMatrices: right answers in %, mean over the seeds."
        if self.seeds > 1:
            caption += (
                f" Lines and diamonds: mean over {self.seeds} seeds; bands and bars: its 95 % "
                "interval (Student's t); dots: each seed."
            )
        rehearsal_plots.methods(
            path,
            "Rehearsal: what is still known after each task",
            caption,
            {LABELS[method]: runs for method, runs in results.items()},
            [task.name for task in tasks_of(self.config).tasks],
        )
        return path

    def tabulate(self, results: Matrices) -> Path:
        """Saves the tables as Markdown."""
        path = self.out / "rehearsal.md"
        text = [
            "# What a small memory is worth",
            "",
            f"recollect {rc.__version__}, `recollect experiment rehearsal`. {self._settings()}.",
            f"Seeds: {self.seeds}. Given are means over the seeds, and their 95 % confidence "
            "intervals (Student's t).",
            "",
            "| method | average accuracy, % | forgetting, % |",
            "|---|---:|---:|",
            *(f"| {' | '.join(row)} |" for row in self.rows(results)),
            "",
            "The same seed is the same stream for every method, so that two can be compared seed "
            "by seed:",
            "",
            "| | difference, % |",
            "|---|---:|",
            *(f"| {' | '.join(row)} |" for row in self.steps(results)),
            "",
            "![Average accuracy, and accuracy matrices](rehearsal.png)",
            "",
        ]
        path.write_text("\n".join(text), encoding="utf-8")
        return path

    def rows(self, results: Mapping[Method, Sequence[NDArray[np.float64]]]) -> list[list[str]]:
        """For each method its name, average accuracy after the last task, and forgetting."""
        return [
            [
                LABELS[method],
                _cell([float(average_accuracy(run)[-1]) for run in runs]),
                _cell([forgetting(run) for run in runs]),
            ]
            for method, runs in results.items()
        ]

    def steps(self, results: Mapping[Method, Sequence[NDArray[np.float64]]]) -> list[list[str]]:
        """For each step along `CHAIN` how much better the one method is than the one before."""
        final = {
            method: np.array([average_accuracy(run)[-1] for run in results[method]])
            for method in CHAIN
        }
        return [
            [f"{LABELS[better]} - {LABELS[worse]}", _cell(final[better] - final[worse])]
            for worse, better in pairwise(CHAIN)
        ]

    def _settings(self) -> str:
        config = self.config
        what = {
            "classes": "new classes with each task",
            "rotated": f"turned by a further {config.angle:g}° with each task",
            "permuted": "pixels in another order with each task",
        }[config.scenario]
        passes = "once" if config.epochs == 1 else f"{config.epochs} times"
        return (
            f"{Path(config.data).name}, {what}, {config.tasks} tasks, each image seen {passes}; "
            f"memory of {config.memory}, batches of {config.batch_size} new and "
            f"{config.replay_size} replayed (twice {config.replay_size} by DER++)"
        )


def _train(config: RehearsalConfig) -> NDArray[np.float64]:
    """The accuracy matrix."""
    trained = train(config)
    if trained.interrupted:
        raise KeyboardInterrupt
    return trained.accuracy


def _cell(shares: Sequence[float] | NDArray[np.float64]) -> str:
    """The mean of shares, in %, and its interval."""
    value = Interval.of(100 * np.asarray(shares))
    ends = f" ({value.low:.1f} to {value.high:.1f})" if len(shares) > 1 else ""
    return f"{value.mean:.1f}{ends}"
