"""The data of the workloads: the same for every library."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import cycle
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

OBS, ACTION = 17, 6
"""HalfCheetah's shapes."""

EPISODE = 1000
FRAME = (84, 84)
STACK = 4
PLAYED = 10_000
"""Steps of a game that are played; who needs more repeats them."""

IMAGE = (64, 64, 3)
IMAGES = (16, 64)
"""Sequences in a batch, and the steps of each."""
WINDOWS = (64, 80)
"""The same of vectors."""

OBSERVATION, GOAL, FETCH_ACTION = 25, 3, 4
"""Shapes of Fetch, a robot's arm."""
FETCH_EPISODE = 50
NEAR = 0.05
"""Fetch's goal is reached within five centimetres."""


def vectors(rows: int) -> dict[str, Any]:
    """So many steps of HalfCheetah's shape in truncated episodes of 1000; arrays (rows, ...)."""
    rng = np.random.default_rng(0)
    obs = rng.standard_normal((rows + 1, OBS), np.float32)
    return {
        "obs": obs[:-1],
        "action": rng.standard_normal((rows, ACTION), np.float32),
        "reward": rng.standard_normal(rows, np.float32),
        "next_obs": obs[1:],
        "terminated": np.zeros(rows, np.bool_),
        "truncated": ends(rows, EPISODE),
    }


def ends(rows: int, episode: int) -> np.ndarray:
    """(rows,) bool, True at the last of each so many steps, and at the very last."""
    last = np.zeros(rows, np.bool_)
    last[episode - 1 :: episode] = last[-1] = True
    return last


def priorities(rows: int) -> np.ndarray:
    """So many positive numbers, (rows,) float64, spread over two orders of magnitude."""
    return np.asarray(10 ** np.random.default_rng(1).uniform(-1, 1, rows))


def priority_batches() -> Iterator[np.ndarray]:
    """Batches of 256 priorities without end, made in advance: making them is not measured."""
    return cycle(priorities(64 * 256).reshape(64, 256))


def frames(rows: int, shape: tuple[int, ...] = FRAME) -> np.ndarray:
    """(rows + 1, 84, 84) bytes, or of another shape, that differ from row to row."""
    rng = np.random.default_rng(0)
    result = np.empty((rows + 1, *shape), np.uint8)
    result[:] = rng.integers(0, 255, shape, np.uint8)
    flat = result.reshape(rows + 1, -1)
    flat[:, :8] = np.arange(rows + 1).astype(np.int64)[:, None].view(np.uint8)
    return result


def stacks(episode: np.ndarray) -> np.ndarray:
    """Of an episode's frames (T, 84, 84) the last four at each, (T, 84, 84, 4), none copied.

    The first frame stands for those before it.
    """
    padded = np.concatenate((*[episode[:1]] * (STACK - 1), episode))
    return sliding_window_view(padded, STACK, axis=0)


def images() -> dict[str, Any]:
    """One truncated episode of 1000 steps of camera pictures; arrays (1000, ...).

    A memory of more rows is filled with it again and again: only its bytes have to be there.
    """
    pictures = frames(EPISODE, IMAGE)
    return {**vectors(EPISODE), "obs": pictures[:-1], "next_obs": pictures[1:]}


def fetch(
    rows: int, episode: int = FETCH_EPISODE, observation: int = OBSERVATION
) -> dict[str, Any]:
    """So many steps of Fetch's shapes in truncated episodes; arrays (rows, ...).

    obs and next_obs come as `observation`, `achieved_goal` and `desired_goal`, the last of which
    stays as it is for an episode.
    """
    rng = np.random.default_rng(0)
    seen = rng.standard_normal((rows + 1, observation), np.float32)
    achieved = rng.uniform(-0.15, 0.15, (rows + 1, GOAL)).astype(np.float32)
    goals = rng.uniform(-0.15, 0.15, (-(-rows // episode), GOAL)).astype(np.float32)
    desired = goals.repeat(episode, axis=0)[:rows]
    return {
        "observation": seen[:-1],
        "achieved_goal": achieved[:-1],
        "desired_goal": desired,
        "next_observation": seen[1:],
        "next_achieved_goal": achieved[1:],
        "action": rng.uniform(-1, 1, (rows, FETCH_ACTION)).astype(np.float32),
        "reward": fetch_reward(achieved[1:], desired),
        "terminated": np.zeros(rows, np.bool_),
        "truncated": ends(rows, episode),
    }


def fetch_reward(achieved: np.ndarray, desired: np.ndarray, info: object = None) -> np.ndarray:
    """Fetch's sparse reward: 0 where the goal (..., 3) is reached, -1 elsewhere."""
    distance = np.linalg.norm(achieved - desired, axis=-1)
    return np.asarray(np.negative(distance > NEAR, dtype=np.float32))


@cache
def atari(steps: int, name: str = "Breakout") -> list[np.ndarray]:
    """So many steps of a game played at random, by episode: (T + 1, 84, 84) bytes.

    The last episode is left where there are enough.

    Raises:
        ImportError: ale-py is not installed.
    """
    import ale_py
    import gymnasium

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    gymnasium.register_envs(ale_py)
    game = gymnasium.make(f"ALE/{name}-v5", frameskip=1)
    env = gymnasium.wrappers.AtariPreprocessing(game)
    env.action_space.seed(0)
    episodes: list[np.ndarray] = []
    missing = steps
    while missing > 0:
        seen = [env.reset(seed=len(episodes))[0].copy()]
        over = False
        while not over and len(seen) <= missing:
            frame, _, terminated, truncated, _ = env.step(env.action_space.sample())
            seen.append(frame.copy())
            over = terminated or truncated
        episodes.append(np.stack(seen))
        missing -= len(seen) - 1
    env.close()
    return episodes


def played(rows: int, episodes: list[np.ndarray]) -> Iterator[np.ndarray]:
    """These episodes over and over, the last one cut, until there are so many steps."""
    for frames in cycle(episodes):
        if rows <= 0:
            return
        yield frames[: rows + 1]
        rows -= len(frames) - 1
