"""Reading back, episode by episode: statistics as arrays, fields when they are asked for.

`Episodes` is a picture of a moment: where episodes began and ended, and what they summed to. The
rows themselves are not copied before somebody names a field. By then some may be overwritten, which
is found out and said, never passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from recollect import marks, trees
from recollect.batch import nest
from recollect.cursors import Int64s
from recollect.errors import ConfigurationError, StaleError
from recollect.frontier import ranges
from recollect.rings import NUMBER_MASK, STREAM_SHIFT
from recollect.stores.base import Store
from recollect.streams import Streams


class Episode:
    """One episode of a memory, or as much of it as is still held.

    Fields are read by name: `episode["action"]` is (held, ...), `episode["obs"]` is
    (held + 1, ...) and ends with the final observation. Every reading is a copy.
    """

    __slots__ = ("_index", "_source")

    def __init__(self, source: Episodes, index: int) -> None:
        self._source = source
        self._index = index

    @property
    def stream(self) -> int:
        """The stream it happened in."""
        return self._source.streams.item(self._index)

    @property
    def length(self) -> int:
        """Its steps so far, overwritten ones included."""
        return self._source.lengths.item(self._index)

    @property
    def held(self) -> int:
        """How many of them, the last ones, are still held."""
        return self._source.held.item(self._index)

    @property
    def ended(self) -> bool:
        """Whether it has ended; terminated and truncated say how."""
        return self._source.ended.item(self._index)

    @property
    def terminated(self) -> bool:
        return self._source.terminated.item(self._index)

    @property
    def truncated(self) -> bool:
        return self._source.truncated.item(self._index)

    @property
    def end(self) -> Literal["terminated", "truncated", "open"]:
        """How it ended; "terminated" where both ends are flagged."""
        return "terminated" if self.terminated else "truncated" if self.truncated else "open"

    @property
    def episode_return(self) -> Any:
        """The sum of the held steps' rewards, of the reward's shape."""
        return self._source.returns[self._index]

    @property
    def keys(self) -> Int64s:
        """(held,), of its held steps."""
        return np.arange(self.held) + self._source.keys.item(self._index)

    def __repr__(self) -> str:
        return (
            f"Episode(stream={self.stream}, length={self.length}, held={self.held}, {self.end}, "
            f"return={self.episode_return})"
        )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, name: str) -> Any:
        """A field of its held steps, nested as the schema is.

        Raises:
            KeyError: there is no such field.
            StaleError: steps of it were overwritten since `memory.episodes` was read.
        """
        return self._source.read(self._index, name)


Predicate = Callable[[Episode], bool]
"""Whether an episode is wanted."""


class Episodes(Sequence[Episode]):
    """The episodes held now, stream by stream, oldest first; open ones included.

    A picture of the moment it was taken; taking it costs a look at every held row. An index gives
    an `Episode`; a slice, an array of indices or a mask (E,) gives `Episodes` again, as `where`
    does, without looking at any row; a slice's arrays are views of these. Fields are read, and then
    copied, only where they are asked for: a view of a row would change when that is overwritten.

    Attributes: one entry for each episode, (E,).
        streams: in which stream it happened.
        keys: of its first held step.
        lengths: its steps, overwritten ones included.
        held: how many of them, the last ones, are still held.
        ended, terminated, truncated: whether, and how; bool.
        returns: (E, ...), the sum of its held rewards, float64 (int64 of whole numbers).
    """

    streams: Int64s
    keys: Int64s
    lengths: Int64s
    held: Int64s
    ended: NDArray[np.bool_]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    returns: NDArray[Any]

    def __init__(self, source: Source, statistics: dict[str, NDArray[Any]]) -> None:
        self._source = source
        self._statistics = statistics
        for name, values in statistics.items():
            setattr(self, name, values)

    def where(self, predicate: Predicate) -> Episodes:
        """Those for which the predicate is true.

            memory.episodes.where(lambda episode: episode.episode_return > 100)
            memory.episodes.where(lambda episode: episode["task"][0] == 3)

        Raises:
            ConfigurationError: it raised an error, or returned no bool.
        """
        return self[self.judge(predicate)]

    def judge(self, predicate: Predicate) -> NDArray[np.bool_]:
        """(E,), what the predicate says of each."""
        return np.fromiter((_verdict(predicate, episode) for episode in self), np.bool_, len(self))

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Episode: ...
    @overload
    def __getitem__(self, index: slice | NDArray[Any] | list[int]) -> Episodes: ...
    def __getitem__(self, index: Any) -> Episode | Episodes:
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"episode {index} of {len(self)}")
            return Episode(self, int(index) % len(self))
        if not isinstance(index, slice):
            index = np.asarray(index)
            index = index if index.size else index.astype(np.intp)
        chosen = {name: values[index] for name, values in self._statistics.items()}
        return Episodes(self._source, chosen)

    def __repr__(self) -> str:
        return f"<{len(self)} episodes, {int(self.lengths.sum())} steps>"

    def read(self, index: int, name: str) -> Any:
        """A field of an episode's held steps, a copy."""
        return self._source.read(self.keys.item(index), self.held.item(index), name)


class Source:
    """Where episodes are read from: the rows of a memory, and the lock that guards them."""

    def __init__(self, streams: Streams, store: Store, lock: AbstractContextManager[Any]) -> None:
        self._streams = streams
        self._store = store
        self._lock = lock

    def held(self) -> Episodes:
        """All that are held now. The lock is held."""
        streams = self._streams
        numbers, owner = ranges(streams.tail, streams.head + streams.open)
        closing = self._mark(owner, numbers) & marks.CLOSING != 0
        last, stream = numbers[closing], owner[closing]
        # each begins after the closing row before it, the oldest one of a stream at the tail
        begin = streams.tail[stream]
        follows = np.flatnonzero(stream[1:] == stream[:-1])
        begin[follows + 1] = last[follows] + 1
        some = begin < last
        return self.between(stream[some], begin[some], last[some])

    def between(self, stream: Int64s, first: Int64s, stop: Int64s) -> Episodes:
        """E episodes, from their first held row on to their closing (or provisional) row; (E,)."""
        streams = self._streams
        numbers, episode = ranges(first, stop)
        reward, _ = self._store.scan(streams.slots(stream[episode], numbers))
        wide = np.result_type(reward.dtype, np.float64 if reward.dtype.kind == "f" else np.int64)
        begins = np.cumsum(stop - first) - (stop - first)
        last = self._mark(stream, stop - 1)
        return Episodes(
            self,
            {
                "streams": stream,
                "keys": stream << STREAM_SHIFT | first,
                "lengths": marks.offsets(self._mark(stream, stop)),
                "held": stop - first,
                "ended": ~(streams.open[stream] & (stop == streams.head[stream])),
                "terminated": marks.terminated(last),
                "truncated": marks.truncated(last),
                "returns": np.add.reduceat(reward.astype(wide), begins, axis=0),
            },
        )

    def read(self, key: int, count: int, name: str) -> Any:
        """`count` steps of a field from the one with this key on (of obs one more)."""
        tree = self._streams.schema.fields[name]
        stream, first = key >> STREAM_SHIFT, key & NUMBER_MASK
        count += name == "obs"
        with self._lock:
            if first < self._streams.tail[stream]:
                raise StaleError("this episode's oldest steps were overwritten; read episodes anew")
            slots = self._streams.slots(np.array(stream), np.arange(first, first + count))
            if name == "reward":
                return self._store.scan(slots)[0].copy()
            (block,) = self._store.read(slots)
            return nest(trees.rebuild(tree, name, block.__getitem__))

    def _mark(self, stream: Int64s, number: Int64s) -> NDArray[np.uint32]:
        mark: NDArray[np.uint32] = self._store.mark[self._streams.slots(stream, number)]
        return mark


def _verdict(predicate: Predicate, episode: Episode) -> bool:
    try:
        verdict = predicate(episode)
    except Exception as error:
        raise ConfigurationError(
            f"where: the predicate raised {error!r} for {episode!r}"
        ) from error
    if not isinstance(verdict, (bool, np.bool_)):
        raise ConfigurationError(f"where: expected True or False for {episode!r}, got {verdict!r}")
    return bool(verdict)
