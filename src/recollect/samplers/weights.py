"""Importance weights, and the settings that go with them."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.schedules import Schedule

Normalize = Literal["batch"] | None


def importance_weights(
    probability: NDArray[np.float64], eligible: int, beta: float, normalize: Normalize
) -> NDArray[np.float32]:
    """(N * P) ** -beta (n,), of rows drawn with probability P from N (Schaul et al. 2016, 3.4).

    Args:
        normalize: "batch" divides by the largest of the batch, None by nothing.
    """
    if normalize == "batch":
        weight = (probability / probability.min()) ** -beta
    else:
        weight = (probability * eligible) ** -beta
    narrow: NDArray[np.float32] = weight.astype(np.float32)
    return narrow


def checked_number(name: str, value: Any, low: float, high: float = math.inf) -> float:
    """A finite number from `low` to `high`."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not low <= value <= high or math.isinf(value):
        limits = f"from {low:g} up" if math.isinf(high) else f"from {low:g} to {high:g}"
        raise ConfigurationError(f"{name}: expected a finite number {limits}, got {value!r}")
    return float(value)


def checked_beta(beta: Any) -> float | Schedule:
    """A number from 0 to 1, or a schedule."""
    if callable(beta):
        for end in ("start", "end", "value"):
            if hasattr(beta, end):
                checked_number("beta", getattr(beta, end), 0, 1)
        schedule: Schedule = beta
        return schedule
    return checked_number("beta", beta, 0, 1)


def checked_normalize(normalize: Any) -> Normalize:
    """ "batch" or None."""
    if normalize not in ("batch", None):
        raise ConfigurationError(f'normalize: expected "batch" or None, got {normalize!r}')
    chosen: Normalize = normalize
    return chosen


def beta_at(beta: float | Schedule, call: int) -> float:
    """What beta is at this sample call."""
    return checked_number("beta", beta(call), 0, 1) if callable(beta) else beta
