"""What a store is: so many rows of a schema, written and read by slot. It knows bytes, not time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recollect.cursors import Outside
from recollect.schema import Schema

Slots = NDArray[np.integer[Any]]
"""Row numbers of a store, 0 to capacity - 1, of any shape."""


class Block(Protocol):
    """Some rows that were asked for; each field is fetched when it is named."""

    def __getitem__(self, name: str, /) -> NDArray[Any]:
        """The field with this flat name: C-contiguous, shape of the slots + the field's own."""
        ...


class Watcher(Protocol):
    """Who wants to know of rows before they change."""

    def before(self, slots: int | Slots) -> None:
        """These rows are as they were, for the last time."""
        ...


class Store(Protocol):
    """Rows of the schema's flat fields, and beside each row one `mark` that its owner defines."""

    watchers: list[Watcher]
    """Told of every change of rows, before it."""

    spare: int
    """How many slots a ring of rows has beyond those that it may hold."""

    @property
    def outside(self) -> Outside | None:
        """Who else has to do with the rows; None: nobody."""
        ...

    @property
    def mark(self) -> NDArray[np.uint32]:
        """(capacity,), the owner's word on each row. Zero in a new store."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        ...

    def open(self, schema: Schema, capacity: int, beside: Mapping[str, Any] | None = None) -> None:
        """Makes room for so many rows. A store belongs to one memory and is opened once.

        Args:
            beside: what else the owner keeps of each row: dtypes by name.
        """
        ...

    def beside(self, name: str) -> NDArray[Any]:
        """(capacity,), what the owner keeps of each row under this name. Zeros in a new store."""
        ...

    def resize(self, capacity: int, source: Slots, target: Slots) -> None:
        """Room for so many rows. Rows `source` (M,), marks and all, stand in `target` (M,) then;
        all others are as in a new store. Costs O(capacity), and for a moment the room of both.
        """
        ...

    def touch(self, slots: int | Slots) -> None:
        """These rows, or their marks, are about to change, other than by `write`."""
        ...

    def write(
        self, slots: int | Slots, values: Mapping[str, Any], names: Mapping[str, str]
    ) -> None:
        """Copies values into one row or many; other fields of the row stay as they are.

        Args:
            names: which fields, by flat name, and under which name `values` has each.
        """
        ...

    def read(self, *slots: Slots) -> tuple[Block, ...]:
        """One block for each array of slots, all of one shape, in as few passes as it takes."""
        ...

    def scan(self, slots: Slots) -> tuple[NDArray[Any], NDArray[np.uint32]]:
        """Reward and mark of steps, each of the slots' shape (+ the reward's own)."""
        ...

    def same(self, slots: int | Slots, values: Mapping[str, Any], names: Mapping[str, str]) -> Any:
        """Whether rows hold exactly these bytes: a bool for one row or where all M do, or (M,)."""
        ...
