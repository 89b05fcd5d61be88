"""`Reader`: one way of looking at a memory's rows, a view and a sampler with their eligible rows.

To sample is to draw under the lock, gather without it, and check afterwards that nothing that was
read has been overwritten meanwhile.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from recollect import trees
from recollect.batch import Batch, nest
from recollect.draws import DrawLimit
from recollect.errors import (
    ClosedError,
    ConfigurationError,
    EmptyMemoryError,
    PriorityError,
    SchemaError,
)
from recollect.examples import ExampleFrontier, Examples
from recollect.frontier import Frontier
from recollect.samplers.base import Sampler
from recollect.schema import Schema, as_numpy
from recollect.stores.base import Slots, Store
from recollect.streams import Streams
from recollect.views.base import Rows, View

ATTEMPTS = 3
"""How often a batch is gathered without the lock before it is gathered under it."""


@dataclass
class Shared:
    """What all readers of one memory have in common."""

    rows: Streams | Examples
    store: Store
    seeds: np.random.SeedSequence
    limit: DrawLimit | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    readers: weakref.WeakSet[Reader] = field(default_factory=weakref.WeakSet)
    closed: bool = False
    sampled: int = 0
    updated: int = 0
    stale_updates: int = 0
    rewrites: int = 0
    """How often stored fields were rewritten in place."""

    @property
    def schema(self) -> Schema:
        return self.rows.schema

    def check_open(self) -> None:
        if self.closed:
            raise ClosedError("this memory is closed")

    def withdraw(self, slots: Slots) -> None:
        """Takes held rows (distinct slots) out of every reader, for good."""
        self.rows.remove(slots)
        for reader in self.readers:
            reader.drop(slots)


class _Draw(NamedTuple):
    """What was drawn under the lock."""

    slots: Slots
    key: NDArray[np.int64]
    probability: NDArray[np.float64]
    weight: NDArray[np.float32]
    call: int
    rng: np.random.Generator | None
    version: tuple[int, int]


class Reader:
    """Samples a memory's rows through one view, chosen by one sampler.

    Made by `Memory.reader`; `Memory.sample` and `Memory.update` speak to the memory's first one.
    Each reader has its own eligible rows, priorities and random generator.
    """

    def __init__(self, shared: Shared, view: View, sampler: Sampler) -> None:
        schema = shared.schema
        for name, part, kind in (("view", view, View), ("sampler", sampler, Sampler)):
            if not isinstance(part, kind):
                raise ConfigurationError(f"{name}: expected a {kind.__name__}, got {part!r}")
        if view.kind != schema.kind:
            raise ConfigurationError(
                f"view: {type(view).__name__} makes examples of a schema of {view.kind}, "
                f"this memory holds {schema.kind}"
            )
        view.open(schema)
        sampler.open(shared.rows.capacity)
        self.view = view
        self.sampler = sampler
        self._shared = shared
        self._rows = cast(Rows, shared.rows)
        self._nested = {
            name: tree for name, tree in schema.fields.items() if isinstance(tree, (dict, tuple))
        }
        if "obs" in self._nested and schema.kind == "steps":
            self._nested["next_obs"] = self._nested["obs"]
        self._calls = 0
        self._member = np.zeros(shared.rows.capacity, np.bool_)
        with shared.lock:
            shared.check_open()
            (seed,) = shared.seeds.spawn(1)
            self._rng = np.random.default_rng(seed)
            if isinstance(shared.rows, Streams):
                self._frontier: Frontier | ExampleFrontier
                self._frontier = Frontier(shared.rows, shared.store, view)
            else:
                self._frontier = ExampleFrontier(shared.rows)
            self._seen_version = -1
            shared.readers.add(self)

    def sample(self, n: int) -> Batch:
        """Draws n examples with replacement, (n, ...) each.

        With `max_draws` a batch never holds a row more often than it may still be drawn, and the
        last batch may therefore be shorter. Costs O(n), whatever the capacity.

        Raises:
            EmptyMemoryError: no row can start an example now.
            ConfigurationError: n is no positive whole number.
        """
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise ConfigurationError(f"sample: expected a positive whole number, got {n!r}")
        shared = self._shared
        # a limit takes rows out as they are drawn: nobody may overwrite them before the gathering
        for _ in range(ATTEMPTS if shared.limit is None else 0):
            with shared.lock:
                drawn = self._draw(int(n))
            fields = self.view.gather(self._rows, drawn.slots, drawn.call, drawn.rng)
            with shared.lock:
                if self._is_still_true(drawn):
                    return self._batch(drawn, fields)
        with shared.lock:
            drawn = self._draw(int(n))
            fields = self.view.gather(self._rows, drawn.slots, drawn.call, drawn.rng)
            return self._batch(drawn, fields)

    def update(self, keys: Any, priority: Any = None, **extras: Any) -> int:
        """Gives rows new priorities under this reader's sampler, or new values of extra fields.

        Stale keys are ignored and counted in `stats()["stale_updates"]`; of duplicate keys the last
        counts.

        Args:
            keys: (M,) of a batch, or one key.
            priority: (M,) arrays or tensors, finite and not negative.
            extras: (M, ...) new values by field name: a step's extras, an example's fields; of one
                key without the leading axis.

        Returns:
            How many of the keys were live.

        Raises:
            SchemaError: keys or values of the wrong dtype or shape, or no such extra.
            PriorityError: a priority that is no finite number from 0 up, or a sampler without any.
        """
        shared = self._shared
        wanted = checked_keys(keys)
        if np.ndim(keys) == 0:
            # one key, and its values without an axis of rows
            extras = {name: _with_axis(value, name) for name, value in extras.items()}
        flat = shared.schema.check_extras(extras, len(wanted))
        value = checked_priority(priority, len(wanted)) if priority is not None else _NO_PRIORITY
        with shared.lock:
            shared.check_open()
            slots, live = shared.rows.find(wanted)
            if priority is not None:
                self.advance()
                self.sampler.update(slots[live], value[live])
            if flat:
                shared.rewrites += 1
                rewritten = {name: flat[name][live] for name in flat}
                shared.store.write(slots[live], rewritten, {name: name for name in flat})
            count = int(live.sum())
            shared.updated += count
            shared.stale_updates += len(wanted) - count
            return count

    @property
    def eligible(self) -> int:
        """How many rows can start an example now."""
        with self._shared.lock:
            self.advance()
            return len(self.sampler)

    def advance(self) -> None:
        """Lets rows leave and enter as the memory moved on. The lock is held."""
        version = self._shared.rows.version
        if version == self._seen_version:
            return
        leaving, entering = self._frontier.advance()
        self.drop(leaving)
        if len(entering):
            self._member[entering] = True
            self.sampler.enter(entering)
        self._seen_version = version

    def drop(self, slots: Slots) -> None:
        """Takes those of these distinct slots that are members out. The lock is held."""
        leaving = slots[self._member[slots]]
        if len(leaving):
            self._member[leaving] = False
            self.sampler.leave(leaving)

    def _draw(self, n: int) -> _Draw:
        shared = self._shared
        shared.check_open()
        self.advance()
        eligible = len(self.sampler)
        if not eligible:
            raise EmptyMemoryError(
                f"sample: no row is eligible under {self.view!r}: {len(shared.rows)} steps are held"
                if shared.schema.kind == "steps"
                else "sample: the memory is empty"
            )
        if shared.limit is None:
            slots, probability = self.sampler.draw(n, self._rng)
            key = shared.rows.keys(slots)
        else:
            slots, probability, key = self._draw_limited(n, shared.limit)
        weight = self.sampler.weight(probability, eligible)
        rng = self._rng.spawn(1)[0] if self.view.random else None
        return _Draw(
            slots,
            key,
            probability,
            weight,
            self._calls,
            rng,
            (shared.rows.version, shared.rewrites),
        )

    def _draw_limited(
        self, n: int, limit: DrawLimit
    ) -> tuple[Slots, NDArray[np.float64], NDArray[np.int64]]:
        """Draws until there are n draws within the limit, or no row is left to draw."""
        parts: list[tuple[Slots, NDArray[np.float64], NDArray[np.int64]]] = []
        missing = n
        while missing and len(self.sampler):
            slots, probability = self.sampler.draw(missing, self._rng)
            key = self._shared.rows.keys(slots)
            admitted, exhausted = limit.admit(slots, key)
            parts.append((slots[admitted], probability[admitted], key[admitted]))
            missing -= int(admitted.sum())
            if len(exhausted):
                self._shared.withdraw(exhausted)
        slots, probability, key = (np.concatenate(part) for part in zip(*parts, strict=True))
        return slots, probability, key

    def _is_still_true(self, drawn: _Draw) -> bool:
        """Whether all that was read is still there, as it was. The lock is held."""
        shared = self._shared
        if drawn.version == (shared.rows.version, shared.rewrites):
            return True
        if drawn.version[1] != shared.rewrites:
            return False
        self.advance()
        held = self._member[drawn.slots].all()
        return bool(held) and bool((shared.rows.keys(drawn.slots) == drawn.key).all())

    def _batch(self, drawn: _Draw, fields: dict[str, Any]) -> Batch:
        """Attaches what belongs to the draw, and counts it. The lock is held."""
        self._calls += 1
        self._shared.sampled += len(drawn.key)
        for name, tree in self._nested.items():
            fields[name] = nest(trees.rebuild(tree, name, fields.pop))
        fields["weight"] = drawn.weight
        fields["probability"] = drawn.probability
        fields["key"] = drawn.key
        return Batch(fields)


def _with_axis(tree: Any, path: str) -> Any:
    """One row's value as rows (1, ...)."""
    values = dict(trees.leaves(tree, path))
    return trees.rebuild(tree, path, lambda name: as_numpy(values[name], name)[None])


_NO_PRIORITY: NDArray[np.float64] = np.zeros(0)


def checked_priority(priority: Any, count: int) -> NDArray[np.float64]:
    """Priorities as (M,) float64, each finite and not negative."""
    array = np.atleast_1d(as_numpy(priority, "priority"))
    if array.shape != (count,) or array.dtype.kind not in "biuf":
        raise SchemaError(
            f"priority: expected {count} numbers, as many as keys, got {array.dtype} {array.shape}"
        )
    value = array.astype(np.float64)
    if not np.isfinite(value).all() or (value < 0).any():
        worst = value[~(np.isfinite(value) & (value >= 0))][0]
        raise PriorityError(f"priority: expected finite numbers from 0 up, got {worst}")
    return value


def checked_keys(keys: Any) -> NDArray[np.int64]:
    """Keys as (M,) int64."""
    array = np.atleast_1d(as_numpy(keys, "keys"))
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise SchemaError(f"keys: expected whole numbers (M,), got {array.dtype} {array.shape}")
    return array.astype(np.int64)
