"""recollect, this library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import recollect as rc
from benchmarks import data

VECTORS = rc.Schema.steps(obs=rc.Field((data.OBS,)), action=rc.Field((data.ACTION,)))
FRAMES = rc.Schema.steps(obs=rc.Field(data.FRAME, np.uint8), action=rc.Field((), np.int64))
TRANSITION = rc.Transition


def filled(rows: int, view: Any = None, **settings: Any) -> rc.Memory:
    """A full ring of so many rows."""
    memory = rc.Memory(VECTORS, rows, view=view or rc.Transition(gamma=0.99), seed=0, **settings)
    chunk = min(rows, 100_000)
    for _ in range(rows // chunk + 1):
        memory.extend(**data.vectors(chunk), **({"stream": 0} if memory.streams else {}))
    return memory


def sample_vectors(rows: int) -> Callable[[], object]:
    memory = filled(rows)
    return lambda: memory.sample(256)


def sample_nstep(rows: int) -> Callable[[], object]:
    memory = filled(rows, rc.NStep(3, gamma=0.99))
    return lambda: memory.sample(256)


def sample_frames(rows: int) -> Callable[[], object]:
    view = rc.Transition(gamma=0.99, stack=data.STACK)
    memory = rc.Memory(FRAMES, rows, view=view, seed=0)
    frames = data.frames(data.EPISODE)
    ends = np.zeros(data.EPISODE, np.bool_)
    ends[-1] = True
    for _ in range(rows // data.EPISODE + 1):
        memory.extend(
            obs=frames[:-1],
            action=np.zeros(data.EPISODE, np.int64),
            reward=np.zeros(data.EPISODE, np.float32),
            next_obs=frames[1:],
            terminated=np.zeros(data.EPISODE, np.bool_),
            truncated=ends,
        )
    return lambda: memory.sample(32)


def add_one(rows: int) -> Callable[[], object]:
    memory = filled(rows)
    one = data.vectors(1)
    step = {name: value[0] for name, value in one.items()}
    step |= {"next_obs": step["obs"], "reward": 1.0, "terminated": False, "truncated": False}
    return lambda: memory.add(**step)


def add_sixteen(rows: int) -> Callable[[], object]:
    memory = rc.Memory(VECTORS, rows, streams=16, view=rc.Transition(gamma=0.99), seed=0)
    steps = data.vectors(16)
    steps |= {"next_obs": steps["obs"], "truncated": np.zeros(16, np.bool_)}
    return lambda: memory.add(**steps)


def loop(rows: int) -> Callable[[], object]:
    memory = filled(rows)
    one = data.vectors(1)
    step = {name: value[0] for name, value in one.items()}
    step |= {"next_obs": step["obs"], "reward": 1.0, "terminated": False, "truncated": False}

    def turn() -> None:
        memory.add(**step)
        memory.sample(256)

    return turn
