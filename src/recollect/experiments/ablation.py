"""What replay and the target network are worth: the 2 x 2 of the DQN paper, on small games.

Mnih et al., "Human-level control through deep reinforcement learning", Nature 518 (2015), Extended
Data Table 3, trained DQN with and without replay, and with and without a target network, on five
Atari games. Here the same four agents play whatever environment there is, several seeds each, equal
in everything else: the preset of the environment, the steps, the gradient steps, the seeds.

The score of a run is the mean return of the greedy evaluations in the last fifth of its training,
not that of the best one, as in the paper: an agent that learned and then forgot has not learned.
The interval over seeds is the 95 % confidence interval by Student's t.

Every run is an ordinary run folder, so `recollect info` and `recollect compare` read it; the ones
that are finished are not trained again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import recollect as rc
from recollect.errors import ConfigurationError
from recollect.experiments.processes import in_processes
from recollect.learners import plots
from recollect.learners.dqn import DQNConfig, Seeds, evaluate, train
from recollect.learners.environments import make_env
from recollect.learners.presets import preset
from recollect.learners.runs import LAST, Interval, Log, RunFolder, points, score

EVALUATIONS = 20
"""Greedy evaluations of a run whose number of steps was given, evenly over its training."""

EPISODES = 100
"""Of the evaluation at the end of a run, as in `recollect train`; no part of the score."""

Switch = Literal["on", "off"]


class Arm(NamedTuple):
    """One of the four agents."""

    replay: Switch
    target: Switch

    @property
    def label(self) -> str:
        return {
            ("on", "on"): "replay and target network",
            ("on", "off"): "replay alone",
            ("off", "on"): "target network alone",
            ("off", "off"): "neither",
        }[self]

    @property
    def folder(self) -> str:
        return f"replay-{self.replay}-target-{self.target}"


ARMS = (Arm("on", "on"), Arm("on", "off"), Arm("off", "on"), Arm("off", "off"))
"""In the order of the paper's columns."""

PAPER: dict[str, tuple[float, float, float, float]] = {
    "Breakout": (316.8, 240.7, 10.2, 3.2),
    "Enduro": (1006.3, 831.4, 141.9, 29.1),
    "River Raid": (7446.6, 4102.8, 2867.7, 1453.0),
    "Seaquest": (2894.4, 822.6, 1003.0, 275.8),
    "Space Invaders": (1088.9, 826.3, 373.2, 302.0),
}
"""Mnih et al. (2015), Extended Data Table 3: after 10 million frames, the highest average score of
an episode in any evaluation, and of three learning rates; one run of each."""

DOI = "https://doi.org/10.1038/nature14236"


@dataclass(frozen=True)
class Ablation:
    """The experiment, and where its runs are kept."""

    envs: tuple[str, ...]
    seeds: int
    out: Path
    steps: tuple[int, ...] = ()
    """Of each run: one number for all environments, or one for each; the presets' unless given."""

    def __post_init__(self) -> None:
        if not self.envs:
            raise ConfigurationError("the ablation needs an environment")
        if len(self.steps) not in (0, 1, len(self.envs)):
            raise ConfigurationError(
                f"steps must be one number, or one for each environment, got {len(self.steps)} for "
                f"{len(self.envs)}"
            )
        if self.seeds < 1:
            raise ConfigurationError(f"seeds must be at least 1, got {self.seeds}")
        for env in self.envs:
            self.config(env, ARMS[0], 1)
            make_env(env).close()

    def config(self, env: str, arm: Arm, seed: int) -> DQNConfig:
        """Of one run: the preset of the environment, but for the two switches."""
        numbers = self.steps * len(self.envs) if len(self.steps) == 1 else self.steps
        given = dict(zip(self.envs, numbers, strict=False))
        options: dict[str, int] = {}
        if given:
            options = {"steps": given[env], "eval_every": max(given[env] // EVALUATIONS, 1)}
        return preset(env, replay=arm.replay, target=arm.target, seed=seed, **options)

    def folder(self, env: str, arm: Arm, seed: int) -> RunFolder:
        return RunFolder(self.out / re.sub(r"[^\w.-]+", "-", env) / f"{arm.folder}-seed{seed}")

    def runs(self) -> Iterator[tuple[str, Arm, int]]:
        """All of them. Seeds come first: half of the runs are all arms with half of the seeds."""
        for env in self.envs:
            for seed in range(1, self.seeds + 1):
                for arm in ARMS:
                    yield env, arm, seed

    def finished(self, env: str, arm: Arm, seed: int) -> bool:
        """Whether the folder of a run holds it, finished.

        Raises:
            ConfigurationError: the folder holds another run.
        """
        folder = self.folder(env, arm, seed)
        if not folder.config.exists():
            return False
        if folder.load().config != self.config(env, arm, seed):
            raise ConfigurationError(
                f"{folder.path} holds a run with other options than this experiment's; "
                "go on with the options of before, or choose another --out"
            )
        return folder.finished

    def train(self, jobs: int, say: Callable[[str], None] = lambda line: None) -> None:
        """Trains what has not been trained yet, in so many processes.

        Raises:
            ConfigurationError: the folder holds runs with other options.
            RecollectError: a process died.
        """
        todo = [run for run in self.runs() if not self.finished(*run)]
        total = len(self.envs) * self.seeds * len(ARMS)
        if len(todo) < total:
            say(f"{total - len(todo)} of {total} runs are there already")
        tasks = {
            self.folder(*run).path: (f"{run[0]}, {run[1].label}, seed {run[2]}", self.config(*run))
            for run in todo
        }
        begun = time.monotonic()
        finished = in_processes(
            _train,
            [(path, config) for path, (_, config) in tasks.items()],
            jobs,
            ordered=False,
            hint="; the same command goes on with the runs that are not finished",
        )
        for done, path in enumerate(finished, start=1):
            passed = time.monotonic() - begun
            left = passed / done * (len(todo) - done)
            counted = f"{total - len(todo) + done:{len(str(total))}}/{total}"
            text = f"{counted}  {tasks[path][0]}: {score(RunFolder(path)):,.1f}"
            say(f"{text}  ({_clock(passed)}, {_clock(left)} left)" if left else text)

    def scores(self) -> dict[str, dict[Arm, list[float]]]:
        """For each environment and arm the score of each seed."""
        seeds = range(1, self.seeds + 1)
        return {
            env: {arm: [score(self.folder(env, arm, seed)) for seed in seeds] for arm in ARMS}
            for env in self.envs
        }

    def draw(self) -> Path:
        """Saves the picture: learning curves and scores of the four arms."""
        path = self.out / "ablation.png"
        rows = []
        for env, scores in self.scores().items():
            curves = [
                plots.Curve(
                    arm.label,
                    [
                        points(self.folder(env, arm, seed).log, "evaluation")
                        for seed in range(1, self.seeds + 1)
                    ],
                    plots.BLUE if arm.replay == "on" else plots.ORANGE,
                    "-" if arm.target == "on" else (0, (3, 1.2)),
                )
                for arm in ARMS
            ]
            rows.append((env, curves, [scores[arm] for arm in ARMS]))
        caption = (
            f"Curve of a run: mean of its last {plots.SMOOTH} greedy evaluations. "
            f"Score: mean of those in the last {LAST:.0%} of training."
        )
        if self.seeds > 1:
            caption += (
                f"\nLines and diamonds: mean over {self.seeds} seeds; bands and bars: its 95 % "
                "interval (Student's t); dots: each seed."
            )
        plots.factorial(path, "DQN with and without replay and target network", caption, rows)
        return path

    def tabulate(self) -> Path:
        """Saves the tables, ours and the paper's, as Markdown."""
        path = self.out / "ablation.md"
        head = "| {} | " + " | ".join(arm.label for arm in ARMS) + " |"
        rule = "|---|" + "---:|" * len(ARMS)
        ours = [
            f"| {env} | " + " | ".join(_cell(scores[arm]) for arm in ARMS) + " |"
            for env, scores in self.scores().items()
        ]
        papers = [
            f"| {game} | " + " | ".join(f"{value:,.1f}" for value in values) + " |"
            for game, values in PAPER.items()
        ]
        steps = ", ".join(f"{env} {self.config(env, ARMS[0], 1).steps:,}" for env in self.envs)
        text = [
            "# What replay and the target network are worth",
            "",
            f"recollect {rc.__version__}, `recollect experiment ablation`. Steps: {steps}.",
            f"Seeds: {self.seeds}. Score of a run: mean greedy return of the evaluations in the "
            f"last {LAST:.0%} of training,",
            "not of the best one, so that instability shows. Given is the mean over the seeds, and "
            "its 95 % confidence",
            "interval (Student's t).",
            "",
            head.format("environment"),
            rule,
            *ours,
            "",
            "![Learning curves and scores](ablation.png)",
            "",
            "## The paper's table",
            "",
            f"Mnih et al., [Human-level control through deep reinforcement learning]({DOI}), "
            "Nature 518 (2015),",
            "Extended Data Table 3: Atari, 10 million frames, the *highest* average score of any "
            "evaluation and of three",
            "learning rates.",
            "",
            head.format("game"),
            rule,
            *papers,
            "",
        ]
        path.write_text("\n".join(text), encoding="utf-8")
        return path


def train_into(path: Path, config: DQNConfig) -> Path:
    """Trains one agent, from the beginning, into its run folder."""
    folder = RunFolder.create(path, overwrite=True)
    folder.save_config("dqn", config)
    with closing(Log(folder.log)) as log:
        trained = train(config, log.write)
    if trained.interrupted:
        raise KeyboardInterrupt
    folder.save_model(trained.network)
    episodes, evaluations, losses = (
        points(folder.log, column) for column in ("episode_return", "evaluation", "loss")
    )
    title = f"DQN on {config.env}, seed {config.seed}"
    plots.learning_curve(folder.curve, title, episodes, evaluations, losses)
    with closing(make_env(config.env)) as env:
        returns = evaluate(trained.network, env, EPISODES, Seeds.of(config.seed).test)
    folder.save_evaluation(
        episodes=EPISODES,
        mean=float(returns.mean()),
        standard_deviation=float(returns.std()),
        min=float(returns.min()),
    )
    return path


def _train(run: tuple[Path, DQNConfig]) -> Path:
    return train_into(*run)


def _cell(scores: Sequence[float]) -> str:
    value = Interval.of(scores)
    ends = f" ({value.low:,.1f} to {value.high:,.1f})" if len(scores) > 1 else ""
    return f"{value.mean:,.1f}{ends}"


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
