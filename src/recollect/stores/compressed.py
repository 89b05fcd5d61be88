"""`CompressedColumn`: one large field of all rows, in short compressed runs.

A run is an aligned group of slots, and one entry of a list: nothing while its rows are zeros, an
array while rows are being written, and compressed bytes otherwise. A write opens a run again; the
runs that were written least recently are closed. Whoever reads takes an entry out of the list once,
and then has what nobody will ever use for other rows: bytes cannot change, and an array belongs to
its run from when it is made until nobody holds it. So reading needs no lock.

The one hard thing is how many runs are left open. One stream needs two; if 256 streams take turns,
each writes its run once in 256 writes, and with one open run too few every write would decode and
encode a run. So closings are counted: a run that is opened again shows, by the closings since its
own, how many more should have been left open, and if that is a reasonable number, so many are from
now on. Every so many closings one run fewer is left open, until one is missed again.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError, DamagedError
from recollect.stores.base import Slots
from recollect.stores.codecs import Codec, codec
from recollect.stores.pieces import Piece, joined, parsed
from recollect.stores.runs import Entry, Form, grouped
from recollect.stores.teams import MOST

RUN = 8
"""Rows of a run. Twice as many save a fourth of the bytes and take twice as long to decode."""

FEWEST = 4
"""Runs that are left open in any case."""

MANY = 1024
"""Open runs that are still reasonable, unless they are a fourth of all."""

PATIENCE = 64
"""Closings after which one run fewer is left open."""

LONG_AGO = -(1 << 60)

AT_ONCE = 64
"""Runs of rows that `moved` has raw at a time."""


class CompressedColumn:
    """Behaves as an array (capacity, *shape) of zeros does, as far as a store uses one.

    Writes exclude each other. Reads may go on beside them, and may find a row half written.

    Args:
        capacity: rows.
        shape, dtype: of one row.
        codec: what compresses the runs.
        run: rows of a run; whoever reads one row decodes all of them.
        threads: how many may decode together, where there is much to decode.
    """

    def __init__(
        self,
        capacity: int,
        shape: tuple[int, ...],
        dtype: Any,
        codec: Codec,
        run: int = RUN,
        threads: int = MOST,
    ) -> None:
        self.shape = (capacity, *shape)
        self.dtype = np.dtype(dtype)
        self._form = Form(codec, run, tuple(shape), self.dtype, threads)
        self._run = run
        count = -(-capacity // run)
        self._runs: list[Entry] = [None] * count
        self._encoded = 0
        self._open: dict[int, None] = {}  # the least recently written comes first
        self._newest = -1
        self._limit = FEWEST
        self._most = min(count // 4, max(MANY, count // 64))
        self._closings = 0
        self._closed = np.full(count, LONG_AGO)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all runs, closed or open, and of the lists beside them. O(1)."""
        beside = len(self._runs) * (8 + self._closed.itemsize)
        return self._encoded + len(self._open) * self._form.run_bytes + beside

    def __setitem__(self, slots: int | Slots, values: Any) -> None:
        """One row or M, in whatever order; where a slot comes twice, the last row stays."""
        if isinstance(slots, (int, np.integer)):
            index, row = self._place(int(slots))
            self._opened(index)[row] = values
            return
        slots = np.asarray(slots)
        rows = np.broadcast_to(np.asarray(values, self.dtype), slots.shape + self.shape[1:])
        groups = grouped(slots, self._run, len(self))
        for number, index in enumerate(groups.runs):
            places = groups.places(number)
            within = slots[places] % self._run
            if len(places) == self._run and (within[1:] > within[:-1]).all():
                self._put(index, rows[places])  # every row of it, and an array of its own
            else:
                self._opened(index)[within] = rows[places]

    def __getitem__(self, slots: int | Slots) -> NDArray[Any]:
        """A copy of one row, or of M."""
        if isinstance(slots, (int, np.integer)):
            index, row = self._place(int(slots))
            held: NDArray[Any] = self._form.rows(self._runs[index])[row].copy()
            return held
        slots = np.asarray(slots)
        return self.take(slots, np.empty(slots.shape + self.shape[1:], self.dtype))

    def take(self, slots: Slots, out: NDArray[Any]) -> NDArray[Any]:
        """Rows of slots of any shape into `out`, C-contiguous, the slots' shape + the field's.

        Each run is decoded once, however many of its rows are wanted: two takes that share runs
        cost less as one. Returns `out`.
        """
        shape = slots.shape + self.shape[1:]
        if out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise ValueError(
                f"take: expected a C-contiguous out of {self.dtype} {shape}, "
                f"got {out.dtype} {out.shape}"
            )
        slots = np.ascontiguousarray(slots, np.intp).reshape(-1)
        rows = out.reshape(-1, *self.shape[1:])
        groups = grouped(slots, self._run, len(self))
        encoded: list[bytes] = []
        kept: list[int] = []
        for number, index in enumerate(groups.runs):
            entry = self._runs[index]
            if isinstance(entry, bytes):
                encoded.append(entry)
                kept.append(number)
                continue
            for place in groups.places(number).tolist():
                rows[place] = 0 if entry is None else entry[slots[place] % self._run]
        if encoded:
            all_encoded = len(kept) == len(groups.runs)
            chosen = groups if all_encoded else groups.only(kept)
            self._form.decode(encoded, chosen, slots, out)
        return out

    def moved(self, capacity: int, source: Slots, target: Slots) -> CompressedColumn:
        """A column of so many rows, in which rows `source` (M,) stand in `target` (M,).

        Runs that move whole stay as they are compressed; of the others each row is decoded.
        """
        form, run = self._form, self._run
        column = CompressedColumn(
            capacity, self.shape[1:], self.dtype, form.codec, run, form.threads
        )
        order = np.argsort(target, kind="stable")
        source, target = np.asarray(source)[order], np.asarray(target)[order]
        groups = grouped(target, run, capacity)
        first, last = groups.first, groups.last
        # whole: as many rows as a run, all moved by the same number of whole runs
        jumps = np.concatenate(([0], np.cumsum(np.diff(source - target) != 0)))
        same = jumps[first] == jumps[last - 1]
        whole = same & (last - first == run) & ((source - target)[first] % run == 0)
        separate = np.ones(len(target), np.bool_)
        for number in np.flatnonzero(whole).tolist():
            entry = self._runs[int(source[first[number]]) // run]
            if not isinstance(entry, np.ndarray):
                column._put(groups.runs[number], entry)
                separate[first[number] : last[number]] = False
        left = np.flatnonzero(separate)
        for begin in range(0, len(left), AT_ONCE * run):
            part = left[begin : begin + AT_ONCE * run]
            column[target[part]] = self[source[part]]
        return column

    def packed(self, slots: Slots) -> bytes:
        """Rows (M,), sorted, as `unpack` takes them; see `pieces`. Needs no lock.

        Of rows one after the other, what is compressed goes in as it is; at the ends that are whole
        runs, with rows beyond. Scattered rows are compressed anew.
        """
        first, stop = (int(slots[0]), int(slots[-1]) + 1) if len(slots) else (0, 0)
        if stop - first > len(slots):
            form = self._form
            column = CompressedColumn(
                len(slots), self.shape[1:], self.dtype, form.codec, form.run, form.threads
            )
            for begin in range(0, len(slots), AT_ONCE * self._run):
                part = slots[begin : begin + AT_ONCE * self._run]
                column[np.arange(begin, begin + len(part))] = self[part]
            return column.packed(np.arange(len(slots)))
        begin = first // self._run
        entries = self._runs[begin : -(-stop // self._run)] if stop > first else []
        return joined(
            Piece(
                codec=self._form.codec.name,
                dtype=self.dtype.str,
                shape=list(self.shape[1:]),
                run=self._run,
                first=first - begin * self._run,
                rows=stop - first,
                entries=[self._form.encoded(entry) for entry in entries],
            )
        )

    def unpack(self, slots: Slots, data: Any) -> None:
        """Puts what was `packed`, by whatever codec, into rows (M,), sorted.

        Everything is decoded once to see that it can be.

        Raises:
            DamagedError: it cannot, or these are not so many rows of this shape and dtype. Nothing
                has changed then.
        """
        first, stop = (int(slots[0]), int(slots[-1]) + 1) if len(slots) else (0, 0)
        if stop - first > len(slots):
            self[slots] = unpacked(data, len(slots), np.dtype((self.dtype, self.shape[1:])))
            return
        piece = parsed(bytes(data))
        expected = (self.dtype.str, list(self.shape[1:]), stop - first)
        if (piece.dtype, piece.shape, piece.rows) != expected:
            raise DamagedError(
                f"rows: expected dtype, shape, number {expected}, "
                f"found {(piece.dtype, piece.shape, piece.rows)}"
            )
        form = self._form
        if (piece.codec, piece.run) != (form.codec.name, form.run):
            form = form._replace(codec=_written_by(piece.codec), run=piece.run)
        form.check([entry for entry in piece.entries if entry])
        aligned = form is self._form and piece.first == first % self._run
        for number, entry in enumerate(piece.entries):
            begin = max(number * piece.run - piece.first, 0)
            end = min((number + 1) * piece.run - piece.first, piece.rows)
            if aligned and end - begin == self._run:
                self._put((first + begin) // self._run, entry or None)
            else:
                rows = form.rows(entry or None)
                offset = begin + piece.first - number * piece.run
                self[np.arange(first + begin, first + end)] = rows[offset : offset + end - begin]

    def _place(self, slot: int) -> tuple[int, int]:
        if not 0 <= slot < len(self):
            raise IndexError(f"slot {slot} of a column of {len(self)} rows")
        return divmod(slot, self._run)

    def _opened(self, index: int) -> NDArray[Any]:
        """The array of a run, which is left open for now."""
        entry = self._runs[index]
        if isinstance(entry, np.ndarray):
            if index != self._newest:
                del self._open[index]
                self._open[index] = None
                self._newest = index
            return entry
        if entry is not None:
            wanted = len(self._open) + 1 + self._closings - self._closed.item(index)
            if wanted <= self._most:
                self._limit = max(self._limit, wanted)
        rows = self._form.rows(entry)
        if not rows.flags.writeable:
            rows = rows.copy()
        self._put(index, rows)
        return rows

    def _put(self, index: int, entry: Entry) -> None:
        """Makes this a run's entry, and closes the runs that are too many then."""
        before = self._runs[index]
        if isinstance(before, bytes):
            self._encoded -= sys.getsizeof(before)
        self._open.pop(index, None)
        self._runs[index] = entry
        if isinstance(entry, bytes):
            self._encoded += sys.getsizeof(entry)
            self._closed[index] = LONG_AGO
        elif entry is not None:
            self._open[index] = None
            self._newest = index
        while len(self._open) > self._limit:
            self._close(next(iter(self._open)))

    def _close(self, index: int) -> None:
        entry = self._form.encoded(self._runs[index])
        self._runs[index] = entry
        del self._open[index]
        self._encoded += sys.getsizeof(entry)
        self._closings += 1
        self._closed[index] = self._closings
        if self._closings % PATIENCE == 0:
            self._limit = max(self._limit - 1, FEWEST)


def unpacked(data: Any, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """So many rows of this dtype (a subarray) that a column had `packed`; see `unpack`."""
    column = CompressedColumn(count, dtype.shape, dtype.base, codec("zstd"))
    column.unpack(np.arange(count), data)
    return column[np.arange(count)]


def _written_by(name: str) -> Codec:
    try:
        return codec(name)
    except ConfigurationError as error:
        raise DamagedError(f"rows: compressed with {name!r}, which is unknown") from error
