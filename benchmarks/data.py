"""The data of the workloads: the same for every library."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import numpy as np

OBS, ACTION = 17, 6
"""HalfCheetah's shapes."""

EPISODE = 1000
FRAME = (84, 84)
STACK = 4


def vectors(rows: int) -> dict[str, np.ndarray]:
    """So many steps of HalfCheetah's shape in truncated episodes of 1000; arrays (rows, ...)."""
    rng = np.random.default_rng(0)
    obs = rng.standard_normal((rows + 1, OBS), np.float32)
    truncated = np.zeros(rows, np.bool_)
    truncated[EPISODE - 1 :: EPISODE] = truncated[-1] = True
    return {
        "obs": obs[:-1],
        "action": rng.standard_normal((rows, ACTION), np.float32),
        "reward": rng.standard_normal(rows, np.float32),
        "next_obs": obs[1:],
        "terminated": np.zeros(rows, np.bool_),
        "truncated": truncated,
    }


def priorities(rows: int) -> np.ndarray:
    """So many positive numbers, (rows,) float64, spread over two orders of magnitude."""
    return np.asarray(10 ** np.random.default_rng(1).uniform(-1, 1, rows))


def priority_batches() -> Iterator[np.ndarray]:
    """Batches of 256 priorities without end, made in advance: making them is not measured."""
    return cycle(priorities(64 * 256).reshape(64, 256))


def frames(rows: int) -> np.ndarray:
    """(rows + 1, 84, 84) bytes that differ from row to row."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, FRAME, np.uint8)
    result = np.empty((rows + 1, *FRAME), np.uint8)
    for row in range(rows + 1):
        result[row] = base
        result[row, 0, :8] = np.frombuffer(np.int64(row).tobytes(), np.uint8)
    return result
