"""Runs of rows: which slots lie in which, and rows to compressed bytes and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recollect.errors import DamagedError
from recollect.stores.base import Slots
from recollect.stores.codecs import Codec, Native
from recollect.stores.decoding import Indices, decode_rows
from recollect.stores.teams import in_parts

Entry = bytes | NDArray[Any] | None
"""A run: compressed, or an array that is being written, or zeros."""

SHARE = 64
"""Runs to decode, half a millisecond's worth, that are worth waking another thread for."""


class Groups(NamedTuple):
    """Slots by run."""

    runs: list[int]
    """R of them, ascending."""
    first: Indices
    last: Indices
    """(R,), which part of `order` is of each run."""
    order: Indices
    """Places of the slots; of one run in the order in which they were given."""

    def places(self, number: int) -> Indices:
        """The places of one run."""
        return self.order[self.first[number] : self.last[number]]

    def only(self, kept: Sequence[int]) -> Groups:
        """Some of the runs."""
        return Groups([self.runs[k] for k in kept], self.first[kept], self.last[kept], self.order)


def grouped(slots: Slots, run: int, capacity: int) -> Groups:
    """Slots (N,) by runs of so many.

    Raises:
        IndexError: one is negative, or not below capacity.
    """
    of = slots // run
    order = np.argsort(of, kind="stable")
    of = of[order]
    bounds = np.flatnonzero(of[1:] != of[:-1]) + 1
    first = np.concatenate(([0], bounds)) if len(of) else bounds
    last = np.append(bounds, len(of)) if len(of) else bounds
    runs: list[int] = of[first].tolist()
    if runs and not (runs[0] >= 0 and int(slots.max()) < capacity):
        raise IndexError(f"slots {slots.min()} to {slots.max()} of a column of {capacity} rows")
    return Groups(runs, first, last, order)


class Form(NamedTuple):
    """How runs are compressed, and what they hold."""

    codec: Codec
    run: int
    """Rows of one."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """Of a row."""
    threads: int
    """How many may decode together."""

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def run_bytes(self) -> int:
        """Bytes of a run that is not compressed."""
        return self.run * self.row_bytes

    def rows(self, entry: Entry) -> NDArray[Any]:
        """(run, *shape): the array itself if it is one, and read-only if it was compressed."""
        if isinstance(entry, np.ndarray):
            return entry
        if entry is None:
            return np.zeros((self.run, *self.shape), self.dtype)
        rows = np.frombuffer(self.codec.decode(entry, self.run_bytes), self.dtype)
        return rows.reshape(self.run, *self.shape)

    def encoded(self, entry: Entry) -> bytes:
        """Compressed; nothing if it is all zeros."""
        if isinstance(entry, np.ndarray):
            # of a copy: an encoder must not see its data change
            return self.codec.encode(entry.tobytes())
        return entry or b""

    def decode(
        self, entries: Sequence[bytes], groups: Groups, slots: Indices, out: NDArray[Any]
    ) -> None:
        """Rows `slots` (N,) into `out` (N, ...): of each group's run, what its entry holds.

        Raises:
            DamagedError: an entry is no run.
        """
        native = self.codec.native
        flat = out.reshape(len(slots), self.row_bytes // self.dtype.itemsize).view(np.uint8)
        if native is None:
            self._decode_each(entries, groups, slots, flat)
            return

        def decode_part(first: int, stop: int) -> None:
            self._decode_part(native, entries, groups, slots, flat, slice(first, stop))

        parts = min(self.threads, max(len(entries) // SHARE, 1))
        in_parts(len(entries), parts, decode_part)

    def check(self, entries: Sequence[bytes]) -> None:
        """Decodes all and keeps nothing.

        Raises:
            DamagedError: an entry is no run.
        """
        none, zeros = np.zeros(0, np.intp), np.zeros(len(entries), np.intp)
        if entries:
            groups = Groups(list(range(len(entries))), zeros, zeros, none)
            self.decode(entries, groups, none, np.empty((0, *self.shape), self.dtype))

    def _decode_part(
        self,
        native: Native,
        entries: Sequence[bytes],
        groups: Groups,
        slots: Indices,
        out: NDArray[np.uint8],
        part: slice,
    ) -> None:
        own = entries[part]
        failed = decode_rows(
            native.function,
            native.context(),
            np.frombuffer(b"".join(own), np.uint8),
            np.cumsum([len(entry) for entry in own]),
            np.empty((self.run, self.row_bytes), np.uint8),
            groups.first[part],
            groups.last[part],
            groups.order,
            slots,
            out,
        )
        if failed >= 0:
            index = groups.runs[part.start + failed]
            raise DamagedError(
                f"run {index}: {self.codec.name} does not make {self.run_bytes} bytes of it"
            )

    def _decode_each(
        self, entries: Sequence[bytes], groups: Groups, slots: Indices, out: NDArray[np.uint8]
    ) -> None:
        for number, entry in enumerate(entries):
            decoded = np.frombuffer(self.codec.decode(entry, self.run_bytes), np.uint8)
            rows = decoded.reshape(self.run, self.row_bytes)
            for place in groups.places(number).tolist():
                out[place] = rows[slots[place] % self.run]
