"""`Reservoir`: a uniform random sample of all examples that were ever offered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.retention.base import Retention, Rows
from recollect.retention.slots import FreeSlots, without_pushed_out
from recollect.schema import Schema
from recollect.states import Saved
from recollect.stores.base import Slots


class Reservoir(Retention):
    """Every arrival has the same chance, capacity / arrivals, to be held.

    Algorithm R of Vitter (1985), "Random sampling with a reservoir", section 2: of a full memory
    arrival number t takes the place of a random example with probability capacity / t, else it is
    not kept. O(1) an example, 8 bytes a row of capacity.

    Shrinking drops a random subset, which leaves the chances equal. Two things do not: slots that
    `remove` or a growing capacity left free are filled by whatever comes next, with certainty. From
    then on arrivals are again let in with probability capacity / t, and all that is held is equally
    likely to make room; so what was lost stays underrepresented, less and less as more arrives.
    Arrivals are counted from when the memory was last empty, and what came before does not matter.
    """

    def __init__(self) -> None:
        self._capacity = 0
        self._arrivals = 0
        self._free: FreeSlots

    def __repr__(self) -> str:
        return "Reservoir()"

    def open(self, capacity: int, schema: Schema) -> None:
        if self._capacity:
            raise ConfigurationError(
                "retention: this Reservoir() belongs to a memory; make another"
            )
        self._capacity = capacity
        self._free = FreeSlots(capacity)

    def place(self, rows: Mapping[str, Any], count: int, rng: np.random.Generator) -> Slots:
        if len(self._free) == self._capacity:
            self._arrivals = 0
        free = self._free.take(count)
        first = self._arrivals + len(free) + 1
        self._arrivals += count
        # a random number below 1 times a count below 2**53 is always below that count
        chance = rng.random(count - len(free))
        slots = (chance * np.arange(first, self._arrivals + 1)).astype(np.int64)
        slots[slots >= self._capacity] = -1
        return without_pushed_out(np.concatenate((free, slots)) if len(free) else slots)

    def remove(self, slots: Slots) -> None:
        self._free.give_back(slots)

    def surplus(self, count: int, held: Slots, rng: np.random.Generator) -> Slots:
        return rng.choice(held, count, replace=False, shuffle=False)

    def resize(self, capacity: int, place: NDArray[np.int64], held: Slots) -> None:
        self._free = FreeSlots(capacity, held)
        self._capacity = capacity

    def state(self) -> dict[str, NDArray[Any]]:
        return {
            "capacity": np.array(self._capacity),
            "arrivals": np.array(self._arrivals),
            "free": self._free.all(),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        saved = Saved(repr(self), state, ["arrivals", "free"], self._capacity)
        free, arrivals = saved.slots("free"), saved.number("arrivals")
        held = self._capacity - len(free)
        saved.check("arrivals", arrivals >= held, f"at least the {held} that are held")
        self._free.restore(free)
        self._arrivals = arrivals

    def recover(
        self,
        held: Slots,
        arrivals: int,
        rows: Rows,
        priority: NDArray[np.float64] | None = None,
        earlier: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """As if the memory had never been emptied."""
        self._free = FreeSlots(self._capacity, held)
        self._arrivals = max(arrivals, len(held))
