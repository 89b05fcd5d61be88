"""What lies in a memory's folder, read as it is: no memory is made, and nothing is changed.

The one hard thing is that a directory moves on while it is read. So a part of a stream is copied
while the lock is held that keeps slots from being used again, with the cursors of that moment; the
next part goes on where that one ended, or, where the stream has overtaken it, at the tail. Nobody
is kept waiting for longer than it takes to copy a few megabytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.cursors import RESERVED, WORDS, Position, fence
from recollect.errors import DamagedError
from recollect.examples import BESIDE, CHECKED
from recollect.saving import manifest
from recollect.saving.home import boot
from recollect.saving.snapshot import Snapshot
from recollect.saving.state import State
from recollect.schema import Schema
from recollect.settings import build
from recollect.stores.arrays import Layout
from recollect.stores.base import Slots
from recollect.stores.directory import BOOT, CURSORS, LEDGER, STATE, Directory
from recollect.stores.files import read_container

PART_BYTES = 1 << 23
"""About so much is copied at a time."""

Arrays = Mapping[str, NDArray[Any]]


class Place(NamedTuple):
    """Where one stream is."""

    head: int
    tail: int
    open: bool
    ended: int
    lost: int
    breaks: int
    dropped: int


class Part(NamedTuple):
    """Rows of one stream, one after the other, as they were at one moment."""

    stream: int
    first: int
    """The number of the first one."""
    rows: dict[str, NDArray[Any]]
    """(M, ...) by name of the array."""
    joined: bool
    """Whether they follow the part before."""
    after: int
    """The mark of the row after the last; it means something if an episode is open, or if that row
    is held."""
    last: bool
    """Whether the stream had no more."""
    now: Place

    @property
    def mark(self) -> NDArray[np.uint32]:
        """(M,), of each row."""
        mark: NDArray[np.uint32] = self.rows["narrow"]["mark"]
        return mark


class Contents(ABC):
    """What a folder's manifest says, and a way to the rows.

    Attributes:
        folder: of the memory.
        manifest: what it says.
        streams: how many; 0 of examples.
        room, size: rows that each stream may hold, and its slots; of examples both are all.
        layout: of the arrays that are there.
    """

    def __init__(self, folder: Path, content: dict[str, Any], beside: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = content
        self.settings: dict[str, Any] = content["settings"]
        self.schema: Schema = build(self.settings["schema"], "schema")
        self.layout = Layout(self.schema, beside)
        steps = self.schema.kind == "steps"
        self.streams = (self.settings["streams"] or 1) if steps else 0
        self.room = self.settings["capacity"] // (self.streams or 1)
        self.size = self.room + (self.settings["spare"] if steps else 0)

    @property
    def slot_count(self) -> int:
        """Slots in all."""
        slot_count: int = self.size * (self.streams or 1)
        return slot_count

    def parts(self, stream: int, arrays: Arrays) -> Iterator[Part]:
        """All held rows of a stream, oldest first, some at a time; at least one part.

        Args:
            arrays: of all slots, by name; "narrow" is among them.

        Raises:
            DamagedError: no stream can be where this one is said to be.
        """
        step = max(PART_BYTES // _row_bytes(arrays), 1)
        number, joined = -1, False
        while True:
            with self.staying():
                now = self.place(stream)
                if why := impossible(now, self.room):
                    raise DamagedError(f"{self.folder}: stream {stream} {why}")
                if number < now.tail:
                    number, joined = now.tail, False
                stop = min(number + step, now.head)
                slots = stream * self.size + np.arange(number, stop + 1) % self.size
                rows = {name: array[slots] for name, array in arrays.items()}
            after = int(rows["narrow"]["mark"][-1])
            held = {name: array[:-1] for name, array in rows.items()}
            yield Part(stream, number, held, joined, after, stop == now.head, now)
            if stop == now.head:
                return
            number, joined = stop, True

    def examples(self, arrays: Arrays) -> Iterator[tuple[Slots, dict[str, NDArray[Any]]]]:
        """All held examples, some at a time: their slots, and what the arrays say of them."""
        step = max(PART_BYTES // _row_bytes(arrays), 1)
        mark = arrays["narrow"]["mark"]
        for first in range(0, self.slot_count, step):
            slots = np.arange(first, min(first + step, self.slot_count))
            with self.staying():
                before = mark[slots]
                fence()
                rows = {name: array[slots] for name, array in arrays.items()}
                fence()
                # odd, and still the same generation: nobody wrote into it meanwhile
                whole = (before & 1 == 1) & (mark[slots] == before)
            yield slots[whole], {name: array[whole] for name, array in rows.items()}

    @abstractmethod
    def state(self) -> State:
        """What decides the next batches, as of the last flush or save.

        Raises:
            DamagedError: it is damaged.
        """

    @abstractmethod
    def place(self, stream: int) -> Place:
        """Where a stream is now."""

    def staying(self) -> AbstractContextManager[Any]:
        """While no slot of a held row is used again."""
        return nullcontext()

    def close(self) -> None:  # noqa: B027 - there may be nothing to let go of
        """Lets go of the files."""


class DirectoryContents(Contents):
    """Of a directory, in which others may be writing.

    After a power cut, what was written since the last flush may be there in parts; it is passed
    over, as it will be by whoever opens the memory.
    """

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        examples = content["settings"]["schema"]["kind"] == "examples"
        super().__init__(folder, content, {**(CHECKED if examples else {}), "priority": LEDGER})
        self.directory = Directory(folder)
        self.directory.mode = "read"
        self.directory.generation = content["rows"]
        self._kept: Position | None = None

    @property
    def sizes(self) -> dict[Path, int]:
        """How many bytes each file of fixed size must have."""
        rows = {
            self.directory.folder / name: dtype.itemsize * self.slot_count
            for name, dtype in self.layout.dtypes.items()
        }
        return {self.folder / CURSORS: 8 * WORDS * (1 + self.streams), **rows}

    def map(self) -> dict[str, NDArray[Any]]:
        """All arrays, (slot_count, ...) each, as they are in the files.

        Raises:
            StorageError: a file is missing, or cannot be read.
            DamagedError: a file is too short or too long.
        """
        examples = self.schema.kind == "examples"
        self.directory.words(self.streams)
        self.directory.open(self.schema, self.slot_count, CHECKED if examples else None)
        return self.directory.arrays

    @property
    def lost_power(self) -> bool:
        """Whether the machine was stopped, and nobody has opened the memory since."""
        return int(self.directory.line[BOOT]) != boot()

    def pass_over(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Keeps to what a state counts on, where power was lost; after `map`.

        Args:
            saved: of the streams, as the state has it.
        """
        cursors = self.directory.cursors
        now = cursors.read()
        head, safe = saved["head"], cursors.words[:, RESERVED] - self.size
        tail = np.minimum(np.maximum(saved["tail"], safe), head)
        same = all((saved[name] == word).all() for name, word in now._asdict().items())
        if same and (tail == saved["tail"]).all():
            return
        mark = self.directory.mark
        held = np.zeros(self.streams, np.int64)
        for stream in range(self.streams):
            numbers = np.arange(tail[stream], head[stream])
            closing = mark[stream * self.size + numbers % self.size] & marks.CLOSING
            held[stream] = np.count_nonzero(closing)
        self._kept = Position(
            **{
                **saved,
                "tail": tail,
                "open": saved["open"] & (tail < head),
                "lost": saved["ended"] - held,
            }
        )

    def state(self) -> State:
        return State(*read_container(self.directory.folder / STATE))

    def place(self, stream: int) -> Place:
        position = self.directory.cursors.read() if self._kept is None else self._kept
        return placed(position, stream)

    def staying(self) -> AbstractContextManager[Any]:
        return self.directory.changing()

    def close(self) -> None:
        self.directory.close()


class SnapshotContents(Contents):
    """Of a snapshot."""

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        examples = content["settings"]["schema"]["kind"] == "examples"
        super().__init__(folder, content, BESIDE if examples else {})
        self._state: State | None = None

    @property
    def segments(self) -> list[Path]:
        """The files with rows, in the order in which they count."""
        return [self.folder / f"rows-{number}" for number, _ in self.manifest["segments"]]

    def segment(self, index: int) -> tuple[Slots, dict[str, NDArray[Any]]]:
        """Slots (M,) and rows of one segment, compressed fields as bytes.

        Raises:
            StorageError: its file cannot be read.
            DamagedError: its file is damaged, or another's.
        """
        only = {**self.manifest, "segments": self.manifest["segments"][index : index + 1]}
        try:
            ((_, slots, rows),) = Snapshot(self.folder, only).segments(self.slot_count)
        except DamagedError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(f"{self.segments[index]}: this is no segment: {error!r}") from error
        return slots, rows

    def gathered(self, names: list[str]) -> dict[str, NDArray[Any]]:
        """These arrays, (slot_count, ...) each, from all segments; zeros where there is no row."""
        arrays = self.empty(names)
        for index in range(len(self.segments)):
            slots, rows = self.segment(index)
            for name in names:
                arrays[name][slots] = rows[name]
        return arrays

    def empty(self, names: list[str]) -> dict[str, NDArray[Any]]:
        """These arrays, zeros."""
        return {name: np.zeros(self.slot_count, self.layout.dtypes[name]) for name in names}

    def state(self) -> State:
        self._state = Snapshot(self.folder, self.manifest).state()
        return self._state

    def place(self, stream: int) -> Place:
        """As the state says, which must have been read."""
        assert self._state is not None
        rows = self._state.part("rows")
        return placed(Position(*(rows[name] for name in Position._fields)), stream)


def contents(folder: Path) -> DirectoryContents | SnapshotContents:
    """What lies in a folder.

    Raises:
        StorageError: no memory is there, or it cannot be read.
        DamagedError: the manifest is damaged, or of a version that cannot be read.
    """
    found = manifest.read(folder)
    kind = DirectoryContents if found["kind"] == "directory" else SnapshotContents
    return kind(folder, found)


def placed(position: Position, stream: int) -> Place:
    """One stream's part of it."""
    words: Any = [words.item(stream) for words in position]
    return Place(*words)


def impossible(place: Place, room: int) -> str:
    """Why no stream of so many rows can be at this place; nothing if one can."""
    held, closings = place.head - place.tail, place.ended - place.lost
    if not 0 <= held <= room:
        return f"holds rows {place.tail} to {place.head} in {room}"
    if not 0 <= closings <= held:
        return f"has {closings} ends of episodes in {held} rows"
    if min(place.breaks, place.dropped) < 0:
        return f"counts {place.breaks} broken chains and {place.dropped} steps that were refused"
    return ""


def _row_bytes(arrays: Arrays) -> int:
    return sum(array[:1].nbytes for array in arrays.values())
