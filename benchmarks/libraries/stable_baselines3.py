"""Stable-Baselines3: https://stable-baselines3.readthedocs.io/ (batches come as torch tensors)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer

from benchmarks import data

NOT_OFFERED = {"prioritized": "no prioritized replay"}

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
    # frames are stored as stacks, the next one in the next row
    space = spaces.Box(0, 255, (data.STACK, *data.FRAME), np.uint8)
    buffer = ReplayBuffer(
        rows,
        space,
        spaces.Discrete(4),
        optimize_memory_usage=True,
        handle_timeout_termination=False,
    )
    frames = data.frames(data.EPISODE + data.STACK)
    for row in range(rows):
        at = row % data.EPISODE
        buffer.observations[row, 0] = frames[at : at + data.STACK]
    buffer.full = True
    return lambda: buffer.sample(32)


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
