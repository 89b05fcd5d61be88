"""`Recent`: the newer a row is among those eligible, the more likely it is replayed.

The hard thing is the rank of a member, how many are newer than it, while members come and go; see
`order.Ranks`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.samplers.base import Sampler
from recollect.states import Saved
from recollect.stores.base import Slots

if TYPE_CHECKING:
    from recollect.samplers.order import Ranks


class Recent(Sampler):
    """Draws with replacement by rank: 0 for the newest member, N - 1 for the oldest.

    Give one of the two:

    Args:
        window: evenly among the `window` newest members, or all where there are fewer.
        decay: P(rank) = decay**rank * (1 - decay) / (1 - decay**N), with decay between 0 and 1.
            Half of the draws fall on the log(1/2) / log(decay) newest; a mean age of about k rows
            takes decay = 1 - 1 / k.

    O(log capacity) a draw, entry and exit, O(1) a draw where no member stands before an older one
    that left. Where it has to close holes between members, which then costs O(N log N), at least
    `capacity` members entered since the last time. 20 bytes a row of capacity.

    Raises:
        ConfigurationError: not one of the two, or out of range.
    """

    row_bytes = 20

    def __init__(self, window: int | None = None, decay: float | None = None) -> None:
        if (window is None) == (decay is None):
            raise ConfigurationError(
                f"Recent: expected one of window and decay, got {window!r} and {decay!r}"
            )
        if window is not None and (
            isinstance(window, bool) or not isinstance(window, (int, np.integer)) or window < 1
        ):
            raise ConfigurationError(f"window: expected a whole number from 1 up, got {window!r}")
        if decay is not None and (not isinstance(decay, (float, np.floating)) or not 0 < decay < 1):
            raise ConfigurationError(f"decay: expected a number between 0 and 1, got {decay!r}")
        self.window = None if window is None else int(window)
        self.decay = None if decay is None else float(decay)
        self._log = 0.0 if self.decay is None else math.log(self.decay)
        self._capacity = 0
        self._ranks: Ranks

    def __repr__(self) -> str:
        if self.window is not None:
            return f"Recent(window={self.window})"
        return f"Recent(decay={self.decay})"

    def open(self, capacity: int) -> None:
        if self._capacity:
            raise ConfigurationError(f"sampler: this {self!r} belongs to a reader; make another")
        from recollect.samplers.order import Ranks

        self._capacity = capacity
        self._ranks = Ranks(capacity)

    def __len__(self) -> int:
        return len(self._ranks) if self._capacity else 0

    def enter(self, slots: Slots) -> None:
        self._ranks.enter(slots)

    def leave(self, slots: Slots) -> None:
        self._ranks.leave(slots)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Slots, NDArray[np.float64]]:
        chance, count = rng.random(n), len(self._ranks)
        if self.window is not None:
            ranks = (chance * min(self.window, count)).astype(np.int64)
        else:
            # the inverse of the distribution function (1 - decay**(rank + 1)) / (1 - decay**N),
            # written so that nothing cancels where decay is next to 1
            below = np.log1p(chance * math.expm1(count * self._log)) / self._log
            ranks = np.minimum(below.astype(np.int64), count - 1)
        return self._ranks.at(ranks), self._of_ranks(ranks)

    def probability(self, slots: Slots) -> NDArray[np.float64]:
        return self._of_ranks(self._ranks.of(slots))

    def _of_ranks(self, ranks: NDArray[np.int64]) -> NDArray[np.float64]:
        count = len(self._ranks)
        if self.window is not None:
            inside = min(self.window, count)
            return np.where(ranks < inside, 1.0 / inside, 0.0)
        scale = math.expm1(self._log) / math.expm1(count * self._log)
        probability: NDArray[np.float64] = np.exp(ranks * self._log) * scale
        return probability

    def resize(self, capacity: int, place: NDArray[np.int64]) -> None:
        members = place[self._ranks.members()]
        self._capacity = 0
        self.open(capacity)
        self.enter(members)

    def state(self) -> dict[str, NDArray[Any]]:
        """The members, oldest first."""
        return {"capacity": np.array(self._capacity), "members": self._ranks.members()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.enter(Saved(repr(self), state, ["members"], self._capacity).slots("members"))
