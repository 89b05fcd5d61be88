"""Members in the order of their entry: a line, a table of ranks, a deck of cards.

Members leave from anywhere, so that an array in order of entry would have holes. `Line` follows
links past them, `Ranks` counts what is left of them, `Deck` fills them, each with loops over arrays
that Numba compiles; this module therefore is imported when a sampler that needs it is opened.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.compiled import compiled
from recollect.stores.base import Slots


class Line:
    """Members one behind the other, oldest first. O(1) an entry and exit, 8 bytes a row.

    A circular list linked both ways. The number after the last slot stands for its two ends.
    """

    def __init__(self, capacity: int) -> None:
        self._before = np.zeros(capacity + 1, _index(capacity + 1))
        self._after = np.zeros_like(self._before)
        self._before[capacity] = self._after[capacity] = capacity
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, slots: Slots) -> None:
        """Joins at the end."""
        _link(self._before, self._after, slots)
        self._count += len(slots)

    def leave(self, slots: Slots) -> None:
        _unlink(self._before, self._after, slots)
        self._count -= len(slots)

    def oldest(self, n: int) -> Slots:
        """(n,) from the oldest on, and round again. O(n). There are members."""
        return _walk(self._after, n)

    def newest(self, n: int) -> Slots:
        """(n,) from the newest on, and round again. O(n). There are members."""
        return _walk(self._before, n)


class Ranks:
    """Which member is the k-th newest, and the rank of each: 0 for the newest, 1 for the next.

    Every entry takes the next place of a ring of twice the capacity; a Fenwick tree (Fenwick 1994,
    "A new data structure for cumulative frequency tables") counts the members up to each place.
    O(log capacity) an entry, exit and rank. Should members and the holes between them fill the
    ring, the members close ranks: that is O(N log N), once in at least `capacity` entries, and
    never happens where the oldest leave first. 20 bytes a row.
    """

    def __init__(self, capacity: int) -> None:
        index = _index(2 * capacity + 1)
        self._slot = np.full(2 * capacity, -1, index)
        self._place = np.zeros(capacity, index)
        self._tree = np.zeros(2 * capacity + 1, index)
        # places in use: first to stop - 1, both counted on without end and taken modulo the ring
        self._first = 0
        self._stop = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, slots: Slots) -> None:
        """Joins as the newest, the last of them as the newest of all."""
        if self._stop + len(slots) - self._first > len(self._slot):
            self._close_ranks()
        _take_places(self._slot, self._place, self._tree, self._stop, slots)
        self._stop += len(slots)
        self._count += len(slots)

    def leave(self, slots: Slots) -> None:
        self._first = _leave_places(
            self._slot, self._place, self._tree, self._first, self._stop, slots
        )
        self._count -= len(slots)

    def at(self, ranks: NDArray[np.int64]) -> Slots:
        """(n,) the members of these ranks, each below the number of members."""
        return _members_at(self._slot, self._tree, self._first, self._stop, self._count, ranks)

    def of(self, slots: Slots) -> NDArray[np.int64]:
        """(M,) the ranks of members."""
        return _ranks_of(self._place, self._tree, self._first, self._stop, self._count, slots)

    def members(self) -> Slots:
        """(N,) oldest first. O(capacity)."""
        places = np.arange(self._first, self._stop) % len(self._slot)
        slots = self._slot[places]
        return slots[slots >= 0].astype(np.int64)

    def _close_ranks(self) -> None:
        members = self.members()
        self._slot[:] = -1
        self._tree[:] = 0
        self._first = self._stop = self._count = 0
        self.enter(members)


class Deck:
    """Members in no order, some of them dealt already. O(1) an entry, exit and card, 8 bytes a row.

    They stand in one array without gaps, the `dealt` ones first. To deal is to swap a random one of
    the others to the boundary and to move that on (Fisher and Yates' shuffle, a step at a time).
    Once all are dealt, none is.
    """

    def __init__(self, capacity: int) -> None:
        self._members = np.zeros(capacity, _index(capacity))
        self._place = np.zeros_like(self._members)
        self._count = 0
        self.dealt = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, slots: Slots) -> None:
        """Joins those not dealt yet."""
        first, self._count = self._count, self._count + len(slots)
        self._members[first : self._count] = slots
        self._place[slots] = np.arange(first, self._count)

    def leave(self, slots: Slots) -> None:
        self.dealt = _discard(self._members, self._place, self._count, self.dealt, slots)
        self._count -= len(slots)

    def deal(self, chances: NDArray[np.float64]) -> Slots:
        """(n,) members, one for each random number from 0 to below 1. There are members."""
        slots, self.dealt = _deal(self._members, self._place, self._count, self.dealt, chances)
        return slots

    def members(self) -> Slots:
        """(N,) the `dealt` ones first."""
        return self._members[: self._count].astype(np.int64)


def _index(largest: int) -> type[np.signedinteger[Any]]:
    return np.int32 if largest < 2**31 else np.int64


@compiled
def _link(before: NDArray[Any], after: NDArray[Any], slots: Slots) -> None:
    end = len(before) - 1
    last = before[end]
    for slot in slots:
        after[last] = slot
        before[slot] = last
        last = slot
    after[last] = end
    before[end] = last


@compiled
def _unlink(before: NDArray[Any], after: NDArray[Any], slots: Slots) -> None:
    for slot in slots:
        after[before[slot]] = after[slot]
        before[after[slot]] = before[slot]


@compiled
def _walk(follow: NDArray[Any], n: int) -> Slots:
    slots = np.empty(n, np.int64)
    end = len(follow) - 1
    slot = follow[end]
    for i in range(n):
        slots[i] = slot
        slot = follow[slot]
        if slot == end:
            slot = follow[end]
    return slots


@compiled
def _add(tree: NDArray[Any], place: int, change: int) -> None:
    """Counts so many members more at this place."""
    node = place + 1
    while node < len(tree):
        tree[node] += change
        node += node & -node


@compiled
def _members_below(tree: NDArray[Any], place: int) -> int:
    """How many members stand at places before this one."""
    total = 0
    node = place
    while node > 0:
        total += tree[node]
        node &= node - 1
    return total


@compiled
def _place_of(tree: NDArray[Any], nth: int) -> int:
    """The place before which exactly `nth` members stand, and where one stands."""
    step = 1
    while 2 * step < len(tree):
        step *= 2
    place = 0
    while step > 0:
        node = place + step
        if node < len(tree) and tree[node] <= nth:
            nth -= tree[node]
            place = node
        step //= 2
    return place


@compiled
def _take_places(
    ring: NDArray[Any], place: NDArray[Any], tree: NDArray[Any], stop: int, slots: Slots
) -> None:
    for i in range(len(slots)):
        taken = (stop + i) % len(ring)
        ring[taken] = slots[i]
        place[slots[i]] = taken
        _add(tree, taken, 1)


@compiled
def _leave_places(
    ring: NDArray[Any], place: NDArray[Any], tree: NDArray[Any], first: int, stop: int, slots: Slots
) -> int:
    """Returns the first place in use from now on."""
    for slot in slots:
        ring[place[slot]] = -1
        _add(tree, place[slot], -1)
    while first < stop and ring[first % len(ring)] < 0:
        first += 1
    return first


@compiled
def _members_at(
    ring: NDArray[Any],
    tree: NDArray[Any],
    first: int,
    stop: int,
    count: int,
    ranks: NDArray[np.int64],
) -> Slots:
    slots = np.empty(len(ranks), np.int64)
    if stop - first == count:  # no holes: rank and place are the same thing
        for i in range(len(ranks)):
            slots[i] = ring[(stop - 1 - ranks[i]) % len(ring)]
        return slots
    # the tree counts from the ring's seam, where a member `ahead` of the first one may stand
    ahead = _members_below(tree, first % len(ring))
    for i in range(len(ranks)):
        nth = (ahead + count - 1 - ranks[i]) % count
        slots[i] = ring[_place_of(tree, nth)]
    return slots


@compiled
def _ranks_of(
    place: NDArray[Any], tree: NDArray[Any], first: int, stop: int, count: int, slots: Slots
) -> NDArray[np.int64]:
    ranks = np.empty(len(slots), np.int64)
    ring = len(tree) - 1
    if stop - first == count:
        for i in range(len(slots)):
            ranks[i] = (stop - 1 - place[slots[i]]) % ring
        return ranks
    ahead = _members_below(tree, first % ring)
    for i in range(len(slots)):
        older = (_members_below(tree, place[slots[i]]) - ahead) % count
        ranks[i] = count - 1 - older
    return ranks


@compiled
def _discard(
    members: NDArray[Any], place: NDArray[Any], count: int, dealt: int, slots: Slots
) -> int:
    """Returns how many of those left are dealt."""
    for slot in slots:
        hole = place[slot]
        if hole < dealt:
            dealt -= 1
            members[hole] = members[dealt]
            place[members[hole]] = hole
            hole = dealt
        count -= 1
        if hole < count:
            members[hole] = members[count]
            place[members[hole]] = hole
    return dealt if dealt < count else 0


@compiled
def _deal(
    members: NDArray[Any],
    place: NDArray[Any],
    count: int,
    dealt: int,
    chances: NDArray[np.float64],
) -> tuple[Slots, int]:
    """Returns the members dealt, and how many are dealt then."""
    slots = np.empty(len(chances), np.int64)
    for i in range(len(chances)):
        # a random number below 1 times a count below 2**53 is always below that count
        chosen = dealt + int(chances[i] * (count - dealt))
        slot, other = members[chosen], members[dealt]
        members[chosen], place[other] = other, chosen
        members[dealt], place[slot] = slot, dealt
        slots[i] = slot
        dealt += 1
        if dealt == count:
            dealt = 0
    return slots, dealt
