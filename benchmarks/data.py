"""The data of the workloads: the same for every library."""

from __future__ import annotations

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


def frames(rows: int) -> np.ndarray:
    """(rows + 1, 84, 84) bytes that differ from row to row."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, FRAME, np.uint8)
    result = np.empty((rows + 1, *FRAME), np.uint8)
    for row in range(rows + 1):
        result[row] = base
        result[row, 0, :8] = np.frombuffer(np.int64(row).tobytes(), np.uint8)
    return result
