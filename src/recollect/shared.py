"""`Shared`: what all readers of one memory have in common, and the lock that guards it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from recollect.draws import DrawLimit
from recollect.errors import ClosedError
from recollect.examples import Examples
from recollect.limits import ReplayRatio
from recollect.retention.base import Retention
from recollect.schema import Schema
from recollect.stores.base import Slots, Store
from recollect.streams import Streams

if TYPE_CHECKING:
    from recollect.reader import Reader


@dataclass
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
    lock: threading.RLock = field(default_factory=threading.RLock)
    first: Reader | None = None
    """The one that the memory's own `sample` and `update` speak to."""
    readers: weakref.WeakSet[Reader] = field(default_factory=weakref.WeakSet)
    watched: bool = False
    """Whether a reader's transforms learn from what is added."""
    closed: bool = False
    sampled: int = 0
    updated: int = 0
    stale_updates: int = 0
    rewrites: int = 0
    """How often stored fields were rewritten in place."""
    gathering: int = 0
    """How many batches are being gathered without the lock."""
    moving: int = 0
    """How many threads want to move the arrays; until they have, gather under the lock."""

    def __post_init__(self) -> None:
        self._gathered = threading.Condition(self.lock)

    @property
    def schema(self) -> Schema:
        return self.rows.schema

    def check_open(self) -> None:
        if self.closed:
            raise ClosedError("this memory is closed")

    def observe(self, flat: Mapping[str, Any]) -> None:
        """Shows what was just added to the transforms that learn from it. The lock is held."""
        if self.watched:
            for reader in self.readers:
                if reader.transform.observes:
                    reader.transform.observe(flat)

    def withdraw(self, slots: Slots) -> None:
        """Takes held rows (distinct slots) out of every reader, for good."""
        self.rows.remove(slots)
        for reader in self.readers:
            reader.drop(slots)

    def end_gathering(self) -> None:
        """One batch less is being gathered. The lock is held."""
        self.gathering -= 1
        if self.moving:
            self._gathered.notify_all()

    def resize(self, capacity: int) -> None:
        """Goes on with so many rows; what does not fit is dropped first. The lock is held."""
        with self._at_rest():
            self.rows.make_fit(capacity)
            for reader in self.readers:
                reader.advance()
            place = self.rows.resize(capacity)
            for reader in self.readers:
                reader.resize(place)
            if self.limit is not None:
                self.limit.resize(capacity, place)
            # what is gathered from now on must not be taken for what was drawn before
            self.rewrites += 1

    @contextmanager
    def _at_rest(self) -> Iterator[None]:
        """Waits until nobody gathers without the lock; meanwhile it is let go."""
        self.moving += 1
        try:
            self._gathered.wait_for(lambda: not self.gathering)
            yield
        finally:
            self.moving -= 1
