"""Tianshou: https://tianshou.org/"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tianshou.algorithm import Algorithm
from tianshou.data import Batch, PrioritizedReplayBuffer, ReplayBuffer, VectorReplayBuffer

from benchmarks import data


def _batch(steps: dict[str, np.ndarray]) -> Any:
    return Batch(
        obs=steps["obs"],
        act=steps["action"],
        rew=steps["reward"],
        terminated=steps["terminated"],
        truncated=steps["truncated"],
        done=steps["terminated"] | steps["truncated"],
        obs_next=steps["next_obs"],
        info=Batch(),
    )


def filled(rows: int) -> Any:
    steps = data.vectors(rows)
    return ReplayBuffer.from_data(
        steps["obs"],
        steps["action"],
        steps["reward"],
        steps["terminated"],
        steps["truncated"],
        steps["terminated"] | steps["truncated"],
        steps["next_obs"],
    )


def sample_vectors(rows: int) -> Callable[[], object]:
    buffer = filled(rows)
    return lambda: buffer.sample(256)


def sample_nstep(rows: int) -> Callable[[], object]:
    buffer = filled(rows)

    def no_value(_: object, indices: np.ndarray) -> Any:
        import torch

        return torch.zeros(len(indices), 1)

    def call() -> object:
        batch, indices = buffer.sample(256)
        return Algorithm.compute_nstep_return(batch, buffer, indices, no_value, 0.99, 3)

    return call


def sample_frames(rows: int) -> Callable[[], object]:
    buffer = ReplayBuffer(rows, stack_num=data.STACK, ignore_obs_next=True, save_only_last_obs=True)
    frames = data.frames(data.EPISODE + data.STACK)
    for step in range(rows):
        at = step % data.EPISODE
        end = at == data.EPISODE - 1
        buffer.add(
            Batch(
                obs=frames[at : at + data.STACK],
                act=0,
                rew=0.0,
                terminated=False,
                truncated=end,
                done=end,
                obs_next=frames[at + 1 : at + 1 + data.STACK],
                info=Batch(),
            )
        )
    return lambda: buffer.sample(32)


def prioritized(rows: int) -> Callable[[], object]:
    buffer = PrioritizedReplayBuffer(rows, alpha=0.6, beta=0.4)
    buffer.update(filled(rows))
    buffer.update_weight(np.arange(rows), data.priorities(rows))
    given = data.priority_batches()

    def turn() -> None:
        _, indices = buffer.sample(256)
        buffer.update_weight(indices, next(given))

    return turn


def add_one(rows: int) -> Callable[[], object]:
    buffer = filled(rows)
    step = _batch({name: value[0] for name, value in data.vectors(1).items()})
    return lambda: buffer.add(step)


def add_sixteen(rows: int) -> Callable[[], object]:
    buffer = VectorReplayBuffer(rows, 16)
    steps = _batch(data.vectors(16))
    return lambda: buffer.add(steps)


def loop(rows: int) -> Callable[[], object]:
    buffer = filled(rows)
    step = _batch({name: value[0] for name, value in data.vectors(1).items()})

    def turn() -> None:
        buffer.add(step)
        buffer.sample(256)

    return turn
