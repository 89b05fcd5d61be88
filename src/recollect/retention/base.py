"""What a retention rule is. Streams are rings, so only memories of examples ask one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.schema import Schema
from recollect.stores.base import Slots

Rows = Callable[[Slots], Mapping[str, NDArray[Any]]]
"""Reads fields of slots (M,), by flat name, (M, ...) each."""


class Retention(ABC):
    """Decides, for a memory of independent examples, which slot the next one takes.

    The memory that owns it calls `open` once, then `place` for each offer. Nothing but `open` and
    `resize` may cost O(capacity).
    """

    keeps_time_order = False
    """Whether the oldest row always goes first, as rings of steps need."""

    row_bytes: int = 8
    """What it keeps of each row of capacity, about."""

    @property
    def takes_priorities(self) -> bool:
        """Whether `update` is for this rule."""
        return type(self).update is not Retention.update

    @abstractmethod
    def open(self, capacity: int, schema: Schema) -> None:
        """Prepares for slots 0 to capacity - 1, all free, and for rows of this schema.

        Raises:
            ConfigurationError: the rule asks for a field that the schema does not have, or it
                belongs to a memory already.
        """

    @abstractmethod
    def place(self, rows: Mapping[str, Any], count: int, rng: np.random.Generator) -> Slots:
        """Where new examples go, (count,) slots in the order of their arrival; -1: not kept.

        A slot that held an example loses it. Slots in one answer are distinct: of an example that a
        later one of the same offer pushes out, it is said that it was not kept.

        Args:
            rows: their fields by flat name, (count, ...) each.

        Raises:
            SchemaError: a value that the rule cannot use; nothing is changed.
        """

    def update(  # noqa: B027 (most rules do not look at priorities)
        self, slots: Slots, priority: NDArray[np.float64]
    ) -> None:
        """(M,) held examples got new priorities; of duplicates the last counts."""

    def remove(self, slots: Slots) -> None:  # noqa: B027 (a rule that fills in turn need not know)
        """(M,) distinct slots were emptied, other than by `place`."""

    def surplus(self, count: int, held: Slots, rng: np.random.Generator) -> Slots:
        """Which of the held examples go, where a smaller memory has no room for so many of them.

        Args:
            held: (M,), the slots of all held examples, oldest first.

        Returns:
            (count,) distinct slots of `held`; `remove` is told of them too.
        """
        return held[:count]

    @abstractmethod
    def resize(self, capacity: int, place: NDArray[np.int64], held: Slots) -> None:
        """Goes on with slots 0 to capacity - 1. Costs O(capacity).

        Args:
            place: (old capacity,), the new slot of each old one; -1 where no example is held.
            held: (M,), the new slots of all held examples, oldest first.
        """

    @abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that decides what is kept next, besides the generator and the settings.

        Copies, of O(capacity) numbers; saved under the memory's lock.
        """

    @abstractmethod
    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from what `state` returned, in every respect as the rule that was saved.

        Called once, after `open`, of a rule with the same settings and capacity.

        Raises:
            ConfigurationError: the state does not fit; nothing is changed.
        """

    @abstractmethod
    def recover(
        self,
        held: Slots,
        arrivals: int,
        rows: Rows,
        priority: NDArray[np.float64] | None = None,
        earlier: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Goes on with what is held after a crash, of which no `state` was saved.

        Called once, after `open`. What was lost is taken for what is most likely; slots that hold
        nothing are filled in order.

        Args:
            held: (M,), the slots of all held examples, oldest first.
            arrivals: how many examples were ever offered, as far as that is known.
            rows: the fields of held slots (M,) by flat name, (M, ...) each.
            priority: (M,) of those held; None: not known, and all are as new.
            earlier: a state that was saved before, for what it still says.

        Raises:
            ConfigurationError: the earlier state is none of such a rule and capacity; nothing is
                changed.
        """
