"""`Clip`: keeps values within bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from recollect.batch import Batch
from recollect.errors import ConfigurationError
from recollect.transforms.base import replaced
from recollect.transforms.fields import FieldTransform, checked_number, is_tensor


class Clip(FieldTransform):
    """`min(max(value, low), high)`, as `Clip(-1, 1, fields="reward")`; NaN stays NaN.

    The dtype stays: fields of whole numbers are kept between the whole numbers within the bounds.
    For tensors on their device.

    Args:
        low: the smallest value; None: no bound.
        high: the largest.
        fields: of any shape; see `FieldTransform`.
    """

    def __init__(
        self,
        low: float | None,
        high: float | None,
        fields: str | Sequence[str] = ("obs",),
    ) -> None:
        super().__init__(fields)
        self.low = None if low is None else checked_number("Clip", "low", low)
        self.high = None if high is None else checked_number("Clip", "high", high)
        self._low = -math.inf if self.low is None else self.low
        self._high = math.inf if self.high is None else self.high
        if self._low > self._high:
            raise ConfigurationError(f"Clip: expected low <= high, got {low!r} and {high!r}")

    def __repr__(self) -> str:
        return f"Clip({self._low:g}, {self._high:g}, {self.fields})"

    def __call__(self, batch: Batch, rng: np.random.Generator | None = None) -> Batch:
        return replaced(
            batch, {path: self._clip(path, x) for path, x in self.leaves(batch).items()}
        )

    def _clip(self, path: str, leaf: Any) -> Any:
        dtype = str(leaf.dtype).removeprefix("torch.")
        if dtype == "bool" or dtype.startswith("complex"):
            raise self.error(path, "real numbers", dtype)
        if "float" in dtype:
            # a bound beyond what a small dtype can hold is none
            kind: Any = np.float32 if dtype == "bfloat16" else np.dtype(dtype).type
            with np.errstate(over="ignore"):
                low, high = float(kind(self._low)), float(kind(self._high))
        else:
            limits = np.iinfo(dtype)
            low = max(math.ceil(max(self._low, limits.min)), limits.min)
            high = min(math.floor(min(self._high, limits.max)), limits.max)
            if low > high:
                bounds = f"values of {dtype} from {self._low:g} to {self._high:g}"
                raise self.error(path, bounds, "none that there are")
        return leaf.clamp(low, high) if is_tensor(leaf) else np.clip(leaf, low, high)
