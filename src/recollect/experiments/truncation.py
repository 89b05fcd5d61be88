"""What it costs to take the end of the time for the end of the world.

An episode that terminates leaves nothing to come; one that a time limit truncates would have gone
on, and what would have come is worth something. So a target bootstraps from the value of the true
final observation where an episode was truncated (Pardo et al., "Time limits in reinforcement
learning", ICML 2018, partial-episode bootstrapping). A memory that keeps one flag `done` cannot
tell the two apart, and its learner takes every truncation for a termination: discount 0.

Both learners here replay the very same batches from the same first weights, and differ in that
discount alone (`discounts`). They are seen

    by a closed form    One state, reward 1 at every step, for ever: it is worth 1 / (1 - gamma). If
                        a limit of T steps is taken for its end, one target in T bootstraps from
                        nothing: 1 / (1 - gamma * (1 - 1/T)). Whoever may also leave, once, for
                        something in between, leaves if the limit is short.
    on Pendulum-v1      DQN with three torques, from random actions in episodes of T steps that
                        begin anywhere, at any speed, so that what is seen does not depend on T. The
                        mistake acts as the discount gamma * (1 - 1/T), and swinging up means losing
                        for a while. Tested are episodes of 200 steps from the usual beginnings.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from torch import nn

import recollect as rc
from recollect.errors import ConfigurationError
from recollect.experiments.processes import in_processes
from recollect.learners import plots
from recollect.learners.runs import Interval

GAMMA = 0.97
LEAVING = 12.0
"""What leaving the state of the closed form is worth; staying is worth 33."""
LOOPS, LOOP_UPDATES, LOOP_STEP_SIZE = 1_000, 3_000, 0.1
"""Steps, updates (of 256 steps each) and step size with which the closed form is checked."""

ENVIRONMENTS = 16
STEPS = 40_000
UPDATES, BATCH_SIZE = 4_000, 256
HIDDEN, LEARNING_RATE, TARGET_STEP = 64, 1e-3, 0.01
TORQUES = np.array([-2, 0, 2], np.float32)[:, None]
REWARD_SCALE = 0.1
EVALUATE_EVERY, EVALUATIONS, TEST_STEPS = 500, 4, 200
"""The score of a run is the mean of so many evaluations, the last ones."""

DOI = "https://arxiv.org/abs/1712.00378"


def discounts(batch: Any, right: bool) -> Any:
    """How much the next observation's value counts: right, or as if truncation were termination."""
    return batch.discount if right else batch.discount * ~batch.truncated


def closed_form(limit: float, right: bool) -> float:
    """The value of a reward of 1 for ever, from episodes of so many steps."""
    return 1 / (1 - GAMMA * (1 if right else 1 - 1 / limit))


def learn_loop(limit: int, right: bool, seed: int) -> float:
    """The same value by TD(0) from a memory of such episodes: the mean over the later updates."""
    state = rc.Field((), np.int64)
    schema = rc.Schema.steps(obs=state, action=rc.Field((), np.int64))
    memory = rc.Memory(schema, None, view=rc.Transition(gamma=GAMMA), seed=seed)
    nothing = np.zeros(LOOPS // limit * limit, np.int64)
    memory.extend(
        obs=nothing,
        action=nothing,
        reward=np.ones(len(nothing), np.float32),
        next_obs=nothing,
        terminated=np.zeros(len(nothing), np.bool_),
        truncated=np.arange(len(nothing)) % limit == limit - 1,
    )
    value, values = 0.0, []
    for _ in range(LOOP_UPDATES):
        batch = memory.sample(BATCH_SIZE)
        target = batch.reward + discounts(batch, right) * value
        value += LOOP_STEP_SIZE * float(target.mean() - value)
        values.append(value)
    return float(np.mean(values[LOOP_UPDATES // 2 :]))


class Task(NamedTuple):
    """A memory of Pendulum in episodes of so many steps, from which both learn."""

    limit: int
    seed: int


class Learner:
    """Double DQN (van Hasselt et al. 2016) that takes truncation for what it is, or does not."""

    def __init__(self, right: bool, seed: int) -> None:
        self.right = right
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = nn.Sequential(
                nn.Linear(3, HIDDEN), nn.ReLU(),
                nn.Linear(HIDDEN, HIDDEN), nn.ReLU(),
                nn.Linear(HIDDEN, len(TORQUES)),
            )  # fmt: skip
        self.target = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), LEARNING_RATE)

    def learn(self, batch: rc.Batch) -> None:
        """One update, from tensors."""
        with torch.no_grad():
            best = self.network(batch.next_obs).argmax(dim=1, keepdim=True)
            following = self.target(batch.next_obs).gather(1, best)[:, 0]
            wanted = REWARD_SCALE * batch.reward + discounts(batch, self.right) * following
        action = (batch.action / 2 + 1).long()  # which torque of the three
        loss = nn.functional.mse_loss(self.network(batch.obs).gather(1, action)[:, 0], wanted)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        with torch.no_grad():
            for old, new in zip(self.target.parameters(), self.network.parameters(), strict=True):
                old.lerp_(new, TARGET_STEP)

    def score(self, seed: int) -> float:
        """The mean return of episodes, whose beginnings the seed decides, greedy under the target
        network, which is steadier."""
        total = np.zeros(ENVIRONMENTS)
        with closing(_make_envs(TEST_STEPS)) as envs:
            obs, _ = envs.reset(seed=seed)
            for _ in range(TEST_STEPS):
                with torch.no_grad():
                    best = self.target(torch.as_tensor(obs)).argmax(dim=1).numpy()
                obs, reward, *_ = envs.step(TORQUES[best])
                total += reward
        return float(total.mean())


def train_both(task: Task) -> dict[bool, float]:
    """The scores of the mistaken learner (False) and of the right one (True).

    Sets the threads of PyTorch to one: such small products are over before a second has woken up.
    """
    torch.set_num_threads(1)
    memory = swing_at_random(task)
    learners = [Learner(right, task.seed) for right in (False, True)]
    scores: dict[bool, list[float]] = {False: [], True: []}
    for update in range(1, UPDATES + 1):
        batch = memory.sample(BATCH_SIZE).torch()
        for learner in learners:
            learner.learn(batch)
            if UPDATES - update in range(0, EVALUATIONS * EVALUATE_EVERY, EVALUATE_EVERY):
                scores[learner.right].append(learner.score(seed=task.seed + update))
    return {right: float(np.mean(values)) for right, values in scores.items()}


def swing_at_random(task: Task) -> rc.Memory:
    """A memory of steps of random torques."""
    rng = np.random.default_rng(task.seed)
    with closing(_make_envs(task.limit, BeginAnywhere)) as envs:
        memory = rc.Memory(
            rc.Schema.from_env(envs),
            None,
            streams=ENVIRONMENTS,
            view=rc.Transition(gamma=GAMMA),
            seed=task.seed,
        )
        recorder = rc.record(envs, memory)
        recorder.reset(seed=task.seed)
        while len(memory) < STEPS:
            recorder.step(TORQUES[rng.integers(0, len(TORQUES), ENVIRONMENTS)])
    return memory


class BeginAnywhere(gym.Wrapper[Any, Any, Any, Any]):
    """Pendulum from all angles and speeds."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=seed, options={"x_init": np.pi, "y_init": 8.0})


def _make_envs(
    limit: int, *wrappers: Callable[[gym.Env[Any, Any]], gym.Wrapper[Any, Any, Any, Any]]
) -> gym.vector.VectorEnv[Any, Any, Any]:
    envs: gym.vector.VectorEnv[Any, Any, Any] = gym.make_vec(
        "Pendulum-v1", ENVIRONMENTS, "sync", wrappers=wrappers, max_episode_steps=limit
    )
    return envs


@dataclass(frozen=True)
class Results:
    """By time limit; False: truncation taken for termination, True: not."""

    loops: dict[int, dict[bool, float]]
    """Values of a reward of 1 for ever."""
    scores: dict[int, dict[bool, list[float]]]
    """Returns on Pendulum, of each seed."""


LABELS = {True: "bootstrapped: right", False: "taken for termination: wrong"}
LINES: dict[bool, tuple[str, Any]] = {True: (plots.BLUE, "-"), False: (plots.ORANGE, (0, (5, 1.5)))}


@dataclass(frozen=True)
class Truncation:
    """The experiment, and where its picture and table go."""

    limits: tuple[int, ...]
    seeds: int
    out: Path

    def __post_init__(self) -> None:
        if not self.limits or not all(1 <= limit <= TEST_STEPS for limit in self.limits):
            raise ConfigurationError(f"limits must be 1 to {TEST_STEPS} steps, got {self.limits}")
        if self.seeds < 1:
            raise ConfigurationError(f"seeds must be at least 1, got {self.seeds}")

    def run(self, jobs: int, say: Callable[[str], None] = lambda line: None) -> Results:
        """Trains both learners at every time limit, in so many processes.

        Raises:
            RecollectError: a process died.
        """
        limits, seeds = sorted({*self.limits}), range(1, self.seeds + 1)
        found = in_processes(
            train_both, [Task(limit, seed) for limit in limits for seed in seeds], jobs
        )
        results = Results({}, {})
        for limit in limits:
            results.loops[limit] = {
                right: learn_loop(limit, right, seed=1) for right in (False, True)
            }
            each = [next(found) for _ in seeds]
            results.scores[limit] = {
                right: [score[right] for score in each] for right in (False, True)
            }
            means = {right: np.mean(values) for right, values in results.scores[limit].items()}
            say(
                f"{limit:3} steps: Pendulum {means[True]:.0f}, "
                f"with truncation taken for termination {means[False]:.0f}"
            )
        return results

    def draw(self, results: Results) -> Path:
        """Saves the picture: the values learned, and the returns, against the time limit."""
        path = self.out / "truncation.png"
        figure = Figure(figsize=(9.5, 4.4), dpi=150, layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_loops(left, results.loops)
        _draw_scores(right, results.scores)
        for axes in (left, right):
            _dress(axes, list(results.scores))
        right.legend(frameon=False, loc="lower right", fontsize=10, handlelength=2.6)
        figure.suptitle(
            "Out of time is not the end: what it costs to treat truncation as termination",
            x=0.008, ha="left", fontweight="bold", fontsize=13,
        )  # fmt: skip
        figure.supxlabel(self._caption, x=0.008, ha="left", fontsize=8.5, color=plots.GREY)
        self.out.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
        return path

    def rows(self, results: Results) -> list[list[str]]:
        """For each time limit the values, right and wrong, and the returns, right and wrong."""
        return [
            [
                str(limit),
                *(
                    f"{results.loops[limit][right]:.2f} ({closed_form(limit, right):.2f})"
                    for right in (True, False)
                ),
                *(_cell(scores[right]) for right in (True, False)),
            ]
            for limit, scores in results.scores.items()
        ]

    def tabulate(self, results: Results) -> Path:
        """Saves the table as Markdown."""
        path = self.out / "truncation.md"
        text = [
            "# What it costs to treat truncation as termination",
            "",
            f"recollect {rc.__version__}, `recollect experiment truncation`. Two learners replay "
            "the same steps, in episodes that a time",
            f"limit ends, gamma = {GAMMA:g}. One bootstraps from the final observation, as is "
            f"right ([Pardo et al.]({DOI}), ICML",
            "2018), the other takes the limit for a termination.",
            "",
            "![Values and returns against the time limit](truncation.png)",
            "",
            "| time limit | value, right (closed form) | value, wrong (closed form) | Pendulum, "
            "right | Pendulum, wrong |",
            "|---:|---:|---:|---:|---:|",
            *(f"| {' | '.join(row)} |" for row in self.rows(results)),
            "",
            "Value: of a reward of 1 at every step, for ever. " + self._caption.replace("\n", " "),
            "",
        ]
        self.out.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(text), encoding="utf-8")
        return path

    @property
    def _caption(self) -> str:
        caption = (
            f"Pendulum-v1: double DQN from {STEPS:,} steps of random torques; return of greedy "
            f"episodes of {TEST_STEPS} steps"
        )
        if self.seeds == 1:
            return caption + ", one seed."
        return caption + f":\nmean over {self.seeds} seeds and its 95 % interval (Student's t)."


def _draw_loops(axes: Axes, loops: dict[int, dict[bool, float]]) -> None:
    limits = np.geomspace(min(loops), max(loops), 200)
    for right, (color, style) in LINES.items():
        exact = [closed_form(limit, right) for limit in limits]
        axes.plot(limits, exact, color=color, linestyle=style, linewidth=2)
        axes.plot(
            list(loops), [value[right] for value in loops.values()], color=color, marker="o",
            markersize=6, markeredgecolor="white", linewidth=0,
        )  # fmt: skip
    axes.axhline(LEAVING, color=plots.GREY, linewidth=1, linestyle=":")
    axes.annotate(
        f"leaving is worth {LEAVING:g}: chosen by whoever\nthinks that staying is worth less",
        (min(loops), LEAVING), (0, 4), textcoords="offset points", ha="left", va="bottom",
        fontsize=8.5, color=plots.GREY,
    )  # fmt: skip
    axes.set_ylim(0, 1.1 / (1 - GAMMA))
    axes.set_title("value of a reward of 1 for ever", loc="left", fontsize=11)


def _draw_scores(axes: Axes, scores: dict[int, dict[bool, list[float]]]) -> None:
    for right, (color, style) in LINES.items():
        each = [of_limit[right] for of_limit in scores.values()]
        means, halves = np.array([Interval.of(values) for values in each]).T
        limits = list(scores)
        if len(each[0]) > 1:
            axes.fill_between(
                limits, means - halves, means + halves, color=color, alpha=0.15, linewidth=0
            )
            for limit, values in zip(limits, each, strict=True):
                axes.plot(
                    [limit] * len(values), values, color=color, alpha=0.5, marker="o",
                    markersize=3.5, markeredgewidth=0, linewidth=0,
                )  # fmt: skip
        axes.plot(
            limits, means, color=color, linestyle=style, linewidth=2, marker="o", markersize=5,
            markeredgecolor="white", label=LABELS[right],
        )  # fmt: skip
    axes.set_title("return on Pendulum-v1", loc="left", fontsize=11)


def _dress(axes: Axes, limits: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(limits, [str(limit) for limit in limits])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)
    axes.set_xlabel("time limit of the episodes replayed, steps")
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _cell(scores: Sequence[float]) -> str:
    value = Interval.of(scores)
    ends = f" ({value.low:.0f} to {value.high:.0f})" if len(scores) > 1 else ""
    return f"{value.mean:.0f}{ends}"
