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

Where the rows outlive this process, or others look at them, tail and head are published in that
order, and a ring has a few slots to spare. A row's slot is then overwritten some rows after the
tail has passed it, and only once the owner has held the lock that others hold while they look.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.cursors import Outside, Position
from recollect.errors import ChainError, DamagedError
from recollect.schema import Schema
from recollect.stores.base import Block, Slots, Store

STREAM_SHIFT = 40
NUMBER_MASK = (1 << STREAM_SHIFT) - 1

CHECKED_AT_ONCE = 1 << 20
"""Rows."""

Int64s = NDArray[np.int64]


class Streams:
    """The rows of a memory of steps.

    Args:
        size: rows that each stream may hold, at least 2.
        count: streams.
        strict: whether a broken chain is an error rather than counted.
        outside: who else has to do with these rows; None: nobody.

    Attributes:
        room: rows that each stream may hold.
        size: slots of each stream, `room` and those to spare.
        slot_count: slots of all streams.
        head: (count,), the number of each stream's next row.
        tail: (count,), the number of its oldest held row.
        open: (count,), whether an episode is open, its provisional row at head.
        ended: (count,), closing rows ever; lost: (count,), those of them that are no longer held.
        breaks: (count,), steps that did not continue the open episode of their stream.
        found: such steps that were found here, in this life.
        dropped: (count,), steps that were refused for not being finite.
        heard: steps that others were seen to offer.
        version: grows whenever rows are written, dropped, removed or moved.
        mark: (slot_count,), the store's, for those who look at many rows.
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
        self.schema = schema
        self.room = size
        self.size = size + store.spare
        self.count = count
        self.mark = store.mark
        self._store = store
        self._strict = strict
        self._outside = outside
        self.head = np.zeros(count, np.int64)
        self.tail = np.zeros(count, np.int64)
        self.open = np.zeros(count, np.bool_)
        self.ended = np.zeros(count, np.int64)
        self.lost = np.zeros(count, np.int64)
        self.breaks = np.zeros(count, np.int64)
        self.found = 0
        self.dropped = np.zeros(count, np.int64)
        self._all = np.arange(count)
        self._first_slot = self._all * self.size
        self._first_key = self._all << STREAM_SHIFT
        self.version = 0
        # streams that this process writes, and up to which row it may without asking others
        self._owned = np.full(count, outside is None)
        self._others = 0 if outside is None else count
        self._limit = np.zeros(count, np.int64)
        self._shown = np.zeros(count, np.int64)
        self.heard = 0
        # which fields are written when, and what `Schema.check` calls them
        self._all_fields = {name: name for name in schema.flat}
        self._observed = {name: name for name in schema.select("obs")}
        self._not_observed = {name: name for name in schema.flat if name not in self._observed}
        self._successors = {name: f"next_{name}" for name in self._observed}

    @property
    def capacity(self) -> int:
        """Rows that may be held."""
        return self.room * self.count

    @property
    def slot_count(self) -> int:
        """Slots in which rows may be."""
        return self.size * self.count

    @property
    def closings(self) -> Int64s:
        """(count,), how many closing rows are held."""
        return self.ended - self.lost

    @property
    def added(self) -> int:
        """Steps ever added."""
        return int((self.head - self.ended).sum())

    @property
    def offered(self) -> int:
        """Steps ever added, and those that were not stored."""
        return self.added + self.refused

    @property
    def chain_breaks(self) -> int:
        """Steps that did not continue the open episode of their stream."""
        return int(self.breaks.sum())

    def claim(self, streams: Int64s) -> None:
        """Makes this process the owner of these streams; their rows are as they were left.

        Raises:
            LockedError: another process writes one of them; none was taken.
        """
        streams = streams[~self._owned[streams]]
        if not len(streams):
            return
        assert self._outside is not None
        self._outside.claim(streams)
        with self._outside.changing():
            self._take_over(streams)
        self._owned[streams] = True
        self._others = int((~self._owned).sum())

    @property
    def others(self) -> bool:
        """Whether there are streams that this process does not own."""
        return self._others > 0

    @property
    def refused(self) -> int:
        """Steps that were not stored, for not being finite."""
        return int(self.dropped.sum())

    def changing(self) -> AbstractContextManager[Any]:
        """While nobody else looks at held rows, or changes them."""
        return nullcontext() if self._outside is None else self._outside.changing()

    def seal(self, slots: Slots) -> None:
        """Held rows were rewritten; nothing needs to be known of it."""

    def refresh(self) -> None:
        """Looks how far the streams of others have come. `Outside.changing` is held."""
        assert self._outside is not None
        position = self._outside.cursors.read()
        others = ~self._owned
        moved = others & ((position.head != self.head) | (position.tail != self.tail))
        moved |= others & ((position.open != self.open) | (position.dropped != self.dropped))
        if moved.any():
            before, offered = self.head.copy(), self.offered
            self._follow(position, np.flatnonzero(moved))
            self.heard += self.offered - offered
            # the row before may have been marked as the last of its episode
            self._tell_of(np.maximum(before - 1, self.tail), moved)
            self.version += 1

    def fresh(self) -> Slots:
        """The slots of steps that others added since this was last asked."""
        first = np.where(self._owned, self.head, np.maximum(self._shown, self.tail))
        self._shown = self.head.copy()
        numbers = [np.arange(*ends) for ends in zip(first, self.head, strict=True)]
        owner = np.repeat(self._all, [len(some) for some in numbers])
        slots = self.slots(owner, np.concatenate(numbers))
        steps: Slots = slots[(self.mark[slots] & marks.CLOSING) == 0]
        return steps

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
        offset = mark.item(slot) >> marks.OFFSET_SHIFT if continues else 0
        terminated, truncated = bool(row["terminated"]), bool(row["truncated"])
        store.write(slot, row, self._not_observed if continues else self._all_fields)
        mark[slot] = (
            offset << marks.OFFSET_SHIFT
            | marks.TERMINATED * terminated
            | marks.TRUNCATED * truncated
        )
        store.write(after, row, self._successors)
        mark[after] = min(offset + 1, marks.LAST_OFFSET) << marks.OFFSET_SHIFT | marks.CLOSING

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

        after = base + following % size
        ends = marks.ends(rows["terminated"], rows["truncated"])
        if np.count_nonzero(continues) == len(continues):
            carried = mark[slots] & marks.OFFSET_MASK
            store.write(slots, rows, self._not_observed)
        else:
            carried = (mark[slots] & marks.OFFSET_MASK) * continues
            store.write(slots, rows, self._all_fields)
        mark[slots] = carried | ends
        store.write(after, rows, self._successors)
        mark[after] = np.minimum(carried, marks.LAST_CARRIED) + marks.LATER_CLOSING

        ended = ends != 0
        self.head[streams] = following + ended
        self.open[streams] = ~ended
        self.ended[streams] += ended
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
        with self.changing():
            slots = self.slots(streams, self.head[streams] - 1)
            self._store.touch(slots)
            self.mark[slots] |= np.uint32(marks.TRUNCATED)
            self.head[streams] += 1
            self.open[streams] = False
            self.ended[streams] += 1
            self.version += 1
            if self._outside is not None:
                self._publish(streams)
        return len(streams)

    def remove(self, slots: Slots) -> None:
        """Marks held steps, which then start no example any more."""
        self._store.touch(slots)
        self.mark[slots] |= np.uint32(marks.REMOVED)
        self.version += 1

    def clear(self) -> None:
        """Drops every row. Numbers go on, so that no key is used twice."""
        self.claim(self._all)
        self.cut(self._all)
        self.tail[:] = self.head
        self.lost[:] = self.ended
        self.version += 1
        self._retreat(self._all)

    @property
    def used(self) -> int:
        """Rows in use in the stream that uses most, a provisional one too."""
        return int((self.head + self.open - self.tail).max())

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
        if self.count == 1:
            # the key is the number, and those of other streams lie beyond it
            live = (keys >= self.tail[0]) & (keys < self.head[0])
            slots = keys % self.size
        else:
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
            moved: Slots = slots + by
            return moved if _all_below(self.size, moved) else moved % self.size
        position = slots % self.size
        moved = position + by
        if not _all_below(self.size, moved):
            moved %= self.size
        return (slots - position) + moved

    def read(self, *slots: Slots) -> tuple[Block, ...]:
        """A block of fields for each array of slots."""
        return self._store.read(*slots)

    def in_use(self) -> Slots:
        """The slots of all rows, closing and provisional ones too, stream by stream."""
        stop = self.head + self.open
        owner = np.repeat(self._all, stop - self.tail)
        numbers = [np.arange(*ends) for ends in zip(self.tail, stop, strict=True)]
        return self.slots(owner, np.concatenate(numbers))

    def oldest_first(self, slots: Slots) -> Slots:
        """These slots of held rows, stream by stream, in time order."""
        return slots[np.argsort(self.keys(slots), kind="stable")]

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

    def state(self) -> dict[str, NDArray[Any]]:
        """Where each stream begins and ends, and its counts, (count,) each."""
        return {name: getattr(self, name).copy() for name in Position._fields}

    def without_lost(self, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """A saved state without the rows of others that were overwritten since."""
        others = ~self._owned
        if not others.any():
            return arrays
        head = arrays["rows.head"] + arrays["rows.open"]
        tail, lost = arrays["rows.tail"].copy(), arrays["rows.lost"].copy()
        moved = others & (self.tail > tail)
        none_left = moved & (self.tail >= head)
        tail[moved], lost[moved] = self.tail[moved], self.lost[moved]
        # what came last before the moment is gone too, and its episode cannot go on
        tail[none_left] = arrays["rows.head"][none_left]
        lost[none_left] = arrays["rows.ended"][none_left]
        is_open = arrays["rows.open"] & ~none_left
        return {**arrays, "rows.tail": tail, "rows.lost": lost, "rows.open": is_open}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from what `state` returned; the rows are in the store already."""
        self.claim(self._all)
        for name in Position._fields:
            getattr(self, name)[:] = state[name]
        if self._outside is not None:
            self._limit[:] = self.tail + self.size
            self._retreat(self._all)
            self._publish(self._all)
            self._publish_counts(self._all)
        # rows of others may have been copied while these went on
        self._mend(self._all)
        self.version += 1

    def check(self) -> None:
        """Looks whether the marks of all held rows tell of episodes, one after the other. O(rows).

        Raises:
            DamagedError: they do not.
        """
        for stream in range(self.count):
            head, closings = self.head.item(stream), 0
            for first in range(self.tail.item(stream), head, CHECKED_AT_ONCE):
                stop = min(first + CHECKED_AT_ONCE, head)
                numbers = np.arange(first, min(stop + 1, head))
                mark = self.mark[stream * self.size + numbers % self.size]
                offset, closing = marks.offsets(mark), marks.closing(mark)
                ends = marks.ended(mark) & ~closing
                after = np.where(closing, 0, offset + 1)[:-1]
                follows = (offset[1:] == after) | (after >= marks.LAST_OFFSET - 1)
                wrong = np.flatnonzero(~follows | (closing[1:] != ends[:-1]))
                if len(wrong):
                    raise DamagedError(
                        f"row {first + int(wrong[0]) + 1} of stream {stream} does not follow the "
                        "one before it"
                    )
                closings += int(closing[: stop - first].sum())
            last = self.mark.item(stream * self.size + (head - 1) % self.size)
            held = head > self.tail.item(stream)
            if held and bool(last & marks.CLOSING) == self.open.item(stream):
                raise DamagedError(f"stream {stream} does not end as its cursor says")
            if closings != self.closings.item(stream):
                raise DamagedError(
                    f"stream {stream} has {closings} episodes that ended, its cursors say "
                    f"{self.closings.item(stream)}"
                )

    def count_closings(self, first: Int64s, stop: Int64s) -> Int64s:
        """(count,), how many of these rows of each stream are closing rows."""
        counts = np.zeros(self.count, np.int64)
        for stream, (low, high) in enumerate(zip(first.tolist(), stop.tolist(), strict=True)):
            slots = stream * self.size + np.arange(low, high) % self.size
            counts[stream] = np.count_nonzero(self.mark[slots] & marks.CLOSING)
        return counts

    def stats(self) -> dict[str, float]:
        """Counts of what is held; ages are in steps of the row's own stream."""
        steps = self.head - self.tail - self.closings
        held = self.head > self.tail
        oldest = self.slots(self._all, self.tail)
        only_closing = held & marks.closing(self.mark[oldest])
        total = int(steps.sum())
        ages = float((steps * (steps - 1) / 2).sum())
        return {
            "rows": int((self.head - self.tail + self.open).sum()),
            "steps": total,
            "episodes": int((self.closings + self.open - only_closing).sum()),
            "mean_age": ages / total if total else 0.0,
        }

    def _follow(self, position: Position, chosen: Int64s) -> None:
        """Takes over what is published of these streams."""
        held, closings = position.head - position.tail, position.ended - position.lost
        impossible = (held < 0) | (held > self.room) | (closings < 0) | (closings > held)
        if impossible[chosen].any():
            assert self._outside is not None
            stream = int(chosen[impossible[chosen]][0])
            raise DamagedError(
                f"{self._outside.cursors.place}: damaged: a stream of {self.room} rows cannot hold "
                f"rows {position.tail[stream]} to {position.head[stream]} and {closings[stream]} "
                "ends of episodes"
            )
        for name, words in position._asdict().items():
            getattr(self, name)[chosen] = words[chosen]

    def _tell_of(self, first: Int64s, moved: NDArray[np.bool_]) -> None:
        """Touches the rows that others wrote, from `first` on."""
        for stream in np.flatnonzero(moved).tolist():
            numbers = np.arange(first[stream], self.head[stream] + 1)
            self._store.touch(self.slots(np.full(len(numbers), stream), numbers))

    def _take_over(self, streams: Int64s) -> None:
        """Mends what a killed owner left half done, and makes it this process's own."""
        assert self._outside is not None
        self.refresh()
        self._limit[streams] = self.tail[streams] + self.size
        self._outside.reserve(streams, self._limit[streams])
        self._owned[streams] = True
        self._retreat(streams)
        self._publish(streams)
        self._mend(streams)
        self.version += 1

    def _mend(self, streams: Int64s) -> None:
        """Goes back, or on, to where an episode is open or not, and nothing in between."""
        streams = streams[self.open[streams]]
        # the provisional row may have become a step already, but for the moving on of the head
        slots = self.slots(streams, self.head[streams])
        mended = self.mark[slots] & marks.OFFSET_MASK | np.uint32(marks.CLOSING)
        changed = self.mark[slots] != mended
        self._store.touch(slots[changed])
        self.mark[slots[changed]] = mended[changed]
        # an episode may have been marked as cut, but for its closing row
        last = self.mark[self.slots(streams, self.head[streams] - 1)]
        self.cut(streams[marks.ended(last)])

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

    def _publish(self, streams: Int64s) -> None:
        """Makes visible what was written into M streams."""
        outside = self._outside
        assert outside is not None
        outside.cursors.publish_head(
            streams, self.head[streams], self.open[streams], self.ended[streams]
        )

    def refuse(self, streams: Int64s, count: int = 1, cut: bool = True) -> None:
        """Counts steps that are not stored, and closes the episodes in which they are missing."""
        if cut:
            self.cut(streams)
        self.dropped[streams] += count
        self._publish_counts(streams)

    def _publish_counts(self, streams: Any) -> None:
        if self._outside is not None:
            self._outside.cursors.publish_counts(
                streams, self.breaks[streams], self.dropped[streams]
            )

    def _retreat(self, streams: Int64s) -> None:
        """Tells the others where the tails are now, and waits for them where slots run short."""
        outside = self._outside
        if outside is None:
            return
        tail = self.tail[streams]
        outside.cursors.publish_tail(streams, tail, self.lost[streams])
        short = tail + self.room > self._limit[streams]
        if short.any():
            chosen = streams[short]
            with outside.changing():
                # who looks at rows before the tail now, has seen this tail
                self._limit[chosen] = self.tail[chosen] + self.size
            outside.reserve(chosen, self._limit[chosen])


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


def _all_below(size: int, places: Slots) -> bool:
    """Whether none has to come round the ring, which is usual, and sooner seen than done."""
    # taken for unsigned, negative ones are the largest of all
    return not places.size or int(places.view(np.uint64).max()) < size
