"""Independent examples: slots that a retention rule fills, each with a generation.

A slot's generation is kept in its mark. It grows by one whenever the slot is filled or emptied, so
it is odd while an example is held, and no key (generation and slot, packed) is used twice.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.retention.base import Retention
from recollect.schema import Schema
from recollect.stores.base import Block, Slots, Store

GENERATION_SHIFT = 32
SLOT_MASK = (1 << GENERATION_SHIFT) - 1

Int64s = NDArray[np.int64]


class Examples:
    """The rows of a memory of examples.

    Attributes:
        added: examples ever offered.
        version: grows whenever rows are written, dropped or removed.
        followers: the frontiers that want to know which slots change.
    """

    def __init__(
        self, schema: Schema, store: Store, capacity: int, retention: Retention, seed: Any
    ) -> None:
        self.schema = schema
        self.capacity = capacity
        self.added = 0
        self.version = 0
        self._store = store
        self._retention = retention
        self._names = {name: name for name in schema.flat}
        self._rng = np.random.default_rng(seed)
        self._held = 0
        self.followers: weakref.WeakSet[ExampleFrontier] = weakref.WeakSet()
        self._arrival = np.zeros(capacity, np.int64)
        self._arrivals = 0
        retention.open(capacity)

    def extend(self, rows: Mapping[str, Any], count: int) -> Int64s:
        """Offers B examples; rows are (B, ...). Returns keys (B,), -1 for those not kept."""
        slots = self._retention.place(count, self._rng)
        kept = slots >= 0
        placed = slots[kept]
        self._empty(placed[self._filled(placed)])
        self._store.write(placed, {name: rows[name][kept] for name in self._names}, self._names)
        self._store.mark[placed] += np.uint32(1)
        arrival = self.added + np.flatnonzero(kept)
        self._arrival[placed] = arrival
        self._arrivals += int(arrival.sum())
        self._held += len(placed)
        self.added += count
        self._changed(placed)
        keys = np.full(count, -1, np.int64)
        keys[kept] = self.keys(placed)
        return keys

    def remove(self, slots: Slots) -> None:
        """Empties held slots, all distinct."""
        self._empty(slots)
        self._changed(slots)

    def clear(self) -> None:
        """Empties every slot. Generations go on, so that no key is used twice."""
        self.remove(self.held())

    def held(self) -> Slots:
        """The slots of all held examples, oldest first."""
        return self.oldest_first(np.arange(self.capacity))

    def oldest_first(self, slots: Slots) -> Slots:
        """Those of these slots that hold an example, in the order of their arrival."""
        filled = slots[self._filled(slots)]
        return filled[np.argsort(self._arrival[filled], kind="stable")]

    def keys(self, slots: Slots) -> Int64s:
        """The keys of held examples."""
        return self._store.mark[slots].astype(np.int64) << GENERATION_SHIFT | slots

    def find(self, keys: Int64s) -> tuple[Slots, NDArray[np.bool_]]:
        """The slots of these keys, and which of them are still held."""
        slots, generation = keys & SLOT_MASK, keys >> GENERATION_SHIFT
        live = (slots < self.capacity) & (generation > 0)
        slots = np.where(live, slots, 0)
        live &= (self._store.mark[slots] == generation) & self._filled(slots)
        return slots, live

    def read(self, *slots: Slots) -> Sequence[Block]:
        """A block of fields for each array of slots."""
        return self._store.read(*slots)

    def __len__(self) -> int:
        """Examples held."""
        return self._held

    def stats(self) -> dict[str, float]:
        """Counts of what is held; an example's age is how many were offered since."""
        age = self.added - 1 - self._arrivals / self._held if self._held else 0.0
        return {"rows": self._held, "steps": self._held, "episodes": 0, "mean_age": age}

    def _changed(self, slots: Slots) -> None:
        self.version += 1
        for follower in self.followers:
            follower.note(slots)

    def _filled(self, slots: Slots) -> NDArray[np.bool_]:
        filled: NDArray[np.bool_] = (self._store.mark[slots] & 1) == 1
        return filled

    def _empty(self, slots: Slots) -> None:
        self._store.mark[slots] += np.uint32(1)
        self._arrivals -= int(self._arrival[slots].sum())
        self._held -= len(slots)


class ExampleFrontier:
    """Which examples one reader has yet to take in or let go."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples
        self._noted: list[Slots] = [examples.held()]
        self._count = 0
        examples.followers.add(self)

    def note(self, slots: Slots) -> None:
        """Remembers slots that were filled or emptied."""
        self._noted.append(slots)
        self._count += len(slots)
        if self._count > self._examples.capacity:
            # a reader that is not used must not remember more than there are slots
            self._noted = [np.unique(np.concatenate(self._noted))]
            self._count = 0

    def advance(self) -> tuple[Slots, Slots]:
        """What may have to leave, and what enters, oldest first, once that has left."""
        if not self._noted:
            return _NONE, _NONE
        changed = np.unique(np.concatenate(self._noted))
        self._noted, self._count = [], 0
        return changed, self._examples.oldest_first(changed)


_NONE: Slots = np.zeros(0, np.int64)
