"""Which steps may start an example under one view, kept up to date as streams move on.

In each stream rows enter and leave in time order, so a frontier needs three row numbers a stream:

      left            decided      seen
        |                |           |
    ... s  s  s  c  s  s  s  s  s  s         (row numbers, growing to the right)

rows before `left` start no example any more (they, or history that they need, are overwritten);
rows before `decided` have entered or never will; rows before `seen` have been looked at. Catching
up costs a constant for each new row, whatever the capacity.

Where examples run on into later episodes, a start waits for so many steps of its stream. Its reader
is then simply late: rows enter as they would have at the moment when the stream was that much
shorter.

Where only some episodes are wanted, none of a row's episode is known until it has ended. So rows of
open episodes wait, and when the frontier meets the closing row it asks, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.cursors import Int64s
from recollect.stores.base import Slots
from recollect.streams import Streams
from recollect.views.base import Spans, View

Chooses = Callable[[Int64s, Int64s, Int64s], NDArray[np.bool_]]
"""Which of E finished episodes are wanted, (E,), by streams, first held and closing rows (E,)."""


class Frontier:
    """The progress of one reader through all streams.

    Args:
        chooses: which episodes are wanted. Rows then enter when their episode has ended, or never.
    """

    def __init__(self, streams: Streams, view: View, chooses: Chooses | None = None) -> None:
        self._streams = streams
        self._slots = streams.slots
        self._view = view
        self._chooses = chooses
        self._ahead = view.ahead
        self._all = np.arange(streams.count)
        self._cursors = np.zeros((6, streams.count), np.int64)
        self._seen, self._decided, self._left = self._cursors[:3]
        # of a late reader: how far it is, rows counted, and how many steps there are in between
        self._reached, self._counted, self._waiting = self._cursors[3:]

    def advance(self) -> tuple[Slots, Slots]:
        """Catches up with the streams.

        Returns:
            leaving: slots whose rows may have entered and now start no example any more.
            entering: slots whose rows start one from now on. They enter after the others left.

        Raises:
            Exception: what `chooses` raises; nothing has changed then.
        """
        if self._chooses is None:
            return self._advance()
        before = self._cursors.copy()
        try:
            return self._advance()
        except BaseException:
            self._cursors[:] = before
            raise

    def state(self) -> dict[str, NDArray[Any]]:
        """How far it has come, (6, streams)."""
        return {"cursors": self._cursors.copy()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from what `state` returned."""
        self._cursors[:] = state["cursors"]

    def _advance(self) -> tuple[Slots, Slots]:
        streams = self._streams
        if streams.count == 1 and not self._ahead and streams.open.item(0):
            quick = self._advance_open_episode()
            if quick is not None:
                return quick
        leaving = self._leave(streams.head, streams.tail)
        head, is_open = self._late() if self._ahead else (streams.head, streams.open)
        entering = self._enter(head, streams.tail, np.flatnonzero(is_open))
        self._seen[:] = head
        return leaving, entering

    def _leave(self, head: Int64s, tail: Int64s) -> Slots:
        """Moves `left` to the first row whose own history is whole; what it passes leaves."""
        before = self._left.copy()
        lost = marks.offsets(self._streams.mark[self._slots(self._all, np.minimum(tail, head - 1))])
        # how long the oldest episode is does not matter here: its rows are told apart below
        steps = head - tail + lost
        first, _, _ = self._starts(Spans(steps, lost, steps > 0))
        reach = np.minimum(tail + first - lost, head)

        left = np.maximum(before, tail)
        most = 64
        numbers, owner = ranges(left, np.minimum(reach, left + most))
        while len(numbers):
            offset = marks.offsets(self._streams.mark[self._slots(owner, numbers)])
            of_oldest = numbers - offset == (tail - lost)[owner]
            passed = np.bincount(owner[of_oldest], minlength=len(left))
            left += passed
            # a stream that passed fewer rows than it looked at is through
            reach = np.where(passed < most, left, reach)
            most *= 2
            numbers, owner = ranges(left, np.minimum(reach, left + most))
        self._left[:] = left
        leaving, owner = ranges(before, np.minimum(left, self._decided))
        return self._slots(owner, leaving)

    def _late(self) -> tuple[Int64s, NDArray[np.bool_]]:
        """Where each stream's head was `ahead` steps ago, and whether an episode was open then."""
        head, tail = self._streams.head, self._streams.tail
        overtaken = tail > self._reached
        self._waiting[overtaken] = 0
        self._reached[overtaken] = tail[overtaken]
        numbers, owner = ranges(np.where(overtaken, tail, self._counted), head)
        self._waiting += np.bincount(owner[self._is_step(owner, numbers)], minlength=len(head))
        self._counted[:] = head

        late = self._reached.copy()
        due = np.maximum(self._waiting - self._ahead, 0)
        # no two closing rows are neighbours
        numbers, owner = ranges(late, np.minimum(late + 2 * due, head))
        is_step = self._is_step(owner, numbers)
        numbers, owner = numbers[is_step], owner[is_step]
        begins = np.searchsorted(owner, self._all)
        among_due = np.arange(len(owner)) - begins[owner] < due[owner]
        np.maximum.at(late, owner[among_due], numbers[among_due] + 1)
        self._waiting -= due
        # what follows an episode's last step is known by then
        late += (late < head) & ~self._is_step(self._all, late)
        self._reached[:] = late
        offset = marks.offsets(self._streams.mark[self._slots(self._all, late)])
        return late, (late < head) & (offset > 0)

    def _is_step(self, owner: NDArray[np.intp], numbers: Int64s) -> NDArray[np.bool_]:
        mark = self._streams.mark[self._slots(owner, numbers)]
        is_step: NDArray[np.bool_] = (mark & marks.CLOSING) == 0
        return is_step

    def _enter(self, head: Int64s, tail: Int64s, is_open: NDArray[np.intp]) -> Slots:
        """Applies the view's rule to the episodes that have new rows."""
        open_steps = marks.offsets(self._streams.mark[self._slots(is_open, head[is_open])])
        looked_at = head.copy()
        looked_at[is_open] -= open_steps

        # one span for each closing row among the new rows, one for each open episode
        numbers, owner = ranges(np.maximum(self._seen, tail), looked_at)
        mark = self._streams.mark[self._slots(owner, numbers)]
        closing = marks.closing(mark)
        ends = numbers[closing]
        which = np.concatenate((owner[closing], is_open))
        after = np.concatenate((ends, head[is_open]))
        steps = np.concatenate((marks.offsets(mark[closing]), open_steps))
        begin = after - steps
        ended = np.arange(len(which)) < len(ends)
        spans = Spans(steps, np.maximum(tail[which] - begin, 0), ended)
        first, stop, step = self._starts(spans)

        low = np.maximum(begin + first, self._decided[which])
        if step > 1:
            low += -(low - begin - first) % step
        high = begin + stop
        if self._chooses is not None:
            asked = np.flatnonzero(low < high)
            held = np.maximum(begin, tail[which])
            wanted = self._chooses(which[asked], held[asked], after[asked])
            high[asked[~wanted]] = low[asked[~wanted]]
        entering, span = ranges(low, high, step)
        slots: Slots = self._slots(which[span], entering)
        # no more of an ended episode will come; of an open one, what is past its last start
        np.maximum.at(self._decided, which, np.where(ended, after + 1, high))
        # what was removed before it could enter stays out
        stay: Slots = slots[(self._streams.mark[slots] & marks.REMOVED) == 0]
        return stay

    def _starts(self, spans: Spans) -> tuple[Int64s, Int64s, int]:
        """The view's rule; where episodes are chosen, for finished ones only."""
        first, stop, step = self._view.starts(spans)
        return first, stop if self._chooses is None else np.where(spans.ended, stop, 0), step

    def _advance_open_episode(self) -> tuple[Slots, Slots] | None:
        """The same for one stream whose open episode just went on; None where more happened.

        This is every step of the usual loop of one environment, one add and one sample. Whole
        numbers do there in a tenth of the time what arrays of length one would.
        """
        streams, mark, size = self._streams, self._streams.mark, self._streams.size
        head, tail = streams.head.item(0), streams.tail.item(0)
        steps = mark.item(head % size) >> marks.OFFSET_SHIFT
        begin = head - steps
        if begin > self._seen.item(0):
            return None
        lost = mark.item(tail % size) >> marks.OFFSET_SHIFT
        spans = Spans(
            np.array([head - tail + lost, steps]),
            np.array([lost, max(tail - begin, 0)]),
            _OLDEST_AND_OPEN,
        )
        first, stop, step = self._starts(spans)
        (first_oldest, first_open), (_, stop_open) = first.tolist(), stop.tolist()

        before, decided = self._left.item(0), self._decided.item(0)
        left = max(before, tail)
        reach = min(tail - lost + first_oldest, head)
        while left < reach and left - (mark.item(left % size) >> marks.OFFSET_SHIFT) == tail - lost:
            left += 1
        low = max(begin + first_open, decided)
        low += -(low - begin - first_open) % step
        entering = [
            slot
            for slot in (number % size for number in range(low, begin + stop_open, step))
            if not mark.item(slot) & marks.REMOVED
        ]
        self._seen[0], self._left[0] = head, left
        self._decided[0] = max(decided, begin + stop_open)
        leaving = [number % size for number in range(before, min(left, decided))]
        return np.array(leaving, np.int64), np.array(entering, np.int64)


_OLDEST_AND_OPEN = np.array([True, False])


def ranges(first: Int64s, stop: Int64s, step: int = 1) -> tuple[Int64s, NDArray[np.intp]]:
    """All of range(first[i], stop[i], step) one after the other, and which i each belongs to."""
    if len(first) == 1:
        numbers = np.arange(first[0], stop[0], step)
        return numbers, np.zeros(len(numbers), np.intp)
    lengths = np.maximum(-((first - stop) // step), 0)
    if lengths.max(initial=0) <= 1:
        # as after one step of each environment
        owner = lengths.nonzero()[0]
        return first[owner], owner
    owner = np.arange(len(first)).repeat(lengths)
    position = np.arange(len(owner)) - (lengths.cumsum() - lengths)[owner]
    return first[owner] + position * step, owner
