"""`Fifo`: first in, first out."""

from __future__ import annotations

import numpy as np

from recollect.errors import ConfigurationError
from recollect.retention.base import Retention
from recollect.stores.base import Slots


class Fifo(Retention):
    """The oldest row makes room. In a stream it is the only rule: a ring."""

    keeps_time_order = True

    def __init__(self) -> None:
        self._next = 0
        self._capacity = 0

    def __repr__(self) -> str:
        return "Fifo()"

    def open(self, capacity: int) -> None:
        if self._capacity:
            raise ConfigurationError("retention: this Fifo() belongs to a memory; make another")
        self._capacity = capacity

    def place(self, rows: int, rng: np.random.Generator) -> Slots:
        slots = (self._next + np.arange(rows)) % self._capacity
        # of more rows than fit at once only the newest are kept
        slots[: max(rows - self._capacity, 0)] = -1
        self._next = (self._next + rows) % self._capacity
        return slots
