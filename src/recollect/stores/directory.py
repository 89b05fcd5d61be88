"""`Directory`: rows in files that are mapped into memory. The directory is the memory.

    PATH/
      recollect.json      what this is: schema, sizes, settings
      cursors             the words of `recollect.cursors`, a line for all and one for each stream
      rows-1/narrow ...   an array of the rows' layout each, as NumPy has it in memory
      rows-1/state        what else decides the next batches, as of the last flush
      learner, stream-0 ..., rows.lock    which process has what

What is written into a mapped file is the system's at once, and outlives this process, however it
ends. It outlives a power cut once it was synced. Which rows were, after a power cut, is known from
the state, which tells how far they went when it was written; and from one word of each stream that
is synced before the ring overwrites rows which that state counts on.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recollect.cursors import HEAD, NUMBER, RESERVED, WORDS, Cursors
from recollect.errors import ConfigurationError, DamagedError, StorageError
from recollect.schema import Schema
from recollect.stores.arrays import Arrays
from recollect.stores.base import Slots
from recollect.stores.files import named, sync_folder
from recollect.stores.locks import FileLock

MANIFEST, CURSORS, STATE = "recollect.json", "cursors", "state"

SPARE = 64
"""Slots that a ring has to spare, so that others are waited for once in so many rows only."""

BOOT, VERSION, REWRITTEN, ADDED, ALLOWED, ROWS = range(6)
"""In the line for all: which run of the machine wrote last, how often something changed that no
cursor tells of, how often fields were rewritten, how many examples were offered; one more than how
many steps a limiter lets there be, 0 without a limiter; and which folder of rows is used."""

RESERVED_SHARE = 16
"""A ring overwrites this part of itself between two syncs of how far it may have come."""

LEDGER = np.dtype([("key", np.int64), ("priority", np.float64)])
"""Beside each row: a priority that was given, and one more than the key that it was given to."""

Mode = Literal["own", "write", "read"]


class Directory(Arrays):
    """Rows in a directory, which is the memory: kill the process at any moment, and open it again.

    Costs as `Ram` once the system holds the pages; the memory may be larger than what is free of
    RAM. All room is taken on the disk when the memory is made.

    Args:
        path: where the memory is, or will be; the folder is made, its parent must be there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.spare = SPARE
        self.path = Path(path)
        self.mode: Mode = "own"
        self.generation = 1
        """Which of the folders of rows is used; each resizing makes another."""
        self._maps: dict[str, mmap.mmap] = {}
        self._words: NDArray[np.int64] = np.zeros((0, WORDS), np.int64)
        self._learner: FileLock | None = None
        self._streams: dict[int, FileLock] = {}
        self._rows: FileLock | None = None
        self._depth = 0
        self._makes_files = False
        self.filling = False
        """Whether what it will hold is yet to come: a memory is there from its first flush on."""

    def __repr__(self) -> str:
        return f"Directory({str(self.path)!r})"

    @property
    def exists(self) -> bool:
        """Whether there is a memory already."""
        return (self.path / MANIFEST).exists()

    def take(self) -> None:
        """Makes this process the memory's learner, and the folder where there is none yet.

        Raises:
            LockedError: another process is.
            StorageError: the folder cannot be made or written, or holds something else.
        """
        with named(self.path, "making this folder"):
            self.path.mkdir(exist_ok=True)
            sync_folder(self.path.parent)
        if not self.exists:
            strange = [p.name for p in self.path.iterdir() if not _is_ours(p.name)]
            if strange:
                raise StorageError(
                    f"{self.path}: expected a memory or an empty folder, found {strange[0]!r}"
                )
        self._learner = FileLock(self.path / "learner", f"{self.path}")
        self._learner.take()
        self._makes_files = not self.exists

    def open(self, schema: Schema, capacity: int, beside: Mapping[str, Any] | None = None) -> None:
        self._rows = FileLock(self.path / "rows.lock", writable=self.mode != "read")
        super().open(schema, capacity, {**(beside or {}), "priority": LEDGER})
        self._makes_files = False

    def words(self, count: int) -> NDArray[np.int64]:
        """(1 + count, 8) words, zeros in a new memory: a line for all, and one for each stream."""
        self._words = self._map(self.path / CURSORS, (1 + count, WORDS), np.dtype("<i8"))
        self.cursors = Cursors(self._words[1:], str(self.path / CURSORS))
        self.added = self._words[0, ADDED : ADDED + 1]
        return self._words

    @property
    def outside(self) -> Directory:
        return self

    @property
    def looks(self) -> bool:
        return self.mode != "write"

    @property
    def outdated(self) -> bool:
        """Whether the learner goes on with other files than those that are looked at here."""
        return self.mode == "read" and int(self.line[ROWS]) != self.generation

    @property
    def line(self) -> NDArray[np.int64]:
        """(8,), the words for all streams."""
        line: NDArray[np.int64] = self._words[0]
        return line

    def settle(self) -> None:
        """Tells that nothing more will be written: no row that is held is in doubt."""
        for stream in self._streams:
            words = self._words[1 + stream]
            words[RESERVED] = (words[HEAD] & NUMBER) + 1
        self.sync_cursors()

    def resize(self, capacity: int, source: Slots, target: Slots) -> None:
        before, maps = self.arrays, dict(self._maps)
        self.generation += 1
        self._makes_files = True
        try:
            super().resize(capacity, source, target)
            self.sync()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.generation -= 1
            self._maps = maps
            self._use(before)
            raise
        finally:
            self._makes_files = False

    def forget_old_rows(self) -> None:
        """Deletes the folders of rows that are no longer used."""
        for folder in self.path.glob("rows-*"):
            if folder != self.folder:
                shutil.rmtree(folder, ignore_errors=True)

    def sync(self) -> None:
        """Waits until all that was written has reached the disk."""
        for path, mapped in self._maps.items():
            with named(Path(path), "writing"):
                _sync(mapped, path)
        with named(self.path, "writing"):
            sync_folder(self.folder)
            sync_folder(self.path)

    @staticmethod
    def run_of(path: Path) -> int:
        """Which run of the machine the memory in this folder was last opened in."""
        return Directory._word_of(path, BOOT)

    @staticmethod
    def generation_of(path: Path) -> int:
        """Which folder of rows the learner of the memory in this folder uses."""
        return Directory._word_of(path, ROWS)

    @staticmethod
    def _word_of(path: Path, word: int) -> int:
        with named(path / CURSORS, "reading"), open(path / CURSORS, "rb") as file:
            words = np.frombuffer(file.read(8 * WORDS), "<i8")
        return int(words[word]) if len(words) == WORDS else 0

    def close(self) -> None:
        """Lets other processes have what this one held; arrays stay as long as they are used."""
        for lock in (self._learner, self._rows, *self._streams.values()):
            if lock is not None:
                lock.close()
        self._streams = {}
        self._learner = self._rows = None

    def claim(self, streams: NDArray[np.int64]) -> None:
        if self.mode == "read":
            raise ConfigurationError(f'{self.path}: opened with mode="r", to be looked at only')
        taken: dict[int, FileLock] = {}
        try:
            for stream in set(streams.tolist()) - self._streams.keys():
                lock = FileLock(self.path / f"stream-{stream}", f"{self.path}: stream {stream}")
                lock.take()
                taken[stream] = lock
        except BaseException:
            for lock in taken.values():
                lock.close()
            raise
        self._streams |= taken

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        entered = self.enter()
        try:
            yield
        finally:
            if entered:
                self.leave()

    def enter(self) -> bool:
        """Keeps others from looking at held rows or changing them, until `leave`.

        Returns:
            False, and does nothing: it is closed or outdated, or this process is a copy of the one
            that has it.
        """
        if self._rows is None or self._rows.closed or self.outdated:
            return False
        if self._depth == 0:
            self._rows.wait()
        self._depth += 1
        return True

    def leave(self) -> None:
        self._depth -= 1
        if self._depth == 0 and self._rows is not None and not self._rows.closed:
            self._rows.release()

    def reserve(self, streams: NDArray[np.int64], limit: NDArray[np.int64]) -> None:
        words = self._words[1:]
        short = limit > words[streams, RESERVED]
        if short.any():
            size = len(self._narrow) // len(words)
            words[streams[short], RESERVED] = limit[short] + size // RESERVED_SHARE
            self.sync_cursors()

    def sync_cursors(self) -> None:
        """Waits until the words have reached the disk."""
        path = str(self.path / CURSORS)
        _sync(self._maps[path], path)

    @property
    def folder(self) -> Path:
        """Of the rows, and of the state that belongs to them."""
        return self.path / f"rows-{self.generation}"

    def _allocate(self, capacity: int) -> dict[str, Any]:
        folder = self.folder
        if self._makes_files:
            self._check_room(capacity)
            with named(folder, "making this folder"):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
        for path in [path for path in self._maps if path != str(self.path / CURSORS)]:
            del self._maps[path]
        try:
            return {
                name: self._map(folder / name, (capacity,), dtype)
                for name, dtype in self.layout.dtypes.items()
            }
        except BaseException:
            if self._makes_files:
                shutil.rmtree(folder, ignore_errors=True)
            raise

    def _check_room(self, capacity: int) -> None:
        needed = capacity * self.layout.row_bytes
        with named(self.path, "looking how much room there is"):
            free = shutil.disk_usage(self.path).free
        if needed > free:
            raise StorageError(
                f"{self.path}: this memory takes {needed:,} bytes, on the disk {free:,} are free"
            )

    def _map(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The array in a file; a new file is filled with zeros."""
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        with named(path, "mapping"):
            flags = os.O_RDONLY if self.mode == "read" else os.O_RDWR
            if self.mode == "own" and self._makes_files:
                flags |= os.O_CREAT | os.O_TRUNC
            descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
            try:
                found = os.fstat(descriptor).st_size
                if flags & os.O_CREAT:
                    _fill(descriptor, size)
                elif found != size:
                    raise DamagedError(f"{path}: expected {size} bytes, found {found}")
                access = mmap.ACCESS_READ if self.mode == "read" else mmap.ACCESS_WRITE
                mapped = mmap.mmap(descriptor, size, access=access)
            finally:
                os.close(descriptor)
        self._maps[str(path)] = mapped
        base, inner = (dtype.base, dtype.shape) if dtype.subdtype else (dtype, ())
        return np.frombuffer(mapped, base).reshape(*shape, *inner)


def _is_ours(name: str) -> bool:
    """Whether a file may have been left by a memory that was never finished."""
    known = (MANIFEST, CURSORS, "learner", "rows.lock", f"{MANIFEST}.new")
    return name in known or name.startswith(("rows-", "stream-"))


def _fill(descriptor: int, size: int) -> None:
    """Takes room on the disk now: a mapped file that cannot grow would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    piece = bytes(1 << 20)  # pragma: no cover - macOS
    for first in range(0, size, len(piece)):  # pragma: no cover - macOS
        os.pwrite(descriptor, piece[: size - first], first)


def _sync(mapped: mmap.mmap, path: str) -> None:
    """A function of its own, so that a test can see what has reached the disk."""
    mapped.flush()
