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


def prioritized(rows: int, sampler: Any = None, batch_size: int = 256) -> Callable[[], object]:
    if sampler is None:  # one without members yet is false
        sampler = rc.Prioritized(alpha=0.6, beta=0.4)
    memory = filled(rows, sampler=sampler)
    every = memory.sampler.state()["members"] if memory.eligible else []
    for part in np.array_split(every, max(rows // 100_000, 1)):
        memory.update(memory._rows.keys(part), priority=data.priorities(len(part)))
    given = data.priority_batches()

    def turn() -> None:
        batch = memory.sample(batch_size)
        memory.update(batch.key, priority=next(given)[:batch_size])

    return turn


def ranked(rows: int) -> Callable[[], object]:
    return prioritized(rows, rc.Ranked(alpha=0.7, beta=0.4))


def mixture(rows: int) -> Callable[[], object]:
    return prioritized(rows, rc.Mixture({rc.Uniform(): 0.5, rc.Prioritized(): 0.5}))


def parts_of_mixture(rows: int) -> Callable[[], object]:
    memory, by_priority = filled(rows), prioritized(rows, batch_size=128)

    def turn() -> None:
        memory.sample(128)
        by_priority()

    return turn


def offer_five(rows: int, retention: Any) -> Callable[[], object]:
    """Five examples to a full memory."""
    schema = rc.Schema.examples(obs=rc.Field((data.OBS,)), label=rc.Field((), np.int64))
    memory = rc.Memory(schema, rows, retention=retention, seed=0)
    obs, labels = data.vectors(rows)["obs"], np.arange(rows) % 10
    memory.extend(obs=obs, label=labels)
    five = {"obs": obs[:5], "label": labels[:5]}
    return lambda: memory.extend(**five)


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
