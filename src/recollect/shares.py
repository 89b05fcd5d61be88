"""Dividing a batch into shares, so that what is expected of each is exact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError


def checked_fractions(name: str, fractions: Mapping[Any, Any]) -> NDArray[np.float64]:
    """The fractions of a mixture: positive numbers that sum to 1."""
    if not isinstance(fractions, Mapping) or not fractions:
        raise ConfigurationError(f"{name}: expected {{part: fraction}}, got {fractions!r}")
    for fraction in fractions.values():
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not fraction > 0:
            raise ConfigurationError(f"{name}: expected fractions above 0, got {fraction!r}")
    values = np.array(list(fractions.values()), np.float64)
    if abs(values.sum() - 1) > 1e-9:
        raise ConfigurationError(f"{name}: expected fractions that sum to 1, got {values.sum():g}")
    return values


def split(n: int, fractions: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """How many of n each part gets: its share rounded down, and the rest by chance.

    Each part gets one more with a probability that makes n * fraction the expected number, and no
    part ever gets more than one more (systematic sampling; Madow 1949).
    """
    # 1/32 of 32 is 1, whatever the last bits of a product say
    exact = n * fractions
    counts = np.floor(exact + 1e-9).astype(np.int64)
    missing = n - int(counts.sum())
    if missing:
        ends = np.cumsum(np.maximum(exact - counts, 0))
        marks = (rng.random() + np.arange(missing)) * (ends[-1] / missing)
        chosen = np.searchsorted(ends, marks, side="right")
        np.add.at(counts, np.minimum(chosen, len(counts) - 1), 1)
    return counts
