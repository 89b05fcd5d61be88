"""`Noise`: adds Gaussian noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recollect.batch import Batch
from recollect.errors import ConfigurationError
from recollect.transforms.base import replaced
from recollect.transforms.fields import FieldTransform, checked_number, float_type, like


class Noise(FieldTransform):
    """Adds independent noise N(0, scale**2) to every number.

    The result is float32, or float64 where the field is. Every field has noise of its own, so obs
    and next_obs too. For tensors the noise is drawn by NumPy and taken to their device.

    Args:
        scale: the standard deviation, in units of the field; above 0.
        fields: of any shape; see `FieldTransform`.
    """

    random = True

    def __init__(self, scale: float, fields: str | Sequence[str] = ("obs",)) -> None:
        super().__init__(fields)
        self.scale = checked_number("Noise", "scale", scale, 0)
        if self.scale == 0:
            raise ConfigurationError("Noise: scale: expected a number above 0, got 0")

    def __repr__(self) -> str:
        return f"Noise({self.scale}, {self.fields})"

    def __call__(self, batch: Batch, rng: np.random.Generator | None = None) -> Batch:
        rng = self.generator(rng)
        changes: dict[str, Any] = {}
        for path, leaf in self.leaves(batch).items():
            values = self.floating(path, leaf)
            noise = rng.standard_normal(tuple(leaf.shape), float_type(values))
            noise *= self.scale
            changes[path] = values + like(values, noise)
        return replaced(batch, changes)
