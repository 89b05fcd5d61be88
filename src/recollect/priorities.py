"""The usual priorities, as numbers for `memory.update(batch.key, priority=...)`.

They take arrays or tensors (on any device, with gradients) and return float64 NumPy arrays.

    memory.update(batch.key, priority=priorities.td_error(target - value))
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.schema import as_numpy

Floats = NDArray[np.float64]


def td_error(delta: Any) -> Floats:
    """|delta|, how far off the value was (Schaul et al. 2016, section 3.2). (B,) to (B,)."""
    return np.abs(_floats(delta, "delta"))


def lap(delta: Any, exponent: float = 0.4, minimum: float = 1.0) -> Floats:
    """max(|delta| ** exponent, minimum), of loss-adjusted prioritization. (B,) to (B,).

    Give it to `Prioritized(alpha=1, beta=0, epsilon=0)`, and the Huber loss that turns linear at
    `minimum` to the learner: together they have the gradient of plain sampling with another loss
    (Fujimoto, Meger & Precup 2020, section 5).
    """
    return np.maximum(td_error(delta) ** exponent, minimum)


def r2d2(delta: Any, mask: Any = None, eta: float = 0.9) -> Floats:
    """eta * max |delta| + (1 - eta) * mean |delta| over each sequence. (B, T) to (B,).

    Kapturowski et al. 2019, section 2.3.

    Args:
        mask: (B, T), True where a step counts; each sequence has one that does.
    """
    error = td_error(delta)
    if error.ndim != 2:
        raise ConfigurationError(f"r2d2: expected delta of shape (B, T), got {error.shape}")
    if not 0 <= eta <= 1:
        raise ConfigurationError(f"r2d2: expected eta from 0 to 1, got {eta!r}")
    counts = np.ones(error.shape, np.bool_)
    if mask is not None:
        counts = as_numpy(mask, "mask").astype(np.bool_)
        if counts.shape != error.shape or not counts.any(axis=1).all():
            raise ConfigurationError(
                f"r2d2: expected a mask of shape {error.shape} with a step that counts in each "
                f"sequence, got {counts.shape}"
            )
    error = np.where(counts, error, 0.0)
    priority: Floats = eta * error.max(axis=1) + (1 - eta) * error.sum(axis=1) / counts.sum(axis=1)
    return priority


def curious(
    visits: Any,
    loss: Any,
    count_scale: float = 1e4,
    decay: float = 0.7,
    exponent: float = 0.7,
    epsilon: float = 0.01,
) -> Floats:
    """count_scale * decay ** visits + (|loss| + epsilon) ** exponent. (B,) and (B,) to (B,).

    What was seldom replayed, or is badly modelled, comes first: Curious Replay (Kauvar et al. 2023,
    whose constants are the defaults). Give it to
    `Prioritized(alpha=1, beta=0, epsilon=0, initial=1e5)`; 1e5 is what new rows have in the
    authors' code.

    Args:
        visits: how often each row was replayed.
        loss: of the world model on each row.
    """
    seen, error = _floats(visits, "visits"), td_error(loss)
    if seen.shape != error.shape or (seen < 0).any():
        raise ConfigurationError(
            f"curious: expected visits from 0 up and as many losses, got {seen.shape} and "
            f"{error.shape}"
        )
    priority: Floats = count_scale * decay**seen + (error + epsilon) ** exponent
    return priority


def _floats(value: Any, name: str) -> Floats:
    return as_numpy(value, name).astype(np.float64)
