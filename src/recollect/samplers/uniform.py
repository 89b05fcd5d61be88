"""`Uniform`: every eligible row is equally likely."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.samplers.base import Sampler
from recollect.states import Saved
from recollect.stores.base import Slots


class Uniform(Sampler):
    """Draws with replacement, each member with probability 1 / N. O(1) a draw, entry and exit.

    The members stand in one array without gaps, so that a random position is a random member; who
    leaves is replaced by the last. 8 bytes a row of capacity.
    """

    def __init__(self) -> None:
        self._count = 0
        self._members: NDArray[Any] = np.zeros(0, np.int32)
        self._place: NDArray[Any] = np.zeros(0, np.int32)

    def __repr__(self) -> str:
        return "Uniform()"

    def open(self, capacity: int) -> None:
        if len(self._members):
            raise ConfigurationError("sampler: this Uniform() belongs to a reader; make another")
        index = np.int32 if capacity < 2**31 else np.int64
        self._members = np.zeros(capacity, index)
        self._place = np.zeros(capacity, index)

    def __len__(self) -> int:
        return self._count

    def enter(self, slots: Slots) -> None:
        if len(slots) == 1:
            self._members[self._count] = slots[0]
            self._place[slots[0]] = self._count
            self._count += 1
            return
        first, self._count = self._count, self._count + len(slots)
        self._members[first : self._count] = slots
        self._place[slots] = np.arange(first, self._count)

    def leave(self, slots: Slots) -> None:
        members, place = self._members, self._place
        if len(slots) == 1:
            # one in, one out, is what happens at each step of the usual loop
            self._count -= 1
            hole, last = place.item(slots[0]), members.item(self._count)
            members[hole] = last
            place[last] = hole
            place[slots[0]] = -1
            return
        count = self._count - len(slots)
        holes = place[slots]
        last = members[count : self._count].copy()
        place[slots] = -1
        moving = last[place[last] >= 0]
        holes = holes[holes < count]
        members[holes] = moving
        place[moving] = holes
        self._count = count

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Slots, NDArray[np.float64]]:
        # a random number below 1 times a count below 2**53 is always below that count
        places = (rng.random(n) * self._count).astype(np.intp)
        probability = np.empty(n)
        probability.fill(1.0 / self._count)
        return self._members.take(places).astype(np.intp), probability

    def probability(self, slots: Slots) -> NDArray[np.float64]:
        return np.full(len(slots), 1.0 / self._count)

    def resize(self, capacity: int, place: NDArray[np.int64]) -> None:
        slots = place[self._members[: self._count]]
        self._members = np.zeros(0, np.int32)
        self._count = 0
        self.open(capacity)
        self.enter(slots)

    def state(self) -> dict[str, NDArray[Any]]:
        return {
            "capacity": np.array(len(self._members)),
            "members": self._members[: self._count].copy(),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.enter(Saved(repr(self), state, ["members"], len(self._members)).slots("members"))
