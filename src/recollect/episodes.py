"""Reading back what is held, episode by episode."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from recollect import marks, trees
from recollect.batch import nest
from recollect.errors import StaleError
from recollect.stores.base import Store
from recollect.streams import STREAM_SHIFT, Streams


@dataclass(frozen=True, repr=False)
class Episode:
    """One episode of a memory, or as much of it as is still held.

    Fields are read by name: `episode["action"]` is (held, ...), `episode["obs"]` is
    (held + 1, ...) and ends with the final observation. Every reading is a copy.

    Attributes:
        stream: the stream it happened in.
        length: its steps so far, overwritten ones included.
        held: how many of them, the last ones, are still held.
        ended: whether it has ended; terminated and truncated say how.
        episode_return: the sum of the held steps' rewards.
    """

    stream: int
    length: int
    held: int
    ended: bool
    terminated: bool
    truncated: bool
    episode_return: Any
    _first: int
    _source: Episodes

    def __repr__(self) -> str:
        end = "terminated" if self.terminated else "truncated" if self.truncated else "open"
        return (
            f"Episode(stream={self.stream}, length={self.length}, held={self.held}, {end}, "
            f"return={self.episode_return})"
        )

    def __len__(self) -> int:
        return self.length

    @property
    def keys(self) -> NDArray[np.int64]:
        """(held,), of its held steps."""
        return (self.stream << STREAM_SHIFT) | np.arange(self._first, self._first + self.held)

    def __getitem__(self, name: str) -> Any:
        """A field of its held steps, nested as the schema is.

        Raises:
            KeyError: there is no such field.
            StaleError: steps of it were overwritten since `memory.episodes` was read.
        """
        tree = self._source.streams.schema.fields[name]
        count = self.held + (name == "obs")
        return self._source.read(self.stream, self._first, count, name, tree)


class Episodes(Sequence[Episode]):
    """The episodes held now, stream by stream, oldest first; open ones included.

    A picture of the moment it was taken; taking it costs a look at every held row.

    Attributes:
        lengths: (E,), steps of each episode, overwritten ones included.
        returns: (E, ...), the sum of each episode's held rewards.
    """

    def __init__(self, streams: Streams, store: Store, lock: AbstractContextManager[Any]) -> None:
        self.streams = streams
        self._store = store
        self._lock = lock
        found: list[tuple[int, int, int, bool]] = []
        returns: list[Any] = []
        for stream in range(streams.count):
            tail, stop = int(streams.tail[stream]), int(streams.head[stream] + streams.open[stream])
            numbers = np.arange(tail, stop)
            rewards, mark = store.scan(stream * streams.size + numbers % streams.size)
            ends = np.flatnonzero(mark & marks.CLOSING)
            begins = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
            for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
                if end > begin:
                    is_open = bool(streams.open[stream]) and end == len(numbers) - 1
                    found.append((stream, tail + begin, tail + end, not is_open))
                    returns.append(rewards[begin:end].sum(axis=0))
        self._found = found
        self._last = [self._mark(stream, stop - 1) for stream, _, stop, _ in found]
        self._lengths = [
            self._mark(stream, stop) >> marks.OFFSET_SHIFT for stream, _, stop, _ in found
        ]
        self.lengths = np.array(self._lengths, np.int64)
        self.returns = np.array(returns)

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, index: int) -> Episode: ...
    @overload
    def __getitem__(self, index: slice) -> list[Episode]: ...
    def __getitem__(self, index: int | slice) -> Episode | list[Episode]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        stream, first, stop, ended = self._found[index]
        return Episode(
            stream=stream,
            length=self._lengths[index],
            held=stop - first,
            ended=ended,
            terminated=bool(self._last[index] & marks.TERMINATED),
            truncated=bool(self._last[index] & marks.TRUNCATED),
            episode_return=self.returns[index],
            _first=first,
            _source=self,
        )

    def __repr__(self) -> str:
        return f"<{len(self)} episodes, {int(self.lengths.sum())} steps>"

    def read(self, stream: int, first: int, count: int, name: str, tree: Any) -> Any:
        """`count` rows of a field from row `first` on, a copy."""
        slots = stream * self.streams.size + np.arange(first, first + count) % self.streams.size
        with self._lock:
            if first < self.streams.tail[stream]:
                raise StaleError("this episode's oldest steps were overwritten; read episodes anew")
            if name == "reward":
                return self._store.scan(slots)[0].copy()
            (block,) = self._store.read(slots)
            return nest(trees.rebuild(tree, name, block.__getitem__))

    def _mark(self, stream: int, number: int) -> int:
        return int(self._store.mark[stream * self.streams.size + number % self.streams.size])
