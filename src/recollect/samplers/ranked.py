"""`Ranked`: rows by the rank of their priorities, whatever the priorities' size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.samplers.base import Sampler
from recollect.samplers.weights import (
    Normalize,
    beta_at,
    checked_beta,
    checked_normalize,
    checked_number,
    importance_weights,
)
from recollect.schedules import Schedule
from recollect.states import Saved
from recollect.stores.base import Slots

if TYPE_CHECKING:
    from recollect.heap import Heap
    from recollect.samplers.ranks import Ranks


class Ranked(Sampler):
    """Rank-based prioritization (Schaul et al. 2016, section 3.3).

        P = (1 / rank) ** alpha / sum over all ranks,  weight = (N * P) ** -beta

    Rank 1 has the largest priority. As in the paper a row's rank is its place in a heap, so members
    are only approximately sorted: the first is the largest, and none is larger than those at half
    its place, a quarter, and so on. After every `sort_every` updates they are sorted outright: it
    costs O(N log N) at once, O(log N) an update on average. All else costs O(log N). The
    probability is exact for the places of that moment. 32 bytes a row of capacity.

    New rows enter at the largest priority that any row has now, behind those that have it too.

    Args:
        alpha: how much ranks matter, from 0 (not at all) up.
        beta: how much of the bias is corrected, 0 to 1; a number, or a schedule over sample calls.
        initial: the priority at which new rows enter; "max" is as above.
        sort_every: updates of rows after which all are sorted; None is as many as there are rows of
            capacity.
        stratified: n draws come one from each of n ranges of ranks that are equally probable, or
            each from all of them.
        normalize: "batch" divides weights by the batch's largest, None leaves them as they are.

    Raises:
        ConfigurationError: a setting is out of range.
    """

    row_bytes = 32

    def __init__(
        self,
        alpha: float = 0.7,
        beta: float | Schedule = 0.4,
        initial: float | Literal["max"] = "max",
        sort_every: int | None = None,
        stratified: bool = True,
        normalize: Normalize = "batch",
    ) -> None:
        self.alpha = checked_number("alpha", alpha, 0)
        self.beta = checked_beta(beta)
        self.initial = initial if initial == "max" else checked_number("initial", initial, 0)
        if sort_every is not None:
            checked_number("sort_every", sort_every, 1)
        self.sort_every = sort_every
        self.stratified = bool(stratified)
        self.normalize = checked_normalize(normalize)
        self._capacity = 0
        self._heap: Heap
        self._updates = 0
        self._ranks: Ranks

    def __repr__(self) -> str:
        return f"Ranked(alpha={self.alpha:g}, beta={self.beta!r})"

    def open(self, capacity: int) -> None:
        if self._capacity:
            raise ConfigurationError("sampler: this Ranked() belongs to a reader; make another")
        from recollect.heap import Heap
        from recollect.samplers.ranks import Ranks

        self._capacity = capacity
        self._heap = Heap(capacity)
        self._ranks = Ranks(capacity, self.alpha)

    def __len__(self) -> int:
        return len(self._heap) if self._capacity else 0

    def enter(self, slots: Slots) -> None:
        self._heap.enter(slots, np.full(len(slots), -self._entry_priority()))

    def leave(self, slots: Slots) -> None:
        self._heap.leave(slots)

    def update(self, slots: Slots, priority: NDArray[np.float64]) -> None:
        self._heap.change(slots, -priority)
        self._updates += len(slots)
        if self._updates >= (self.sort_every or self._capacity):
            self._heap.sort()
            self._updates = 0

    def priority(self, slots: Slots) -> NDArray[np.float64]:
        return -self._heap.keys(slots)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Slots, NDArray[np.float64]]:
        total = self._ranks.total(len(self._heap))
        points = rng.random(n)
        if self.stratified:
            points = (np.arange(n) + points) / n
        # rounding must not carry a point past the last rank that adds anything to the sum
        places = self._ranks.find(np.minimum(points * total, np.nextafter(total, 0)))
        return self._heap.at(places), self._probability_at(places)

    def probability(self, slots: Slots) -> NDArray[np.float64]:
        return self._probability_at(self._heap.places(slots))

    def weight(
        self, probability: NDArray[np.float64], eligible: int, call: int
    ) -> NDArray[np.float32]:
        return importance_weights(probability, eligible, beta_at(self.beta, call), self.normalize)

    def resize(self, capacity: int, place: NDArray[np.int64]) -> None:
        heap = self._heap
        self._capacity = 0
        self.open(capacity)
        heap.copy_into(self._heap, place)

    def state(self) -> dict[str, NDArray[Any]]:
        """Members in the order of their places, with their ages, which decide between equals."""
        return {
            "capacity": np.array(self._capacity),
            **self._heap.state(-1),
            "updates": np.array(self._updates),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        saved = Saved(repr(self), state, [*self._heap.names, "updates"], self._capacity)
        updates = saved.number("updates")
        self._heap.restore(saved, -1)
        self._updates = updates

    def _probability_at(self, places: NDArray[Any]) -> NDArray[np.float64]:
        share = (places + 1.0) ** -self.alpha
        probability: NDArray[np.float64] = share / self._ranks.total(len(self._heap))
        return probability

    def _entry_priority(self) -> float:
        if self.initial != "max":
            return float(self.initial)
        largest = -self._heap.smallest() if len(self._heap) else 0.0
        return largest if largest > 0 else 1.0
