"""`PriorityQueue`: members in the order of their priorities, ties by age.

A heap gives its first member at once; the n first are found, without taking any out, by a walk that
goes on to the best of the members whose parent it has visited. The loops are compiled by Numba;
this module therefore is imported when a sampler that needs it is opened.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.compiled import compiled
from recollect.states import Saved
from recollect.stores.base import Slots

Floats = NDArray[np.float64]


class Heap:
    """Members by key, the smallest first, equal ones by age. 24 bytes a row of capacity.

    A binary heap of slots and keys, and the place of each slot in it. The keys lie in the order of
    the heap, so that a comparison takes one cache miss. O(log N) an entry, exit and change.
    """

    names = ("members", "priority", "age", "entered")
    """What its state has."""

    def __init__(self, capacity: int) -> None:
        index = np.int32 if capacity < 2**31 else np.int64
        self._heap: NDArray[Any] = np.zeros(capacity, index)
        self._place: NDArray[Any] = np.zeros(capacity, index)
        self._key = np.zeros(capacity, np.float64)
        self._age = np.zeros(capacity, np.int64)
        self._count = 0
        self._entered = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, slots: Slots, keys: Floats) -> None:
        """New members, oldest first."""
        _push(
            self._heap, self._place, self._key, self._age, self._count, self._entered, slots, keys
        )
        self._count += len(slots)
        self._entered += len(slots)

    def leave(self, slots: Slots) -> None:
        _take_out(self._heap, self._place, self._key, self._age, self._count, slots)
        self._count -= len(slots)

    def change(self, slots: Slots, keys: Floats) -> None:
        """New keys of members; of duplicates the last counts."""
        _change(self._heap, self._place, self._key, self._age, self._count, slots, keys)

    def smallest(self) -> float:
        """The smallest key. There are members."""
        return float(self._key[0])

    def first(self, n: int) -> Slots:
        """(n,) the first members in order, and round again. O(n log n). There are members."""
        found = _first(self._heap, self._key, self._age, self._count, min(n, self._count))
        return found if n <= self._count else np.resize(found, n)

    def at(self, places: NDArray[Any]) -> Slots:
        """The members at these places of the heap, 0 to N - 1."""
        slots: Slots = self._heap[places].astype(np.int64)
        return slots

    def places(self, slots: Slots) -> NDArray[Any]:
        """The places of these members in the heap."""
        return self._place[slots]

    def keys(self, slots: Slots) -> Floats:
        """(M,) of these members."""
        keys: Floats = self._key[self._place[slots]]
        return keys

    def sort(self) -> None:
        """Puts all members in order, which is a heap too. O(N log N)."""
        heap, key = self._heap[: self._count], self._key[: self._count]
        order = np.argsort(key)
        if (np.diff(key[order]) == 0).any():
            order = np.lexsort((self._age[heap], key))
        heap[:], key[:] = heap[order], key[order]
        self._place[heap] = np.arange(self._count)

    def copy_into(self, other: Heap, place: NDArray[np.int64]) -> None:
        """The same heap in an empty one, each member in another slot."""
        slots = self._heap[: self._count]
        moved = place[slots]
        other._heap[: self._count] = moved
        other._place[moved] = np.arange(self._count)
        other._key[: self._count] = self._key[: self._count]
        other._age[moved] = self._age[slots]
        other._count, other._entered = self._count, self._entered

    def state(self, sign: float) -> dict[str, NDArray[Any]]:
        """Members (N,) in the order of their places, with ages; and how many have ever entered.

        Args:
            sign: 1 where keys are priorities, -1 where they are priorities with the sign changed.
        """
        slots = self._heap[: self._count].copy()
        return {
            "members": slots,
            "priority": sign * self._key[: self._count],
            "age": self._age[slots],
            "entered": np.array(self._entered),
        }

    def restore(self, saved: Saved, sign: float) -> None:
        """Goes on from what `state` returned, in an empty heap."""
        slots = saved.slots("members")
        count = len(slots)
        key = sign * saved.floats("priority", (count,), least=0)
        age = saved.whole("age", (count,))
        entered = saved.number("entered", least=int(age.max(initial=-1)) + 1)
        parent = (np.arange(1, count) - 1) // 2
        tie = (key[parent] == key[1:]) & (age[parent] <= age[1:])
        saved.check("priority", ((key[parent] < key[1:]) | tie).all(), "the order of a heap")
        self._heap[:count], self._key[:count] = slots, key
        self._place[slots] = np.arange(count)
        self._age[slots] = age
        self._count, self._entered = count, entered

    def by_age(self) -> tuple[Slots, Floats]:
        """(N,) the members, oldest first, and their keys. O(N log N)."""
        slots = self._heap[: self._count].astype(np.int64)
        oldest_first = np.argsort(self._age[slots])
        return slots[oldest_first], self._key[oldest_first]


class PriorityQueue:
    """Members by priority, highest (or lowest) first, equal ones by age.

    New members enter at the largest live priority, 1.0 where there is none or it is 0, or at a
    given number. Where the lowest comes first, a second heap knows the largest.
    """

    names = Heap.names
    """What its state has."""

    def __init__(self, capacity: int, initial: float | None, highest_first: bool) -> None:
        self._initial = initial
        self._sign = -1.0 if highest_first else 1.0
        self._queue = Heap(capacity)
        self._largest_first = Heap(capacity) if initial is None and not highest_first else None

    def __len__(self) -> int:
        return len(self._queue)

    def enter(self, slots: Slots, priority: Floats | None = None) -> None:
        """New members, oldest first; their priorities (M,) if they have some already."""
        if priority is None:
            priority = np.full(len(slots), self._entry_priority())
        self._queue.enter(slots, self._sign * priority)
        if self._largest_first is not None:
            self._largest_first.enter(slots, -priority)

    def leave(self, slots: Slots) -> None:
        self._queue.leave(slots)
        if self._largest_first is not None:
            self._largest_first.leave(slots)

    def update(self, slots: Slots, priority: Floats) -> None:
        self._queue.change(slots, self._sign * priority)
        if self._largest_first is not None:
            self._largest_first.change(slots, -priority)

    def priority(self, slots: Slots) -> Floats:
        """(M,) of these members."""
        return self._sign * self._queue.keys(slots)

    def first(self, n: int) -> Slots:
        """(n,) as `Heap.first`."""
        return self._queue.first(n)

    def resized(self, capacity: int, place: NDArray[np.int64]) -> PriorityQueue:
        """The same members in their new places."""
        slots, key = self._queue.by_age()
        queue = PriorityQueue(capacity, self._initial, self._sign < 0)
        queue.enter(place[slots], self._sign * key)
        return queue

    def state(self) -> dict[str, NDArray[Any]]:
        """Members (N,) in no particular order, with priorities and ages."""
        return self._queue.state(self._sign)

    def restore(self, saved: Saved) -> None:
        """Goes on from what `state` returned, in an empty queue."""
        self._queue.restore(saved, self._sign)
        if self._largest_first is not None:
            # sorted, each stays where it enters
            slots, key = self._queue.by_age()
            largest_first = np.argsort(-key)
            self._largest_first.enter(slots[largest_first], -key[largest_first])

    def _entry_priority(self) -> float:
        if self._initial is not None:
            return self._initial
        by_largest = self._queue if self._largest_first is None else self._largest_first
        largest = -by_largest.smallest() if len(by_largest) else 0.0
        return largest if largest > 0 else 1.0


@compiled
def _is_before(age: NDArray[np.int64], key: float, slot: np.uintp, other: float, its: Any) -> bool:
    return bool(key < other or (key == other and age[slot] < age[np.uintp(its)]))


@compiled
def _settle(
    heap: NDArray[Any],
    place: NDArray[Any],
    keys: Floats,
    age: NDArray[np.int64],
    count: int,
    slot: int,
    key: float,
    at: int,
) -> None:
    """Puts a slot at this place of the heap, or as far up or down from it as its key demands."""
    one, end, its, here = np.uintp(1), np.uintp(count), np.uintp(slot), np.uintp(at)
    while here > 0:
        parent = (here - one) >> one
        if not _is_before(age, key, its, keys[parent], heap[parent]):
            break
        heap[here], keys[here] = heap[parent], keys[parent]
        place[np.uintp(heap[here])] = here
        here = parent
    while True:
        child = (here << one) + one
        if child >= end:
            break
        other = child + one
        if other < end and _is_before(
            age, keys[other], np.uintp(heap[other]), keys[child], heap[child]
        ):
            child = other
        if not _is_before(age, keys[child], np.uintp(heap[child]), key, its):
            break
        heap[here], keys[here] = heap[child], keys[child]
        place[np.uintp(heap[here])] = here
        here = child
    heap[here], keys[here] = slot, key
    place[its] = here


@compiled
def _push(
    heap: NDArray[Any],
    place: NDArray[Any],
    keys: Floats,
    age: NDArray[np.int64],
    count: int,
    entered: int,
    slots: Slots,
    new: Floats,
) -> None:
    for i in range(len(slots)):
        age[slots[i]] = entered + i
        _settle(heap, place, keys, age, count + i + 1, slots[i], new[i], count + i)


@compiled
def _take_out(
    heap: NDArray[Any],
    place: NDArray[Any],
    keys: Floats,
    age: NDArray[np.int64],
    count: int,
    slots: Slots,
) -> None:
    for slot in slots:
        count -= 1
        last = heap[count]
        if last != slot:
            _settle(heap, place, keys, age, count, last, keys[count], place[slot])


@compiled
def _change(
    heap: NDArray[Any],
    place: NDArray[Any],
    keys: Floats,
    age: NDArray[np.int64],
    count: int,
    slots: Slots,
    new: Floats,
) -> None:
    for i in range(len(slots)):
        _settle(heap, place, keys, age, count, slots[i], new[i], place[slots[i]])


@compiled
def _first(heap: NDArray[Any], keys: Floats, age: NDArray[np.int64], count: int, n: int) -> Slots:
    found = np.empty(n, np.int64)
    waiting = [(keys[0], age[heap[0]], 0)]
    for i in range(n):
        _, _, at = heappop(waiting)
        found[i] = heap[at]
        for child in range(2 * at + 1, min(2 * at + 3, count)):
            heappush(waiting, (keys[child], age[heap[child]], child))
    return found
