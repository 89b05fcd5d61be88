"""Bit flipping: an agent that is hardly ever rewarded, and learns from what it did reach.

Andrychowicz et al., "Hindsight experience replay", NeurIPS 2017, section 3.1 and appendix A. There
are n bits and as many actions, each of which flips one bit; start and goal are random. Every step
costs 1, but that which reaches the goal, and after n steps without it the episode is over. With
many bits no goal is ever met by chance: as far as plain DQN can tell, everything always costs 1.
With hindsight four examples of five are relabelled ("future"), as if what was reached later had
been the goal.

An epoch is 50 cycles of 16 episodes and 40 updates: batches of 128, Adam with step size 0.001, an
MLP with one hidden layer of 256, gamma = 0.98, a target network that moves by a twentieth of the
way after each cycle, targets clipped to what returns there can be, a fifth of all steps random. The
success rate is that of fresh episodes without random steps.

Where this departs from the paper: reaching the goal ends an episode, and nothing is worth anything
after it (there an episode always takes n steps, succeeds if any of them reaches the goal, and is
discounted like all others at its end); a goal is never where the episode starts; success is that
of the network, not of the target network; bits are put in as -1 and 1 instead of being normalised,
which for random bits comes to the same; one thread plays and learns instead of 8 together; and
there are fewer epochs than 200.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import nn

import recollect as rc
from recollect.errors import ConfigurationError
from recollect.experiments.processes import in_processes
from recollect.learners import plots

CYCLES, EPISODES, UPDATES = 50, 16, 40
BATCH_SIZE = 128
CAPACITY = 1_000_000
HIDDEN = 256
GAMMA = 0.98
LEARNING_RATE = 1e-3
TARGET_DECAY = 0.95
RANDOM_ACTIONS = 0.2
TESTED = 256
"""Episodes after each epoch from which the success rate is taken."""
LARGEST = 64
"""Of sizes."""

DOI = "https://arxiv.org/abs/1707.01495"

Bits = NDArray[np.uint8]
"""(E, n), zeros and ones: of E episodes."""


class Flipping:
    """E episodes of n bits side by side.

    Attributes:
        state, goal: (E, n); at the beginning they differ.
        running: (E,), which episodes are not over.
        reached: (E,), which of them reached their goal.
    """

    def __init__(self, n: int, episodes: int, rng: np.random.Generator) -> None:
        self.state, self.goal = rng.integers(0, 2, (2, episodes, n), dtype=np.uint8)
        while (same := (self.state == self.goal).all(axis=1)).any():
            self.goal[same] = rng.integers(0, 2, (int(same.sum()), n), dtype=np.uint8)
        self.running = np.ones(episodes, np.bool_)
        self.reached = np.zeros(episodes, np.bool_)
        self._steps = 0

    @property
    def obs(self) -> dict[str, Bits]:
        """As in Gymnasium's GoalEnv, but that what is achieved is all that there is to see."""
        return {"achieved_goal": self.state.copy(), "desired_goal": self.goal}

    def step(self, action: NDArray[np.int64]) -> dict[str, Any]:
        """Flips a bit in each episode that is not over. Returns what happened, but for obs."""
        running = np.flatnonzero(self.running)
        self.state[running, action[running]] ^= 1
        self._steps += 1
        reached = equal(self.state, self.goal)
        over = reached | (self._steps == self.state.shape[1])
        step = {
            "action": action,
            "reward": cost(self.state, self.goal),
            "next_obs": self.obs,
            "terminated": reached,
            "truncated": over & ~reached,
            "valid": self.running.copy(),
        }
        self.reached |= reached
        self.running &= ~over
        return step


def equal(achieved: Bits, desired: Bits, info: Any = None) -> NDArray[np.bool_]:
    """(E,), whether the goal is reached."""
    same: NDArray[np.bool_] = (achieved == desired).all(axis=1)
    return same


def cost(achieved: Bits, desired: Bits, info: Any = None) -> NDArray[np.float32]:
    """(E,), 0 where the goal is reached, -1 elsewhere."""
    return equal(achieved, desired).astype(np.float32) - 1


class Agent:
    """DQN over bits and goals, with a memory that replays them with hindsight or without."""

    def __init__(self, n: int, hindsight: bool, seed: int) -> None:
        weights, draws, explores = np.random.SeedSequence([seed, n]).generate_state(3)
        self.n = n
        self.rng = np.random.default_rng(explores)
        bits = rc.Field((n,), np.uint8)
        self.memory = rc.Memory(
            rc.Schema.steps(
                obs={"achieved_goal": bits, "desired_goal": bits}, action=rc.Field((), np.int64)
            ),
            CAPACITY,
            streams=EPISODES,
            view=with_hindsight() if hindsight else rc.Transition(gamma=GAMMA),
            seed=int(draws),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(weights))
            self.network = nn.Sequential(nn.Linear(2 * n, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, n))
        self.target = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), LEARNING_RATE)

    def act(self, obs: dict[str, Bits], random: float) -> NDArray[np.int64]:
        """(E,), the actions of the highest value, or random ones as often as this."""
        with torch.no_grad():
            best: NDArray[np.int64] = self.network(_inputs(obs)).argmax(dim=1).numpy()
        chance = self.rng.random(len(best)) < random
        return np.where(chance, self.rng.integers(0, self.n, len(best)), best)

    def play(self, episodes: int, random: float, remember: bool) -> float:
        """The share of so many episodes that reach their goals."""
        flipping = Flipping(self.n, episodes, self.rng)
        while flipping.running.any():
            obs = flipping.obs
            step = flipping.step(self.act(obs, random))
            if remember:
                self.memory.add(obs=obs, **step)
        return float(flipping.reached.mean())

    def learn(self) -> None:
        """The updates of one cycle; as the memory stays as it is, their batches come together."""
        batch = self.memory.sample(UPDATES * BATCH_SIZE).torch()
        obs = _inputs(batch.obs)
        with torch.no_grad():
            # within a cycle the target network stays as it is too
            following = self.target(_inputs(batch.next_obs)).amax(dim=1)
            wanted = (batch.reward + batch.discount * following).clamp(-1 / (1 - GAMMA), 0)
        for first in range(0, len(wanted), BATCH_SIZE):
            rows = slice(first, first + BATCH_SIZE)
            taken = self.network(obs[rows]).gather(1, batch.action[rows, None])[:, 0]
            loss = nn.functional.mse_loss(taken, wanted[rows])
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        with torch.no_grad():
            for old, new in zip(self.target.parameters(), self.network.parameters(), strict=True):
                old.lerp_(new, 1 - TARGET_DECAY)


def with_hindsight() -> rc.Hindsight:
    """Four examples of five with a goal that was reached later."""
    return rc.Hindsight(rc.Transition(gamma=GAMMA), reward=cost, terminated=equal, ratio=0.8)


def _inputs(obs: Any) -> torch.Tensor:
    """(E, 2 n), bits and goal as -1 and 1."""
    bits = [torch.as_tensor(obs[name]) for name in ("achieved_goal", "desired_goal")]
    return 2 * torch.cat(bits, dim=1).float() - 1


class Task(NamedTuple):
    """One run."""

    n: int
    hindsight: bool
    seed: int
    epochs: int


def train(task: Task) -> list[float]:
    """The success rate before the first epoch and after each. Sets the threads of PyTorch to one:
    such small products are over before a second one has woken up.
    """
    torch.set_num_threads(1)
    agent = Agent(task.n, task.hindsight, task.seed)
    rates = [agent.play(TESTED, 0, remember=False)]
    for _ in range(task.epochs):
        for _ in range(CYCLES):
            agent.play(EPISODES, RANDOM_ACTIONS, remember=True)
            agent.learn()
        rates.append(agent.play(TESTED, 0, remember=False))
    return rates


Results = dict[tuple[int, bool], NDArray[np.float64]]
"""For each size, without hindsight and with it: (seeds, epochs + 1) success rates."""

LABELS = {False: "DQN", True: "DQN with hindsight"}
LINES: dict[bool, tuple[str, Any]] = {False: (plots.ORANGE, (0, (5, 1.5))), True: (plots.BLUE, "-")}


@dataclass(frozen=True)
class Bitflip:
    """The experiment, and where its picture and table go."""

    sizes: tuple[int, ...]
    seeds: int
    epochs: int
    out: Path

    def __post_init__(self) -> None:
        if not self.sizes or not all(1 <= n <= LARGEST for n in self.sizes):
            raise ConfigurationError(f"sizes must be 1 to {LARGEST} bits, got {self.sizes}")
        for name in ("seeds", "epochs"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {getattr(self, name)}")

    def run(self, jobs: int, say: Callable[[str], None] = lambda line: None) -> Results:
        """Trains every agent, in so many processes.

        Raises:
            RecollectError: a process died.
        """
        sizes, seeds = sorted({*self.sizes}), range(1, self.seeds + 1)
        cells = [(n, hindsight) for n in sizes for hindsight in (False, True)]
        found = in_processes(
            train, [Task(*cell, seed, self.epochs) for cell in cells for seed in seeds], jobs
        )
        results: Results = {}
        for n, hindsight in cells:
            rates = results[n, hindsight] = np.array([next(found) for _ in seeds])
            last = ", ".join(f"{rate:.3f}" for rate in rates[:, -1])
            say(f"{n:2} bits, {LABELS[hindsight]}: success rate {last} after {self.epochs} epochs")
        return results

    def draw(self, results: Results) -> Path:
        """Saves the picture: the success rate after each epoch, a panel for each size."""
        path = self.out / "bitflip.png"
        sizes = list(dict.fromkeys(n for n, _ in results))
        figure = Figure(figsize=(2.7 * len(sizes) + 0.8, 3.7), dpi=150, layout="constrained")
        row = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
        for axes, n in zip(row, sizes, strict=True):
            for hindsight in (False, True):
                _draw(axes, results[n, hindsight], hindsight)
            _dress(axes, f"{n} bits")
        row[0].set_ylabel("success rate")
        row[-1].legend(frameon=False, loc="center right", fontsize=10, handlelength=2.6)
        figure.suptitle(
            "Bit flipping: what was reached by mistake teaches how to reach what is wanted",
            x=0.008, ha="left", fontweight="bold", fontsize=13,
        )  # fmt: skip
        caption = f"Thick lines: mean over {self._seeds}; thin lines: each seed."
        if self.seeds == 1:
            caption = "One seed."
        figure.supxlabel(caption, x=0.008, ha="left", fontsize=8.5, color=plots.GREY)
        self.out.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
        return path

    def rows(self, results: Results) -> list[tuple[str, str, str, str]]:
        """For each size and agent: bits, agent, last success rate, epochs until 0.9."""
        return [
            (str(n), LABELS[hindsight], _last(rates), _epochs_until(0.9, rates))
            for (n, hindsight), rates in results.items()
        ]

    def tabulate(self, results: Results) -> Path:
        """Saves the table as Markdown."""
        path = self.out / "bitflip.md"
        text = [
            "# Bit flipping",
            "",
            f"recollect {rc.__version__}, `recollect experiment bitflip`. The protocol of section "
            "3.1 and appendix A of Andrychowicz et",
            f"al., [Hindsight experience replay]({DOI}), NeurIPS 2017: {EPISODES} episodes, then "
            f"{UPDATES} updates, {CYCLES} times an epoch;",
            f"{self.epochs} epochs of one thread instead of 200 of 8. Unlike there, reaching the "
            "goal ends an episode, and",
            f"what follows is worth 0. Success rates are of {TESTED} fresh episodes without random "
            f"actions: mean over {self._seeds},",
            "in brackets the least and the largest.",
            "",
            "![Success rate after each epoch](bitflip.png)",
            "",
            "| bits | agent | success rate in the end | epochs until 0.9 |",
            "|---:|---|---:|---:|",
            *(f"| {' | '.join(row)} |" for row in self.rows(results)),
            "",
        ]
        self.out.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(text), encoding="utf-8")
        return path

    @property
    def _seeds(self) -> str:
        return f"{self.seeds} seeds" if self.seeds > 1 else "one seed"


def _draw(axes: Axes, rates: NDArray[np.float64], hindsight: bool) -> None:
    color, style = LINES[hindsight]
    epochs = np.arange(rates.shape[1])
    if len(rates) > 1:
        for of_seed in rates:
            axes.plot(epochs, of_seed, color=color, alpha=0.35, linewidth=0.8)
    axes.plot(
        epochs, rates.mean(axis=0), color=color, linestyle=style, linewidth=2.2,
        label=LABELS[hindsight],
    )  # fmt: skip


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("epochs")
    axes.set_xlim(0, None)
    axes.set_ylim(-0.03, 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _last(rates: NDArray[np.float64]) -> str:
    last = rates[:, -1]
    ends = f" ({last.min():.3f} to {last.max():.3f})" if len(last) > 1 else ""
    return f"{last.mean():.3f}{ends}"


def _epochs_until(enough: float, rates: NDArray[np.float64]) -> str:
    """The first epoch after which the mean over the seeds is high enough."""
    reached = np.flatnonzero(rates.mean(axis=0) >= enough)
    return str(reached[0]) if len(reached) else "not reached"
