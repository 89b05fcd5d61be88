"""`Balanced`: equal shares for every value of a field, a uniform sample within each.

The hard thing is to keep both at once. A value that has a smaller share than others must be let in
without condition to catch up; but one that has lost examples, and is let in so, would come to hold
its newest ones only. What separates the two is said at `_Group.is_full`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError, SchemaError
from recollect.retention.base import Retention, Rows
from recollect.retention.slots import FreeSlots, is_partition, without_pushed_out
from recollect.schema import Schema
from recollect.states import Saved
from recollect.stores.base import Slots


class Balanced(Retention):
    """Every value of a field gets the same share of a full memory, as far as it has examples.

    Class-balancing reservoir sampling (Chrysakis & Moens 2020, "Online Continual Learning from
    Imbalanced Data", algorithm 1). Of a full memory a new example takes the place of a random one
    of a value that holds most; if its own value holds most, or has held most and lost one since,
    it takes the place of a random one of its own, with probability held / arrived of that value,
    or is not kept. Shares adapt as new values appear, no value is emptied by another, and each
    value's examples are a uniform sample of all that arrived of it.

    Free slots (also those that `remove` and a growing capacity leave) are filled by whatever comes.
    A value that lost more than others through `remove` catches up with its next arrivals; as in a
    reservoir the chances are then equal no more. Shrinking takes at random from those that hold
    most. A value that `memory.update` rewrites counts as what it was when it came.

    O(1) an example, in Python: some microseconds. 32 bytes a row of capacity, and what is known of
    each value held.

    Args:
        by: the flat name of a scalar integer or bool field, such as "label" or "info.label".
    """

    row_bytes = 32

    def __init__(self, by: str = "label") -> None:
        self.by = by
        self._capacity = 0
        self._free: FreeSlots
        self._groups: _Groups

    def __repr__(self) -> str:
        return f"Balanced(by={self.by!r})"

    def open(self, capacity: int, schema: Schema) -> None:
        if self._capacity:
            raise ConfigurationError(f"retention: this {self!r} belongs to a memory; make another")
        usable = [n for n, f in schema.flat.items() if f.shape == () and f.dtype.kind in "biu"]
        if self.by not in usable:
            raise ConfigurationError(
                f"Balanced: by: expected a scalar integer or bool field "
                f"({', '.join(usable) or 'the schema has none'}), got {self.by!r}"
            )
        self._capacity = capacity
        self._free = FreeSlots(capacity)
        self._groups = _Groups(capacity)

    def place(self, rows: Mapping[str, Any], count: int, rng: np.random.Generator) -> Slots:
        values = rows[self.by].tolist()
        groups = self._groups
        self._check_room(values)
        free = self._free.take(count)
        slots = free.tolist()
        for slot, value in zip(slots, values, strict=False):
            group = groups.arrived(value)
            groups.join(group, slot)
        chances = rng.random(count - len(slots)).tolist()
        for value, chance in zip(values[len(slots) :], chances, strict=True):
            group = groups.arrived(value)
            if group.is_full(groups.largest):
                # a random number below 1 times a count below 2**53 is always below that count
                at = int(chance * group.arrivals)
                slots.append(group.slots[at] if at < len(group.slots) else -1)
            else:
                slot = groups.take_from_largest(chance)
                groups.join(group, slot)
                slots.append(slot)
        return without_pushed_out(np.array(slots, np.int64))

    def remove(self, slots: Slots) -> None:
        for slot in slots.tolist():
            self._groups.leave(slot)
        self._free.give_back(slots)

    def surplus(self, count: int, held: Slots, rng: np.random.Generator) -> Slots:
        members = [np.array(group.slots, np.int64) for group in self._groups.in_order()]
        size = np.array([len(slots) for slots in members])

        def excess(share: int) -> int:
            return int(np.maximum(size - share, 0).sum())

        share = bisect_left(range(int(size.max()) + 1), -count, key=lambda s: -excess(s))
        losing = np.maximum(size - share, 0)
        at_share = np.flatnonzero(size >= share)
        losing[rng.choice(at_share, count - excess(share), replace=False)] += 1
        return np.concatenate(
            [rng.choice(m, n, replace=False) for m, n in zip(members, losing, strict=True)]
        )

    def resize(self, capacity: int, place: NDArray[np.int64], held: Slots) -> None:
        known = self._groups.known()
        self._groups = _Groups(capacity)
        self._groups.bring(known._replace(held=place[known.held]))
        self._free = FreeSlots(capacity, held)
        self._capacity = capacity

    def state(self) -> dict[str, NDArray[Any]]:
        return {
            "capacity": np.array(self._capacity),
            **self._groups.known()._asdict(),
            "free": self._free.all(),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        known, free = self._checked(state)
        self._groups.bring(known)
        self._free.restore(free)

    def recover(
        self,
        held: Slots,
        arrivals: int,
        rows: Rows,
        priority: NDArray[np.float64] | None = None,
        earlier: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """By the values that the held examples have now.

        What arrived of each value is known from `earlier`, and is at least what is held of it. If
        more arrived in all, and more than there is room for, the others were of values that hold
        most, since only these lose any: each gets of them in proportion to what is known of it.
        """
        before: dict[int, int] = {}
        if earlier is not None:
            known, _ = self._checked(earlier)
            before = dict(zip(known.values.tolist(), known.arrivals.tolist(), strict=True))
        values, group, sizes = np.unique(
            np.asarray(rows(held)[self.by]), return_inverse=True, return_counts=True
        )
        if values.dtype.kind == "b":
            values = values.astype(np.int64)
        arrived = np.array([before.pop(value, 0) for value in values.tolist()], np.int64)
        arrived = np.maximum(arrived, sizes)
        missing = arrivals - int(arrived.sum()) - sum(before.values())
        if missing > 0 and arrivals > self._capacity and len(held):
            share = np.where(sizes >= sizes.max() - 1, arrived, 0)
            arrived += (missing * (share / share.sum())).astype(np.int64)
        by_value = held[np.argsort(group.reshape(-1), kind="stable")]
        self._groups.bring(_Known(values, arrived, sizes, by_value))
        self._free = FreeSlots(self._capacity, held)

    def _checked(self, state: Mapping[str, NDArray[Any]]) -> tuple[_Known, Slots]:
        """What a state says of the values held, and which slots are free."""
        saved = Saved(repr(self), state, [*_Known._fields, "free"], self._capacity)
        values = np.asarray(state["values"])
        saved.check("values", values.dtype.kind in "iu" and values.ndim == 1, "whole numbers")
        saved.check("values", len(np.unique(values)) == len(values), "distinct values")
        sizes = saved.whole("sizes", values.shape, least=1)
        arrived = saved.whole("arrivals", values.shape)
        saved.check("arrivals", (arrived >= sizes).all(), "at least what is held of each value")
        held, free = saved.slots("held"), saved.slots("free")
        # as Python counts, whose sums do not overflow
        saved.check("sizes", sum(sizes.tolist()) == len(held), f"{len(held)} slots in all")
        saved.check("free", is_partition(self._capacity, free, held), "all that hold nothing")
        return _Known(values, arrived, sizes, held), free

    def _check_room(self, values: Iterable[int]) -> None:
        new = set(values).difference(self._groups.by_value)
        known = len(self._groups.by_value)
        if new and known + len(new) > self._capacity:
            raise SchemaError(
                f"{self.by}: Balanced holds at least one example of every value, and {known} "
                f"values with {len(new)} new ones, such as {min(new)}, are more than "
                f"{self._capacity} slots"
            )


class _Known(NamedTuple):
    """What is known of all values that are held."""

    values: NDArray[Any]
    """(G,) the smallest groups first, those of one size as they are drawn from."""
    arrivals: NDArray[np.int64]
    sizes: NDArray[np.int64]
    held: Slots
    """(N,) the slots, value by value."""


class _Group:
    """The examples of one value."""

    __slots__ = ("arrivals", "at", "slots", "value")

    def __init__(self, value: int) -> None:
        self.value = value
        self.arrivals = 0
        self.slots = array("q")
        self.at = 0
        """Its place among the groups of its size."""

    def is_full(self, largest: int) -> bool:
        """Whether an arrival must compete with its own value. It is counted already.

        In the paper: whether the value ever held most since the memory was filled. Such a value
        holds as many as the largest or one less, since only the largest lose any; what is as small
        and never held most has lost nothing yet. Said like this, it needs no memory of the past,
        and a value that `remove` made smaller is not kept from growing again.
        """
        held = len(self.slots)
        return held == largest or (held == largest - 1 and held < self.arrivals - 1)


class _Groups:
    """All values that are held, also by their size. O(1) an arrival, entry and exit."""

    def __init__(self, capacity: int) -> None:
        self.by_value: dict[int, _Group] = {}
        self.largest = 0
        """The most slots that a value holds."""
        self._by_size: dict[int, list[_Group]] = {}
        self._of: list[_Group | None] = [None] * capacity
        self._place = array("q", bytes(8 * capacity))
        """Where each slot stands in its group."""

    def arrived(self, value: int) -> _Group:
        """The group of an arrival, which it counts."""
        group = self.by_value.get(value)
        if group is None:
            group = self.by_value[value] = _Group(value)
        group.arrivals += 1
        return group

    def join(self, group: _Group, slot: int) -> None:
        size = len(group.slots)
        self._place[slot] = size
        self._of[slot] = group
        if size:
            self._take_off(group, size)
        group.slots.append(slot)
        self._put_on(group, size + 1)
        self.largest = max(self.largest, size + 1)

    def leave(self, slot: int) -> None:
        """A value whose last slot leaves is forgotten."""
        group = self._of[slot]
        assert group is not None
        size = len(group.slots)
        self._take_off(group, size)
        if size == self.largest and size not in self._by_size:
            self.largest = size - 1
        last = group.slots.pop()
        if last != slot:
            group.slots[self._place[slot]] = last
            self._place[last] = self._place[slot]
        self._of[slot] = None
        if size > 1:
            self._put_on(group, size - 1)
        else:
            del self.by_value[group.value]

    def take_from_largest(self, chance: float) -> int:
        """A random slot, which leaves, of those values that hold most; `chance`: 0 to below 1."""
        groups = self._by_size[self.largest]
        which, at = divmod(int(chance * len(groups) * self.largest), self.largest)
        slot = groups[which].slots[at]
        self.leave(slot)
        return slot

    def known(self) -> _Known:
        groups = self.in_order()
        held = array("q")
        for group in groups:
            held.extend(group.slots)
        unsigned = any(group.value > np.iinfo(np.int64).max for group in groups)
        return _Known(
            np.array([group.value for group in groups], np.uint64 if unsigned else np.int64),
            np.array([group.arrivals for group in groups], np.int64),
            np.array([len(group.slots) for group in groups], np.int64),
            np.array(held, np.int64),
        )

    def bring(self, known: _Known) -> None:
        """Values that are held already, into what is empty."""
        ends = np.cumsum(known.sizes)
        place = np.frombuffer(self._place, np.int64)
        place[known.held] = np.arange(len(known.held)) - np.repeat(ends - known.sizes, known.sizes)
        slots = array("q", known.held.astype(np.int64).tobytes())
        columns = known.values.tolist(), known.arrivals.tolist(), ends.tolist()
        begin = 0
        for value, arrivals, end in zip(*columns, strict=True):
            group = self.by_value[value] = _Group(value)
            group.arrivals = arrivals
            group.slots = slots[begin:end]
            for slot in group.slots:
                self._of[slot] = group
            self._put_on(group, end - begin)
            self.largest = max(self.largest, end - begin)
            begin = end

    def in_order(self) -> list[_Group]:
        """Smallest first, those of one size as they are drawn from."""
        return [group for size in sorted(self._by_size) for group in self._by_size[size]]

    def _put_on(self, group: _Group, size: int) -> None:
        groups = self._by_size.setdefault(size, [])
        group.at = len(groups)
        groups.append(group)

    def _take_off(self, group: _Group, size: int) -> None:
        groups = self._by_size[size]
        last = groups.pop()
        if last is not group:
            groups[group.at] = last
            last.at = group.at
        elif not groups:
            del self._by_size[size]
