"""rlox: https://pypi.org/project/rlox/ (written in Rust)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import rlox

from benchmarks import data

NOT_OFFERED = {
    "sample_nstep": "no n-step returns from its replay buffer",
    "sample_frames": "rows are 32-bit floats, frames are not stacked",
    "stored_frames": "rows are 32-bit floats, frames are not stacked",
    "saved_vectors": "buffers are not saved",
    "saved_frames": "buffers are not saved",
}
REMARKS = {
    "sequence_frames": "of 10 k rows, as 32-bit floats, next obs as well",
    "sequence_vectors": "next obs as well",
    "hindsight": "with a reward function of its own",
}


def filled(rows: int) -> Any:
    buffer = rlox.ReplayBuffer(rows, data.OBS, data.ACTION)
    chunk = min(rows, 100_000)
    steps = data.vectors(chunk)
    for _ in range(rows // chunk):
        _push(buffer, steps)
    return buffer


def _push(buffer: Any, steps: dict[str, Any]) -> None:
    buffer.push_batch(
        steps["obs"].ravel(),
        steps["next_obs"].ravel(),
        steps["action"].ravel(),
        steps["reward"],
        steps["terminated"].view(np.uint8),
        steps["truncated"].view(np.uint8),
    )


def sample_vectors(rows: int) -> Callable[[], object]:
    buffer, seed = filled(rows), count()
    return lambda: buffer.sample(256, next(seed))


def sequence_frames(rows: int) -> Callable[[], object]:
    steps = data.images()
    for name in ("obs", "next_obs"):
        steps[name] = steps[name].reshape(data.EPISODE, -1).astype(np.float32)
    return _sequences(min(rows, 10_000), steps, *data.IMAGES)


def sequence_vectors(rows: int) -> Callable[[], object]:
    return _sequences(rows, data.vectors(rows), *data.WINDOWS)


def _sequences(rows: int, steps: dict[str, Any], batch: int, length: int) -> Callable[[], object]:
    size, seed = steps["obs"].shape[1], count()
    buffer = rlox.SequenceReplayBuffer(rows, size, data.ACTION)
    for _ in range(rows // len(steps["obs"])):
        _push_each(buffer, steps)
    return lambda: buffer.sample_sequences(batch, length, next(seed))


def _push_each(buffer: Any, steps: dict[str, Any]) -> None:
    names = ("obs", "next_obs", "action")
    scalars = (steps[name].tolist() for name in ("reward", "terminated", "truncated"))
    for step in zip(*(steps[name] for name in names), *scalars, strict=True):
        buffer.push(*step)


def hindsight(rows: int) -> Callable[[], object]:
    steps = data.fetch(rows)
    goals = steps["desired_goal"]
    steps["obs"] = np.hstack((steps["observation"], steps["achieved_goal"], goals))
    steps["next_obs"] = np.hstack((steps["next_observation"], steps["next_achieved_goal"], goals))
    buffer = rlox.HERBuffer(
        rows,
        data.OBSERVATION + 2 * data.GOAL,
        data.FETCH_ACTION,
        data.GOAL,
        achieved_goal_start=data.OBSERVATION,
        desired_goal_start=data.OBSERVATION + data.GOAL,
        strategy="future",
        goal_tolerance=data.NEAR,
    )
    _push_each(buffer, steps)
    seed = count()
    return lambda: buffer.sample(256, 0.8, next(seed))


def prioritized(rows: int) -> Callable[[], object]:
    buffer = rlox.PrioritizedReplayBuffer(rows, data.OBS, data.ACTION, alpha=0.6, beta=0.4)
    steps, seed, given = data.vectors(rows), count(), data.priority_batches()
    columns = (steps["obs"], steps["action"], steps["next_obs"], data.priorities(rows).tolist())
    for obs, action, next_obs, priority in zip(*columns, strict=True):
        buffer.push(obs, action, 1.0, False, False, next_obs, priority)

    def turn() -> None:
        batch = buffer.sample(256, next(seed))
        buffer.update_priorities(batch["indices"], next(given))

    return turn


def add_one(rows: int) -> Callable[[], object]:
    buffer, steps = filled(rows), data.vectors(1)
    obs, action, next_obs = steps["obs"][0], steps["action"][0], steps["next_obs"][0]
    return lambda: buffer.push(obs, action, 1.0, False, False, next_obs)


def add_sixteen(rows: int) -> Callable[[], object]:
    buffer, steps = filled(rows), data.vectors(16)
    return lambda: _push(buffer, steps)


def loop(rows: int) -> Callable[[], object]:
    buffer, steps, seed = filled(rows), data.vectors(1), count()
    obs, action, next_obs = steps["obs"][0], steps["action"][0], steps["next_obs"][0]

    def turn() -> None:
        buffer.push(obs, action, 1.0, False, False, next_obs)
        buffer.sample(256, next(seed))

    return turn
