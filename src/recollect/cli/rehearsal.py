"""`recollect train rehearsal` and `recollect experiment rehearsal`: learning without forgetting."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from recollect.cli.compare import print_table
from recollect.errors import ConfigurationError
from recollect.experiments.rehearsal import Comparison
from recollect.learners import rehearsal_plots
from recollect.learners.devices import find_device
from recollect.learners.rehearsal import (
    Progress,
    RehearsalConfig,
    Trained,
    average_accuracy,
    forgetting,
    make_network,
    tasks_of,
    train,
)
from recollect.learners.runs import Log, RunFolder
from recollect.learners.tasks import Scenario


@dataclass(frozen=True)
class TrainRehearsal:
    """Train a classifier on one task after the other, with a memory of what went before.

    The run folder gets the configuration, a log (CSV), the model, the accuracy after each task on
    each task (JSON), and a picture of that. Ctrl-C ends the run early and keeps what was learned.
    """

    config: Annotated[RehearsalConfig, tyro.conf.arg(name="")] = field(
        default_factory=RehearsalConfig
    )
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """Where the run is kept; runs/rehearsal-METHOD-SCENARIO-seedSEED-TIME unless given."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace the run that --run-dir holds."""

    def run(self) -> int:
        config = self.config
        # before a folder is made for a run that cannot start
        find_device(config.device)
        stream = tasks_of(config)
        make_network(config, stream)
        folder = RunFolder.create(self.run_dir or _default_folder(config), self.overwrite)
        folder.save_config("rehearsal", config)
        print(f"{_title(config)}: {len(stream.tasks)} tasks", flush=True)
        with closing(Log(folder.log)) as log:

            def report(progress: Progress) -> None:
                log.write(progress)
                if progress.accuracy is not None:
                    print(
                        f"task {progress.task}/{len(stream.tasks)}  steps {progress.step:,}  "
                        f"loss {progress.loss:.4f}  in memory {progress.rows:,}  "
                        f"accuracy {100 * progress.accuracy:.1f} %",
                        flush=True,
                    )

            trained = train(config, report, stream)
        folder.save_model(trained.network)
        return _conclude(config, trained, folder)


@dataclass(frozen=True)
class RunRehearsal:
    """All methods of rehearsal on the same streams of tasks (as Chaudhry et al., 2019, and Buzzega
    et al., 2020).
    """

    seeds: int = 5
    """How many runs of each method, equal in everything but the seed."""
    data: str = RehearsalConfig.data
    """As for `recollect train rehearsal`."""
    scenario: Scenario = RehearsalConfig.scenario
    """What a new task brings: new classes, images turned further, or pixels in another order."""
    memory: int = RehearsalConfig.memory
    """Examples in memory."""
    epochs: int = RehearsalConfig.epochs
    """How often each task's images are seen."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/rehearsal")
    """Where picture and table are kept."""
    jobs: int = 2
    """Runs at a time, each in a process and on a processor of its own."""

    def run(self) -> int:
        if self.jobs < 1:
            raise ConfigurationError(f"jobs must be at least 1, got {self.jobs}")
        config = RehearsalConfig(
            data=self.data, scenario=self.scenario, memory=self.memory, epochs=self.epochs
        )
        experiment = Comparison(self.seeds, self.out, config)
        results = experiment.run(self.jobs, lambda line: print(line, flush=True))
        picture, table = experiment.draw(results), experiment.tabulate(results)
        print_table(["method", "average accuracy, %", "forgetting, %"], experiment.rows(results))
        print_table(["seed by seed", "difference, %"], experiment.steps(results))
        print(f"picture  {picture}")
        print(f"table    {table}")
        return 0


def _conclude(config: RehearsalConfig, trained: Trained, folder: RunFolder) -> int:
    """Prints, draws and writes what came out; the exit status."""
    finished = int((~np.isnan(np.diagonal(trained.accuracy))).sum())
    accuracy, tasks = trained.accuracy[:finished, :finished], trained.tasks[:finished]
    if finished:
        average = average_accuracy(accuracy)
        rows = [
            [f"after {name}", *(_percent(share) for share in row), _percent(mean)]
            for name, row, mean in zip(tasks, accuracy, average, strict=True)
        ]
        print_table(["accuracy, %", *tasks, "average"], rows)
        print(f"forgetting {100 * forgetting(accuracy):.1f} %")
        rehearsal_plots.one_run(folder.curve, _title(config), accuracy, tasks)
    if trained.interrupted:
        print(f"stopped after {finished} of {len(trained.tasks)} tasks")
    else:
        results: dict[str, Any] = {
            "average_accuracy": float(average[-1]),
            "forgetting": forgetting(accuracy),
            "tasks": tasks,
            "accuracy": [[None if np.isnan(x) else x for x in row] for row in accuracy.tolist()],
        }
        folder.save_evaluation(**results)
    for file in folder.files:
        print(file)
    return 130 if trained.interrupted else 0


def _percent(share: float) -> str:
    return "" if np.isnan(share) else f"{100 * share:.1f}"


def _title(config: RehearsalConfig) -> str:
    what = {"classes": "new classes", "rotated": "rotated", "permuted": "permuted"}
    data = f"{Path(config.data).name}, {what[config.scenario]}"
    return f"{config.method} on {data}, seed {config.seed}"


def _default_folder(config: RehearsalConfig) -> Path:
    method = re.sub(r"\W", "p", config.method)
    name = f"rehearsal-{method}-{config.scenario}-seed{config.seed}"
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
