"""`Scale`: multiplies by a number, and adds one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recollect.batch import Batch
from recollect.transforms.base import replaced
from recollect.transforms.fields import FieldTransform, checked_number


class Scale(FieldTransform):
    """`value * factor + offset`, as `Scale(1 / 255)` for images of bytes.

    The result is float32, or float64 where the field is. For tensors on their device.

    Args:
        factor: any finite number.
        offset: added afterwards.
        fields: of any shape; see `FieldTransform`.
    """

    def __init__(
        self, factor: float, offset: float = 0.0, fields: str | Sequence[str] = ("obs",)
    ) -> None:
        super().__init__(fields)
        self.factor = checked_number("Scale", "factor", factor)
        self.offset = checked_number("Scale", "offset", offset)

    def __repr__(self) -> str:
        return f"Scale({self.factor:g}, {self.offset:g}, {self.fields})"

    def __call__(self, batch: Batch, rng: np.random.Generator | None = None) -> Batch:
        changes: dict[str, Any] = {}
        for path, leaf in self.leaves(batch).items():
            changes[path] = self.floating(path, leaf) * self.factor
            if self.offset:
                changes[path] += self.offset
        return replaced(batch, changes)
