"""The parts of a DQN that play: one that fills the memory, and one that measures what is learned.

Both can say where they are, so that a run goes on within the episodes in which it was stopped. Of
some environments that cannot be known; there new episodes begin, and all else goes on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recollect.gym import VectorRecorder
from recollect.learners.environment_states import restore, state_of
from recollect.learners.environments import Env
from recollect.learners.networks import QNetwork


@torch.no_grad()
def greedy(network: nn.Module, obs: NDArray[Any], device: torch.device) -> NDArray[np.int64]:
    """The actions of the largest values, one for each of the observations (B, ...)."""
    actions: NDArray[np.int64] = (
        network(torch.as_tensor(obs, device=device)).argmax(dim=1).cpu().numpy()
    )
    return actions


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
            action = greedy(network, obs[None], device)[0]
            obs, reward, terminated, truncated, _ = env.step(action)
            returns[episode] += float(reward)
            ended = terminated or truncated
    return returns


class Player:
    """Plays in all environments side by side, now and then at random."""

    def __init__(self, envs: VectorRecorder, seed: int) -> None:
        self._envs = envs
        self._rng = np.random.default_rng(seed)
        self._obs: Any = None
        self._returns = np.zeros(envs.num_envs)

    def begin(self, seed: int) -> None:
        """Begins episodes, unless it is within some; the memory closes those that are open."""
        if self._obs is None:
            self._obs, _ = self._envs.reset(seed=seed)

    def step(self, network: QNetwork, epsilon: float | None, device: torch.device) -> list[float]:
        """Takes a step in each environment; gives the returns of the episodes that end by it.

        Args:
            epsilon: share of random actions; None if all are.
        """
        actions = self._rng.integers(network.actions, size=len(self._returns))
        if epsilon is not None:
            exploits = self._rng.random(len(actions)) >= epsilon
            if exploits.any():
                actions = np.where(exploits, greedy(network, self._obs, device), actions)
        self._obs, rewards, terminated, truncated, _ = self._envs.step(actions)
        self._returns += rewards
        ended = terminated | truncated
        finished: list[float] = self._returns[ended].tolist()
        self._returns[ended] = 0
        return finished

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here; without the environments if that is unknown."""
        return {
            "exploration": self._rng.bit_generator.state,
            "envs": state_of(self._envs),
            "obs": self._obs,
            "returns": self._returns,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from where another was, if it can within its episodes."""
        self._rng.bit_generator.state = state["exploration"]
        if state["envs"] is not None:
            restore(self._envs, state["envs"])
            self._obs, self._returns = state["obs"], state["returns"]


class Examiner:
    """Measures the network now and then, in an environment of its own."""

    def __init__(self, env: Env, episodes: int) -> None:
        self.state: dict[str, Any] | None = None
        """What `restore` needs to go on from the latest examination; None if it cannot be had."""
        self._env, self._episodes = env, episodes

    def begin(self, seed: int) -> None:
        """Makes ready for the first examination, unless there is one to go on from."""
        if self.state is None:
            self._env.reset(seed=seed)
            self.state = state_of(self._env)

    def restore(self, state: dict[str, Any] | None) -> None:
        """Goes on from where another was, if it can."""
        if state is not None:
            restore(self._env, state)
            self.state = state

    def examine(self, network: QNetwork) -> float:
        """The mean return of greedy episodes. If it is interrupted, `state` is as it was."""
        score = float(evaluate(network, self._env, self._episodes).mean())
        self.state = state_of(self._env)
        return score
