"""What a sampler is: a set of slots to draw from. It never knows what a row holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import PriorityError
from recollect.stores.base import Slots


class Sampler(ABC):
    """A set of eligible slots, and a distribution over them.

    The reader that owns it calls `open` once, then `enter` and `leave` as rows become eligible and
    cease to be. Slots within one call are distinct; what enters is not a member, what leaves is.
    Nothing but `open` and `resize` may cost O(capacity).
    """

    row_bytes: int = 8
    """What it keeps of each row of capacity, about."""

    @property
    def takes_priorities(self) -> bool:
        """Whether `update` is for this sampler."""
        return type(self).update is not Sampler.update

    @abstractmethod
    def open(self, capacity: int) -> None:
        """Prepares for slots 0 to capacity - 1, none of them a member yet."""

    @abstractmethod
    def __len__(self) -> int:
        """How many slots are members."""

    @abstractmethod
    def enter(self, slots: Slots) -> None:
        """(M,) new members, oldest first."""

    @abstractmethod
    def leave(self, slots: Slots) -> None:
        """(M,) members that are no longer."""

    def check(self, priority: NDArray[np.float64]) -> None:  # noqa: B027 (most take any)
        """Raises `PriorityError` if one of these priorities (M,) is such as `update` refuses."""

    def update(self, slots: Slots, priority: NDArray[np.float64]) -> None:
        """(M,) members get new priorities, finite and not negative; of duplicates the last counts.

        Raises:
            PriorityError: a priority that this sampler cannot use; nothing is changed.
        """
        raise PriorityError(f"update: {type(self).__name__} has no priorities")

    def priority(self, slots: Slots) -> NDArray[np.float64]:
        """(M,), of members: what `update` gave them, or with which they came in.

        Raises:
            PriorityError: a sampler that has none.
        """
        raise PriorityError(f"priority: {type(self).__name__} has no priorities")

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator) -> tuple[Slots, NDArray[np.float64]]:
        """Slots (n,) and the probability (n,) with which each was drawn. There are members.

        Where the order is fixed, so that nothing is left to chance, the probability is NaN.
        """

    @abstractmethod
    def probability(self, slots: Slots) -> NDArray[np.float64]:
        """(M,), of members that another sampler drew."""

    def weight(
        self, probability: NDArray[np.float64], eligible: int, call: int
    ) -> NDArray[np.float32]:
        """Importance weights (n,) of drawn rows among so many eligible; 1 corrects nothing.

        Args:
            call: how many sample calls the reader made before, for settings that are schedules.
        """
        weight = np.empty(len(probability), np.float32)
        weight.fill(1.0)  # in half the time of `np.ones`
        return weight

    @abstractmethod
    def resize(self, capacity: int, place: NDArray[np.int64]) -> None:
        """Goes on with slots 0 to capacity - 1, all else as it was. Costs O(capacity).

        Args:
            place: (old capacity,), the new slot of each old one; what has none (-1) is no member.
        """

    @abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that decides the next draws, besides the generator and the settings.

        Copies, of as many numbers as there are members. It is saved under the memory's lock, so it
        takes some tens of milliseconds for a million of them, not more.
        """

    @abstractmethod
    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from what `state` returned, in every respect as the sampler that was saved.

        Called once, after `open`, of a sampler with the same settings and capacity.

        Raises:
            ConfigurationError: the state does not fit, and this sampler is of no use.
        """
