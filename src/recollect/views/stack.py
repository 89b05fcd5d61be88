"""Reading a step's fields and its successor's observation, with the last k observations stacked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.errors import ConfigurationError
from recollect.schema import Schema
from recollect.stores.base import Slots
from recollect.views.base import Fields, Rows


class Stack:
    """How many observations are stacked, for each leaf of obs.

    Args:
        stack: None, one depth for every leaf, or depths by dotted path, `{"obs.image": 4}`.
    """

    def __init__(self, stack: int | Mapping[str, int] | None) -> None:
        if stack is None or isinstance(stack, Mapping):
            self._wanted: dict[str, Any] = dict(stack or {})
        else:
            self._wanted = {"obs": stack}
        for path, depth in self._wanted.items():
            if isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or depth < 1:
                raise ConfigurationError(
                    f"stack: {path}: expected a depth of at least 1: {depth!r}"
                )
        self.history = max(self._wanted.values(), default=1) - 1
        """How many rows before its own an example reads, within its episode."""

    def __str__(self) -> str:
        """As the last argument of a view's repr."""
        return f", stack={self._wanted}" if self._wanted else ""

    def open(self, schema: Schema) -> None:
        """Resolves paths to leaves of the schema's obs."""
        self._depths: dict[str, int] = {}
        self._plain = [name for name in schema.flat if name != "reward"]
        for path, depth in self._wanted.items():
            names = schema.select(path) if path.split(".")[0] == "obs" else []
            if not names:
                known = ", ".join(schema.select("obs"))
                raise ConfigurationError(f"stack: {path!r} is no part of obs; known: {known}")
            self._depths |= dict.fromkeys(names, int(depth))
        self._observed = schema.select("obs")

    def gather(
        self, rows: Rows, anchors: Slots, mark: NDArray[Any], steps: int | NDArray[Any]
    ) -> Fields:
        """All fields of rows `anchors`, and obs of the rows `steps` later as next_obs.

        Args:
            anchors: (B,).
            mark: (B,), of the anchors.
            steps: how many steps later, one number or (B,), within the same episode.
        """
        now, later = rows.read(anchors, rows.move(anchors, steps))
        depths = self._depths
        fields = {name: now[name] for name in self._plain if name not in depths}
        fields |= {f"next_{name}": later[name] for name in self._observed if name not in depths}
        for depth in set(depths.values()):
            # oldest first; an episode's start is padded by repeating its first row
            frames = np.arange(1 - depth, 1)
            start = -marks.offsets(mark)[:, None]
            ahead = steps if isinstance(steps, int) else steps[:, None]
            column = anchors[:, None]
            now, later = rows.read(
                rows.move(column, np.maximum(frames, start)),
                rows.move(column, np.maximum(frames + ahead, start)),
            )
            for name in depths:
                if depths[name] == depth:
                    fields[name] = now[name]
                    fields[f"next_{name}"] = later[name]
        return fields
