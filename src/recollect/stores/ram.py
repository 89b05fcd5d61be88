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

LARGE = 1024
"""From so many bytes a value on, a field has its own array."""


class Ram:
    """Rows in memory, allocated when the memory is made (the system commits pages as they fill)."""

    def __init__(self) -> None:
        self._columns: dict[str, NDArray[Any]] = {}

    def __repr__(self) -> str:
        return "Ram()"

    def open(self, schema: Schema, capacity: int) -> None:
        if self._columns:
            raise ConfigurationError("store: this Ram() already belongs to a memory; make another")
        narrow: list[Any] = [("mark", np.uint32)]
        packed: list[Any] = []
        columns: dict[str, NDArray[Any]] = {}
        for name, field in schema.flat.items():
            if schema.kind == "steps" and name == "reward":
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
        packed = self._packed.nbytes if self._packed is not None else 0
        return self._narrow.nbytes + packed + sum(large.nbytes for large in self._large.values())

    def write(
        self, slots: int | Slots, values: Mapping[str, Any], names: Mapping[str, str]
    ) -> None:
        columns = self._columns
        for name, given in names.items():
            columns[name][slots] = values[given]

    def read(self, *slots: Slots) -> tuple[Block, ...]:
        if self._packed is None:
            return tuple(_Block(index, None, self._large) for index in slots)
        if len(slots) == 1:
            return (_Block(slots[0], self._packed.take(slots[0]), self._large),)
        index = np.empty((len(slots), *slots[0].shape), np.intp)
        for position, part in enumerate(slots):
            index[position] = part
        records = self._packed.take(index)
        return tuple(
            _Block(part, record, self._large) for part, record in zip(slots, records, strict=True)
        )

    def scan(self, slots: Slots) -> tuple[NDArray[Any], NDArray[np.uint32]]:
        record = self._narrow.take(slots)
        return record["reward"], record["mark"]

    def same(self, slots: int | Slots, values: Mapping[str, Any], names: Mapping[str, str]) -> Any:
        if isinstance(slots, int):
            for name, given in names.items():
                column = self._columns[name]
                if column[slots].tobytes() != np.asarray(values[given], column.dtype).tobytes():
                    return False
            return True
        same = np.ones(slots.shape, np.bool_)
        for name, given in names.items():
            stored, value = self._columns[name][slots], values[given]
            if stored.tobytes() != value.tobytes():
                same &= (_bytes(stored) == _bytes(value)).all(axis=-1)
        return same


class _Block:
    """Rows of one array of slots: small fields already fetched, large ones when named."""

    __slots__ = ("_large", "_records", "_slots")

    def __init__(
        self, slots: Slots, records: NDArray[Any] | None, large: Mapping[str, NDArray[Any]]
    ) -> None:
        self._slots = slots
        self._records = records
        self._large = large

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name in self._large:
            return self._large[name].take(self._slots, axis=0)
        return np.ascontiguousarray(self._records[name])  # type: ignore[index]


def _bytes(rows: NDArray[Any]) -> NDArray[np.uint8]:
    """(M, ...) of any dtype as (M, bytes of a row)."""
    flat = np.ascontiguousarray(rows).reshape(len(rows), -1)
    return flat.view(np.uint8).reshape(len(rows), -1)
