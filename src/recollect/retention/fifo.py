"""`Fifo`: first in, first out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.retention.base import Retention, Rows
from recollect.schema import Schema
from recollect.states import Saved
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
        self._capacity = capacity
        self._put_in_turn(held)

    def state(self) -> dict[str, NDArray[Any]]:
        return {
            "capacity": np.array(self._capacity),
            "next": np.array(self._next),
            "turn": self._turn.copy(),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._turn, self._next = self._checked(state)

    def recover(
        self,
        held: Slots,
        arrivals: int,
        rows: Rows,
        priority: NDArray[np.float64] | None = None,
        earlier: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """The slot behind the newest example's is next, if the held ones do stand in turn."""
        if earlier is not None:
            self._turn, self._next = self._checked(earlier)
        if len(held):
            place = np.empty(self._capacity, np.int64)
            place[self._turn] = np.arange(self._capacity)
            self._next = int(place[held[-1]] + 1) % self._capacity
            if (np.diff((place[held] - self._next) % self._capacity) < 0).any():
                self._put_in_turn(held)

    def _put_in_turn(self, held: Slots) -> None:
        """What is free comes first, and then what is held, oldest first."""
        free = np.setdiff1d(np.arange(self._capacity), held)
        self._turn = np.concatenate((free, held))
        self._next = 0

    def _checked(self, state: Mapping[str, NDArray[Any]]) -> tuple[Slots, int]:
        saved = Saved(repr(self), state, ["next", "turn"], self._capacity)
        turn, position = saved.slots("turn"), saved.number("next")
        saved.check("turn", len(turn) == self._capacity, f"{self._capacity} slots")
        saved.check("next", position < self._capacity, f"less than {self._capacity}")
        return turn, position
