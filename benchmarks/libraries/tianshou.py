"""Tianshou: https://tianshou.org/"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tianshou.algorithm.algorithm_base import Algorithm
from tianshou.data import (
    Batch,
    HERReplayBuffer,
    PrioritizedReplayBuffer,
    ReplayBuffer,
    VectorReplayBuffer,
)

from benchmarks import data

_SAVED = "`save_hdf5`; the generator is lost"
_PREVIOUS = "windows are found with `prev` and put together by the caller"
REMARKS = {
    "sequence_frames": _PREVIOUS,
    "sequence_vectors": _PREVIOUS,
    "hindsight": "relabels whole episodes in place, and puts them back before the next draw",
    "stored_frames": "`ignore_obs_next` and `save_only_last_obs`",
    "saved_vectors": _SAVED,
    "saved_frames": _SAVED,
}


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
    buffer = stored_frames(rows, [data.frames(data.EPISODE)])
    return lambda: buffer.sample(32)


def stored_frames(rows: int, episodes: list[np.ndarray]) -> Any:
    buffer = ReplayBuffer(rows, stack_num=data.STACK, ignore_obs_next=True, save_only_last_obs=True)
    for frames in data.played(rows, episodes):
        stacks = np.moveaxis(data.stacks(frames), -1, 1)
        last = len(frames) - 2
        for step, (obs, next_obs) in enumerate(pairwise(stacks)):
            buffer.add(
                Batch(
                    obs=obs,
                    act=0,
                    rew=0.0,
                    terminated=False,
                    truncated=step == last,
                    done=step == last,
                    obs_next=next_obs,
                    info=Batch(),
                )
            )
    return buffer


def saved_vectors(rows: int) -> tuple[Callable[[Path], object], Callable[[Path], object]]:
    return _saved(filled(rows))


def saved_frames(rows: int) -> tuple[Callable[[Path], object], Callable[[Path], object]]:
    return _saved(stored_frames(rows, data.atari(min(rows, data.PLAYED))))


def _saved(buffer: Any) -> tuple[Callable[[Path], object], Callable[[Path], object]]:
    return lambda path: buffer.save_hdf5(str(path)), lambda path: ReplayBuffer.load_hdf5(str(path))


def sequence_frames(rows: int) -> Callable[[], object]:
    episode = data.images()
    repeated = {
        name: np.resize(episode[name], (rows, *episode[name].shape[1:]))
        for name in ("obs", "action", "reward", "terminated", "truncated")
    }
    return _sequences(_holding(repeated), *data.IMAGES)


def sequence_vectors(rows: int) -> Callable[[], object]:
    return _sequences(_holding(data.vectors(rows)), *data.WINDOWS)


def _holding(steps: dict[str, np.ndarray]) -> Any:
    """A full buffer of steps whose next observations are the next rows'."""
    rows = len(steps["reward"])
    buffer = ReplayBuffer(rows, ignore_obs_next=True)
    source = ReplayBuffer.from_data(
        steps["obs"],
        steps["action"],
        steps["reward"],
        steps["terminated"],
        steps["truncated"],
        steps["terminated"] | steps["truncated"],
        np.zeros(rows, np.bool_),
    )
    buffer.update(source)
    return buffer


def _sequences(buffer: Any, batch: int, length: int) -> Callable[[], object]:
    fields = ("obs", "act", "rew", "terminated", "truncated")

    def call() -> object:
        steps = [buffer.sample_indices(batch)]
        while len(steps) < length:
            steps.append(buffer.prev(steps[-1]))
        indices = np.stack(steps[::-1], axis=1)
        return {name: buffer.get(indices, name) for name in fields}

    return call


def hindsight(rows: int) -> Callable[[], object]:
    steps = data.fetch(rows)
    names = ("observation", "achieved_goal", "desired_goal")
    source = ReplayBuffer.from_data(
        Batch({name: steps[name] for name in names}),
        steps["action"],
        steps["reward"],
        steps["terminated"],
        steps["truncated"],
        steps["terminated"] | steps["truncated"],
        Batch({name: steps.get(f"next_{name}", steps[name]) for name in names}),
    )
    # four of five, as for the others
    buffer = HERReplayBuffer(rows, data.fetch_reward, data.FETCH_EPISODE, future_k=5)
    buffer.update(source)
    return lambda: buffer.sample(256)


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
