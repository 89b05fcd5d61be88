"""`Shared`: what all readers of one memory have in common, and the lock that guards it."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recollect.draws import DrawLimit
from recollect.errors import ClosedError
from recollect.examples import Examples
from recollect.limits import ReplayRatio
from recollect.retention.base import Retention
from recollect.schema import Schema
from recollect.stores.base import Slots, Store
from recollect.streams import Streams

if TYPE_CHECKING:
    from recollect.reader import Drawn, Reader
    from recollect.saving.snapshot import Saver

LOOK_AGAIN = 0.1
"""Seconds between two looks whether what was drawn ahead was forgotten."""


class Lock(Protocol):
    """What guards a memory: an `RLock`, or that and what other processes hold."""

    def __enter__(self) -> Any: ...
    def __exit__(self, *error: Any) -> Any: ...
    def acquire(self) -> Any: ...
    def release(self) -> Any: ...


@dataclass(eq=False)
class Shared:
    """The rows of one memory, its readers and its counters.

    Who holds `lock` may look at rows and change them. Batches are gathered without it: what was
    overwritten meanwhile is found out afterwards. Only the arrays themselves must stay where they
    are, so whoever moves them waits until no gathering is going on.
    """

    rows: Streams | Examples
    store: Store
    seeds: np.random.SeedSequence
    retention: Retention
    limit: DrawLimit | None = None
    limiter: ReplayRatio | None = None
    home: Home | None = None
    """Where the rows outlive this process."""
    lock: Lock = field(default_factory=threading.RLock)
    first: Reader | None = None
    """The one that the memory's own `sample` and `update` speak to."""
    readers: weakref.WeakSet[Reader] = field(default_factory=weakref.WeakSet)
    watched: bool = False
    """Whether a reader's transforms learn from what is added."""
    made: int = 0
    """How many readers there ever were; the next one's number."""
    saved_reader: Callable[[Reader], None] | None = None
    """Puts a new reader where the one of its number was, when the memory was saved."""
    savers: dict[Path, Saver] = field(default_factory=dict)
    """What is known of the snapshots that were written, by their resolved folders."""
    closed: bool = False
    sampled: int = 0
    updated: int = 0
    stale_updates: int = 0
    rewritten: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    """(1,), how often stored fields were rewritten in place; others may look at it."""
    gathering: int = 0
    """How many batches are being gathered without the lock."""
    moving: int = 0
    """How many threads want to move the arrays; until they have, gather under the lock."""
    ahead: set[weakref.ref[Drawn]] = field(default_factory=set)
    """What was drawn, and may not change before it is gathered."""

    def __post_init__(self) -> None:
        self._gathered = threading.Condition(self.lock)  # type: ignore[arg-type]
        self._process = os.getpid()
        self._is_copy = False
        self._heard = 0
        if self.home is not None:
            _at_home.add(self)

    def guard(self, lock: Lock) -> None:
        """Takes another lock, before anybody has used this one."""
        self.lock = lock
        self._gathered = threading.Condition(lock)  # type: ignore[arg-type]

    @property
    def schema(self) -> Schema:
        return self.rows.schema

    @property
    def rewrites(self) -> int:
        """How often stored fields were rewritten in place."""
        return int(self.rewritten[0])

    def check_open(self) -> None:
        if self.closed:
            raise ClosedError("this memory is closed")
        if self._is_copy:
            raise ClosedError(
                f"this memory belongs to process {self._process}, of which this one is a copy; "
                "use recollect.open(path, stream=...) or mode='r' here"
            )
        if self.home is not None:
            self.home.check_current()

    def note_copy(self) -> None:
        """This process is a copy of the one that has this memory: nobody may use it here."""
        self._is_copy = True

    def check_writable(self) -> None:
        self.check_open()
        if self.home is not None:
            self.home.check_writable()

    def check_changeable(self) -> None:
        """Waits until rows may change; meanwhile the lock, which is held, is let go."""
        if self.ahead:
            self.await_gathering()
        if self.closed or self.home is not None:
            self.check_open()

    def await_gathering(self) -> None:
        """Waits until all that was drawn ahead is gathered; meanwhile the lock is let go."""
        while self.ahead:
            # nobody says so when it is merely forgotten
            self._gathered.wait(LOOK_AGAIN)

    def draw_ahead(self, drawn: Drawn) -> None:
        """Lets no row change until this was gathered, or forgotten. The lock is held."""
        self.ahead.add(weakref.ref(drawn, self.ahead.discard))

    def end_ahead(self, drawn: Drawn) -> None:
        """This was gathered, if it was drawn ahead."""
        if self.ahead:
            with self.lock:
                self.ahead.discard(weakref.ref(drawn))
                self._gathered.notify_all()

    def forget_threads(self) -> None:
        """Nobody else works here, in a process that was just forked."""
        self.ahead.clear()
        self.gathering = self.moving = 0

    def observe(self, flat: Mapping[str, Any]) -> None:
        """Shows what was just added to the transforms that learn from it. The lock is held."""
        if self.watched:
            for reader in self.readers:
                if reader.transform.observes:
                    reader.transform.observe(flat)

    def withdraw(self, slots: Slots) -> None:
        """Takes held rows (distinct slots) out of every reader, for good."""
        self.rows.remove(slots)
        self.note_change()
        for reader in self.readers:
            reader.drop(slots)

    def note_change(self) -> None:
        """Something changed that no cursor tells of: a later life must not take it for the same."""
        if self.home is not None:
            self.home.note_change()

    def rewrite(self, slots: Slots, values: Mapping[str, Any]) -> None:
        """Gives held rows new values of some fields. The lock is held."""
        with self.rows.changing():
            self.rewritten += 1
            self.store.write(slots, values, {name: name for name in values})
            self.rows.seal(slots)
            self.note_change()

    def add_saver(self, saver: Saver) -> None:
        """Lets one who saves the memory know of every change. The lock is held."""
        self.savers[saver.folder] = saver
        self.store.watchers.append(saver)

    @contextmanager
    def staying(self) -> Iterator[None]:
        """While the arrays stay where they are, though the lock is not held."""
        with self.lock:
            while self.moving:
                self._gathered.wait()
            self.gathering += 1
        try:
            yield
        finally:
            with self.lock:
                self.end_gathering()

    def watch(self) -> None:
        """From now on transforms are shown what is added. The lock is held."""
        if isinstance(self.rows, Streams) and not self.watched:
            self.rows.fresh()  # what is held already was shown
        self.watched = True

    def look(self) -> None:
        """Takes note of what other processes have added meanwhile. The lock is held."""
        if self.limiter is not None and isinstance(self.rows, Streams):
            heard, self._heard = self.rows.heard - self._heard, self.rows.heard
            if heard:
                self.limiter.hear(heard)
        if self.watched and isinstance(self.rows, Streams):
            slots = self.rows.fresh()
            if len(slots):
                self.observe(self.rows.whole(slots))

    def moved_in(self) -> None:
        """All that is held came from another store. The lock is held."""
        if self.home is not None:
            self.rows.seal(self.rows.in_use())
            self.home.remember_all(self)

    def share_limiter(self) -> None:
        """Lets the limiter work with processes that add elsewhere, from what they have on."""
        if self.limiter is None or self.home is None or not isinstance(self.rows, Streams):
            return
        home, rows = self.home, self.rows
        self._heard = rows.heard

        def look() -> None:
            self.check_open()
            with self.lock:
                pass

        self.limiter.share(look, home.allow, rows.offered)

    def end_gathering(self) -> None:
        """One batch less is being gathered. The lock is held."""
        self.gathering -= 1
        if self.moving:
            self._gathered.notify_all()

    def resize(self, capacity: int, grows: bool = False) -> None:
        """Goes on with so many rows; what does not fit is dropped first. The lock is held.

        Args:
            grows: does nothing if another thread has made it as large while this one waited.
        """
        with self._at_rest():
            if grows and capacity <= self.rows.capacity:
                return
            for reader in self.readers:
                # whatever a predicate of episodes raises, it raises before anything is dropped
                reader.advance()
            for saver in self.savers.values():
                self.store.watchers.remove(saver)
            self.savers.clear()
            self.rows.make_fit(capacity)
            for reader in self.readers:
                reader.advance()
            place = self.rows.resize(capacity)
            for reader in self.readers:
                reader.resize(place)
            if self.limit is not None:
                self.limit.resize(self.rows.slot_count, place)
            # what is gathered from now on must not be taken for what was drawn before
            self.rewritten += 1
            if self.home is not None:
                self.home.resized(self)

    @contextmanager
    def _at_rest(self) -> Iterator[None]:
        """Waits until nobody gathers without the lock; meanwhile it is let go."""
        self.moving += 1
        try:
            self._gathered.wait_for(lambda: not self.gathering)
            yield
        finally:
            self.moving -= 1
            self._gathered.notify_all()


class Home(Protocol):
    """Where a memory's rows outlive its process."""

    def check_writable(self) -> None:
        """Raises `ReadOnlyError` where this process may not change held rows."""
        ...

    def check_current(self) -> None:
        """Raises `StorageError` where another process went on with other files."""
        ...

    def note_change(self) -> None:
        """Something changed that no cursor tells of."""
        ...

    def await_room(self, count: int, timeout: float | None) -> None:
        """Waits until so many steps may be added, as the learner's limiter says."""
        ...

    def allow(self, added: int) -> None:
        """Lets processes that add know up to how many steps may be offered in all."""
        ...

    def remember(self, slots: Slots, keys: NDArray[np.int64], priority: Any) -> None:
        """Keeps the priorities that held rows (M,) were given."""
        ...

    def remember_all(self, shared: Shared) -> None:
        """Keeps all priorities, of a memory that was put here from elsewhere."""
        ...

    def resized(self, shared: Shared) -> None:
        """The rows were moved to other arrays. The lock is held."""
        ...

    def flush(self, shared: Shared) -> None:
        """Waits until all that was added has reached the disk, and what else decides batches."""
        ...

    def close(self, shared: Shared) -> None:
        """Flushes, and lets go of what only one process may have."""
        ...


_at_home: weakref.WeakSet[Shared] = weakref.WeakSet()
"""Memories that only one process may have."""


def _note_copies() -> None:
    for shared in list(_at_home):
        shared.note_copy()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_copies)
