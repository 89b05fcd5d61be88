"""`Cursors`: where each stream begins and ends, published for other processes and for a later life.

A stream's owner keeps its own arrays and publishes them here after each change, in words of eight
bytes, which a processor writes whole. Killed between any two of them, the owner leaves a stream
that is right, because what belongs together is one word:

    HEAD    63 ... 41          40     39 ... 0
            closing rows ever  open   number of the next row
    TAIL    closing rows lost   -     number of the oldest row that is held

A word has room for the low bits of the two counts only; the full counts, written just before it,
may be one change ahead, and low bits tell which. The order of writing is: the tail moves on, rows
are written, the head moves on. Processors that reorder plain stores are held to it by a fence.
"""

from __future__ import annotations

import platform
import threading
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

WORDS = 8
"""Of each stream: one line of a processor's cache."""
HEAD, TAIL, ENDED, LOST, BREAKS, DROPPED, RESERVED = range(7)

NUMBER_BITS = 40
NUMBER = (1 << NUMBER_BITS) - 1
OPEN = 1 << NUMBER_BITS
COUNT_SHIFT = NUMBER_BITS + 1
COUNT = (1 << 22) - 1
"""The low bits of a count that go into a word."""

ATTEMPTS = 1_000
"""How often words are read that do not fit together. Soon they do, unless they are damaged."""

Int64s = NDArray[np.int64]

STORES_IN_ORDER = platform.machine().lower() in ("x86_64", "amd64", "i686", "x86")


class Position(NamedTuple):
    """What is published of streams, (count,) each."""

    head: Int64s
    tail: Int64s
    open: NDArray[np.bool_]
    ended: Int64s
    lost: Int64s
    breaks: Int64s
    dropped: Int64s


class Cursors:
    """The published words of streams.

    Args:
        words: (count, 8) int64, memory that other processes may share.
        place: where that is, as errors name it.
    """

    def __init__(self, words: Int64s, place: str) -> None:
        self.words = words
        self.place = place
        self._flat = memoryview(words.reshape(-1))  # type: ignore[arg-type]

    def publish_tail_of(self, stream: int, tail: int, lost: int) -> None:
        """Of one stream; whole numbers take a tenth of the time that arrays would."""
        first = stream * WORDS
        self._flat[first + LOST] = lost
        self._flat[first + TAIL] = tail | (lost & COUNT) << COUNT_SHIFT
        fence()

    def publish_head_of(self, stream: int, head: int, is_open: bool, ended: int) -> None:
        """Of one stream: what was written before becomes visible."""
        first = stream * WORDS
        self._flat[first + ENDED] = ended
        fence()
        self._flat[first + HEAD] = head | is_open * OPEN | (ended & COUNT) << COUNT_SHIFT

    def publish_tail(self, stream: Int64s, tail: Int64s, lost: Int64s) -> None:
        """Of M distinct streams."""
        self.words[stream, LOST] = lost
        self.words[stream, TAIL] = tail | (lost & COUNT) << COUNT_SHIFT
        fence()

    def publish_head(
        self, stream: Int64s, head: Int64s, is_open: NDArray[np.bool_], ended: Int64s
    ) -> None:
        """Of M distinct streams: what was written before becomes visible."""
        self.words[stream, ENDED] = ended
        fence()
        self.words[stream, HEAD] = head | is_open * OPEN | (ended & COUNT) << COUNT_SHIFT

    def publish_counts(self, stream: Any, breaks: Any, dropped: Any) -> None:
        """Of one stream or of M."""
        self.words[stream, BREAKS] = breaks
        self.words[stream, DROPPED] = dropped

    def offered(self) -> int:
        """Steps ever offered to all streams, those too that were not stored."""
        position = self.read()
        return int((position.head - position.ended + position.dropped).sum())

    def read(self) -> Position:
        """Of all streams, at a moment when their owners may be writing."""
        for _ in range(ATTEMPTS):
            # a copy of each word at once; heads first, so that a tail is never too old for its head
            head, ended = self.words[:, HEAD].copy(), self.words[:, ENDED].copy()
            fence()
            tail, lost = self.words[:, TAIL].copy(), self.words[:, LOST].copy()
            # a short ring may have turned round in between
            if (tail & NUMBER <= head & NUMBER).all():
                break
        return Position(
            head & NUMBER,
            tail & NUMBER,
            (head & OPEN) != 0,
            _nearest(ended, head >> COUNT_SHIFT),
            _nearest(lost, tail >> COUNT_SHIFT),
            self.words[:, BREAKS].copy(),
            self.words[:, DROPPED].copy(),
        )


class Outside(Protocol):
    """Who else has to do with a memory's rows: other processes, or a later life of this one."""

    cursors: Cursors
    added: Int64s
    """(1,), how many examples were ever offered."""

    @property
    def looks(self) -> bool:
        """Whether this process samples what others write; who only adds need not wait for them."""
        ...

    def claim(self, streams: Int64s) -> None:
        """Makes this process the only one that writes these streams (distinct), or raises."""
        ...

    def changing(self) -> AbstractContextManager[Any]:
        """While nobody else looks at held rows, or changes them. May be nested."""
        ...

    def enter(self) -> bool:
        """Begins what `changing` is; False: nothing of it is this process's any more."""
        ...

    def leave(self) -> None:
        """Ends what `enter` began."""
        ...

    def reserve(self, streams: Int64s, limit: Int64s) -> None:
        """Rows of these streams with numbers up to `limit` may be written from now on."""
        ...


def fence() -> None:
    """What was stored before is seen by others before what is stored after."""
    if not STORES_IN_ORDER:
        # nothing moves up over the taking of a lock, nor down over letting it go
        with _FENCE:
            pass
        with _FENCE:
            pass


_FENCE = threading.Lock()


def _nearest(count: Int64s, low: Int64s) -> Int64s:
    """The number with these low bits that is nearest to `count`."""
    half = (COUNT + 1) // 2
    nearest: Int64s = count + ((low - count + half) & COUNT) - half
    return nearest
