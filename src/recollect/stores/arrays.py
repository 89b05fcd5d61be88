"""`Arrays`: rows as NumPy arrays, wherever their bytes are.

The small fields of a row lie side by side in one structured array, so that a row that is drawn at
random costs one cache miss. A large field (1 KiB and up) has an
array of its own. Reward and mark, which windows scan row by row, have a narrow array of theirs, and
what else the rows' owner keeps of each row has one for each such thing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError, DamagedError
from recollect.schema import Schema
from recollect.stores.base import Block, Slots, Watcher
from recollect.stores.buffers import Buffers
from recollect.stores.records import Records

LARGE = 1024
"""From so many bytes a value on, a field has its own array."""

MOVED_BYTES = 1 << 22
"""So much is copied at a time where rows move to other arrays, which may be larger than the RAM."""

LOCAL = ("beside.priority", "beside.checksum")
"""Arrays that are of use in one place only."""


class Layout:
    """Which arrays the rows of a schema take, and which field is in which.

    Attributes:
        dtypes: by name of the array, the dtype of a row in it, large fields as subarrays.
        large: the fields that have an array of their own.
    """

    def __init__(self, schema: Schema, beside: Mapping[str, Any]) -> None:
        narrow: list[Any] = [("mark", np.uint32)]
        packed: list[Any] = []
        large: dict[str, Any] = {}
        # in an order of their own: equal schemas may name their fields in different ones
        for name, field in sorted(schema.flat.items()):
            if schema.kind == "steps" and name == "reward":
                narrow.insert(0, (name, field.dtype, field.shape))
            elif field.nbytes < LARGE:
                packed.append((name, field.dtype, field.shape))
            else:
                large[f"field.{name}"] = np.dtype((field.dtype, field.shape))
        self.dtypes: dict[str, np.dtype[Any]] = {"narrow": np.dtype(narrow, align=True)}
        if packed:
            self.dtypes["packed"] = np.dtype(packed, align=True)
        self.dtypes |= large
        self.dtypes |= {f"beside.{name}": np.dtype(dtype) for name, dtype in beside.items()}
        self.large = [name.removeprefix("field.") for name in large]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row over all arrays."""
        return sum(dtype.itemsize for dtype in self.dtypes.values())


class Arrays(ABC):
    """Rows in arrays that a subclass provides.

    Attributes:
        spare: slots that a ring of rows has beyond those that it may hold.
        layout: which arrays there are; from `open` on.
        arrays: (capacity, ...) each, by the layout's names.
        watchers: told of every change of rows, before it.
    """

    layout: Layout

    def __init__(self) -> None:
        self.spare = 0
        self.arrays: dict[str, Any] = {}
        self.watchers: list[Watcher] = []
        self._buffers = Buffers()

    @abstractmethod
    def _allocate(self, capacity: int) -> dict[str, Any]:
        """New arrays of zeros, (capacity, ...) each, for `self.layout`."""

    def open(self, schema: Schema, capacity: int, beside: Mapping[str, Any] | None = None) -> None:
        if self.arrays:
            raise ConfigurationError(f"store: this {self!r} already belongs to a memory")
        self.layout = Layout(schema, beside or {})
        self._use(self._allocate(capacity))

    def resize(self, capacity: int, source: Slots, target: Slots) -> None:
        before = self.arrays
        arrays = self._allocate(capacity)
        for name, array in before.items():
            if isinstance(array, np.ndarray):
                many = max(MOVED_BYTES // self.layout.dtypes[name].itemsize, 1)
                for first in range(0, len(source), many):
                    piece = slice(first, first + many)
                    arrays[name][target[piece]] = array[source[piece]]
            else:
                arrays[name] = array.moved(capacity, source, target)
        self._use(arrays)

    def _use(self, arrays: dict[str, Any]) -> None:
        self.arrays = arrays
        self._narrow: NDArray[Any] = arrays["narrow"]
        self._scanned = Records(self._narrow, self._buffers)
        packed = arrays.get("packed", _NONE)
        self._records = Records(packed, self._buffers)
        self._large = {name: arrays[f"field.{name}"] for name in self.layout.large}
        columns: dict[str, Any] = dict(self._large)
        columns |= {name: packed[name] for name in packed.dtype.names or ()}
        if "reward" in (self._narrow.dtype.names or ()):
            columns["reward"] = self._narrow["reward"]
        self._columns = columns
        self._mark: NDArray[np.uint32] = self._narrow["mark"]

    @property
    def mark(self) -> NDArray[np.uint32]:
        return self._mark

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays.values())

    def beside(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = self.arrays[f"beside.{name}"]
        return array

    def rows_of(self, size: int) -> int:
        """About how many rows take so many bytes; of compressed rows no more than fourfold that."""
        raw = self.layout.row_bytes
        used = self.nbytes // len(self._narrow)
        return max(size // max(min(used, raw), raw // 4), 1)

    @property
    def portable(self) -> dict[str, Any]:
        """The arrays that make sense in another store too."""
        return {name: array for name, array in self.arrays.items() if name not in LOCAL}

    def copied(self, slots: Slots) -> dict[str, NDArray[Any]]:
        """Rows (M, ...) of the portable arrays, as they are now."""
        return {name: array[slots] for name, array in self.portable.items()}

    def exported(self, slots: Slots) -> dict[str, NDArray[Any]]:
        """Rows (M,), sorted, in the form in which `imported` takes them; they may be changing."""
        first, stop = int(slots[0]), int(slots[-1]) + 1
        in_a_row = stop - first == len(slots)
        rows: dict[str, NDArray[Any]] = {}
        for name, array in self.portable.items():
            if isinstance(array, np.ndarray):
                rows[name] = array[first:stop].copy() if in_a_row else array[slots]
            else:
                rows[name] = np.frombuffer(array.packed(slots), np.uint8)
        return rows

    def imported(self, slots: Slots, rows: Mapping[str, NDArray[Any]]) -> None:
        """Puts rows in place that were `exported` or `copied`.

        Raises:
            DamagedError: they are not of this layout.
        """
        arrays = self.portable
        if rows.keys() != arrays.keys():
            raise DamagedError(f"rows: expected {_names(arrays)}, found {_names(rows)}")
        packed = {name for name in arrays if _is_packed(name, rows[name])}
        for name in arrays.keys() - packed:
            given, array = rows[name], arrays[name]
            if (given.dtype, given.shape) != (array.dtype, (len(slots), *array.shape[1:])):
                raise DamagedError(
                    f"rows: {name}: expected {array.dtype} {array.shape[1:]} for {len(slots)} "
                    f"rows, found {given.dtype} {given.shape}"
                )
        for name, array in arrays.items():
            if name not in packed:
                array[slots] = rows[name]
            elif isinstance(array, np.ndarray):
                from recollect.stores.compressed import unpacked

                array[slots] = unpacked(rows[name], len(slots), self.layout.dtypes[name])
            else:
                array.unpack(slots, rows[name])

    def touch(self, slots: int | Slots) -> None:
        """Tells the watchers that these rows are about to change."""
        for watcher in self.watchers:
            watcher.before(slots)

    def write(
        self, slots: int | Slots, values: Mapping[str, Any], names: Mapping[str, str]
    ) -> None:
        if self.watchers:
            self.touch(slots)
        columns = self._columns
        for name, given in names.items():
            columns[name][slots] = values[given]

    def read(self, *slots: Slots) -> tuple[Block, ...]:
        joint = _Joint(self._large, slots, self._buffers)
        return tuple(
            _Block(part, position, self._records, self._large, joint, self._buffers)
            for position, part in enumerate(slots)
        )

    def scan(self, slots: Slots) -> tuple[NDArray[Any], NDArray[np.uint32]]:
        return self._scanned.take_two("reward", "mark", slots)

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


class _Joint:
    """Compressed fields of all blocks of one reading: runs that blocks share are decoded once."""

    __slots__ = ("_buffers", "_columns", "_rows", "_slots")

    def __init__(
        self, columns: Mapping[str, Any], slots: tuple[Slots, ...], buffers: Buffers
    ) -> None:
        self._columns = columns
        self._slots = slots
        self._buffers = buffers
        self._rows: dict[str, NDArray[Any]] = {}

    def read(self, name: str, position: int) -> NDArray[Any]:
        if name not in self._rows:
            column, slots = self._columns[name], np.array(self._slots)
            out = self._buffers.empty((*slots.shape, *column.shape[1:]), column.dtype)
            self._rows[name] = column.take(slots, out)
        rows: NDArray[Any] = self._rows[name][position]
        return rows


class _Block:
    """Rows of one array of slots, each field fetched when it is named."""

    __slots__ = ("_buffers", "_joint", "_large", "_position", "_records", "_slots")

    def __init__(
        self,
        slots: Slots,
        position: int,
        records: Records,
        large: Mapping[str, Any],
        joint: _Joint,
        buffers: Buffers,
    ) -> None:
        self._joint = joint
        self._slots = slots
        self._position = position
        self._records = records
        self._large = large
        self._buffers = buffers

    def __getitem__(self, name: str) -> NDArray[Any]:
        column = self._large.get(name)
        if column is None:
            return self._records.take(name, self._slots)
        if not isinstance(column, np.ndarray):
            return self._joint.read(name, self._position)
        slots = self._slots
        out = self._buffers.empty((*slots.shape, *column.shape[1:]), column.dtype)
        # slots are valid; any mode but the default writes to `out` without a copy of it
        return column.take(slots, axis=0, out=out, mode="clip")


def _is_packed(name: str, rows: NDArray[Any]) -> bool:
    """Whether rows of a large field are compressed: bytes, where rows would have more axes."""
    return name.startswith("field.") and rows.dtype == np.uint8 and rows.ndim == 1


def _names(arrays: Mapping[str, Any]) -> str:
    return ", ".join(sorted(arrays))


def _bytes(rows: NDArray[Any]) -> NDArray[np.uint8]:
    """(M, ...) of any dtype as (M, bytes of a row)."""
    flat = np.ascontiguousarray(rows).reshape(len(rows), -1)
    return flat.view(np.uint8).reshape(len(rows), -1)


_NONE: NDArray[Any] = np.zeros(0)
"""Where no field is small."""
