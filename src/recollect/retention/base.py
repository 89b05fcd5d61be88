"""What a retention rule is. Streams are rings, so only memories of examples ask one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from recollect.stores.base import Slots


class Retention(ABC):
    """Decides, for a memory of independent examples, which slot the next one takes."""

    keeps_time_order = False
    """Whether the oldest row always goes first, as rings of steps need."""

    @abstractmethod
    def open(self, capacity: int) -> None:
        """Prepares for slots 0 to capacity - 1, all free."""

    @abstractmethod
    def place(self, rows: int, rng: np.random.Generator) -> Slots:
        """The slots (rows,) of new examples in the order of their arrival; -1 where not kept.

        Slots in one answer are distinct.
        """
