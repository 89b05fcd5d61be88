"""`Rings`: where the rows of streams lie, and which of them are held.

Each stream is a ring of `size` rows in time order; row number r of stream s lives in slot
`s * size + r % size`. An episode of T steps takes T + 1 rows: its steps, then a closing row that
holds the observation after the last of them. While an episode is open that last row is
provisional, and becomes a step or the closing row when it is known which.

    tail                              head
     |                                 |
     s  s  s  c  s  s  c  s  s  s  s   p        s step, c closing row, p provisional row

Rows from `tail` to `head - 1` are whole and held. Row numbers only grow; a step's key is its stream
and its row's number, packed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.cursors import Int64s, Position
from recollect.errors import DamagedError
from recollect.schema import Schema
from recollect.stores.base import Block, Slots, Store

STREAM_SHIFT = 40
NUMBER_MASK = (1 << STREAM_SHIFT) - 1

CHECKED_AT_ONCE = 1 << 20
"""Rows."""


class Rings:
    """The rows of a memory of steps, as they are now.

    Args:
        size: rows that each stream may hold, at least 2.
        count: streams.

    Attributes:
        room: rows that each stream may hold.
        size: slots of each stream, `room` and those to spare.
        head: (count,), the number of each stream's next row.
        tail: (count,), the number of its oldest held row.
        open: (count,), whether an episode is open, its provisional row at head.
        ended: (count,), closing rows ever; lost: (count,), those of them that are no longer held.
        breaks: (count,), steps that did not continue the open episode of their stream.
        dropped: (count,), steps that were refused for not being finite.
        version: grows whenever rows are written, dropped, removed or moved.
        mark: (slot_count,), the store's, for those who look at many rows.
    """

    def __init__(self, schema: Schema, store: Store, size: int, count: int) -> None:
        self.schema = schema
        self.room = size
        self.size = size + store.spare
        self.count = count
        self.mark = store.mark
        self.head = np.zeros(count, np.int64)
        self.tail = np.zeros(count, np.int64)
        self.open = np.zeros(count, np.bool_)
        self.ended = np.zeros(count, np.int64)
        self.lost = np.zeros(count, np.int64)
        self.breaks = np.zeros(count, np.int64)
        self.dropped = np.zeros(count, np.int64)
        self.version = 0
        self._store = store
        self._all = np.arange(count)

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
    def refused(self) -> int:
        """Steps that were not stored, for not being finite."""
        return int(self.dropped.sum())

    @property
    def offered(self) -> int:
        """Steps ever added, and those that were not stored."""
        return self.added + self.refused

    @property
    def chain_breaks(self) -> int:
        """Steps that did not continue the open episode of their stream."""
        return int(self.breaks.sum())

    @property
    def used(self) -> int:
        """Rows in use in the stream that uses most, a provisional one too."""
        return int((self.head + self.open - self.tail).max())

    def __len__(self) -> int:
        """Steps held."""
        return int((self.head - self.tail - self.closings).sum())

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

    def in_use(self) -> Slots:
        """The slots of all rows, closing and provisional ones too, stream by stream."""
        stop = self.head + self.open
        owner = np.repeat(self._all, stop - self.tail)
        numbers = [np.arange(*ends) for ends in zip(self.tail, stop, strict=True)]
        return self.slots(owner, np.concatenate(numbers))

    def held(self) -> Slots:
        """The slots of all held steps, stream by stream, oldest first."""
        owner = np.repeat(self._all, self.head - self.tail)
        numbers = [np.arange(*ends) for ends in zip(self.tail, self.head, strict=True)]
        slots = self.slots(owner, np.concatenate(numbers))
        steps: Slots = slots[(self.mark[slots] & marks.CLOSING) == 0]
        return steps

    def oldest_first(self, slots: Slots) -> Slots:
        """These slots of held rows, stream by stream, in time order."""
        return slots[np.argsort(self.keys(slots), kind="stable")]

    def read(self, *slots: Slots) -> tuple[Block, ...]:
        """A block of fields for each array of slots."""
        return self._store.read(*slots)

    def scan(self, slots: Slots) -> tuple[NDArray[Any], NDArray[np.uint32]]:
        """Reward and mark of each slot."""
        return self._store.scan(slots)

    def whole(self, slots: Slots) -> dict[str, NDArray[Any]]:
        """All fields of steps, by flat name."""
        (block,) = self._store.read(slots)
        reward, _ = self._store.scan(slots)
        others = {name: block[name] for name in self.schema.flat if name != "reward"}
        return others | {"reward": reward}

    def state(self) -> dict[str, NDArray[Any]]:
        """Where each stream begins and ends, and its counts, (count,) each."""
        return {name: getattr(self, name).copy() for name in Position._fields}

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


def _all_below(size: int, places: Slots) -> bool:
    """Whether none has to come round the ring, which is usual, and sooner seen than done."""
    # taken for unsigned, negative ones are the largest of all
    return not places.size or int(places.view(np.uint64).max()) < size
