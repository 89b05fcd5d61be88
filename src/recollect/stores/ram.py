"""`Ram`: rows in this process's memory.

The small fields of a row lie side by side in one structured array, so that a row that is drawn at
random costs one cache miss and one `take` fetches them all. A large field (1 KiB and up) has an
array of its own. Reward and mark, which windows scan row by row, have a narrow column of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.schema import Schema
from recollect.stores.base import Block, Slots
from recollect.stores.buffers import Buffers

LARGE = 1024
"""From so many bytes a value on, a field has its own array."""


class Ram:
    """Rows in memory, allocated when the memory is made (the system commits pages as they fill)."""

    def __init__(self) -> None:
        self._columns: dict[str, NDArray[Any]] = {}
        self._buffers = Buffers()

    def __repr__(self) -> str:
        return "Ram()"

    def open(self, schema: Schema, capacity: int) -> None:
        if self._columns:
            raise ConfigurationError("store: this Ram() already belongs to a memory; make another")
        self._schema = schema
        self._allocate(capacity)

    def resize(self, capacity: int, source: Slots, target: Slots) -> None:
        before = self._arrays
        self._allocate(capacity)
        for old, new in zip(before, self._arrays, strict=True):
            new[target] = old[source]

    def _allocate(self, capacity: int) -> None:
        narrow: list[Any] = [("mark", np.uint32)]
        packed: list[Any] = []
        columns: dict[str, NDArray[Any]] = {}
        for name, field in self._schema.flat.items():
            if self._schema.kind == "steps" and name == "reward":
                narrow.insert(0, (name, field.dtype, field.shape))
            elif field.nbytes < LARGE:
                packed.append((name, field.dtype, field.shape))
            else:
                columns[name] = np.zeros((capacity, *field.shape), field.dtype)
        self._narrow = np.zeros(capacity, np.dtype(narrow, align=True))
        self._packed = np.zeros(capacity, np.dtype(packed, align=True)) if packed else None
        self._large = dict(columns)
        for name, *_ in packed:
            columns[name] = self._packed[name]  # type: ignore[index]
        if "reward" in self._narrow.dtype.names:  # type: ignore[operator]
            columns["reward"] = self._narrow["reward"]
        self._columns = columns
        self._mark: NDArray[np.uint32] = self._narrow["mark"]

    @property
    def mark(self) -> NDArray[np.uint32]:
        return self._mark

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._arrays)

    @property
    def _arrays(self) -> list[NDArray[Any]]:
        packed = [self._packed] if self._packed is not None else []
        return [self._narrow, *packed, *self._large.values()]

    def write(
        self, slots: int | Slots, values: Mapping[str, Any], names: Mapping[str, str]
    ) -> None:
        columns = self._columns
        for name, given in names.items():
            columns[name][slots] = values[given]

    def read(self, *slots: Slots) -> tuple[Block, ...]:
        small = _Small(self._packed, slots)
        return tuple(
            _Block(part, position, small, self._large, self._buffers)
            for position, part in enumerate(slots)
        )

    def scan(self, slots: Slots) -> tuple[NDArray[Any], NDArray[np.uint32]]:
        record = self._narrow.take(slots)
        return record["reward"], record["mark"]

    def same(self, slots: int | Slots, values: Mapping[str, Any], names: Mapping[str, str]) -> Any:
        if isinstance(slots, int):
            for name, given in names.items():
                column, value = self._columns[name], values[given]
                if type(value) is not np.ndarray:
                    value = np.asarray(value, column.dtype)
                if column[slots].tobytes() != value.tobytes():
                    return False
            return True
        same: Any = True
        for name, given in names.items():
            stored, value = self._columns[name][slots], values[given]
            if stored.tobytes() != value.tobytes():
                same = same & (_bytes(stored) == _bytes(value)).all(axis=-1)
        return same


class _Small:
    """The small fields of all blocks of one reading, fetched together when one is first named."""

    __slots__ = ("_packed", "_records", "_slots")

    def __init__(self, packed: NDArray[Any] | None, slots: tuple[Slots, ...]) -> None:
        self._packed = packed
        self._slots = slots
        self._records: NDArray[Any] | None = None

    def __getitem__(self, position: int) -> NDArray[Any]:
        if self._records is None:
            assert self._packed is not None
            self._records = self._packed.take(np.array(self._slots))
        records: NDArray[Any] = self._records[position]
        return records


class _Block:
    """Rows of one array of slots, each field fetched when it is named."""

    __slots__ = ("_buffers", "_large", "_position", "_slots", "_small")

    def __init__(
        self,
        slots: Slots,
        position: int,
        small: _Small,
        large: Mapping[str, NDArray[Any]],
        buffers: Buffers,
    ) -> None:
        self._slots = slots
        self._position = position
        self._small = small
        self._large = large
        self._buffers = buffers

    def __getitem__(self, name: str) -> NDArray[Any]:
        column = self._large.get(name)
        if column is None:
            return np.ascontiguousarray(self._small[self._position][name])
        slots = self._slots
        out = self._buffers.empty((*slots.shape, *column.shape[1:]), column.dtype)
        # slots are valid; any mode but the default writes to `out` without a copy of it
        return column.take(slots, axis=0, out=out, mode="clip")


def _bytes(rows: NDArray[Any]) -> NDArray[np.uint8]:
    """(M, ...) of any dtype as (M, bytes of a row)."""
    flat = np.ascontiguousarray(rows).reshape(len(rows), -1)
    return flat.view(np.uint8).reshape(len(rows), -1)
