"""`Streams`: how steps come into their rings, and go, and where episodes begin and end.

A step's row holds its obs, and the row after it its next_obs, for the time being: that row is
provisional. The next step takes it over; only a step whose obs is not what it holds, byte for byte,
leaves it where it is, as the closing row of an episode that was cut without notice.

Rows are written in this order: the tail moves on from the slot that is to be overwritten, the row
is written, the head moves on to make it visible. `append` does with plain numbers for one step what
`append_each` does for a step of each of several streams, and `extend` for many steps of one: arrays
of length one would take several times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.cursors import Int64s, Outside
from recollect.errors import ChainError
from recollect.ownership import OwnedRings
from recollect.rings import STREAM_SHIFT
from recollect.schema import Schema
from recollect.stores.base import Slots, Store

TERMINATED, TRUNCATED = marks.TERMINATED, marks.TRUNCATED
OFFSETS, LAST_CARRIED = int(marks.OFFSET_MASK), int(marks.LAST_CARRIED)
LATER_CLOSING = int(marks.LATER_CLOSING)
"""Plain numbers, at hand where every tenth of a microsecond counts."""


class Streams(OwnedRings):
    """The rows of a memory of steps.

    Args:
        size: rows that each stream may hold, at least 2.
        count: streams.
        strict: whether a broken chain is an error rather than counted.
        outside: who else has to do with these rows; None: nobody.

    Attributes:
        found: steps that did not continue the open episode of their stream, and were found here,
            in this life.
    """

    def __init__(
        self,
        schema: Schema,
        store: Store,
        size: int,
        count: int,
        strict: bool,
        outside: Outside | None = None,
    ) -> None:
        super().__init__(schema, store, size, count, outside)
        self.found = 0
        self._strict = strict
        self._first_slot = self._all * self.size
        self._first_key = self._all << STREAM_SHIFT
        # which fields are written when, and what `Schema.check` calls them
        self._all_fields = {name: name for name in schema.flat}
        self._observed = {name: name for name in schema.select("obs")}
        self._not_observed = {name: name for name in schema.flat if name not in self._observed}
        self._successors = {name: f"next_{name}" for name in self._observed}

    def append(self, stream: int, row: Mapping[str, Any]) -> int:
        """Adds one step to one stream; `row` is what `Schema.check` returned. Returns its key."""
        if self._others and not self._owned.item(stream):
            self.claim(np.array([stream]))
        store, mark, size = self._store, self.mark, self.size
        base = stream * size
        number = self.head.item(stream)
        continues = self.open.item(stream)
        if continues and not store.same(base + number % size, row, self._observed):
            self._break_chain(np.array([stream]))
            number += 1
            continues = False
        self._drop_until(stream, number + 2 - self.room)

        slot, after = base + number % size, base + (number + 1) % size
        carried = mark.item(slot) & OFFSETS if continues else 0
        terminated, truncated = bool(row["terminated"]), bool(row["truncated"])
        store.write(slot, row, self._not_observed if continues else self._all_fields)
        mark[slot] = carried | TERMINATED * terminated | TRUNCATED * truncated
        store.write(after, row, self._successors)
        mark[after] = min(carried, LAST_CARRIED) + LATER_CLOSING

        ended = terminated or truncated
        head = number + 1 + ended
        self.head[stream] = head
        if ended or not continues:
            self.open[stream] = not ended
        if ended:
            self.ended[stream] += 1
        self.version += 1
        if self._outside is not None:
            closings = self.ended.item(stream)
            self._outside.cursors.publish_head_of(stream, head, not ended, closings)
        return stream << STREAM_SHIFT | number

    def append_each(self, streams: Int64s, rows: Mapping[str, Any]) -> Int64s:
        """Adds one step to each of M distinct streams; rows are (M, ...). Returns keys (M,)."""
        if self._others and not self._owned[streams].all():
            self.claim(streams)
        store, mark, size = self._store, self.mark, self.size
        base = self._first_slot[streams]
        number = self.head[streams]
        slots = base + number % size
        was_open = self.open[streams]
        same = store.same(slots, rows, self._observed)
        if same is True:
            continues = was_open
        else:
            continues = was_open & same
            if (continues != was_open).any():
                self._break_chain(streams[was_open & ~continues])
                number = self.head[streams]
                slots = base + number % size
        following = number + 1
        if np.maximum.reduce(following - self.tail[streams]) >= self.room:
            self._drop_each_until(streams, base, following + (1 - self.room))

        over = rows["terminated"] | rows["truncated"]
        some_over = np.count_nonzero(over) > 0
        after = base + following % size
        if np.count_nonzero(continues) == len(continues):
            carried = mark[slots] & marks.OFFSET_MASK
            store.write(slots, rows, self._not_observed)
        else:
            carried = (mark[slots] & marks.OFFSET_MASK) * continues
            store.write(slots, rows, self._all_fields)
        mark[slots] = carried | marks.ends(rows) if some_over else carried
        store.write(after, rows, self._successors)
        mark[after] = np.minimum(carried, marks.LAST_CARRIED) + marks.LATER_CLOSING

        self.head[streams] = following + over if some_over else following
        self.open[streams] = ~over
        if some_over:
            self.ended[streams] += over
        self.version += 1
        if self._outside is not None:
            self._publish(streams)
        keys: Int64s = self._first_key[streams] | number
        return keys

    def extend(
        self, stream: int, rows: Mapping[str, Any], count: int, afresh: bool = False
    ) -> Int64s:
        """Adds `count` steps to one stream in time order; rows are (T, ...). Returns keys (T,).

        Args:
            afresh: they begin a new episode, and an open one is cut.
        """
        if count == 0:
            return np.zeros(0, np.int64)
        if self._others and not self._owned.item(stream):
            self.claim(np.array([stream]))
        store, mark, size = self._store, self.mark, self.size
        terminated, truncated = rows["terminated"], rows["truncated"].copy()

        # where the chain breaks inside these rows, the step before ends its episode as truncated
        breaks = np.zeros(count, np.bool_)
        breaks[:-1] = ~_continues(rows, self._successors) & ~(terminated | truncated)[:-1]
        continues = self.open.item(stream)
        provisional = stream * size + self.head.item(stream) % size
        first = {name: rows[name][0] for name in self._observed}
        broken = continues and not afresh and not store.same(provisional, first, self._observed)
        if self._strict and (broken or breaks.any()):
            raise _chain_error(stream)
        # each step may take two rows: in pieces for which there is room beside a row that is held
        most = max((self.room - 1) // 2, 1)
        if count > most:
            return np.concatenate(
                [
                    self.extend(stream, piece, len(piece["terminated"]), afresh and not begin)
                    for begin in range(0, count, most)
                    for piece in [{name: rows[name][begin : begin + most] for name in rows}]
                ]
            )
        if broken or afresh:
            self.cut(np.array([stream]))
            self.breaks[stream] += broken
            self.found += broken
            continues = False
        truncated |= breaks
        ended = terminated | truncated

        head = self.head.item(stream)
        before = np.cumsum(ended) - ended
        number = head + np.arange(count) + before
        carried = int(mark.item(provisional)) >> marks.OFFSET_SHIFT if continues else 0
        begins = np.concatenate(([True], ended[:-1]))
        begin = np.maximum.accumulate(np.where(begins, np.arange(count), 0))
        offset = np.arange(count) - begin + np.where(before == 0, carried, 0)
        offset = np.minimum(offset, marks.LAST_OFFSET - 1)

        last = ended.copy()
        last[-1] = True
        self._drop_until(stream, int(number[-1]) + 2 - self.room)

        slots = stream * size + number % size
        store.write(slots, rows, self._all_fields)
        mark[slots] = (
            offset << marks.OFFSET_SHIFT
            | marks.TERMINATED * terminated
            | marks.TRUNCATED * truncated
        )
        after = stream * size + (number[last] + 1) % size
        store.write(after, {name: rows[name][last] for name in rows}, self._successors)
        mark[after] = (offset[last] + 1) << marks.OFFSET_SHIFT | marks.CLOSING

        self.head[stream] = number[-1] + 1 + ended[-1]
        self.open[stream] = not ended[-1]
        self.ended[stream] += int(ended.sum())
        self.breaks[stream] += int(breaks.sum())
        self.found += int(breaks.sum())
        self._publish_counts(stream)
        self.version += 1
        if self._outside is not None:
            self._publish(np.array([stream]))
        keys: Int64s = stream << STREAM_SHIFT | number
        return keys

    def cut(self, streams: Int64s) -> int:
        """Ends the open episodes of these streams as truncated. Returns how many there were."""
        streams = streams[self.open[streams]]
        if self._others:
            self.claim(streams)
        self._close(streams)
        return len(streams)

    def refuse(self, streams: Int64s, count: int = 1, cut: bool = True) -> None:
        """Counts steps that are not stored, and closes the episodes in which they are missing."""
        if cut:
            self.cut(streams)
        self.dropped[streams] += count
        self._publish_counts(streams)

    def remove(self, slots: Slots) -> None:
        """Marks held steps, which then start no example any more."""
        self._store.touch(slots)
        self.mark[slots] |= np.uint32(marks.REMOVED)
        self.version += 1

    def seal(self, slots: Slots) -> None:
        """Held rows were rewritten; nothing needs to be known of it."""

    def clear(self) -> None:
        """Drops every row. Numbers go on, so that no key is used twice."""
        self.claim(self._all)
        self.cut(self._all)
        self.tail[:] = self.head
        self.lost[:] = self.ended
        self.version += 1
        self._retreat(self._all)

    def make_fit(self, capacity: int) -> None:
        """Drops the oldest rows that do not fit into so many, evenly shared."""
        self.claim(self._all)
        room = capacity // self.count
        for stream, tail in enumerate((self.head + self.open - room).tolist()):
            self._drop_until(stream, tail)
        self.version += 1

    def resize(self, capacity: int) -> Int64s:
        """Goes on with rings of another size, into which what is held must fit.

        Returns:
            (old slot_count,), the new slot of each old one; -1 where no row is.
        """
        room = capacity // self.count
        size = room + self.size - self.room
        owner = np.repeat(self._all, self.head + self.open - self.tail)
        numbers = np.concatenate(
            [
                np.arange(tail, head)
                for tail, head in zip(self.tail, self.head + self.open, strict=True)
            ]
        )
        source, target = self.slots(owner, numbers), owner * size + numbers % size
        self._store.resize(size * self.count, source, target)
        place = np.full(self.slot_count, -1, np.int64)
        place[source] = target
        self.room, self.size, self.mark = room, size, self._store.mark
        self._first_slot = self._all * size
        self._limit[:] = self.tail + size
        self.version += 1
        return place

    def _break_chain(self, streams: Int64s) -> None:
        if self._strict:
            raise _chain_error(int(streams[0]))
        self.cut(streams)
        self.breaks[streams] += 1
        self.found += len(streams)
        self._publish_counts(streams)

    def _drop_until(self, stream: int, tail: int) -> None:
        """Moves the tail of one stream on, so that all its rows before number `tail` are free."""
        oldest = self.tail.item(stream)
        if oldest >= tail:
            return
        if tail - oldest == 1:
            slot = stream * self.size + oldest % self.size
            closings = int(self.mark.item(slot) & marks.CLOSING != 0)
        else:
            slots = stream * self.size + np.arange(oldest, tail) % self.size
            closings = int(np.count_nonzero(self.mark[slots] & marks.CLOSING))
        if closings:
            self.lost[stream] += closings
        self.tail[stream] = tail
        if self._outside is not None:
            self._outside.cursors.publish_tail_of(stream, tail, self.lost.item(stream))
            if tail + self.room > self._limit.item(stream):
                self._retreat(np.array([stream]))

    def _drop_each_until(self, streams: Int64s, base: Int64s, tails: Int64s) -> None:
        """The same for M streams at once; `base` (M,) is the first slot of each."""
        oldest = self.tail[streams]
        distance = tails - oldest
        for step in range(int(distance.max())):
            closing = self.mark[base + (oldest + step) % self.size] & marks.CLOSING
            self.lost[streams] += (closing != 0) & (step < distance)
        self.tail[streams] = np.maximum(oldest, tails)
        if self._outside is not None:
            self._retreat(streams)


def _continues(rows: Mapping[str, Any], successors: Mapping[str, str]) -> NDArray[np.bool_]:
    """(T - 1,), whether each row's successor is the next row's obs, byte for byte."""
    count = len(rows["terminated"])
    same = np.ones(count - 1, np.bool_)
    for name, later in successors.items():
        a, b = rows[later][:-1], rows[name][1:]
        if a.tobytes() != b.tobytes():
            width = a[:1].nbytes
            left = np.frombuffer(a.tobytes(), np.uint8).reshape(-1, width)
            right = np.frombuffer(b.tobytes(), np.uint8).reshape(-1, width)
            same &= (left == right).all(axis=1)
    return same


def _chain_error(stream: int) -> ChainError:
    return ChainError(
        f"stream {stream}: obs is not the next_obs of the step before, and its episode did not "
        "end; pass terminated or truncated, or call memory.cut() before a reset"
    )
