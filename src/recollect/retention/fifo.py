"""`Fifo`: first in, first out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.retention.base import Retention
from recollect.schema import Schema
from recollect.stores.base import Slots


class Fifo(Retention):
    """The oldest row makes room. In a stream it is the only rule: a ring.

    Slots are filled in turn, and again in the same turn. 8 bytes a row of capacity.
    """

    keeps_time_order = True

    def __init__(self) -> None:
        self._next = 0
        self._capacity = 0
        self._turn: Slots = np.zeros(0, np.int64)

    def __repr__(self) -> str:
        return "Fifo()"

    def open(self, capacity: int, schema: Schema) -> None:
        if self._capacity:
            raise ConfigurationError("retention: this Fifo() belongs to a memory; make another")
        self._capacity = capacity
        self._turn = np.arange(capacity)

    def place(self, rows: Mapping[str, Any], count: int, rng: np.random.Generator) -> Slots:
        slots: Slots = self._turn[(self._next + np.arange(count)) % self._capacity]
        # of more rows than fit at once only the newest are kept
        slots[: max(count - self._capacity, 0)] = -1
        self._next = (self._next + count) % self._capacity
        return slots

    def resize(self, capacity: int, place: NDArray[np.int64], held: Slots) -> None:
        free = np.setdiff1d(np.arange(capacity), held)
        self._turn = np.concatenate((free, held))
        self._next = 0
        self._capacity = capacity

    def state(self) -> dict[str, NDArray[Any]]:
        return {"next": np.array(self._next), "turn": self._turn.copy()}
