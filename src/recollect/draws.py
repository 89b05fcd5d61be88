"""`DrawLimit`: how often each row was replayed, where a row leaves after so many times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.states import Saved
from recollect.stores.base import Slots


class DrawLimit:
    """Counts draws by key, so that a reused slot begins at zero again. 12 bytes a row of capacity.

    Args:
        capacity: rows.
        limit: how often a row may be drawn, at least once.
    """

    row_bytes = 12

    def __init__(self, capacity: int, limit: int) -> None:
        self._limit = limit
        self._key = np.full(capacity, -1, np.int64)
        self._count = np.zeros(capacity, np.uint32)

    def resize(self, capacity: int, place: NDArray[np.int64]) -> None:
        """Goes on with so many rows; `place` (old capacity,) is the new slot of each, or -1."""
        held = np.flatnonzero(place >= 0)
        key, count = self._key, self._count
        self._key = np.full(capacity, -1, np.int64)
        self._count = np.zeros(capacity, np.uint32)
        self._key[place[held]], self._count[place[held]] = key[held], count[held]

    def state(self) -> dict[str, NDArray[Any]]:
        """Which slots were drawn from, the keys of their rows then, and how often."""
        drawn = np.flatnonzero(self._count)
        return {
            "capacity": np.array(len(self._key)),
            "drawn": drawn,
            "key": self._key[drawn],
            "times": self._count[drawn],
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from what `state` returned, when nothing was drawn yet.

        Raises:
            ConfigurationError: the state does not fit; nothing is changed.
        """
        saved = Saved("max_draws", state, ["drawn", "key", "times"], len(self._key))
        drawn = saved.slots("drawn")
        key, times = saved.whole("key", drawn.shape), saved.whole("times", drawn.shape, least=1)
        saved.check("times", times.max(initial=0) <= self._limit, f"{self._limit} times at most")
        self._key[drawn], self._count[drawn] = key, times

    def admit(self, slots: Slots, keys: NDArray[np.int64]) -> tuple[NDArray[np.bool_], Slots]:
        """Counts draws as far as the limit allows.

        Args:
            slots: (n,) drawn, maybe some of them several times; keys: (n,) of their rows.

        Returns:
            admitted: (n,), which draws are within the limit, the first ones of each row.
            exhausted: the distinct slots whose rows may not be drawn again.
        """
        unlike = self._key[slots] != keys
        self._count[slots[unlike]] = 0
        self._key[slots] = keys
        admitted = self._count[slots] + _occurrence(slots) < self._limit
        distinct, drawn = np.unique(slots[admitted], return_counts=True)
        self._count[distinct] += drawn.astype(np.uint32)
        return admitted, distinct[self._count[distinct] >= self._limit]


def _occurrence(values: NDArray[Any]) -> NDArray[np.intp]:
    """(n,), how many equal values stand before each."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    begins = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    lengths = np.diff(np.append(begins, len(values)))
    occurrence = np.empty(len(values), np.intp)
    occurrence[order] = np.arange(len(values)) - np.repeat(begins, lengths)
    return occurrence
