"""`Reader`: one way of looking at a memory's rows, a view and a sampler with their eligible rows.

To sample is to draw under the lock, gather without it, and check afterwards that nothing that was
read has been overwritten meanwhile. `draw` is the first half and `finish` the rest, so that a
loader's threads can do each when its time has come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from recollect import trees
from recollect.batch import Batch, nest
from recollect.candidates import Choice, Score, checked, choose_among
from recollect.draws import DrawLimit
from recollect.episodes import Predicate, Source
from recollect.errors import ConfigurationError, EmptyMemoryError, PriorityError, SchemaError
from recollect.examples import ExampleFrontier
from recollect.frontier import Chooses, Frontier
from recollect.loader import Loader
from recollect.samplers.base import Sampler
from recollect.schema import as_numpy
from recollect.shared import Shared
from recollect.stores.base import Slots
from recollect.streams import Streams
from recollect.transforms.base import Chain
from recollect.views.base import Rows, View

SHOWN_AT_ONCE = 10_000
"""Rows held already that a new reader's transforms are shown at a time."""

ATTEMPTS = 3
"""How often a batch is gathered without the lock before it is gathered under it."""

MOST_PENDING = 1_000
"""Priorities of rows yet to enter that are kept before it is looked which rows are still held."""


@dataclass(eq=False)
class Drawn:
    """What was drawn under the lock, for a batch that has yet to be made."""

    asked: int
    slots: Slots
    key: NDArray[np.int64]
    probability: NDArray[np.float64]
    weight: NDArray[np.float32]
    call: int
    rng: np.random.Generator | None
    version: tuple[int, int]
    fields: dict[str, Any] | None = None
    """What was gathered, once it was."""


class Reader:
    """Samples a memory's rows through one view, chosen by one sampler.

    Made by `Memory.reader`; `Memory.sample` and `Memory.update` speak to the memory's first one.
    Each reader has its own eligible rows, priorities and random generator.
    """

    def __init__(
        self,
        shared: Shared,
        view: View,
        sampler: Sampler,
        transforms: Sequence[Any] = (),
        where: Predicate | None = None,
    ) -> None:
        schema = shared.schema
        for name, part, kind in (("view", view, View), ("sampler", sampler, Sampler)):
            if not isinstance(part, kind):
                raise ConfigurationError(f"{name}: expected a {kind.__name__}, got {part!r}")
        if view.kind != schema.kind:
            raise ConfigurationError(
                f"view: {type(view).__name__} makes examples of a schema of {view.kind}, "
                f"this memory holds {schema.kind}"
            )
        if where is not None and schema.kind != "steps":
            raise ConfigurationError("where: a memory of examples has no episodes to choose from")
        if where is not None and not callable(where):
            raise ConfigurationError(f"where: expected a function of an episode, got {where!r}")
        self.transform = Chain(transforms)
        view.open(schema)
        self.transform.open(schema)
        sampler.open(shared.rows.slot_count)
        self.view = view
        self.sampler = sampler
        self.where = where
        self._shared = shared
        self._rows = cast(Rows, shared.rows)
        self._nested = {
            name: tree for name, tree in schema.fields.items() if isinstance(tree, (dict, tuple))
        }
        if "obs" in self._nested and schema.kind == "steps" and view.has_next_obs:
            self._nested["next_obs"] = self._nested["obs"]
        self.calls = 0
        self._pending: dict[int, float] = {}
        self._pending_limit = MOST_PENDING
        self._member = np.zeros(shared.rows.slot_count, np.bool_)
        with shared.lock:
            shared.check_open()
            (seed,) = shared.seeds.spawn(1)
            self.rng = np.random.default_rng(seed)
            if isinstance(shared.rows, Streams):
                self._frontier: Frontier | ExampleFrontier
                self._frontier = Frontier(shared.rows, view, _chooses(shared, shared.rows, where))
            else:
                self._frontier = ExampleFrontier(shared.rows)
            self._seen_version = -1
            if self.transform.observes:
                self._show_held()
                shared.watch()
            shared.readers.add(self)
            self.index = shared.made
            shared.made += 1
            if shared.saved_reader is not None:
                shared.saved_reader(self)

    def sample(
        self,
        n: int,
        *,
        candidates: int | None = None,
        score: Score | None = None,
        choose: Choice = "proportional",
    ) -> Batch:
        """Draws n examples with replacement, (n, ...) each.

        With `max_draws` a batch never holds a row more often than it may still be drawn, and the
        last batch may therefore be shorter. Costs O(n), whatever the capacity.

        Args:
            candidates: draws so many first, and keeps n of them by their score.
            score: what each candidate is worth: a function of a batch, (m,) numbers.
            choose: "proportional" to the score, or the n "highest"; see
                `recollect.candidates.choose_among`, also for `probability` and `weight`.

        Raises:
            EmptyMemoryError: no row can start an example now.
            PriorityError: all that is eligible has priority 0; or scores that are no priorities.
            ConfigurationError: n is no positive whole number, or the candidates are fewer.
            LimiterTimeoutError: the limiter let nobody sample for too long.
        """
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise ConfigurationError(f"sample: expected a positive whole number, got {n!r}")
        if candidates is None and score is None:
            return self._sample(int(n))
        batch = self._sample(checked(int(n), candidates, score, choose))
        assert score is not None
        with self._shared.lock:
            (rng,) = self.rng.spawn(1)
        return choose_among(batch, int(n), score, choose, rng)

    def _sample(self, n: int) -> Batch:
        return self.finish(self.draw(n))

    def loader(
        self,
        batch_size: int,
        device: Any = None,
        prefetch: int = 2,
        threads: int = 1,
        deterministic: bool = False,
    ) -> Loader:
        """Batches of this reader, prepared ahead on background threads; see `Loader`."""
        return Loader(self, batch_size, device, prefetch, threads, deterministic)

    def draw(
        self, n: int, gives_up: Callable[[], bool] | None = None, ahead: bool = False
    ) -> Drawn:
        """Draws n examples, of which `finish` makes a batch.

        Args:
            gives_up: asked, while the limiter lets nobody sample, whether to wait no longer.
            ahead: whether nobody may change rows before `finish` or `forget`, or before nobody
                holds what is returned.

        Raises:
            what `sample` raises.
        """
        shared = self._shared
        if shared.limiter is not None:
            shared.limiter.sample(n, gives_up)
        try:
            with shared.lock:
                drawn = self._draw(n, self.calls)
                self._begin_gathering(drawn)
                self.calls += 1
                shared.sampled += len(drawn.key)
                if ahead and drawn.fields is None:
                    shared.draw_ahead(drawn)
        except BaseException:
            if shared.limiter is not None:
                shared.limiter.take_back(sampled=n)
            raise
        return drawn

    def finish(self, drawn: Drawn) -> Batch:
        """The batch of what was drawn."""
        try:
            made = self._gathered(drawn)
            batch = self._batch(made)
            return self.transform(batch, made.rng) if len(self.transform) else batch
        except BaseException:
            self.take_back(drawn.asked, len(drawn.key))
            raise
        finally:
            self._shared.end_ahead(drawn)

    def forget(self, drawn: Drawn) -> None:
        """Makes no batch of what was drawn ahead."""
        self._shared.end_ahead(drawn)
        self.take_back(drawn.asked, len(drawn.key))

    def take_back(self, asked: int, count: int | None = None) -> None:
        """A batch that was drawn is not replayed: of so many rows were asked, so many came."""
        with self._shared.lock:
            self._shared.sampled -= asked if count is None else count
        if self._shared.limiter is not None:
            self._shared.limiter.take_back(sampled=asked)

    def forget_threads(self) -> None:
        """Nobody else works here, in a process that was just forked."""
        self._shared.forget_threads()

    def _gathered(self, drawn: Drawn) -> Drawn:
        """Gathers what was drawn; or, if it was overwritten meanwhile, what is drawn instead."""
        shared = self._shared
        attempts = 0
        while drawn.fields is None:
            try:
                fields = self._gather(drawn)
            except BaseException:
                with shared.lock:
                    shared.end_gathering()
                raise
            attempts += 1
            with shared.lock:
                shared.end_gathering()
                if self._is_still_true(drawn):
                    drawn.fields = fields
                else:
                    drawn = self._draw(drawn.asked, drawn.call)
                    self._begin_gathering(drawn, at_once=attempts == ATTEMPTS)
        return drawn

    def _begin_gathering(self, drawn: Drawn, at_once: bool = False) -> None:
        """Lets what was drawn be gathered without the lock, or gathers it. The lock is held."""
        # a limit takes rows out as they are drawn: nobody may overwrite them before the gathering
        if at_once or self._shared.limit is not None or self._shared.moving:
            drawn.fields = self._gather(drawn)
        else:
            self._shared.gathering += 1

    def _gather(self, drawn: Drawn) -> dict[str, Any]:
        return self.view.gather(self._rows, drawn.slots, drawn.call, drawn.rng)

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
            shared.check_writable()
            if flat:
                shared.await_gathering()
            slots, live = shared.rows.find(wanted)
            count = int(np.count_nonzero(live))
            if count < len(live):
                wanted, slots = wanted[live], slots[live]
                value = value[live] if priority is not None else value
                flat = {name: flat[name][live] for name in flat}
            if priority is not None:
                self._prioritize(wanted, slots, value)
            if flat:
                shared.rewrite(slots, flat)
            shared.updated += count
            shared.stale_updates += len(live) - count
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
            if self._pending:
                self._settle(entering)
        self._seen_version = version

    def drop(self, slots: Slots) -> None:
        """Takes those of these distinct slots that are members out. The lock is held."""
        leaving = slots[self._member[slots]]
        if len(leaving):
            self._member[leaving] = False
            self.sampler.leave(leaving)

    def resize(self, place: NDArray[np.int64]) -> None:
        """Goes on after rows were moved to `place` (old capacity,). The lock is held."""
        slot_count = self._shared.rows.slot_count
        members = place[np.flatnonzero(self._member)]
        self._member = np.zeros(slot_count, np.bool_)
        self._member[members] = True
        self.sampler.resize(slot_count, place)
        self._seen_version = self._shared.rows.version

    def state(self) -> dict[str, NDArray[Any]]:
        """All that decides the next draws, but generator and number of calls. The lock is held."""
        pending = self._pending
        parts = {
            "sampler": self.sampler.state(),
            "frontier": self._frontier.state(),
            "transforms": self.transform.state(),
            "pending": {
                "key": np.array(list(pending), np.int64),
                "priority": np.array(list(pending.values()), np.float64),
            },
            "": {"member": np.packbits(self._member)},
        }
        return {
            f"{part}.{name}": array
            for part, state in parts.items()
            for name, array in state.items()
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from what `state` returned, in a reader that was just made. The lock is held."""

        def part(name: str) -> dict[str, NDArray[Any]]:
            start = f"{name}."
            return {n.removeprefix(start): a for n, a in state.items() if n.startswith(start)}

        pending = part("pending")
        count = self._shared.rows.slot_count
        self._member[:] = np.unpackbits(state[".member"], count=count).astype(np.bool_)
        self._frontier.restore(part("frontier"))
        self.sampler.restore(part("sampler"))
        self.transform.restore(part("transforms"))
        keys, priority = pending["key"].tolist(), pending["priority"].tolist()
        self._pending = dict(zip(keys, priority, strict=True))

    def priorities(self) -> tuple[Slots, NDArray[np.float64]]:
        """The slots of all members, and their priorities; none without them. The lock is held."""
        if not self.sampler.takes_priorities:
            return np.zeros(0, np.int64), np.zeros(0)
        self.advance()
        members = np.flatnonzero(self._member)
        return members, self.sampler.priority(members)

    @property
    def rows_version(self) -> int:
        """The version of the rows now."""
        return self._shared.rows.version

    def reprioritize(self, keys: NDArray[np.int64], priority: NDArray[np.float64]) -> None:
        """Gives held rows (M,) priorities that they had in an earlier life. The lock is held."""
        if not self.sampler.takes_priorities:
            return
        slots, live = self._shared.rows.find(keys)
        self._pass_on(keys[live], slots[live], priority[live])
        # the others entered before anything was known: once more, as new rows beside these
        new = self._member.copy()
        new[slots[live]] = False
        others = self._shared.rows.oldest_first(np.flatnonzero(new))
        self.sampler.leave(others)
        self.sampler.enter(others)

    def _show_held(self) -> None:
        """Lets the transforms learn from what is held already. The lock is held."""
        held = self._shared.rows.held()
        for first in range(0, len(held), SHOWN_AT_ONCE):
            self.transform.observe(self._shared.rows.whole(held[first : first + SHOWN_AT_ONCE]))

    def _prioritize(
        self,
        keys: NDArray[np.int64],
        slots: Slots,
        priority: NDArray[np.float64],
    ) -> None:
        """Passes priorities of held rows on, and keeps those of rows that have yet to enter."""
        retention = self._shared.retention
        retains = self is self._shared.first and retention.takes_priorities
        if not self.sampler.takes_priorities and not retains:
            raise PriorityError(f"update: {self.sampler!r} has no priorities")
        if self.sampler.takes_priorities:
            self._pass_on(keys, slots, priority)
        if retains:
            retention.update(slots, priority)
        if self is self._shared.first and self._shared.home is not None:
            self._shared.home.remember(slots, keys, priority)

    def _pass_on(
        self, keys: NDArray[np.int64], slots: Slots, priority: NDArray[np.float64]
    ) -> None:
        """Gives the sampler priorities of held rows, and keeps those that have yet to enter."""
        self.advance()
        member = self._member[slots]
        if np.count_nonzero(member) == len(member):
            self.sampler.update(slots, priority)
            return
        self.sampler.check(priority[~member])
        self.sampler.update(slots[member], priority[member])
        self._keep_pending(keys[~member], priority[~member])

    def _keep_pending(self, keys: NDArray[np.int64], priority: NDArray[np.float64]) -> None:
        """Keeps the priorities of rows that have yet to enter, as long as these are held."""
        self._pending.update(zip(keys.tolist(), priority.tolist(), strict=True))
        if len(self._pending) > self._pending_limit:
            self._forget_pending()

    def _settle(self, entering: Slots) -> None:
        """Gives rows that enter the priorities that they were given before."""
        keys = self._shared.rows.keys(entering).tolist()
        known = [place for place, key in enumerate(keys) if key in self._pending]
        if known:
            priority = np.array([self._pending.pop(keys[place]) for place in known])
            self.sampler.update(entering[known], priority)

    def _forget_pending(self) -> None:
        """Forgets the priorities of rows that are no longer held, so that they do not add up."""
        keys = np.array(list(self._pending), np.int64)
        _, live = self._shared.rows.find(keys)
        self._pending = {key: self._pending[key] for key in keys[live].tolist()}
        self._pending_limit = 2 * len(self._pending) + MOST_PENDING

    def _draw(self, n: int, call: int) -> Drawn:
        shared = self._shared
        shared.check_open()
        self.advance()
        eligible = len(self.sampler)
        if not eligible:
            raise EmptyMemoryError(
                f"sample: no row is eligible under {self.view!r}: {len(shared.rows)} steps are held"
                + (f"; a row needs {self.view.needs}" if self.view.needs else "")
                + (
                    "; only finished episodes that `where` chose are drawn"
                    if self.where is not None
                    else ""
                )
                if shared.schema.kind == "steps"
                else "sample: the memory is empty"
            )
        if shared.limit is None:
            slots, probability = self.sampler.draw(n, self.rng)
            key = shared.rows.keys(slots)
        else:
            slots, probability, key = self._draw_limited(n, shared.limit)
        weight = self.sampler.weight(probability, eligible, call)
        random = self.view.random or self.transform.random
        rng = self.rng.spawn(1)[0] if random else None
        version = (shared.rows.version, shared.rewrites)
        return Drawn(n, slots, key, probability, weight, call, rng, version)

    def _draw_limited(
        self, n: int, limit: DrawLimit
    ) -> tuple[Slots, NDArray[np.float64], NDArray[np.int64]]:
        """Draws until there are n draws within the limit, or no row is left to draw."""
        parts: list[tuple[Slots, NDArray[np.float64], NDArray[np.int64]]] = []
        missing = n
        while missing and len(self.sampler):
            slots, probability = self.sampler.draw(missing, self.rng)
            key = self._shared.rows.keys(slots)
            admitted, exhausted = limit.admit(slots, key)
            parts.append((slots[admitted], probability[admitted], key[admitted]))
            missing -= int(admitted.sum())
            if len(exhausted):
                self._shared.withdraw(exhausted)
        slots, probability, key = (np.concatenate(part) for part in zip(*parts, strict=True))
        return slots, probability, key

    def _is_still_true(self, drawn: Drawn) -> bool:
        """Whether all that was read is still there, as it was. The lock is held."""
        shared = self._shared
        if drawn.version == (shared.rows.version, shared.rewrites):
            return True
        if drawn.version[1] != shared.rewrites or self.view.looks_back:
            return False
        self.advance()
        held = self._member[drawn.slots].all()
        return bool(held) and bool((shared.rows.keys(drawn.slots) == drawn.key).all())

    def _batch(self, drawn: Drawn) -> Batch:
        """Attaches what belongs to the draw."""
        fields = drawn.fields
        assert fields is not None
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


def _chooses(shared: Shared, rows: Streams, where: Predicate | None) -> Chooses | None:
    """Asks `where` about each episode, if there is anything to ask."""
    if where is None:
        return None
    source = Source(rows, shared.store, shared.lock)
    return lambda *episodes: source.between(*episodes).judge(where)


_NO_PRIORITY: NDArray[np.float64] = np.zeros(0)


def checked_priority(priority: Any, count: int) -> NDArray[np.float64]:
    """Priorities as (M,) float64, each finite and not negative."""
    array = np.atleast_1d(as_numpy(priority, "priority"))
    if array.shape != (count,) or array.dtype.kind not in "biuf":
        raise SchemaError(
            f"priority: expected {count} numbers, as many as keys, got {array.dtype} {array.shape}"
        )
    value = array.astype(np.float64)
    # both are NaN if any is
    if value.size and not (value.min() >= 0 and value.max() < np.inf):
        worst = value[~(np.isfinite(value) & (value >= 0))][0]
        raise PriorityError(f"priority: expected finite numbers from 0 up, got {worst}")
    return value


def checked_keys(keys: Any) -> NDArray[np.int64]:
    """Keys as (M,) int64."""
    array = np.atleast_1d(as_numpy(keys, "keys"))
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise SchemaError(f"keys: expected whole numbers (M,), got {array.dtype} {array.shape}")
    return array.astype(np.int64)
