"""Settings of a DQN, checked when they are made, and the seeds that come of one of them.

Every source of chance gets a seed of its own, so that more evaluations, say, change nothing of how
the agent explores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

import recollect as rc
from recollect.errors import ConfigurationError
from recollect.learners import limits
from recollect.samplers.base import Sampler

Switch = Literal["on", "off"]


@dataclass(frozen=True)
class DQNConfig:
    """What a DQN is trained on, and how; the defaults are CartPole's.

    `presets.preset` has settings that suit other environments.
    """

    env: str = "CartPole-v1"
    """Gymnasium's name of the environment, such as MinAtar/Breakout-v1 or ALE/Pong-v5."""
    envs: int = 1
    """Environments that are played side by side."""
    seed: int = 1
    """Decides everything: first weights, environment, exploration, replay, evaluation."""
    steps: int = 40_000
    """Steps in all environments together."""
    device: str = "cpu"
    """Where the network lives: cpu, cuda, cuda:1, mps. The CPU is fastest for small networks."""
    threads: int = 1
    """CPU threads of PyTorch. Small products are over before a second thread has woken up."""

    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers; images pass the convolutions that are usual for them first."""
    double: Switch = "on"
    """The network chooses the best next action, and the target network says what it is worth."""
    dueling: Switch = "off"
    """Two heads: what a state is worth, and by how much each action is better than the others."""
    n_step: int = 5
    """Rewards that are summed before the value of a next state is asked for."""
    n_step_end: int | None = None
    """What n-step becomes in the course of training; it stays as it is unless given."""
    n_step_over: int = 10_000
    """Gradient steps over which n-step moves to n-step-end."""
    gamma: float = 0.99
    """Discount: what a reward one step later is worth now."""
    learning_rate: float = 5e-4
    """Step size of Adam."""
    adam_epsilon: float = 1e-8
    """Adam's epsilon; a larger one calms the steps of weights with small gradients."""
    max_grad_norm: float = 10.0
    """A longer gradient is scaled down to this norm."""

    replay: Switch = "on"
    """Off: as many gradient steps, but only on the steps taken since the round before."""
    prioritized: Switch = "off"
    """Steps are replayed the more often the larger their TD error was when they were last."""
    alpha: float = 0.6
    """Of prioritized replay: how much the error matters, from 0 (not at all) up."""
    beta: float = 0.4
    """Of prioritized replay: how much of its bias is corrected at first, rising to all of it."""
    target: Switch = "on"
    """Off: no target network; the network, as it is now, says what next states are worth."""
    capacity: int = 100_000
    """Rows in memory; the oldest make room for the newest."""
    batch_size: int = 64
    """Transitions in a gradient step."""
    warmup: int = 1_000
    """Random steps before training begins."""
    train_every: int = 1
    """Steps between two rounds of training."""
    gradient_steps: int = 1
    """Gradient steps in a round of training."""
    target_every: int = 250
    """Gradient steps after which the target network becomes a copy of the network again."""

    epsilon_start: float = 1.0
    """Share of random actions at first."""
    epsilon_end: float = 0.05
    """Share of random actions in the end."""
    epsilon_steps: int = 10_000
    """Steps over which the one falls, evenly, to the other."""

    eval_every: int = 2_000
    """Steps between two greedy evaluations; the weights of the best one are kept."""
    eval_episodes: int = 20
    """Episodes of such an evaluation."""

    def __post_init__(self) -> None:
        limits.check(self, _LIMITS)
        if self.prioritized == "on" and self.replay == "off":
            raise ConfigurationError("prioritized needs replay: it cannot be on where that is off")

    @property
    def most_steps(self) -> int:
        """The largest n of n-step."""
        return max(self.n_step, self.n_step_end or 1)

    def sampler(self) -> Sampler:
        """What decides which steps are trained on: all alike, the surprising, or the newest."""
        if self.replay == "off":
            return rc.Recent(window=max(self.train_every, self.envs))
        if self.prioritized == "off":
            return rc.Uniform()
        updates = max(self.steps - self.warmup, 1) * self.gradient_steps // self.train_every
        return rc.Prioritized(self.alpha, rc.linear(self.beta, 1.0, over=max(updates, 1)))


_COUNTS = """envs steps threads hidden n_step n_step_end n_step_over batch_size train_every
gradient_steps target_every epsilon_steps eval_every eval_episodes"""
_LIMITS: limits.Limits = [
    (_COUNTS, "at least 1", lambda value: value >= 1),
    ("capacity", "at least 2", lambda value: value >= 2),
    ("seed warmup", "0 or more", lambda value: value >= 0),
    ("learning_rate adam_epsilon max_grad_norm", "more than 0", lambda v: 0 < v < math.inf),
    ("alpha", "0 or more", lambda value: 0 <= value < math.inf),
    ("beta gamma epsilon_start epsilon_end", "between 0 and 1", lambda value: 0 <= value <= 1),
]


class Seeds(NamedTuple):
    """A seed of its own for each source of chance, all from one number."""

    network: int
    env: int
    exploration: int
    memory: int
    selection: int
    test: int

    @classmethod
    def of(cls, seed: int, step: int = 0) -> Seeds:
        """Those of a run; where it begins anew at a later step, others."""
        source = np.random.SeedSequence([seed, step] if step else seed)
        return cls(*map(int, source.generate_state(len(cls._fields))))
