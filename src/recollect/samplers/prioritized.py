"""`Prioritized`: rows in proportion to a power of their priorities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError, PriorityError
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
    from recollect.samplers.sumtree import SumTree

LARGEST_MASS = 1e280
"""So that the sum of many is finite."""


class Prioritized(Sampler):
    """Proportional prioritization (Schaul et al. 2016, section 3.3).

        P = p / sum of all p,  p = (priority + epsilon) ** alpha,  weight = (N * P) ** -beta

    New rows enter at the largest priority that any row has now, so that each is seen soon; 1.0 in
    an empty memory, or where the largest is 0. O(log N) a draw, entry, exit and update; 18 bytes a
    row of capacity.

    Args:
        alpha: how much priorities matter, from 0 (not at all) up.
        beta: how much of the bias is corrected, from 0 (nothing) to 1 (all of it); a number, or a
            schedule over sample calls, `rc.linear(0.4, 1.0, over=100_000)`.
        initial: the priority at which new rows enter; "max" is as above.
        epsilon: added to every priority. With 0 a row of priority 0 is never drawn.
        stratified: n draws come one from each of n equal parts of the mass, which varies less; or
            each from all of it.
        normalize: "batch" divides weights by the batch's largest, None leaves them as they are.

    Raises:
        ConfigurationError: a setting is out of range.
    """

    row_bytes = 18

    def __init__(
        self,
        alpha: float = 0.6,
        beta: float | Schedule = 0.4,
        initial: float | Literal["max"] = "max",
        epsilon: float = 1e-6,
        stratified: bool = True,
        normalize: Normalize = "batch",
    ) -> None:
        self.alpha = checked_number("alpha", alpha, 0)
        self.beta = checked_beta(beta)
        self.initial = initial if initial == "max" else checked_number("initial", initial, 0)
        self.epsilon = checked_number("epsilon", epsilon, 0)
        self.stratified = bool(stratified)
        self.normalize = checked_normalize(normalize)
        try:
            self._mass(np.array([1.0 if self.initial == "max" else self.initial]))
        except PriorityError as error:
            raise ConfigurationError(f"alpha, epsilon or initial: {error}") from error
        self._tree: SumTree | None = None

    def __repr__(self) -> str:
        return f"Prioritized(alpha={self.alpha:g}, beta={self.beta!r})"

    def open(self, capacity: int) -> None:
        if self._tree is not None:
            raise ConfigurationError("sampler: this Prioritized() belongs to a reader already")
        from recollect.samplers.sumtree import SumTree

        self._tree = SumTree(capacity)

    def __len__(self) -> int:
        return len(self._tree) if self._tree is not None else 0

    def enter(self, slots: Slots) -> None:
        priority = np.full(len(slots), self._entry_priority())
        self._opened.enter(slots, priority, self._mass(priority))

    def leave(self, slots: Slots) -> None:
        self._opened.leave(slots)

    def check(self, priority: NDArray[np.float64]) -> None:
        self._mass(priority)

    def update(self, slots: Slots, priority: NDArray[np.float64]) -> None:
        self._opened.set(slots, priority, self._mass(priority))

    def priority(self, slots: Slots) -> NDArray[np.float64]:
        return self._opened.priority(slots)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Slots, NDArray[np.float64]]:
        from recollect.samplers.sumtree import points

        tree = self._opened
        total = tree.total
        if not total:
            raise PriorityError("sample: every eligible row has priority 0, and epsilon is 0")
        slots, mass = tree.find(points(n, total, self.stratified, rng))
        return slots, mass / total

    def probability(self, slots: Slots) -> NDArray[np.float64]:
        probability: NDArray[np.float64] = self._opened.mass(slots) / self._opened.total
        return probability

    def weight(
        self, probability: NDArray[np.float64], eligible: int, call: int
    ) -> NDArray[np.float32]:
        return importance_weights(probability, eligible, beta_at(self.beta, call), self.normalize)

    def resize(self, capacity: int, place: NDArray[np.int64]) -> None:
        members, priority = self._opened.members()
        self._tree = None
        self.open(capacity)
        self._opened.enter(place[members], priority, self._mass(priority))

    def state(self) -> dict[str, NDArray[Any]]:
        members, priority = self._opened.members()
        return {
            "capacity": np.array(self._opened.capacity),
            "members": members,
            "priority": priority,
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        saved = Saved(repr(self), state, ["members", "priority"], self._opened.capacity)
        members = saved.slots("members")
        priority = saved.floats("priority", members.shape, least=0)
        try:
            mass = self._mass(priority)
        except PriorityError as error:
            raise ConfigurationError(f"{self!r}: its saved state does not fit: {error}") from error
        self._opened.enter(members, priority, mass)

    @property
    def _opened(self) -> SumTree:
        assert self._tree is not None
        return self._tree

    def _entry_priority(self) -> float:
        if self.initial != "max":
            return float(self.initial)
        largest = self._opened.largest
        return largest if largest > 0 else 1.0

    def _mass(self, priority: NDArray[np.float64]) -> NDArray[np.float64]:
        base = priority + self.epsilon
        with np.errstate(over="ignore"):
            mass: NDArray[np.float64] = base**self.alpha
        if not self.alpha:
            mass[base == 0] = 0.0  # where the power says 1
        if mass.max(initial=0) > LARGEST_MASS:
            raise PriorityError(
                f"priority: {base.max():g} to the power alpha = {self.alpha:g} is too large"
            )
        return mass
