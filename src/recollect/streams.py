"""Streams of steps: rings, cursors and episode boundaries.

Each stream is a ring of `size` rows in time order; row number r of stream s lives in slot
`s * size + r % size`. An episode of T steps takes T + 1 rows: its steps, then a closing row that
holds the observation after the last of them. While an episode is open that last row is
provisional: the next step takes it over, and only a step whose obs is not what it holds leaves it
where it is, as the closing row of an episode that was cut without notice.

    tail                              head
     |                                 |
     s  s  s  c  s  s  c  s  s  s  s   p        s step, c closing row, p provisional row

Rows from `tail` to `head - 1` are whole and held. A row is written in this order: the tail moves on
from the slot that is to be overwritten, the row is written, the head moves on to make it visible.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.errors import ChainError
from recollect.schema import Schema
from recollect.stores.base import Block, Slots, Store

STREAM_SHIFT = 40
NUMBER_MASK = (1 << STREAM_SHIFT) - 1

Int64s = NDArray[np.int64]


class Streams:
    """The rows of a memory of steps.

    Args:
        size: rows in each stream, at least 2.
        count: streams.
        strict: whether a broken chain is an error rather than counted.

    Attributes:
        head: (count,), the number of each stream's next row.
        tail: (count,), the number of its oldest held row.
        open: (count,), whether an episode is open, its provisional row at head.
        closings: (count,), how many closing rows are held.
        added: steps ever added.
        chain_breaks: steps that did not continue the open episode of their stream.
        version: grows whenever rows are written, dropped, removed or moved.
        mark: (capacity,), the store's, for those who look at many rows.
    """

    def __init__(self, schema: Schema, store: Store, size: int, count: int, strict: bool) -> None:
        self.schema = schema
        self.size = size
        self.count = count
        self.capacity = size * count
        self.mark = store.mark
        self._store = store
        self._strict = strict
        self.head = np.zeros(count, np.int64)
        self.tail = np.zeros(count, np.int64)
        self.open = np.zeros(count, np.bool_)
        self.closings = np.zeros(count, np.int64)
        self._all = np.arange(count)
        self.added = 0
        self.chain_breaks = 0
        self.version = 0
        # which fields are written when, and what `Schema.check` calls them
        self._all_fields = {name: name for name in schema.flat}
        self._observed = {name: name for name in schema.select("obs")}
        self._others = {name: name for name in schema.flat if name not in self._observed}
        self._successors = {name: f"next_{name}" for name in self._observed}

    def append(self, stream: int, row: Mapping[str, Any]) -> int:
        """Adds one step to one stream; `row` is what `Schema.check` returned. Returns its key."""
        store, mark, size = self._store, self.mark, self.size
        base = stream * size
        number = self.head.item(stream)
        continues = self.open.item(stream)
        if continues and not store.same(base + number % size, row, self._observed):
            self._break_chain(np.array([stream]))
            number += 1
            continues = False
        self._drop_until(stream, number + 2 - size)

        slot, after = base + number % size, base + (number + 1) % size
        offset = mark.item(slot) >> marks.OFFSET_SHIFT if continues else 0
        terminated, truncated = bool(row["terminated"]), bool(row["truncated"])
        store.write(slot, row, self._others if continues else self._all_fields)
        mark[slot] = (
            offset << marks.OFFSET_SHIFT
            | marks.TERMINATED * terminated
            | marks.TRUNCATED * truncated
        )
        store.write(after, row, self._successors)
        mark[after] = min(offset + 1, marks.LAST_OFFSET) << marks.OFFSET_SHIFT | marks.CLOSING

        ended = terminated or truncated
        self.head[stream] = number + 1 + ended
        if ended or not continues:
            self.open[stream] = not ended
        if ended:
            self.closings[stream] += 1
        self.added += 1
        self.version += 1
        return stream << STREAM_SHIFT | number

    def append_each(self, streams: Int64s, rows: Mapping[str, Any]) -> Int64s:
        """Adds one step to each of M distinct streams; rows are (M, ...). Returns keys (M,)."""
        store, mark, size = self._store, self.mark, self.size
        base = streams * size
        number = self.head[streams]
        slots = base + number % size
        was_open = self.open[streams]
        continues = was_open & store.same(slots, rows, self._observed)
        if (continues != was_open).any():
            self._break_chain(streams[was_open & ~continues])
            number = self.head[streams]
            slots = base + number % size
        self._drop_each_until(streams, base, number + 2 - size)

        after = base + (number + 1) % size
        ends = marks.ends(rows["terminated"], rows["truncated"])
        carried = (mark[slots] & marks.OFFSET_MASK) * continues
        store.write(slots, rows, self._all_fields)
        mark[slots] = carried | ends
        store.write(after, rows, self._successors)
        mark[after] = np.minimum(carried, marks.LAST_CARRIED) + marks.ONE_LATER | marks.CLOSING

        ended = ends != 0
        self.head[streams] = number + ended + 1
        self.open[streams] = ~ended
        self.closings[streams] += ended
        self.added += len(streams)
        self.version += 1
        keys: Int64s = streams << STREAM_SHIFT | number
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
        if broken or afresh:
            self.cut(np.array([stream]))
            self.chain_breaks += broken
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

        # of more rows than the ring holds only the newest are written
        oldest = int(number[-1]) + 2 - size
        self._drop_until(stream, min(oldest, head))
        self.tail[stream] = max(self.tail.item(stream), oldest)

        held = number >= oldest
        slots = stream * size + number[held] % size
        store.write(slots, {name: rows[name][held] for name in rows}, self._all_fields)
        mark[slots] = (
            offset << marks.OFFSET_SHIFT
            | marks.TERMINATED * terminated
            | marks.TRUNCATED * truncated
        )[held]
        last = ended.copy()
        last[-1] = True
        last &= number + 1 >= oldest
        after = stream * size + (number[last] + 1) % size
        store.write(after, {name: rows[name][last] for name in rows}, self._successors)
        mark[after] = (offset[last] + 1) << marks.OFFSET_SHIFT | marks.CLOSING

        self.head[stream] = number[-1] + 1 + ended[-1]
        self.open[stream] = not ended[-1]
        self.closings[stream] += int((ended & last).sum())
        self.added += count
        self.chain_breaks += int(breaks.sum())
        self.version += 1
        keys: Int64s = stream << STREAM_SHIFT | number
        return keys

    def cut(self, streams: Int64s) -> int:
        """Ends the open episodes of these streams as truncated. Returns how many there were."""
        streams = streams[self.open[streams]]
        slots = self.slots(streams, self.head[streams] - 1)
        self.mark[slots] |= np.uint32(marks.TRUNCATED)
        self.head[streams] += 1
        self.open[streams] = False
        self.closings[streams] += 1
        self.version += 1
        return len(streams)

    def remove(self, slots: Slots) -> None:
        """Marks held steps, which then start no example any more."""
        self.mark[slots] |= np.uint32(marks.REMOVED)
        self.version += 1

    def clear(self) -> None:
        """Drops every row. Numbers go on, so that no key is used twice."""
        self.tail[:] = self.head + self.open
        self.head[:] = self.tail
        self.open[:] = False
        self.closings[:] = 0
        self.version += 1

    @property
    def used(self) -> int:
        """Rows in use in the stream that uses most, a provisional one too."""
        return int((self.head + self.open - self.tail).max())

    def make_fit(self, capacity: int) -> None:
        """Drops the oldest rows that do not fit into so many, evenly shared."""
        size = capacity // self.count
        for stream, tail in enumerate((self.head + self.open - size).tolist()):
            self._drop_until(stream, tail)
        self.version += 1

    def resize(self, capacity: int) -> Int64s:
        """Goes on with rings of another size, into which what is held must fit.

        Returns:
            (old capacity,), the new slot of each old one; -1 where no row is.
        """
        size = capacity // self.count
        owner = np.repeat(self._all, self.head + self.open - self.tail)
        numbers = np.concatenate(
            [
                np.arange(tail, head)
                for tail, head in zip(self.tail, self.head + self.open, strict=True)
            ]
        )
        source, target = self.slots(owner, numbers), owner * size + numbers % size
        self._store.resize(size * self.count, source, target)
        place = np.full(self.capacity, -1, np.int64)
        place[source] = target
        self.size, self.capacity, self.mark = size, size * self.count, self._store.mark
        self.version += 1
        return place

    def slots(self, streams: NDArray[np.intp], numbers: Int64s) -> Int64s:
        """Where rows lie, by stream and number."""
        slots: Int64s = streams * self.size + numbers % self.size
        return slots

    def keys(self, slots: Slots) -> Int64s:
        """The keys of held rows."""
        stream: Any = slots // self.size if self.count > 1 else 0
        last = self.head[stream] - 1
        newest = stream * self.size + last % self.size
        # numbers fall by one a slot from the newest row down; beyond it are rows a ring older
        number = slots + (last - newest) - self.size * (slots > newest)
        keys: Int64s = number if self.count == 1 else stream << STREAM_SHIFT | number
        return keys

    def find(self, keys: Int64s) -> tuple[Slots, NDArray[np.bool_]]:
        """The slots of these keys, and which of them are of steps that are held and not removed."""
        stream, number = keys >> STREAM_SHIFT, keys & NUMBER_MASK
        live = (stream >= 0) & (stream < self.count)
        stream = np.where(live, stream, 0)
        live &= (number >= self.tail[stream]) & (number < self.head[stream])
        slots = stream * self.size + number % self.size
        live &= (self.mark[slots] & (marks.CLOSING | marks.REMOVED)) == 0
        return slots, live

    def move(self, slots: Slots, by: int | NDArray[Any]) -> Slots:
        """The slots so many rows later in their streams, round the ring."""
        if self.count == 1:
            moved: Slots = (slots + by) % self.size
        else:
            position = slots % self.size
            moved = (slots - position) + (position + by) % self.size
        return moved

    def read(self, *slots: Slots) -> tuple[Block, ...]:
        """A block of fields for each array of slots."""
        return self._store.read(*slots)

    def held(self) -> Slots:
        """The slots of all held steps, stream by stream, oldest first."""
        owner = np.repeat(self._all, self.head - self.tail)
        numbers = [np.arange(*ends) for ends in zip(self.tail, self.head, strict=True)]
        slots = self.slots(owner, np.concatenate(numbers))
        steps: Slots = slots[(self.mark[slots] & marks.CLOSING) == 0]
        return steps

    def whole(self, slots: Slots) -> dict[str, NDArray[Any]]:
        """All fields of steps, by flat name."""
        (block,) = self._store.read(slots)
        reward, _ = self._store.scan(slots)
        others = {name: block[name] for name in self.schema.flat if name != "reward"}
        return others | {"reward": reward}

    def scan(self, slots: Slots) -> tuple[NDArray[Any], NDArray[np.uint32]]:
        """Reward and mark of each slot."""
        return self._store.scan(slots)

    def __len__(self) -> int:
        """Steps held."""
        return int((self.head - self.tail - self.closings).sum())

    def stats(self) -> dict[str, float]:
        """Counts of what is held; ages are in steps of the row's own stream."""
        steps = self.head - self.tail - self.closings
        held = self.head > self.tail
        oldest = self.slots(self._all, self.tail)
        only_closing = held & ((self.mark[oldest] & marks.CLOSING) != 0)
        total = int(steps.sum())
        ages = float((steps * (steps - 1) / 2).sum())
        return {
            "rows": int((self.head - self.tail + self.open).sum()),
            "steps": total,
            "episodes": int((self.closings + self.open - only_closing).sum()),
            "mean_age": ages / total if total else 0.0,
        }

    def _break_chain(self, streams: Int64s) -> None:
        if self._strict:
            raise _chain_error(int(streams[0]))
        self.cut(streams)
        self.chain_breaks += len(streams)

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
        self.closings[stream] -= closings
        self.tail[stream] = tail

    def _drop_each_until(self, streams: Int64s, base: Int64s, tails: Int64s) -> None:
        """The same for M streams at once; `base` (M,) is the first slot of each."""
        oldest = self.tail[streams]
        distance = tails - oldest
        furthest = int(distance.max(initial=0))
        if furthest <= 0:
            return
        for step in range(furthest):
            closing = self.mark[base + (oldest + step) % self.size] & marks.CLOSING
            self.closings[streams] -= (closing != 0) & (step < distance)
        self.tail[streams] = np.maximum(oldest, tails)


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
