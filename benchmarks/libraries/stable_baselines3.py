"""Stable-Baselines3: https://stable-baselines3.readthedocs.io/ (batches come as torch tensors)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.save_util import load_from_pkl, save_to_pkl
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks import data

NOT_OFFERED = {
    "prioritized": "no prioritized replay",
    "sequence_frames": "no sequences from its replay buffers",
    "sequence_vectors": "no sequences from its replay buffers",
}
_PICKLED = "a pickle, as `save_replay_buffer` makes it; the generator is lost"
REMARKS = {
    "stored_frames": "stacks, `optimize_memory_usage`",
    "saved_vectors": _PICKLED,
    "saved_frames": f"stacks, {_PICKLED}",
}

OBS = spaces.Box(-np.inf, np.inf, (data.OBS,), np.float32)
ACTION = spaces.Box(-1, 1, (data.ACTION,), np.float32)


def filled(rows: int, kind: Any = ReplayBuffer, environments: int = 1, **settings: Any) -> Any:
    buffer = kind(rows, OBS, ACTION, n_envs=environments, **settings)
    steps = data.vectors(rows // environments * environments)
    shape = (rows // environments, environments)
    # adding a million steps one by one takes minutes; these are the public arrays it would fill
    buffer.observations[:] = steps["obs"].reshape(*shape, -1)
    buffer.next_observations[:] = steps["next_obs"].reshape(*shape, -1)
    buffer.actions[:] = steps["action"].reshape(*shape, -1)
    buffer.rewards[:] = steps["reward"].reshape(shape)
    buffer.dones[:] = steps["truncated"].reshape(shape)
    buffer.timeouts[:] = steps["truncated"].reshape(shape)
    buffer.full = True
    return buffer


def sample_vectors(rows: int) -> Callable[[], object]:
    buffer = filled(rows)
    return lambda: buffer.sample(256)


def sample_nstep(rows: int) -> Callable[[], object]:
    buffer = filled(rows, NStepReplayBuffer, n_steps=3, gamma=0.99)
    return lambda: buffer.sample(256)


def sample_frames(rows: int) -> Callable[[], object]:
    buffer = stored_frames(rows, [data.frames(data.EPISODE)])
    return lambda: buffer.sample(32)


def stored_frames(rows: int, episodes: list[np.ndarray]) -> Any:
    # frames are stored as stacks, the next one in the next row
    space = spaces.Box(0, 255, (data.STACK, *data.FRAME), np.uint8)
    buffer = ReplayBuffer(
        rows,
        space,
        spaces.Discrete(4),
        optimize_memory_usage=True,
        handle_timeout_termination=False,
    )
    action, reward, done = np.zeros((1, 1), np.int64), np.zeros(1, np.float32), np.zeros(1)
    for frames in data.played(rows, episodes):
        stacks = np.moveaxis(data.stacks(frames), -1, 1)
        for obs, next_obs in pairwise(stacks):
            buffer.add(obs, next_obs, action, reward, done, [{}])
    return buffer


def saved_vectors(rows: int) -> tuple[Callable[[Path], object], Callable[[Path], object]]:
    buffer = filled(rows)
    return lambda path: save_to_pkl(path, buffer), load_from_pkl


def saved_frames(rows: int) -> tuple[Callable[[Path], object], Callable[[Path], object]]:
    buffer = stored_frames(rows, data.atari(min(rows, data.PLAYED)))
    return lambda path: save_to_pkl(path, buffer), load_from_pkl


class _Fetch(gymnasium.Env):
    """What the buffer asks an environment for: spaces and rewards."""

    observation_space = spaces.Dict(
        {
            "observation": spaces.Box(-np.inf, np.inf, (data.OBSERVATION,), np.float32),
            "achieved_goal": spaces.Box(-np.inf, np.inf, (data.GOAL,), np.float32),
            "desired_goal": spaces.Box(-np.inf, np.inf, (data.GOAL,), np.float32),
        }
    )
    action_space = spaces.Box(-1, 1, (data.FETCH_ACTION,), np.float32)

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> np.ndarray:
        return data.fetch_reward(achieved, desired)


def hindsight(rows: int) -> Callable[[], object]:
    buffer = HerReplayBuffer(
        rows, _Fetch.observation_space, _Fetch.action_space, DummyVecEnv([_Fetch]), n_sampled_goal=4
    )
    steps = data.fetch(rows)
    for name in _Fetch.observation_space:
        later = steps.get(f"next_{name}", steps[name])
        buffer.observations[name][:, 0] = steps[name]
        buffer.next_observations[name][:, 0] = later
    buffer.actions[:, 0] = steps["action"]
    buffer.rewards[:, 0] = steps["reward"]
    buffer.dones[:, 0] = buffer.timeouts[:, 0] = steps["truncated"]
    buffer.ep_start[:, 0] = np.arange(rows) // data.FETCH_EPISODE * data.FETCH_EPISODE
    buffer.ep_length[:] = data.FETCH_EPISODE
    buffer.full = True
    return lambda: buffer.sample(256)


def _step(environments: int) -> tuple[Any, ...]:
    steps = data.vectors(environments)
    ends = np.zeros(environments, np.bool_)
    infos: list[dict[str, Any]] = [{} for _ in range(environments)]
    return steps["obs"], steps["next_obs"], steps["action"], steps["reward"], ends, infos


def add_one(rows: int) -> Callable[[], object]:
    buffer, step = filled(rows), _step(1)
    return lambda: buffer.add(*step)


def add_sixteen(rows: int) -> Callable[[], object]:
    buffer, steps = filled(rows, environments=16), _step(16)
    return lambda: buffer.add(*steps)


def loop(rows: int) -> Callable[[], object]:
    buffer, step = filled(rows), _step(1)

    def turn() -> None:
        buffer.add(*step)
        buffer.sample(256)

    return turn
