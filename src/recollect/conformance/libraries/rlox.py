"""rlox: https://pypi.org/project/rlox/ (written in Rust). A seed is passed to every draw."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, ClassVar

import numpy as np
import rlox  # type: ignore[import-not-found]
from numpy.typing import NDArray
from rlox import HERBuffer, SequenceReplayBuffer

from recollect.conformance.adapter import Adapter, Drawn, Settings, Steps


def _sparse_reward(achieved: NDArray[Any], desired: NDArray[Any]) -> Any:
    """0 within the tolerance, -1 beyond."""
    near = np.linalg.norm(achieved - desired, axis=-1) < 0.05
    return np.where(near, 0.0, -1.0)


class Rlox(Adapter):
    """`ReplayBuffer`, `PrioritizedReplayBuffer`, `SequenceReplayBuffer` and `HERBuffer`."""

    name = "rlox"
    package = "rlox"
    offers = frozenset(
        {"transitions", "truncation", "bulk", "seed", "proportional", "zero priority"}
        | {"weights over memory", "sequence", "future", "final", "episode"}
    )
    lacks: ClassVar[dict[str, str]] = {
        "streams": "a buffer holds one stream",
        "n-step": "its replay buffers return single steps",
        "dtypes": "rows are 32-bit floats",
        "largest priority": "push takes the priority of a new row, 1 unless given",
        "save": "buffers are not saved",
        "raw weights": "weights are divided by the largest",
    }
    goal_reward = staticmethod(_sparse_reward)
    own_reward = True

    def make(self, settings: Settings) -> None:
        self.settings = settings
        size, width = settings.capacity, settings.obs_shape[0]
        self._seeds = count(1000 * settings.seed)
        if settings.goals:
            # of each observation: itself, what was achieved, what is desired
            self.buffer: Any = HERBuffer(
                size, 7, 1, 2, 3, 5, strategy=settings.goals, k=4, goal_tolerance=0.05
            )
        elif settings.length:
            self.buffer = SequenceReplayBuffer(size, width, 1)
        elif settings.sampler == "proportional":
            self.buffer = rlox.PrioritizedReplayBuffer(
                size, width, 1, alpha=settings.alpha, beta=settings.beta
            )
        else:
            self.buffer = rlox.ReplayBuffer(size, width, 1)

    def add(self, steps: Steps, streams: Sequence[int]) -> None:
        obs, next_obs = steps["obs"][0], steps["next_obs"][0]
        action = steps["action"][0]
        reward = float(steps["reward"][0])
        ends = bool(steps["terminated"][0]), bool(steps["truncated"][0])
        if self.settings.goals:
            obs = np.concatenate((obs, steps["achieved"][0], steps["goal"][0]))
            next_obs = np.concatenate((next_obs, steps["next_achieved"][0], steps["goal"][0]))
        if self.settings.goals or self.settings.length:
            self.buffer.push(obs, next_obs, action, reward, *ends)
        else:
            self.buffer.push(obs, action, reward, *ends, next_obs)

    def add_many(self, steps: Steps, stream: int) -> None:
        self.buffer.push_batch(
            steps["obs"].ravel(),
            steps["next_obs"].ravel(),
            steps["action"].ravel(),
            steps["reward"],
            steps["terminated"].astype(np.uint8),
            steps["truncated"].astype(np.uint8),
        )

    def sample(self, n: int) -> Drawn:
        seed = next(self._seeds)
        n = min(n, len(self.buffer))  # it refuses to draw more than it holds
        if self.settings.length:
            batch = self.buffer.sample_sequences(n, self.settings.length, seed)
        elif self.settings.goals:
            batch = self.buffer.sample(n, 0.8, seed)
        else:
            batch = self.buffer.sample(n, seed)
        drawn = {
            "obs": batch["obs"],
            "next_obs": batch["next_obs"],
            "action": batch["actions"],
            "reward": batch["rewards"],
            "terminated": np.asarray(batch["terminated"], bool),
            "truncated": np.asarray(batch["truncated"], bool),
        }
        if self.settings.goals:
            obs, after = drawn["obs"].reshape(-1, 7), drawn["next_obs"].reshape(-1, 7)
            return drawn | {
                "obs": obs[:, :3],
                "next_obs": after[:, :3],
                "goal": obs[:, 5:],
                "next_goal": after[:, 5:],
            }
        if "indices" in batch:
            drawn |= {"key": batch["indices"], "weight": batch["weights"]}
        return drawn

    def update(self, keys: Any, priority: NDArray[np.float64]) -> None:
        self.buffer.update_priorities(np.asarray(keys, np.uint64), priority)
