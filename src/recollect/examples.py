"""Independent examples: slots that a retention rule fills, each with a generation.

A slot's generation is kept in its mark. It grows by one whenever the slot is filled or emptied, so
it is odd while an example is held, and no key (generation and slot, packed) is used twice. An
example is written while its slot counts as empty: whoever is killed meanwhile leaves an empty slot.

Where the rows outlive a power cut, which may leave half of a page that was being written, each
example has a checksum as well.
"""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.cursors import Outside, fence
from recollect.retention.base import Retention
from recollect.schema import Schema
from recollect.stores.base import Block, Slots, Store

GENERATION_SHIFT = 32
SLOT_MASK = (1 << GENERATION_SHIFT) - 1

Int64s = NDArray[np.int64]

BESIDE = {"key": np.int64, "arrival": np.int64}
"""What is kept of each slot beside its row; `CHECKED` of one that must outlive a power cut."""
CHECKED = {**BESIDE, "checksum": np.uint32}


class Examples:
    """The rows of a memory of examples.

    Args:
        outside: who else has to do with these rows, of which the store then has checksums; None:
            nobody.

    Attributes:
        version: grows whenever rows are written, dropped, removed or moved.
        refused: examples that were not stored, for not being finite.
        latest: no slot that is gone had a later generation; even.
        rng: for the retention rule.
        others: whether another process writes, and this one looks at it.
        followers: the frontiers that want to know which slots change.
    """

    def __init__(
        self,
        schema: Schema,
        store: Store,
        capacity: int,
        retention: Retention,
        seed: Any,
        outside: Outside | None = None,
    ) -> None:
        retention.open(capacity, schema)
        self.schema = schema
        self.capacity = capacity
        self.version = 0
        self.refused = 0
        self.others = False
        self._outside = outside
        self._counter = np.zeros(1, np.int64) if outside is None else outside.added
        self._store = store
        self._retention = retention
        self._names = {name: name for name in schema.flat}
        self.rng = np.random.default_rng(seed)
        self._held = 0
        self.followers: weakref.WeakSet[ExampleFrontier] = weakref.WeakSet()
        self._key = store.beside("key")
        self._moved: dict[int, int] = {}
        """The slots of keys whose examples had to move to another."""
        self.latest = 0
        self._arrival = store.beside("arrival")
        self._arrivals = 0

    @property
    def slot_count(self) -> int:
        """Slots in which examples may be."""
        return self.capacity

    @property
    def added(self) -> int:
        """Examples ever offered."""
        return int(self._counter[0])

    @property
    def used(self) -> int:
        """Examples held."""
        return self._held

    def extend(self, rows: Mapping[str, Any], count: int) -> Int64s:
        """Offers B examples; rows are (B, ...). Returns keys (B,), -1 for those not kept."""
        slots = self._retention.place(rows, count, self.rng)
        kept = slots >= 0
        keys = np.full(count, -1, np.int64)
        if kept.all():
            keys = self._put(slots, rows, self.added + np.arange(count))
        elif kept.any():
            chosen = {name: rows[name][kept] for name in self._names}
            keys[kept] = self._put(slots[kept], chosen, self.added + np.flatnonzero(kept))
        self._counter[0] += count
        return keys

    def swap(
        self, rows: Mapping[str, Any], count: int, probability: float
    ) -> tuple[dict[str, NDArray[Any]], Int64s]:
        """Offers B examples one by one, each for another; rows are (B, ...).

        Returns:
            What each was given for: rows (B, ...) and keys (B,), -1 where it was not taken in.
        """
        given = {name: np.array(rows[name]) for name in self._names}
        keys = np.full(count, -1, np.int64)
        free = min(self.capacity - self._held, count)
        if free:
            self.extend({name: rows[name][:free] for name in self._names}, free)
        wanted = free + np.flatnonzero(self.rng.random(count - free) < probability)
        slots = self.rng.integers(self.capacity, size=len(wanted))
        self._counter[0] += count - free
        for offer, slot in zip(wanted.tolist(), slots, strict=True):
            place = np.array([slot])
            (block,) = self._store.read(place)
            keys[offer] = self._key[slot]
            for name in self._names:
                given[name][offer] = block[name][0]
            one = {name: rows[name][offer : offer + 1] for name in self._names}
            self._put(place, one, np.array([self.added - count + offer]))
        return given, keys

    def remove(self, slots: Slots) -> None:
        """Empties held slots, all distinct."""
        self._retention.remove(slots)
        self._empty(slots)
        self._changed(slots)

    def clear(self) -> None:
        """Empties every slot. Generations go on, so that no key is used twice."""
        self.remove(self.held())

    def make_fit(self, capacity: int) -> None:
        """Removes the examples that do not fit into so many slots, as the retention rule says."""
        surplus = self._held - capacity
        if surplus > 0:
            self.remove(self._retention.surplus(surplus, self.held(), self.rng))

    def resize(self, capacity: int) -> Int64s:
        """Goes on with so many slots, into which what is held must fit.

        Returns:
            (old capacity,), the new slot of each old one; -1 where no example is.
        """
        held, before = self.held(), self._store.mark
        stays = held < capacity
        free = np.ones(min(capacity, self.capacity), np.bool_)
        free[held[stays]] = False
        target = held.copy()
        target[~stays] = np.flatnonzero(free)[: int((~stays).sum())]
        # a slot that comes back, or is new, must not give out a generation for a second time
        latest = max(self.latest, int(before.max(initial=0)))
        self.latest = latest + latest % 2

        key = self._key
        self._store.resize(capacity, held, target)
        self._key, self._arrival = self._store.beside("key"), self._store.beside("arrival")
        mark = self._store.mark
        kept = min(capacity, self.capacity)
        mark[:kept], mark[kept:] = before[:kept], self.latest
        mark[target[~stays]] += np.uint32(1)
        self.seal(target[~stays])
        self._moved |= dict(zip(key[held[~stays]].tolist(), target[~stays].tolist(), strict=True))

        place = np.full(self.capacity, -1, np.int64)
        place[held] = target
        self._retention.resize(capacity, place, target)
        self.capacity = capacity
        self.version += 1
        return place

    def changing(self) -> AbstractContextManager[Any]:
        """While nobody else looks at held rows."""
        return nullcontext() if self._outside is None else self._outside.changing()

    def without_lost(self, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """A saved state without the rows of others that were overwritten since: all of it."""
        return arrays

    def seal(self, slots: Slots) -> None:
        """Renews the checksums of rows that were written."""
        self._seal(slots, self._store.mark[slots])

    def state(self) -> dict[str, NDArray[Any]]:
        """What is known of all slots, and where the generations go on."""
        return {
            "mark": self._store.mark.copy(),
            "key": self._key.copy(),
            "arrival": self._arrival.copy(),
            "added": np.array(self.added),
            "latest": np.array(self.latest),
            "refused": np.array(self.refused),
            "held": np.array(self._held),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from what `state` returned; the fields are in the store already."""
        self._store.mark[:] = state["mark"]
        self._key[:], self._arrival[:] = state["key"], state["arrival"]
        self._counter[0], self.latest = int(state["added"]), int(state["latest"])
        self.refused = int(state["refused"])
        self.refresh()

    def refresh(self) -> None:
        """Takes over what the store says, in which another process wrote. O(capacity)."""
        held = np.flatnonzero(self._filled(np.arange(self.capacity)))
        self._held = len(held)
        self._arrivals = int(self._arrival[held].sum())
        key = self._key[held]
        astray = key & SLOT_MASK != held
        self._moved = dict(zip(key[astray].tolist(), held[astray].tolist(), strict=True))
        self._changed(np.arange(self.capacity))

    def recover(self, known: int | None = None) -> None:
        """Takes over what a process left that was killed, or whose power was cut.

        Args:
            known: only so many offers reached the disk for sure, and of them what its checksum
                says; None: all that was written is there.
        """
        mark = self._store.mark
        held = self.in_use()
        if known is not None:
            whole = self.whole_of(held, known)
            # whatever such a slot held, its next generation is new
            mark[held[~whole]] += np.uint32(1)
            self._counter[0] = known
            held = held[whole]
        newest = int(self._arrival[held].max(initial=-1)) + 1
        self._counter[0] = max(int(self._counter[0]), newest)
        self.refresh()

    def whole_of(self, held: Slots, known: int) -> NDArray[np.bool_]:
        """(M,), which of these examples are as they were when so many had been offered."""
        due = self._checksums(held, self._store.mark[held])
        same = self._store.beside("checksum")[held] == due
        whole: NDArray[np.bool_] = same & (self._arrival[held] < known)
        return whole

    def in_use(self) -> Slots:
        """The slots of all held examples, in their own order."""
        return np.flatnonzero(self._filled(np.arange(self.capacity)))

    def held(self) -> Slots:
        """The slots of all held examples, oldest first."""
        return self.oldest_first(np.arange(self.capacity))

    def oldest_first(self, slots: Slots) -> Slots:
        """Those of these slots that hold an example, in the order of their arrival."""
        filled = slots[self._filled(slots)]
        return filled[np.argsort(self._arrival[filled], kind="stable")]

    def keys(self, slots: Slots) -> Int64s:
        """The keys of held examples."""
        keys: Int64s = self._key[slots]
        return keys

    def find(self, keys: Int64s) -> tuple[Slots, NDArray[np.bool_]]:
        """The slots of these keys, and which of them are still held."""
        slots = np.where(keys > 0, keys & SLOT_MASK, 0)
        if self._moved:
            slots = np.array(
                [
                    self._moved.get(key, slot)
                    for key, slot in zip(keys.tolist(), slots.tolist(), strict=True)
                ],
                np.int64,
            )
        inside = slots < self.capacity
        slots = np.where(inside, slots, 0)
        return slots, inside & (self._key[slots] == keys) & self._filled(slots)

    def read(self, *slots: Slots) -> Sequence[Block]:
        """A block of fields for each array of slots."""
        return self._store.read(*slots)

    def whole(self, slots: Slots) -> dict[str, NDArray[Any]]:
        """All fields of examples, by flat name."""
        (block,) = self._store.read(slots)
        return {name: block[name] for name in self.schema.flat}

    def __len__(self) -> int:
        """Examples held."""
        return self._held

    def stats(self) -> dict[str, float]:
        """Counts of what is held; an example's age is how many were offered since."""
        age = self.added - 1 - self._arrivals / self._held if self._held else 0.0
        return {"rows": self._held, "steps": self._held, "episodes": 0, "mean_age": age}

    def _put(self, slots: Slots, rows: Mapping[str, Any], arrival: Int64s) -> Int64s:
        """Writes rows into distinct slots, whatever these held. Returns the new keys."""
        filled = self._filled(slots)
        if filled.any():
            self._empty(slots[filled])
        self._store.write(slots, rows, self._names)
        mark = self._store.mark[slots] + np.uint32(1)
        keys: Int64s = mark.astype(np.int64) << GENERATION_SHIFT | slots
        self._key[slots] = keys
        self._arrival[slots] = arrival
        self._seal(slots, mark)
        fence()
        self._store.mark[slots] = mark
        self._arrivals += int(arrival.sum())
        self._held += len(slots)
        self._changed(slots)
        return keys

    def _seal(self, slots: Slots, mark: NDArray[np.uint32]) -> None:
        if self._outside is not None:
            self._store.beside("checksum")[slots] = self._checksums(slots, mark)

    def _checksums(self, slots: Slots, mark: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """(M,), of the fields, key, arrival and mark of each row."""
        (block,) = self._store.read(slots)
        fields = [block[name] for name in self._names]
        # the mark too: what was removed must not come back because its slot was filled again
        return checksums([*fields, self._key[slots], self._arrival[slots], mark])

    def _changed(self, slots: Slots) -> None:
        self.version += 1
        for follower in self.followers:
            follower.note(slots)

    def _filled(self, slots: Slots) -> NDArray[np.bool_]:
        filled: NDArray[np.bool_] = (self._store.mark[slots] & 1) == 1
        return filled

    def _empty(self, slots: Slots) -> None:
        if self._moved:
            for key in self._key[slots].tolist():
                self._moved.pop(key, None)
        self._store.touch(slots)
        self._store.mark[slots] += np.uint32(1)
        fence()
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

    def state(self) -> dict[str, NDArray[Any]]:
        """Which slots have yet to be looked at."""
        return {"noted": np.unique(np.concatenate(self._noted)) if self._noted else _NONE}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from what `state` returned."""
        self._noted = [state["noted"]] if len(state["noted"]) else []
        self._count = len(state["noted"])

    def advance(self) -> tuple[Slots, Slots]:
        """What may have to leave, and what enters, oldest first, once that has left."""
        if not self._noted:
            return _NONE, _NONE
        changed = np.unique(np.concatenate(self._noted))
        self._noted, self._count = [], 0
        return changed, self._examples.oldest_first(changed)


def checksums(columns: Sequence[NDArray[Any]]) -> NDArray[np.uint32]:
    """(M,), CRC-32 of each row's bytes, over all columns (M, ...)."""
    sums = np.zeros(len(columns[0]), np.uint32)
    for place in range(len(sums)):
        checksum = 0
        for column in columns:
            checksum = zlib.crc32(column[place].tobytes(), checksum)
        sums[place] = checksum
    return sums


_NONE: Slots = np.zeros(0, np.int64)
