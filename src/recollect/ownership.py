"""`OwnedRings`: which process writes which stream, and what the others are told of it.

The rows of a `Directory` outlive their process, and others look at them meanwhile. So the owner of
a stream publishes its cursors: the tail before a slot is overwritten, the head after a row was
written (`Cursors`). A ring has a few slots to spare there: a row's slot is overwritten some rows
after the tail has passed it, and only once the owner has held the lock that others hold while they
look. Whoever takes a stream over goes on from what was published, and first mends what a killed
owner left half done.

Rows in `Ram` have nobody outside: this process owns all streams, and nothing is published.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.cursors import Int64s, Outside, Position
from recollect.errors import DamagedError
from recollect.rings import Rings
from recollect.schema import Schema
from recollect.stores.base import Slots, Store


class OwnedRings(Rings):
    """Rings, some of which other processes may be writing.

    Args:
        schema, store, size, count: as of `Rings`.
        outside: who else has to do with these rows; None: nobody.

    Attributes:
        heard: steps that others were seen to offer.
    """

    def __init__(
        self, schema: Schema, store: Store, size: int, count: int, outside: Outside | None
    ) -> None:
        super().__init__(schema, store, size, count)
        self.heard = 0
        self._outside = outside
        # streams that this process writes, and up to which row it may without asking others
        self._owned = np.full(count, outside is None)
        self._others = 0 if outside is None else count
        self._limit = np.zeros(count, np.int64)
        # where the heads were when `fresh` was last asked
        self._shown = np.zeros(count, np.int64)

    @property
    def others(self) -> bool:
        """Whether there are streams that this process does not own."""
        return self._others > 0

    def changing(self) -> AbstractContextManager[Any]:
        """While nobody else looks at held rows, or changes them."""
        return nullcontext() if self._outside is None else self._outside.changing()

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
        self._close(streams[marks.ended(last)])

    def _close(self, streams: Int64s) -> None:
        """Ends these open episodes as truncated. This process owns their streams."""
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

    def fresh(self) -> Slots:
        """The slots of steps that others added since this was last asked."""
        first = np.where(self._owned, self.head, np.maximum(self._shown, self.tail))
        self._shown = self.head.copy()
        numbers = [np.arange(*ends) for ends in zip(first, self.head, strict=True)]
        owner = np.repeat(self._all, [len(some) for some in numbers])
        slots = self.slots(owner, np.concatenate(numbers))
        steps: Slots = slots[(self.mark[slots] & marks.CLOSING) == 0]
        return steps

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

    def _publish(self, streams: Int64s) -> None:
        """Makes visible what was written into M streams."""
        outside = self._outside
        assert outside is not None
        outside.cursors.publish_head(
            streams, self.head[streams], self.open[streams], self.ended[streams]
        )

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
