"""Stable-Baselines3: https://stable-baselines3.readthedocs.io/

Driven as its `OffPolicyAlgorithm._store_transition` does: `done` is true at either end, a time
limit is told in `info["TimeLimit.truncated"]`, and `next_obs` is the terminal observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer  # type: ignore[import-not-found]
from stable_baselines3.common.save_util import load_from_pkl, save_to_pkl  # type: ignore[import-not-found]
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer  # type: ignore[import-not-found]

from recollect.conformance.adapter import Adapter, Drawn, Settings, Steps, goal_reward


class Plain(Adapter):
    """`ReplayBuffer`."""

    name = "stable-baselines3"
    package = "stable-baselines3"
    offers = frozenset({"transitions", "truncation", "streams", "dtypes", "save"})
    lacks: ClassVar[Mapping[str, str]] = {
        "seed": "it draws from NumPy's global generator",
        "proportional": "it has no prioritized replay",
        "bulk": "extend adds steps one by one",
        "save generator": "it draws from NumPy's global generator, which it does not save",
    }

    def make(self, settings: Settings) -> None:
        self.settings = settings
        self.buffer = self.open(settings)

    def open(self, settings: Settings) -> Any:
        return ReplayBuffer(settings.capacity, *_spaces(settings), n_envs=settings.streams)

    def add(self, steps: Steps, streams: Sequence[int]) -> None:
        limits = steps["truncated"] & ~steps["terminated"]
        self.buffer.add(
            self.observations(steps, ""),
            self.observations(steps, "next_"),
            steps["action"],
            steps["reward"],
            steps["terminated"] | steps["truncated"],
            [{"TimeLimit.truncated": bool(limit)} for limit in limits],
        )

    def observations(self, steps: Steps, which: str) -> Any:
        return steps[f"{which}obs"]

    def sample(self, n: int) -> Drawn:
        batch = self.buffer.sample(n)
        gamma = self.settings.gamma
        if getattr(batch, "discounts", None) is not None:
            gamma = batch.discounts.numpy()[:, 0]
        ended = batch.dones.numpy()[:, 0]
        return {
            "obs": batch.observations.numpy(),
            "action": batch.actions.numpy(),
            "reward": batch.rewards.numpy()[:, 0],
            "next_obs": batch.next_observations.numpy(),
            "terminated": ended > 0,
            "discount": (1 - ended) * gamma,
        }

    def save(self, path: Path) -> None:
        # what `model.save_replay_buffer` does
        save_to_pkl(path, self.buffer)

    def load(self, path: Path, settings: Settings) -> None:
        self.settings = settings
        self.buffer = load_from_pkl(path)


class MemoryOptimised(Plain):
    """`ReplayBuffer(optimize_memory_usage=True)`."""

    name = "stable-baselines3 (memory-optimised)"
    offers = Plain.offers - {"truncation"}
    lacks: ClassVar[Mapping[str, str]] = {
        **Plain.lacks,
        "truncation": "it refuses to tell time limits from terminations in this mode",
    }

    def open(self, settings: Settings) -> Any:
        return ReplayBuffer(
            settings.capacity,
            *_spaces(settings),
            n_envs=settings.streams,
            optimize_memory_usage=True,
            handle_timeout_termination=False,
        )


class NStep(Plain):
    """`NStepReplayBuffer`."""

    name = "stable-baselines3 (n-step)"
    offers = Plain.offers | {"n-step"}

    def open(self, settings: Settings) -> Any:
        return NStepReplayBuffer(
            settings.capacity,
            *_spaces(settings),
            n_envs=settings.streams,
            n_steps=settings.n,
            gamma=settings.gamma,
        )


class Hindsight(Plain):
    """`HerReplayBuffer`: hindsight alone is asked of it."""

    name = "stable-baselines3 (HER)"
    offers = frozenset({"future", "final", "episode"})
    lacks: ClassVar[Mapping[str, str]] = {
        **Plain.lacks,
        "transitions": "it draws steps of finished episodes alone, with goals",
    }

    def open(self, settings: Settings) -> Any:
        obs, action = _spaces(settings)
        goal = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        goals = spaces.Dict({"observation": obs, "achieved_goal": goal, "desired_goal": goal})
        return HerReplayBuffer(
            settings.capacity,
            goals,
            action,
            env=_Rewards(),
            n_envs=settings.streams,
            n_sampled_goal=4,
            goal_selection_strategy=settings.goals or "future",
        )

    def observations(self, steps: Steps, which: str) -> Any:
        return {
            "observation": steps[f"{which}obs"],
            "achieved_goal": steps[f"{which}achieved"],
            "desired_goal": steps["goal"],
        }

    def sample(self, n: int) -> Drawn:
        batch = self.buffer.sample(n)
        return {
            "obs": batch.observations["observation"].numpy(),
            "goal": batch.observations["desired_goal"].numpy(),
            "next_goal": batch.next_observations["desired_goal"].numpy(),
            "next_obs": batch.next_observations["observation"].numpy(),
            "reward": batch.rewards.numpy()[:, 0],
            "terminated": batch.dones.numpy()[:, 0] > 0,
        }


class _Rewards:
    """The one method of a vector environment that hindsight calls."""

    def env_method(self, name: str, *arguments: Any, indices: Any = None) -> list[Any]:
        assert name == "compute_reward"
        return [goal_reward(*arguments)]


def _spaces(settings: Settings) -> tuple[Any, Any]:
    if settings.obs == "vector":
        obs: Any = spaces.Box(-np.inf, np.inf, settings.obs_shape, np.float32)
    else:
        obs = spaces.Box(0, 255, settings.obs_shape, np.dtype(np.uint8))
    return obs, spaces.Box(-np.inf, np.inf, (1,), np.float32)
