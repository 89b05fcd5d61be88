"""An environment whose observations say where they were made. Needs Gymnasium."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from recollect.conformance.world import observation, reward

LENGTHS = (3, 1, 5, 2)
"""Steps of the episodes, over and over; even ones of even streams terminate, and odd of odd."""


class Counting(gymnasium.Env[Any, Any]):
    """Goes through the episodes of one stream."""

    observation_space = gymnasium.spaces.Box(0, 1e6, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, stream: int) -> None:
        self.stream, self.episode, self.now = stream, -1, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.now = self.episode + 1, 0
        return observation("vector", self.stream, self.episode, 0), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        gained = float(reward(self.stream, self.episode, self.now))
        self.now += 1
        last = self.now == LENGTHS[self.episode % len(LENGTHS)]
        terminates = (self.stream + self.episode) % 2 == 0
        seen = observation("vector", self.stream, self.episode, self.now)
        return seen, gained, last and terminates, last and not terminates, {}
