"""`Weighted`: rows in proportion to given weights, made sharper or flatter by a temperature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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

HIGH, LOW = 600.0, 1e-200
"""Masses are e**(log mass - reference). Above e**HIGH, or where all of them together are below LOW,
they are computed anew from another reference, long before float64 ends."""

LOWEST_TEMPERATURE = 1e-100
"""So that a logarithm divided by it is finite, and differences of such numbers too."""


class Weighted(Sampler):
    """P in proportion to w ** (1 / temperature), for weights w that `update` gives.

    Temperature 1 is w / sum(w); towards 0 only the largest weight is drawn, towards infinity all
    are alike. `lowest_first` turns it round, P in proportion to w ** (-1 / temperature) =
    exp(-log(w) / temperature): a priority queue with temperature, small weights first.

    A draw, entry, exit or update costs O(log N). Masses are kept relative to the largest, so that
    no temperature overflows; where a new largest leaves the others e**600 behind, or takes what
    counted with it, all are computed anew, O(capacity). 26 bytes a row of capacity.

    Args:
        temperature: 1e-100 or more.
        lowest_first: small weights first. They must be more than 0.
        beta: importance correction (N * P) ** -beta, 0 to 1, a number or a schedule. None by
            default: the weights are meant to change what is learned.
        initial: the weight of a row that has not been given one.
        stratified: n draws come one from each of n equal parts of the mass, or each from all of it.
        normalize: "batch" divides correction weights by the batch's largest.

    Raises:
        ConfigurationError: a setting is out of range.
    """

    row_bytes = 26

    def __init__(
        self,
        temperature: float = 1.0,
        lowest_first: bool = False,
        beta: float | Schedule = 0.0,
        initial: float = 1.0,
        stratified: bool = True,
        normalize: Normalize = "batch",
    ) -> None:
        self.temperature = checked_number("temperature", temperature, 0)
        if self.temperature < LOWEST_TEMPERATURE:
            raise ConfigurationError(
                f"temperature: expected at least {LOWEST_TEMPERATURE:g}, got {temperature!r}; "
                "HighestPriority() and LowestPriority() are greedy"
            )
        self.lowest_first = bool(lowest_first)
        self.beta = checked_beta(beta)
        self.initial = checked_number("initial", initial, 0)
        if self.lowest_first and not self.initial:
            raise ConfigurationError("initial: expected more than 0 where the lowest comes first")
        self.stratified = bool(stratified)
        self.normalize = checked_normalize(normalize)
        self._power = (-1 if self.lowest_first else 1) / self.temperature
        self._tree: SumTree | None = None
        self._reference = 0.0
        self._weight: NDArray[np.float64] = np.zeros(0)

    def __repr__(self) -> str:
        lowest = ", lowest_first=True" if self.lowest_first else ""
        return f"Weighted(temperature={self.temperature:g}{lowest})"

    def open(self, capacity: int) -> None:
        if self._tree is not None:
            raise ConfigurationError("sampler: this Weighted() belongs to a reader already")
        from recollect.samplers.sumtree import SumTree

        self._tree = SumTree(capacity)
        self._weight = np.zeros(capacity)

    def __len__(self) -> int:
        return len(self._tree) if self._tree is not None else 0

    def enter(self, slots: Slots) -> None:
        self._enter(slots, np.full(len(slots), self.initial))

    def leave(self, slots: Slots) -> None:
        self._opened.leave(slots)
        self._keep_in_range()

    def check(self, priority: NDArray[np.float64]) -> None:
        if self.lowest_first and not priority.all():
            raise PriorityError("priority: expected more than 0 where the lowest comes first")

    def update(self, slots: Slots, priority: NDArray[np.float64]) -> None:
        self.check(priority)
        self._weight[slots] = priority
        log_mass = self._log_mass(priority)
        self._rise_to(log_mass)
        self._opened.set(slots, log_mass, np.exp(log_mass - self._reference))
        self._keep_in_range()

    def priority(self, slots: Slots) -> NDArray[np.float64]:
        return self._weight[slots]

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Slots, NDArray[np.float64]]:
        from recollect.samplers.sumtree import points

        tree = self._opened
        total = tree.total
        if not total:
            raise PriorityError("sample: every eligible row has weight 0")
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
        members, _ = self._opened.members()
        weight = self._weight[members]
        self._tree = None
        self.open(capacity)
        self._enter(place[members], weight)

    def state(self) -> dict[str, NDArray[Any]]:
        """The members and their weights, and what masses are relative to."""
        members, _ = self._opened.members()
        return {
            "capacity": np.array(self._opened.capacity),
            "members": members,
            "weight": self._weight[members],
            "reference": np.array(self._reference),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        names = ["members", "weight", "reference"]
        saved = Saved(repr(self), state, names, self._opened.capacity)
        members = saved.slots("members")
        weight = saved.floats("weight", members.shape, least=0)
        saved.check("weight", weight.all() or not self.lowest_first, "more than 0")
        reference = float(saved.floats("reference", ()))
        log_mass = self._log_mass(weight)
        near = log_mass.max(initial=-np.inf) <= reference + HIGH
        saved.check("reference", near, f"the largest logarithm of a mass, less {HIGH:g} at most")
        self._reference = reference
        self._weight[members] = weight
        self._opened.enter(members, log_mass, np.exp(log_mass - reference))

    @property
    def _opened(self) -> SumTree:
        assert self._tree is not None
        return self._tree

    def _enter(self, slots: Slots, weight: NDArray[np.float64]) -> None:
        self._weight[slots] = weight
        log_mass = self._log_mass(weight)
        self._rise_to(log_mass)
        self._opened.enter(slots, log_mass, np.exp(log_mass - self._reference))
        self._keep_in_range()

    def _log_mass(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """A weight of 0 has no mass; its logarithm is the lowest number, not that of a stranger."""
        with np.errstate(divide="ignore"):
            log_mass: NDArray[np.float64] = np.log(weight) * self._power
        log_mass = np.maximum(log_mass, np.finfo(np.float64).min)
        return log_mass

    def _rise_to(self, log_mass: NDArray[np.float64]) -> None:
        """Makes room, before they are set, for masses that are far larger than all so far."""
        largest = log_mass.max(initial=-np.inf)
        if largest > self._reference + HIGH:
            self._refer_to(float(largest))

    def _keep_in_range(self) -> None:
        tree = self._opened
        if tree.total < LOW and len(tree) and tree.largest > np.finfo(np.float64).min:
            self._refer_to(tree.largest)

    def _refer_to(self, reference: float) -> None:
        self._reference = reference
        members, log_mass = self._opened.members()
        self._opened.set(members, log_mass, np.exp(log_mass - reference))
