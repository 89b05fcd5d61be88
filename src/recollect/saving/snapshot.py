"""Snapshots: all of a memory in a folder of its own, written while it is being used.

    PATH/
      recollect.json     the manifest, put in place last: it names the files that count
      state-3            what decides the next batches, as of the third save
      rows-1, rows-2 ... segments: rows as they were when the segment was written

A later save to the same path writes the rows that changed since, and drops the segments that are
not needed any more: where a slot is in several segments, the last of them counts. A segment of
which less than half is still needed is written anew.

While rows are copied, others may go on adding. A row that is about to change and was not copied
yet, is copied by whoever changes it, and goes into a segment of its own at the end.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import DamagedError, StorageError
from recollect.saving import manifest
from recollect.saving.state import State, capture
from recollect.shared import Shared
from recollect.stores.arrays import Arrays
from recollect.stores.base import Slots
from recollect.stores.directory import MANIFEST
from recollect.stores.files import (
    Writing,
    container,
    named,
    read_container,
    sync_folder,
    write,
)

SEGMENT_BYTES = 1 << 24
"""About so many bytes of rows go into one segment."""

NOT_SAVED = -1

Segments = dict[int, int]
"""How many rows each segment has, by number, in the order in which they count."""


class Saver:
    """What one folder has of a memory already; it is told of every change of a row.

    Args:
        folder: of the snapshot.
        slot_count: of the memory.
    """

    def __init__(self, folder: Path, slot_count: int) -> None:
        self.folder = folder
        self._identity = ""
        self._segments: Segments = {}
        self._latest = 0
        """The number of the last segment or state that was begun."""
        self._segment = np.full(slot_count, NOT_SAVED, np.int32)
        """(slot_count,), which segment has what is in a slot now."""
        self._pinned = np.zeros(slot_count, np.bool_)
        """(slot_count,), which rows of the moment have yet to be copied."""
        self._kept: list[tuple[Slots, dict[str, NDArray[Any]]]] = []
        self._arrays: Arrays | None = None
        self._one_at_a_time = threading.Lock()

    def before(self, slots: int | Slots) -> None:
        """These rows are about to change. The memory's lock is held."""
        self._segment[slots] = NOT_SAVED
        if self._arrays is not None:
            changing = np.atleast_1d(np.asarray(slots, np.int64))
            changing = np.unique(changing[self._pinned[changing]])
            if len(changing):
                self._pinned[changing] = False
                self._kept.append((changing, self._arrays.copied(changing)))

    def save(self, shared: Shared, settings: Mapping[str, Any]) -> None:
        """Writes a snapshot; the one before stays whole until this one is. Arrays stay in place.

        Raises:
            StorageError: the disk is full, or the folder cannot be written or holds other things.
        """
        arrays = shared.store
        assert isinstance(arrays, Arrays)
        with self._one_at_a_time:
            self._prepare()
            with shared.lock:
                shared.check_open()
                state = capture(shared)
                in_use = shared.rows.in_use()
                before = self._worth_keeping(in_use)
                wanted = np.sort(in_use[self._segment[in_use] == NOT_SAVED])
                self._pinned[wanted] = True
                self._arrays = arrays
            first = self._latest + 1
            try:
                written = self._write_rows(shared, arrays, wanted)
                with shared.lock:
                    trimmed = State(state.meta, shared.rows.without_lost(state.arrays))
                self._finish(trimmed, settings, before | written)
            except BaseException:
                self._undo(shared, first)
                raise
            finally:
                with shared.lock:
                    self._arrays = None
                    self._pinned[:] = False
                    self._kept = []
            self._tidy()

    def known(self, identity: str, segments: Segments, latest: int) -> None:
        """Goes on from a snapshot that was read; `placed` is then called for each segment."""
        self._identity, self._segments, self._latest = identity, segments, latest

    def placed(self, number: int, slots: Slots) -> None:
        """A segment has what is in these slots."""
        self._segment[slots] = number

    def _prepare(self) -> None:
        """Makes the folder, or sees that it has the snapshot that is known, or none."""
        with named(self.folder, "making this folder"):
            self.folder.mkdir(parents=True, exist_ok=True)
            sync_folder(self.folder.parent)
            names = [path.name for path in self.folder.iterdir()]
        if MANIFEST in names:
            found = manifest.read(self.folder)
            if found["kind"] != "snapshot":
                raise StorageError(f"{self.folder}: a memory lives here; save to another folder")
            if found["identity"] == self._identity:
                return
            self._identity = found["identity"]
            self._latest = max(self._latest, *_numbers(names), 0)
        else:
            if strange := [name for name in names if not _is_ours(name)]:
                raise StorageError(
                    f"{self.folder}: expected a snapshot or an empty folder, found {strange[0]!r}"
                )
            self._identity = ""
        self._segments = {}
        self._segment[:] = NOT_SAVED

    def _worth_keeping(self, in_use: Slots) -> Segments:
        """The segments of which at least half is needed; what others have is not saved."""
        used = self._segment[in_use]
        counts = np.bincount(used[used >= 0], minlength=self._latest + 1)
        kept = {n: rows for n, rows in self._segments.items() if 2 * counts[n] >= rows}
        dropped = np.ones(self._latest + 2, np.bool_)
        dropped[list(kept)] = False
        self._segment[dropped[self._segment]] = NOT_SAVED
        return kept

    def _write_rows(self, shared: Shared, arrays: Arrays, wanted: Slots) -> Segments:
        """Writes these rows (sorted) as they were when they were pinned."""
        written: Segments = {}
        with Writing() as files:

            def write_segment(number: int, slots: Slots, rows: dict[str, NDArray[Any]]) -> None:
                parts = container({}, {"slots": _ranges(slots), **rows})
                files.write(self._rows_path(number), parts)

            for slots in _pieces(wanted, arrays.rows_of(SEGMENT_BYTES)):
                rows = arrays.exported(slots)
                with shared.lock:
                    whole = slots[self._pinned[slots]]
                    self._pinned[slots] = False
                    number = self._begin(written, slots)
                    self._segment[whole] = number
                write_segment(number, slots, rows)
                del rows  # before the next are copied
            with shared.lock:
                kept, self._kept = self._kept, []
            # a slot may have been copied only once: it was pinned no more after that
            for slots, rows in kept:
                write_segment(self._begin(written, slots), slots, rows)
        return written

    def _begin(self, written: Segments, slots: Slots) -> int:
        self._latest += 1
        written[self._latest] = len(slots)
        return self._latest

    def _finish(self, state: State, settings: Mapping[str, Any], segments: Segments) -> None:
        """Makes what was written the snapshot."""
        self._latest += 1
        name = f"state-{self._latest}"
        write(self.folder / name, container(state.meta, state.arrays))
        with named(self.folder, "writing"):
            sync_folder(self.folder)
        identity = secrets.token_hex(8)
        content = {
            "kind": "snapshot",
            "identity": identity,
            "settings": settings,
            "state": name,
            "segments": [[number, rows] for number, rows in segments.items()],
            "latest": self._latest,
        }
        manifest.write(self.folder, content)
        self._identity, self._segments = identity, segments

    def _tidy(self) -> None:
        """Deletes what the snapshot does not need."""
        needed = {MANIFEST, f"state-{self._latest}"}
        needed |= {self._rows_path(number).name for number in self._segments}
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if path.name not in needed and _is_ours(path.name):
                    path.unlink()

    def _undo(self, shared: Shared, first: int) -> None:
        """Forgets segments from `first` on, of a save that failed."""
        with shared.lock:
            self._segment[self._segment >= first] = NOT_SAVED
        if self._found() != self._identity:
            # the new manifest is in place, though maybe not for good: all that it names stays
            return
        for number in range(first, self._latest + 1):
            for path in (self._rows_path(number), self.folder / f"state-{number}"):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _found(self) -> str:
        """The identity of the snapshot that is in the folder, "" if there is none."""
        try:
            return str(manifest.read(self.folder)["identity"])
        except StorageError:
            return ""

    def _rows_path(self, number: int) -> Path:
        return self.folder / f"rows-{number}"


class Snapshot:
    """A snapshot that is there, to be read.

    Raises:
        StorageError: there is none, or it cannot be read.
        DamagedError: it is damaged, cut short, or of another version.
    """

    def __init__(self, folder: Path, content: Mapping[str, Any]) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = content["settings"]
        self._identity: str = content["identity"]
        self._latest: int = content["latest"]
        self._state: str = content["state"]
        self._segments: Segments = {int(n): int(rows) for n, rows in content["segments"]}

    def state(self) -> State:
        """What decides the next batches."""
        return State(*read_container(self.folder / self._state))

    def load(self, shared: Shared) -> Saver:
        """Puts all rows where they were; returns who can save to this folder from now on."""
        arrays, slot_count = shared.store, shared.rows.slot_count
        assert isinstance(arrays, Arrays)
        saver = Saver(self.folder.resolve(), slot_count)
        saver.known(self._identity, self._segments, self._latest)
        for number, slots, rows in self.segments(slot_count):
            arrays.imported(slots, rows)
            saver.placed(number, slots)
            del rows  # before the next are read
        return saver

    def segments(self, slot_count: int) -> Iterator[tuple[int, Slots, dict[str, NDArray[Any]]]]:
        """Each segment's number, slots and rows, in the order in which they count."""
        for number, count in self._segments.items():
            path = self.folder / f"rows-{number}"
            _, rows = read_container(path)
            slots = _slots(rows.pop("slots"))
            if len(slots) != count or slots.max(initial=0) >= slot_count:
                raise DamagedError(f"{path}: this is not the segment that the manifest names")
            yield number, slots, rows
            del rows


def copy_rows(source: Shared, target: Shared) -> None:
    """Puts all rows of one memory into another of the same slots. Both locks are held."""
    here, there = source.store, target.store
    assert isinstance(here, Arrays)
    assert isinstance(there, Arrays)
    for slots in _pieces(np.sort(source.rows.in_use()), here.rows_of(SEGMENT_BYTES)):
        there.imported(slots, here.copied(slots))


def _pieces(slots: Slots, size: int) -> Iterator[Slots]:
    for first in range(0, len(slots), size):
        yield slots[first : first + size]


def _ranges(slots: Slots) -> NDArray[np.int64]:
    """Sorted slots as ranges (R, 2), first and stop."""
    breaks = np.flatnonzero(np.diff(slots) != 1)
    first = slots[np.concatenate(([0], breaks + 1))]
    stop = slots[np.concatenate((breaks, [len(slots) - 1]))] + 1
    return np.stack((first, stop), axis=1).astype(np.int64)


def _slots(ranges: NDArray[np.int64]) -> Slots:
    return np.concatenate([np.arange(first, stop) for first, stop in ranges.tolist()])


def _is_ours(name: str) -> bool:
    stem, _, number = name.removesuffix(".new").partition("-")
    return name.startswith(MANIFEST) or (stem in ("rows", "state") and number.isdigit())


def _numbers(names: list[str]) -> list[int]:
    return [int(name.rpartition("-")[2]) for name in names if name.rpartition("-")[2].isdigit()]
