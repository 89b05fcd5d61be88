"""DQN (Mnih et al., 2015): learn the values of actions from replayed transitions.

The agent acts in an environment, every step goes into a memory, and now and then the network is
trained on transitions drawn from it:

    target = reward + discount * max_a target_network(next_obs)[a]
    loss   = huber(network(obs)[action] - target)

Two things keep this stable. Replay breaks the correlation between one step and the next; and the
target network, a copy that lags behind, holds the goal still while the network moves towards it.

What is missing below is what the memory does: `rc.record` adds each step, and `batch.discount` is
gamma, or 0 where the episode *terminated*. An episode that a time limit cut short (*truncated*)
would have had a future, so there the value of the true last observation still counts.

The weights that `train` returns are those of the best periodic greedy evaluation, not the last
ones: a DQN goes on fluctuating after it has become good. The winner's own score is flattered by
having been chosen; to measure the agent, `evaluate` it on `Seeds.of(config.seed).test`, which
nothing in training has seen.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

import recollect as rc
from recollect.errors import ConfigurationError

Env = gym.Env[Any, Any]

HEARTBEAT = 1_000
"""Steps after which progress is reported even if nothing has happened."""


@dataclass(frozen=True)
class DQNConfig:
    """Train a DQN (Mnih et al., 2015): discrete actions, observations that fit in a vector."""

    env: str = "CartPole-v1"
    """Gymnasium's name of the environment."""
    seed: int = 1
    """Decides everything: first weights, environment, exploration, replay, evaluation."""
    steps: int = 60_000
    """Steps in the environment."""
    device: str = "cpu"
    """Where the network lives: cpu, cuda, cuda:1, mps. The CPU is fastest for small networks."""
    threads: int = 1
    """CPU threads of PyTorch. Small products are over before a second thread has woken up."""

    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers."""
    gamma: float = 0.99
    """Discount: what a reward one step later is worth now."""
    learning_rate: float = 1e-3
    """Step size of Adam."""
    max_grad_norm: float = 10.0
    """A longer gradient is scaled down to this norm."""

    capacity: int = 100_000
    """Rows in memory; the oldest make room for the newest."""
    batch_size: int = 128
    """Transitions in a gradient step."""
    warmup: int = 1_000
    """Random steps before training begins."""
    train_every: int = 128
    """Steps in the environment between two rounds of training."""
    gradient_steps: int = 64
    """Gradient steps in a round of training."""
    target_every: int = 64
    """Gradient steps after which the target network becomes a copy of the network again."""

    epsilon_start: float = 1.0
    """Share of random actions at first."""
    epsilon_end: float = 0.04
    """Share of random actions in the end."""
    epsilon_steps: int = 8_000
    """Steps over which the one falls, evenly, to the other."""

    eval_every: int = 2_000
    """Steps between two greedy evaluations; the weights of the best one are kept."""
    eval_episodes: int = 20
    """Episodes of such an evaluation."""

    def __post_init__(self) -> None:
        for names, what, fits in _LIMITS:
            for name in names.split():
                value = getattr(self, name)
                if not all(map(fits, value if isinstance(value, tuple) else (value,))):
                    raise ConfigurationError(f"{name} must be {what}, got {value}")


_COUNTS = "steps threads hidden batch_size train_every gradient_steps target_every epsilon_steps"
_LIMITS: list[tuple[str, str, Callable[[Any], bool]]] = [
    (f"{_COUNTS} eval_every eval_episodes", "at least 1", lambda value: value >= 1),
    ("capacity", "at least 2", lambda value: value >= 2),
    ("seed warmup", "0 or more", lambda value: value >= 0),
    ("learning_rate max_grad_norm", "more than 0", lambda value: 0 < value < math.inf),
    ("gamma epsilon_start epsilon_end", "between 0 and 1", lambda value: 0 <= value <= 1),
]


class Seeds(NamedTuple):
    """A seed of its own for each source of chance, all from one number."""

    network: int
    env: int
    exploration: int
    actions: int
    memory: int
    selection: int
    test: int

    @classmethod
    def of(cls, seed: int) -> Seeds:
        return cls(*map(int, np.random.SeedSequence(seed).generate_state(len(cls._fields))))


@dataclass(frozen=True)
class Progress:
    """Where training stands: after each episode, each evaluation, and every `HEARTBEAT` steps."""

    step: int
    """Steps taken."""
    episode: int
    """Episodes ended."""
    epsilon: float
    """Share of random actions now."""
    rows: int
    """Rows of the memory in use."""
    loss: float | None = None
    """Mean over the last round of training; None before the first one."""
    episode_return: float | None = None
    """Sum of rewards of the episode that has just ended, if one has."""
    evaluation: float | None = None
    """Mean return of the greedy evaluation that has just ended, if one has."""


class Trained(NamedTuple):
    """What came out of training."""

    network: QNetwork
    """With the weights of the best evaluation, or the present ones if there was none yet."""
    score: float | None
    """Mean return in that evaluation: a choice among many, so flattering. Measure afresh."""
    steps: int
    """Steps taken."""
    interrupted: bool
    """Whether Ctrl-C ended it."""


class QNetwork(nn.Module):
    """Observations (B, *shape) to the values of all actions (B, actions)."""

    def __init__(self, env: Env, hidden: tuple[int, ...]) -> None:
        super().__init__()
        assert isinstance(env.observation_space, spaces.Box)
        assert isinstance(env.action_space, spaces.Discrete)
        widths = (*env.observation_space.shape, *hidden)
        layers: list[nn.Module] = []
        for inputs, outputs in zip(widths, hidden, strict=False):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], int(env.action_space.n)))

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = self.layers(obs.float())
        return values


def make_env(name: str) -> Env:
    """The environment, with observations as vectors and actions counted from 0.

    Raises:
        ConfigurationError: there is no such environment, its extra is not installed, or it is not
            one for this learner.
    """
    try:
        env: Env = gym.make(name)
    except (gym.error.Error, ImportError) as error:
        raise ConfigurationError(f"cannot make the environment {name!r}: {error}") from error
    observations, actions = env.observation_space, env.action_space
    if not isinstance(actions, spaces.Discrete):
        raise ConfigurationError(f"DQN needs discrete actions, those of {name} are {actions}")
    if actions.start != 0:
        first = actions.start
        counted = spaces.Discrete(int(actions.n))
        env = gym.wrappers.TransformAction(env, lambda action: action + first, counted)
    if not (isinstance(observations, spaces.Box) and observations.shape):
        env = gym.wrappers.FlattenObservation(env)
    shape = env.observation_space.shape
    if shape is None or len(shape) != 1:
        raise ConfigurationError(
            f"DQN needs observations that fit in a vector, those of {name} are {observations}"
        )
    return env


def find_device(name: str) -> torch.device:
    """The device, once it has proved to work.

    Raises:
        ConfigurationError: there is none of that name on this machine.
    """
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises the latter
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise ConfigurationError(f"cannot use the device {name!r}: {reason}") from error
    return torch.device(name)


def td_loss(network: nn.Module, target: nn.Module, batch: rc.Batch) -> torch.Tensor:
    """The Huber loss of `reward + discount * max_a target(next_obs)` against `network(obs)`."""
    with torch.no_grad():
        goal = batch.reward + batch.discount * target(batch.next_obs).amax(dim=1)
    value = network(batch.obs).gather(1, batch.action.long().unsqueeze(1)).squeeze(1)
    return nn.functional.huber_loss(value, goal)


@torch.no_grad()
def greedy(network: nn.Module, obs: NDArray[Any], device: torch.device) -> int:
    """The action of the largest value."""
    return int(network(torch.as_tensor(obs, device=device).unsqueeze(0)).argmax())


def evaluate(
    network: nn.Module, env: Env, episodes: int, seed: int | None = None
) -> NDArray[np.float64]:
    """Returns of so many greedy episodes; without a seed the environment goes on from its last."""
    device = next(network.parameters()).device
    returns = np.zeros(episodes)
    for episode in range(episodes):
        obs, _ = env.reset(seed=seed if episode == 0 else None)
        ended = False
        while not ended:
            obs, reward, terminated, truncated, _ = env.step(greedy(network, obs, device))
            returns[episode] += float(reward)
            ended = terminated or truncated
    return returns


def train(config: DQNConfig, report: Callable[[Progress], None] = lambda progress: None) -> Trained:
    """Trains as the configuration says. Ctrl-C ends it early; what was learned is returned.

    Sets the seed and the threads of PyTorch. The same configuration gives the same run, on the same
    device and versions.

    Raises:
        ConfigurationError: the environment or the device cannot be used.
    """
    seeds = Seeds.of(config.seed)
    torch.manual_seed(seeds.network)
    torch.set_num_threads(config.threads)
    device = find_device(config.device)
    rng = np.random.default_rng(seeds.exploration)

    env, exam = make_env(config.env), make_env(config.env)
    memory = rc.Memory(
        rc.Schema.from_env(env),
        config.capacity,
        view=rc.Transition(gamma=config.gamma),
        seed=seeds.memory,
    )
    env = rc.record(env, memory)
    env.action_space.seed(seeds.actions)

    network = QNetwork(env, config.hidden).to(device)
    target = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    epsilon_at = rc.linear(config.epsilon_start, config.epsilon_end, config.epsilon_steps)

    step = episode = updates = 0
    interrupted = False
    loss: float | None = None
    best: tuple[float, dict[str, Any]] | None = None

    def tell(**news: float) -> None:
        rows = int(memory.stats()["rows"])
        report(Progress(step, episode, epsilon_at(step), rows, loss, **news))

    try:
        exam.reset(seed=seeds.selection)
        obs, _ = env.reset(seed=seeds.env)
        episode_return = 0.0
        while step < config.steps:
            if step < config.warmup or rng.random() < epsilon_at(step):
                action = env.action_space.sample()
            else:
                action = greedy(network, obs, device)
            obs, reward, terminated, truncated, _ = env.step(action)
            step += 1
            episode_return += float(reward)
            if terminated or truncated:
                episode += 1
                tell(episode_return=episode_return)
                obs, _ = env.reset()
                episode_return = 0.0
            elif step % HEARTBEAT == 0:
                tell()

            if step > config.warmup and step % config.train_every == 0:
                losses = []
                for _ in range(config.gradient_steps):
                    batch = memory.sample(config.batch_size).torch(device)
                    error = td_loss(network, target, batch)
                    optimizer.zero_grad()
                    torch.autograd.backward(error)
                    nn.utils.clip_grad_norm_(network.parameters(), config.max_grad_norm)
                    optimizer.step()
                    losses.append(error.detach())
                    updates += 1
                    if updates % config.target_every == 0:
                        target.load_state_dict(network.state_dict())
                loss = float(torch.stack(losses).mean())

            if updates and (step % config.eval_every == 0 or step == config.steps):
                score = float(evaluate(network, exam, config.eval_episodes).mean())
                if best is None or score >= best[0]:
                    best = score, copy.deepcopy(network.state_dict())
                tell(evaluation=score)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        env.close()
        exam.close()
    if best is not None:
        network.load_state_dict(best[1])
    return Trained(network, best[0] if best else None, step, interrupted)
