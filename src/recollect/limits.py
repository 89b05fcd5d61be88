"""`ReplayRatio`: how often rows are replayed for each one added, whoever adds and whoever samples.

What has been added so far earns so many draws; `balance` is what is earned and not drawn yet. It
may wander by `tolerance` to either side of where sampling begins. Who would push it further, an
actor that runs ahead or a learner that does, waits for the other.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ClosedError, ConfigurationError, LimiterTimeoutError
from recollect.states import Saved

LOOK_AGAIN = 0.001
"""Seconds between two looks at what another process does."""

ASK_AGAIN = 0.05
"""Seconds after which one who waits is asked again whether to give up."""


class ReplayRatio:
    """Keeps the draws for each added row near a number, by blocking `add` or `sample`.

    Draws are counted in rows (a batch of 32 is 32), adding in steps or examples offered. A memory
    and its readers share one limiter. Waiting costs no processor time.

    It also holds where other processes add to a memory in a directory. As they do not wait for each
    other, each may be one call ahead.

    Args:
        samples_per_insert: draws for each row added, more than 0.
        min_size: rows to be added before the first draw; until then adding never waits.
        tolerance: how many draws the balance may be off, either way. It must leave room for one
            call of each side, or both could wait for ever: `sample(n)` while `m` rows at once are
            added needs `(samples_per_insert * m + n) / 2`, and less is refused. None: as little as
            the calls so far need, doubled.
        timeout: seconds after which a call that waits raises `LimiterTimeoutError`; None: never.

    Raises:
        ConfigurationError: a setting is out of range, or must end in a deadlock.
    """

    def __init__(
        self,
        samples_per_insert: float,
        min_size: int = 1,
        tolerance: float | None = None,
        timeout: float | None = None,
    ) -> None:
        self._changed = threading.Condition()
        self._added = 0
        self._balance = 0.0
        self._largest_add = 1
        self._largest_sample = 1
        self._closed = False
        self._taken = False
        self._look: Callable[[], None] | None = None
        self._allow: Callable[[int], None] | None = None
        self.timeout = timeout
        self.waited = {"add": 0.0, "sample": 0.0}
        """Seconds that each side has waited, over all threads."""
        self._ratio, self._min_size, self._tolerance = _checked(
            samples_per_insert, min_size, tolerance
        )
        self._check_room()

    def __repr__(self) -> str:
        return (
            f"ReplayRatio({self._ratio:g}, min_size={self._min_size}, tolerance={self._tolerance})"
        )

    @property
    def samples_per_insert(self) -> float:
        """Draws for each row added."""
        return self._ratio

    @property
    def min_size(self) -> int:
        """Rows to be added before the first draw."""
        return self._min_size

    @property
    def tolerance(self) -> float | None:
        """How many draws the balance may be off, either way; None: as few as calls so far need."""
        return self._tolerance

    def open(self, rows_at_once: int) -> None:
        """Begins to work for a memory, to which so many rows are added in one call."""
        with self._changed:
            if self._taken:
                raise ConfigurationError("limiter: it belongs to a memory already; make another")
            self._largest_add = rows_at_once
            self._check_room()
            self._taken = True

    def change(
        self,
        samples_per_insert: float | None = None,
        min_size: int | None = None,
        tolerance: float | None = None,
    ) -> None:
        """Goes on with other settings. The balance stays: what counts for the new ratio is new."""
        with self._changed:
            before = self._ratio, self._min_size, self._tolerance
            self._ratio, self._min_size, self._tolerance = _checked(
                self._ratio if samples_per_insert is None else samples_per_insert,
                self._min_size if min_size is None else min_size,
                self._tolerance if tolerance is None else tolerance,
            )
            try:
                self._check_room()
            except ConfigurationError:
                self._ratio, self._min_size, self._tolerance = before
                raise
            self._note_change()

    def share(self, look: Callable[[], None], allow: Callable[[int], None], added: int) -> None:
        """Begins to work with processes that add elsewhere.

        Args:
            look: looks what they have added, and tells `hear`.
            allow: lets them know up to how many rows there may be in all.
            added: rows that there are in all. Of those unknown until now, nobody knows either how
                often they were drawn: they earn nothing.
        """
        with self._changed:
            self._look, self._allow, self._added = look, allow, added
            self._note_change()

    def hear(self, rows: int) -> None:
        """So many rows were added elsewhere."""
        with self._changed:
            self._balance += self._ratio * self._earning(rows)
            self._added += rows
            self._note_change()

    def add(self, rows: int) -> None:
        """Waits until so many rows may be added, and counts them.

        Raises:
            LimiterTimeoutError: nobody sampled enough meanwhile; nothing was counted.
        """
        with self._changed:
            self._make_room(add=self._earning(rows))
            self._wait("add", rows, lambda: self._may_add(rows), time.monotonic())
            self._balance += self._ratio * self._earning(rows)
            self._added += rows
            self._note_change()

    def sample(self, rows: int, gives_up: Callable[[], bool] | None = None) -> None:
        """Waits until so many rows may be drawn, and counts them.

        Args:
            gives_up: asked now and then, while it waits, whether to wait no longer.

        Raises:
            LimiterTimeoutError: nobody added enough meanwhile; nothing was counted.
        """
        begun = time.monotonic()
        with self._changed:
            self._make_room(sample=rows)
        while True:
            if self._look is not None:
                self._look()
            with self._changed:
                if self._look is None or self._is_due(rows, begun) or (gives_up and gives_up()):
                    self._wait("sample", rows, lambda: self._may_sample(rows), begun, gives_up)
                    self._balance -= rows
                    self._note_change()
                    return
            # nobody in another process can wake us
            time.sleep(LOOK_AGAIN)

    def take_back(self, added: int = 0, sampled: int = 0) -> None:
        """Uncounts what was admitted and then failed."""
        with self._changed:
            self._added -= added
            self._balance += sampled - self._ratio * self._earning(added)
            self._note_change()

    def state(self) -> dict[str, NDArray[Any]]:
        """What was counted, and the seconds waited; (add, sample) where each side has a number."""
        with self._changed:
            return {
                "added": np.array(self._added),
                "balance": np.array(self._balance),
                "largest": np.array([self._largest_add, self._largest_sample]),
                "waited": np.array([self.waited["add"], self.waited["sample"]]),
            }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from what `state` returned, after `open`.

        Raises:
            ConfigurationError: the state does not fit; nothing is changed.
        """
        saved = Saved(repr(self), state, ["added", "balance", "largest", "waited"])
        added, balance = saved.number("added"), float(saved.floats("balance", ()))
        largest = saved.whole("largest", (2,), least=1).tolist()
        waited = saved.floats("waited", (2,), least=0).tolist()
        with self._changed:
            self._make_room(*largest)
            self._added, self._balance = added, balance
            self.waited = dict(zip(("add", "sample"), waited, strict=True))
            self._note_change()

    def close(self) -> None:
        """Wakes everyone who waits, with `ClosedError`."""
        with self._changed:
            self._closed = True
            self._note_change()

    def _note_change(self) -> None:
        self._changed.notify_all()
        if self._allow is not None:
            earning = max(math.floor((self._room() - self._balance) / self._ratio), 0)
            self._allow(self._added + earning + max(self._min_size - self._added, 0))

    def _is_due(self, rows: int, begun: float) -> bool:
        """Whether so many rows may be drawn, or it is too late to wait for that."""
        late = self.timeout is not None and time.monotonic() - begun >= self.timeout
        return late or self._closed or self._may_sample(rows)

    def _room(self) -> float:
        needed = self._ratio * self._largest_add + self._largest_sample
        return needed if self._tolerance is None else self._tolerance

    def _earning(self, rows: int) -> int:
        """How many of the next rows earn draws: those added before sampling begins do not."""
        return min(rows, max(self._added + rows - self._min_size, 0))

    def _may_add(self, rows: int) -> bool:
        earning = self._earning(rows)
        return not earning or self._balance + self._ratio * earning <= self._room()

    def _may_sample(self, rows: int) -> bool:
        return self._added >= self._min_size and self._balance - rows >= -self._room()

    def _wait(
        self,
        side: str,
        rows: int,
        admitted: Callable[[], bool],
        begun: float,
        gives_up: Callable[[], bool] | None = None,
    ) -> None:
        while not (admitted() or self._closed or (gives_up is not None and gives_up())):
            left = None if self.timeout is None else begun + self.timeout - time.monotonic()
            if left is not None and left <= 0:
                break
            if gives_up is not None:
                left = ASK_AGAIN if left is None else min(left, ASK_AGAIN)
            self._changed.wait(left)
        waited = time.monotonic() - begun
        self.waited[side] += waited
        if self._closed:
            raise ClosedError("this memory is closed")
        if not admitted():
            other = "samples" if side == "add" else "adds"
            raise LimiterTimeoutError(
                f"{side}: waited {waited:.3g} s to {side} {rows} rows, but nobody {other} "
                f"({self._added} added, {self._balance:.0f} draws to spare, {self!r})"
            )

    def _make_room(self, add: int = 1, sample: int = 1) -> None:
        before = self._largest_add, self._largest_sample
        self._largest_add = max(self._largest_add, add)
        self._largest_sample = max(self._largest_sample, sample)
        if before != (self._largest_add, self._largest_sample):
            try:
                self._check_room()
            except ConfigurationError:
                self._largest_add, self._largest_sample = before
                raise
            self._note_change()

    def _check_room(self) -> None:
        needed = (self._ratio * self._largest_add + self._largest_sample) / 2
        if self._room() < needed:
            raise ConfigurationError(
                f"limiter: adding {self._largest_add} rows and sampling {self._largest_sample} at "
                f"once would wait for each other for ever: expected a tolerance of at least "
                f"{needed:g}, got {self._room():g}"
            )


def _checked(ratio: Any, min_size: Any, tolerance: Any) -> tuple[float, int, float | None]:
    if not _is_number(ratio) or not 0 < ratio < float("inf"):
        raise ConfigurationError(f"samples_per_insert: expected more than 0, got {ratio!r}")
    if not isinstance(min_size, int) or isinstance(min_size, bool) or min_size < 1:
        raise ConfigurationError(f"min_size: expected a positive whole number, got {min_size!r}")
    if tolerance is not None and (not _is_number(tolerance) or not tolerance > 0):
        raise ConfigurationError(f"tolerance: expected more than 0, got {tolerance!r}")
    return float(ratio), min_size, None if tolerance is None else float(tolerance)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
