"""What is wrong with a snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.errors import DamagedError, MissingExtraError, StorageError
from recollect.saving import rowchecks
from recollect.saving.contents import SnapshotContents
from recollect.saving.findings import Finding, in_state, some, twice
from recollect.saving.state import State
from recollect.stores.base import Slots
from recollect.stores.pieces import parsed

Rows = dict[str, NDArray[Any]]
NOWHERE = -1


def in_snapshot(contents: SnapshotContents) -> Iterator[Finding]:
    """What is found in its state and its segments; rows are put together where all can be read."""
    path = contents.folder / str(contents.manifest["state"])
    state: State | None = None
    try:
        state = contents.state()
        faults = list(in_state(contents, path, state))
    except (DamagedError, StorageError) as error:
        faults = [Finding.of(path, error)]
    yield from faults
    trusted = None if faults else state
    gathered = _Gathered(contents, trusted)
    segments = list(gathered.look())
    yield from segments
    if trusted is None or segments:
        return
    if contents.streams:
        yield from gathered.steps()
    else:
        yield from gathered.examples(trusted)


class _Gathered:
    """The rows of all segments, each slot's from the last segment that has it.

    Args:
        state: if it can be trusted.
    """

    def __init__(self, contents: SnapshotContents, state: State | None) -> None:
        self._contents = contents
        names = ["narrow"] if contents.streams else ["narrow", "beside.key", "beside.arrival"]
        self._arrays = contents.empty(names)
        self._segment = np.full(contents.slot_count, NOWHERE)
        self._held = np.zeros(contents.slot_count, np.bool_)
        if state is not None:
            self._held[_in_use(contents, state)] = True

    def look(self) -> Iterator[Finding]:
        """Reads every segment once, the last one first, and says what is wrong with it."""
        contents = self._contents
        for index in reversed(range(len(contents.segments))):
            path = contents.segments[index]
            try:
                slots, rows = contents.segment(index)
                _check_form(contents, len(slots), rows)
            except (DamagedError, StorageError) as error:
                yield Finding.of(path, error)
                continue
            if len(np.unique(slots)) < len(slots):
                yield Finding(path, "the same slot is in it twice")
            counts = self._segment[slots] == NOWHERE
            self._segment[slots[counts]] = index
            for name, array in self._arrays.items():
                array[slots[counts]] = rows[name][counts]
            closing = (rows["narrow"]["mark"] & marks.CLOSING != 0) & (contents.streams > 0)
            for _, name, wrong in rowchecks.not_finite(contents.schema, rows, closing):
                wrong &= counts & self._held[slots]
                if wrong.any():
                    yield Finding(path, f"rows in slots {some(slots[wrong])}: {name} is not finite")

    def steps(self) -> Iterator[Finding]:
        """Whether all held rows are there, and are episodes one after the other."""
        yield from self._missing()
        for stream in range(self._contents.streams):
            parts = self._contents.parts(stream, self._arrays)
            yield from (Finding(self._contents.folder, what) for what in rowchecks.episodes(parts))

    def examples(self, state: State) -> Iterator[Finding]:
        """Whether all held examples are there, and are those that the state knows."""
        yield from self._missing()
        slots = np.flatnonzero(self._held & (self._segment != NOWHERE))
        rows = {name: array[slots] for name, array in self._arrays.items()}
        known = state.part("rows")
        same = rows["narrow"]["mark"] == known["mark"][slots]
        for name in ("key", "arrival"):
            same &= rows[f"beside.{name}"] == known[name][slots]
        for wrong, what in (
            (~same, "not the ones that the state knows of"),
            (same & rowchecks.identities(rows, slots), "their keys were never given to them"),
        ):
            if wrong.any():
                path = self._path_of(slots[wrong])
                yield Finding(path, f"examples in slots {some(slots[wrong])}: {what}")
        yield from twice(self._contents.folder, rows["beside.key"])

    def _missing(self) -> Iterator[Finding]:
        missing = np.flatnonzero(self._held & (self._segment == NOWHERE))
        if len(missing):
            what = f"rows in slots {some(missing)}: in use, but no segment has them"
            yield Finding(self._contents.folder, what)

    def _path_of(self, slots: Slots) -> Path:
        """Where these rows are from, if it is one segment."""
        segments = np.unique(self._segment[slots])
        paths = self._contents.segments
        return paths[int(segments[0])] if len(segments) == 1 else self._contents.folder


def _in_use(contents: SnapshotContents, state: State) -> Slots:
    """The slots of all rows that the state counts on, but for provisional ones."""
    if not contents.streams:
        return np.flatnonzero(state.part("rows")["mark"] & 1)
    numbers: list[NDArray[np.int64]] = []
    for stream in range(contents.streams):
        place = contents.place(stream)
        numbers.append(stream * contents.size + np.arange(place.tail, place.head) % contents.size)
    return np.concatenate(numbers)


def _check_form(contents: SnapshotContents, count: int, rows: Rows) -> None:
    """Raises `DamagedError` unless a segment has the arrays that the schema asks for."""
    from recollect.stores.compressed import unpacked

    dtypes = contents.layout.dtypes
    if rows.keys() != dtypes.keys():
        expected, found = ", ".join(sorted(dtypes)), ", ".join(sorted(rows))
        raise DamagedError(f"expected the arrays {expected}, found {found}")
    for name, dtype in dtypes.items():
        given = rows[name]
        if name.startswith("field.") and given.dtype == np.uint8 and given.ndim == 1:
            try:
                unpacked(given, count, dtype)
            except MissingExtraError:
                parsed(given.tobytes())
        elif (given.dtype, given.shape) != (dtype.base, (count, *dtype.shape)):
            expected_rows = f"{dtype.base} {(count, *dtype.shape)}"
            raise DamagedError(
                f"{name}: expected {expected_rows}, found {given.dtype} {given.shape}"
            )
