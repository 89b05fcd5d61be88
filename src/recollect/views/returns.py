"""`Returns`: n-step returns of many windows, summed by machine code."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.compiled import compiled

Fields = dict[str, NDArray[Any]]

COMPILED = {"float32", "float64", "complex64", "complex128"}
"""The dtypes of rewards for which there is machine code; others are summed in a wider one."""

TERMINATED, TRUNCATED = marks.TERMINATED, marks.TRUNCATED


class Returns:
    """Sums rewards of one dtype, in their own, at least float32."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = np.result_type(dtype, np.float32)
        wide = np.dtype(np.complex128 if dtype.kind == "c" else np.float64)
        # what the machine code reads, and what it writes
        self._read = dtype if dtype.name in COMPILED else wide
        self._written = self._dtype if self._dtype.name in COMPILED else wide
        self._powers = (np.nan, 0, np.ones(1))

    def of(self, reward: NDArray[Any], mark: NDArray[np.uint32], gamma: float) -> Fields:
        """What windows of rewards (n, B, ...) and marks (n, B) come to, (B, ...) each: `reward`,
        and `steps`, how many were summed; and of the last of them `terminated` and `truncated`,
        and the `discount` of what follows it, 0 where it terminated."""
        length, batch = mark.shape
        known = self._powers
        if known[:2] != (gamma, length):
            known = self._powers = gamma, length, gamma ** np.arange(length + 1)
        total = np.empty(reward.shape[1:], self._written)
        returns: Fields = {
            "steps": np.empty(batch, np.int64),
            "terminated": np.empty(batch, np.bool_),
            "truncated": np.empty(batch, np.bool_),
            "discount": np.empty(batch, np.float32),
        }
        sum_rewards(
            reward.astype(self._read, copy=False).reshape(length, batch, -1),
            mark,
            known[2],
            total.reshape(batch, -1),
            *returns.values(),
        )
        return {"reward": total.astype(self._dtype, copy=False), **returns}


@compiled
def sum_rewards(
    reward: NDArray[Any],
    mark: NDArray[np.uint32],
    powers: NDArray[np.float64],
    total: NDArray[Any],
    steps: NDArray[np.int64],
    terminated: NDArray[np.bool_],
    truncated: NDArray[np.bool_],
    discount: NDArray[np.float32],
) -> None:
    """Sums discounted rewards until an episode ends; what comes after that may be anything.

    Args:
        reward: (n, B, K), time first.
        mark: (n, B).
        powers: (n + 1,), of the discount.
        total: (B, K), for the sums.
        steps: (B,), for how many rewards were summed.
        terminated, truncated: (B,), for what is marked at the last of them.
        discount: (B,), for that of what follows: 0 where it terminated.
    """
    length, batch, width = reward.shape
    for place in range(batch):
        count = 1
        while count < length and not mark[count - 1, place] & (TERMINATED | TRUNCATED):
            count += 1
        last = mark[count - 1, place]
        terminated[place] = last & TERMINATED != 0
        truncated[place] = last & TRUNCATED != 0
        steps[place] = count
        discount[place] = 0.0 if last & TERMINATED else powers[count]
        for part in range(width):
            value = powers[0] * reward[0, place, part]
            for step in range(1, count):
                value += powers[step] * reward[step, place, part]
            total[place, part] = value
