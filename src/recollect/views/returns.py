"""`sum_rewards`: n-step returns of many windows, as machine code."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.compiled import compiled

TERMINATED, TRUNCATED = marks.TERMINATED, marks.TRUNCATED


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
