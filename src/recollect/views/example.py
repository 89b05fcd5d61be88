"""`Example`: a row of independent examples, as it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recollect.stores.base import Slots
from recollect.views.base import Fields, Rows, Spans, View


class Example(View):
    """Every field of the drawn examples, (B, ...)."""

    kind = "examples"

    def __repr__(self) -> str:
        return "Example()"

    def starts(self, episodes: Spans) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        return episodes.lost, episodes.steps, 1

    def gather(
        self, rows: Rows, anchors: Slots, call: int, rng: np.random.Generator | None
    ) -> Fields:
        (block,) = rows.read(anchors)
        return {name: block[name] for name in rows.schema.flat}
