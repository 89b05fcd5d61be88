"""`Shuffled`: every eligible row once per epoch, in an order that is new in every epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.samplers.base import Sampler
from recollect.states import Saved
from recollect.stores.base import Slots

if TYPE_CHECKING:
    from recollect.samplers.order import Deck


class Shuffled(Sampler):
    """Draws without replacement until each member was drawn; then the next epoch begins.

    A row that enters joins what is left of the epoch, one that leaves is gone from it; a draw that
    reaches the end of an epoch goes on with the next. The probability stated is 1 / N: every member
    is drawn equally often. O(1) a draw, entry and exit, 8 bytes a row of capacity.
    """

    def __init__(self) -> None:
        self._capacity = 0
        self._deck: Deck

    def __repr__(self) -> str:
        return "Shuffled()"

    def open(self, capacity: int) -> None:
        if self._capacity:
            raise ConfigurationError("sampler: this Shuffled() belongs to a reader; make another")
        from recollect.samplers.order import Deck

        self._capacity = capacity
        self._deck = Deck(capacity)

    def __len__(self) -> int:
        return len(self._deck) if self._capacity else 0

    def enter(self, slots: Slots) -> None:
        self._deck.enter(slots)

    def leave(self, slots: Slots) -> None:
        self._deck.leave(slots)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Slots, NDArray[np.float64]]:
        return self._deck.deal(rng.random(n)), np.full(n, 1.0 / len(self._deck))

    def probability(self, slots: Slots) -> NDArray[np.float64]:
        return np.full(len(slots), 1.0 / len(self._deck))

    def resize(self, capacity: int, place: NDArray[np.int64]) -> None:
        members, drawn = place[self._deck.members()], self._deck.dealt
        self._capacity = 0
        self.open(capacity)
        self.enter(members)
        self._deck.dealt = drawn

    def state(self) -> dict[str, NDArray[Any]]:
        """The members, and how many of them, the first ones, this epoch has drawn."""
        return {
            "capacity": np.array(self._capacity),
            "members": self._deck.members(),
            "drawn": np.array(self._deck.dealt),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        saved = Saved(repr(self), state, ["members", "drawn"], self._capacity)
        members, drawn = saved.slots("members"), saved.number("drawn")
        saved.check("drawn", drawn < max(len(members), 1), f"less than {len(members)} members")
        self.enter(members)
        self._deck.dealt = drawn
