"""cpprb: https://ymd_h.gitlab.io/cpprb/"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cpprb
import numpy as np

from benchmarks import data

VECTORS = {
    "obs": {"shape": data.OBS},
    "act": {"shape": data.ACTION},
    "rew": {},
    "next_obs": {"shape": data.OBS},
    "done": {},
}


def _fields(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        "obs": rows["obs"],
        "act": rows["action"],
        "rew": rows["reward"],
        "next_obs": rows["next_obs"],
        "done": rows["terminated"].astype(np.float32),
    }


def filled(rows: int, **settings: Any) -> Any:
    buffer = cpprb.ReplayBuffer(rows, VECTORS, **settings)
    chunk = min(rows, 100_000)
    fields = _fields(data.vectors(chunk))
    for _ in range(rows // chunk):
        buffer.add(**fields)
    return buffer


def sample_vectors(rows: int) -> Callable[[], object]:
    buffer = filled(rows)
    return lambda: buffer.sample(256)


def sample_nstep(rows: int) -> Callable[[], object]:
    # the returns are summed when steps are added, so this is what a sample of them costs
    nstep = {"size": 3, "gamma": 0.99, "rew": "rew", "next": "next_obs"}
    buffer = filled(rows, Nstep=nstep)
    return lambda: buffer.sample(256)


def sample_frames(rows: int) -> Callable[[], object]:
    fields = {
        "obs": {"shape": (*data.FRAME, data.STACK), "dtype": np.uint8},
        "act": {"dtype": np.int64},
        "rew": {},
        "done": {},
    }
    buffer = cpprb.ReplayBuffer(rows, fields, next_of="obs", stack_compress="obs")
    frames = np.moveaxis(data.frames(data.EPISODE + data.STACK), 0, -1)
    for step in range(rows):
        at = step % data.EPISODE
        buffer.add(
            obs=frames[..., at : at + data.STACK],
            next_obs=frames[..., at + 1 : at + 1 + data.STACK],
            act=0,
            rew=0.0,
            done=0.0,
        )
        if at == data.EPISODE - 1:
            buffer.on_episode_end()
    return lambda: buffer.sample(32)


def prioritized(rows: int) -> Callable[[], object]:
    buffer = cpprb.PrioritizedReplayBuffer(rows, VECTORS, alpha=0.6)
    chunk = min(rows, 100_000)
    fields, priorities = _fields(data.vectors(chunk)), data.priorities(chunk)
    for _ in range(rows // chunk):
        buffer.add(**fields, priorities=priorities)
    given = data.priority_batches()

    def turn() -> None:
        batch = buffer.sample(256, beta=0.4)
        buffer.update_priorities(batch["indexes"], next(given))

    return turn


def add_one(rows: int) -> Callable[[], object]:
    buffer = filled(rows)
    step = {name: value[0] for name, value in _fields(data.vectors(1)).items()}
    return lambda: buffer.add(**step)


def add_sixteen(rows: int) -> Callable[[], object]:
    buffer = filled(rows)
    steps = _fields(data.vectors(16))
    return lambda: buffer.add(**steps)


def loop(rows: int) -> Callable[[], object]:
    buffer = filled(rows)
    step = {name: value[0] for name, value in _fields(data.vectors(1)).items()}

    def turn() -> None:
        buffer.add(**step)
        buffer.sample(256)

    return turn
