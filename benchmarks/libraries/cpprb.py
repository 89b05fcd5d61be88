"""cpprb: https://ymd_h.gitlab.io/cpprb/"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import cpprb
import numpy as np

from benchmarks import data

NOT_OFFERED = {
    "sequence_frames": "no sequences",
    "sequence_vectors": "no sequences",
}
REMARKS = {
    "sample_nstep": "summed when a step is added",
    "hindsight": "relabelled when an episode ends: five rows for a step",
    "stored_frames": "`next_of` and `stack_compress`",
    "saved_vectors": "rows; priorities and generator are lost",
    "saved_frames": "rows (`safe=False`); priorities and generator are lost",
}

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
    buffer = stored_frames(rows, [data.frames(data.EPISODE)])
    return lambda: buffer.sample(32)


def saved_vectors(rows: int) -> tuple[Callable[[Path], object], Callable[[Path], object]]:
    def load(path: Path) -> object:
        buffer = cpprb.ReplayBuffer(rows, VECTORS)
        buffer.load_transitions(str(path))
        return buffer

    return _saver(filled(rows)), load


def saved_frames(rows: int) -> tuple[Callable[[Path], object], Callable[[Path], object]]:
    def load(path: Path) -> object:
        buffer = _stacking(rows)
        buffer.load_transitions(str(path))
        return buffer

    # unless told so, it writes every stack, and every next one
    buffer = stored_frames(rows, data.atari(min(rows, data.PLAYED)))
    return _saver(buffer, safe=False), load


def _saver(buffer: Any, **settings: Any) -> Callable[[Path], object]:
    def save(path: Path) -> None:
        # of a path it would change the name
        with open(path, "wb") as file:
            buffer.save_transitions(file, **settings)

    return save


def _stacking(rows: int) -> Any:
    fields = {
        "obs": {"shape": (*data.FRAME, data.STACK), "dtype": np.uint8},
        "act": {"dtype": np.int64},
        "rew": {},
        "done": {},
    }
    return cpprb.ReplayBuffer(rows, fields, next_of="obs", stack_compress="obs")


def stored_frames(rows: int, episodes: list[np.ndarray]) -> Any:
    buffer = _stacking(rows)
    for frames in data.played(rows, episodes):
        stacks = data.stacks(frames)
        for obs, next_obs in pairwise(stacks):
            buffer.add(obs=obs, next_obs=next_obs, act=0, rew=0.0, done=0.0)
        buffer.on_episode_end()
    return buffer


def hindsight(rows: int) -> Callable[[], object]:
    # the observation holds what was achieved, the buffer keeps the goal beside it
    state = {"shape": data.OBSERVATION + data.GOAL}
    buffer = cpprb.HindsightReplayBuffer(
        rows,
        {"obs": state, "act": {"shape": data.FETCH_ACTION}, "next_obs": state, "done": {}},
        max_episode_len=data.FETCH_EPISODE,
        reward_func=lambda later, act, goal: data.fetch_reward(later[:, -data.GOAL :], goal),
        goal_func=lambda obs: obs[:, -data.GOAL :],
        goal_shape=data.GOAL,
        additional_goals=4,
        prioritized=False,
    )
    steps = data.fetch(max(rows // 5, data.FETCH_EPISODE))
    fields = {
        "obs": np.hstack((steps["observation"], steps["achieved_goal"])),
        "next_obs": np.hstack((steps["next_observation"], steps["next_achieved_goal"])),
        "act": steps["action"],
        "done": steps["terminated"],
    }
    for begin in range(0, len(steps["action"]), data.FETCH_EPISODE):
        episode = slice(begin, begin + data.FETCH_EPISODE)
        buffer.add(**{name: values[episode] for name, values in fields.items()})
        buffer.on_episode_end(steps["desired_goal"][begin])
    return lambda: buffer.sample(256)


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
