"""`Memory`: rows, retention and the first reader. The only thing most users touch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from recollect.adding import AddingExamples, AddingSteps
from recollect.arguments import many_streams, one_stream, refuse, rows_given, whole
from recollect.batch import Batch, Fields, nested
from recollect.candidates import Choice, Score
from recollect.draws import DrawLimit
from recollect.episodes import Episodes, Predicate, Source
from recollect.errors import ConfigurationError, SchemaError
from recollect.examples import BESIDE, CHECKED, Examples
from recollect.limits import ReplayRatio
from recollect.loader import Loader
from recollect.locking import MemoryLock
from recollect.lookup import lookup
from recollect.needs import Estimate, check_room, estimate
from recollect.reader import Reader, checked_keys
from recollect.retention.base import Retention
from recollect.retention.fifo import Fifo
from recollect.samplers.base import Sampler
from recollect.samplers.uniform import Uniform
from recollect.saving.home import Home
from recollect.saving.snapshot import Saver
from recollect.schema import Schema
from recollect.settings import describe
from recollect.shared import Shared
from recollect.stores.base import Store
from recollect.stores.directory import Directory
from recollect.stores.ram import Ram
from recollect.streams import Streams
from recollect.views.base import View
from recollect.views.example import Example
from recollect.views.transition import Transition

FIRST_ROWS = 1_024
"""Of each stream (or of examples) in a memory that grows as needed."""

MOST_EXAMPLES = 2**32
"""An example's slot takes 32 bits of its key."""


class Memory:
    """What an agent, or any learner on a stream, has lived through; `sample` replays it.

    Every public method may be called from any thread.

    Args:
        schema: what one row holds; decides whether this is a memory of steps or of examples.
        capacity: rows over all streams, rounded down to a multiple of `streams`. Steps take a row
            each, and every episode one more for the observation after its last step. None: grows
            as needed, and forgets nothing; see `resize`.
        streams: parallel environments, each a ring of its own; None is one stream whose arrays
            have no stream axis.
        view: what an example looks like. Default: `Transition()`, or `Example()` of examples.
        sampler: which rows are replayed. Default: `Uniform()`.
        retention: which example makes room for the next; streams are rings. Default: `Fifo()`.
        store: where rows live. Default: `Ram()`.
        transforms: what is done to a batch after it was gathered, one after the other:
            `rc.Normalize(...)`, or your own functions of a batch.
        max_draws: a row leaves once it was replayed so often, by whichever reader.
        limiter: `ReplayRatio(...)`, which makes `add` or `sample` wait for the other in another
            thread. Default: nobody waits.
        chain: what to do when a step's obs is not the `next_obs` before it, although the episode
            did not end: "warn" closes that episode as truncated, counts the break, and warns at the
            1st, 10th, 100th; "raise" raises `ChainError` and changes nothing.
        seed: decides every draw; the same seed and calls give the same batches.

    Raises:
        ConfigurationError: a setting is out of range, or does not go with another.
    """

    def __init__(
        self,
        schema: Schema,
        capacity: int | None,
        *,
        streams: int | None = None,
        view: View | None = None,
        sampler: Sampler | None = None,
        retention: Retention | None = None,
        store: Store | None = None,
        transforms: Sequence[Any] = (),
        max_draws: int | None = None,
        limiter: ReplayRatio | None = None,
        chain: Literal["warn", "raise"] = "warn",
        seed: int | None = None,
    ) -> None:
        if not isinstance(schema, Schema):
            raise ConfigurationError(f"schema: expected a Schema, got {type(schema).__name__}")
        grows = capacity is None
        if streams is not None:
            streams = whole("streams", streams)
        if capacity is None:
            capacity = FIRST_ROWS * (streams or 1)
        capacity = whole("capacity", capacity)
        if max_draws is not None:
            max_draws = whole("max_draws", max_draws)
        if chain not in ("warn", "raise"):
            raise ConfigurationError(f'chain: expected "warn" or "raise", got {chain!r}')
        try:
            seeds = np.random.SeedSequence(seed)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"seed: expected a whole number, got {seed!r}") from error
        view = view if view is not None else Transition() if schema.kind == "steps" else Example()
        retention = retention if retention is not None else Fifo()
        store = store if store is not None else Ram()
        if not isinstance(retention, Retention):
            raise ConfigurationError(f"retention: expected a Retention, got {retention!r}")
        if not hasattr(store, "open"):
            raise ConfigurationError(f"store: expected a store such as Ram(), got {store!r}")
        if limiter is not None and not isinstance(limiter, ReplayRatio):
            raise ConfigurationError(f"limiter: expected a ReplayRatio, got {limiter!r}")
        if schema.kind == "steps":
            count = streams or 1
            capacity -= capacity % count
            if capacity < 2 * count:
                raise ConfigurationError(
                    f"capacity: {count} streams need at least 2 rows each, a step and the "
                    f"observation after it: {2 * count} rows, got {capacity}"
                )
            if not retention.keeps_time_order:
                raise ConfigurationError(
                    f"retention: {retention!r} does not keep time order, as steps need: use Fifo()"
                )
        else:
            if streams is not None:
                raise ConfigurationError("streams: a memory of examples has no streams")
            if capacity > MOST_EXAMPLES:
                raise ConfigurationError(
                    f"capacity: expected at most {MOST_EXAMPLES} examples, got {capacity}"
                )
        sampler = sampler if sampler is not None else Uniform()
        if not isinstance(sampler, Sampler):
            raise ConfigurationError(f"sampler: expected a Sampler, got {sampler!r}")
        self._schema = schema
        self._streams = streams
        self._settings = {
            "schema": describe(schema),
            "capacity": capacity,
            "grows": grows,
            "streams": streams,
            "view": describe(view),
            "sampler": describe(sampler),
            "retention": describe(retention),
            "transforms": describe(transforms),
            "max_draws": max_draws,
            "limiter": describe(limiter),
            "chain": chain,
            "spare": store.spare,
        }
        check_room(self._estimate(capacity, sampler, retention, store, max_draws))
        home: Home | None = None
        try:
            if isinstance(store, Directory):
                home = Home(store, self._settings)
                capacity = home.capacity
            self._open(
                store, capacity, retention, seeds, max_draws, limiter, chain == "raise", home, grows
            )
            self._first = Reader(self.shared, view, sampler, transforms)
            self.shared.first = self._first
            if home is not None:
                home.enter(self.shared)
        except BaseException:
            if isinstance(store, Directory):
                store.close()
            raise

    def _open(
        self,
        store: Store,
        capacity: int,
        retention: Retention,
        seeds: np.random.SeedSequence,
        max_draws: int | None,
        limiter: ReplayRatio | None,
        strict: bool,
        home: Home | None,
        grows: bool,
    ) -> None:
        """Takes the rows from the store, new ones or those that are there."""
        schema, outside = self._schema, store.outside
        rows: Streams | Examples
        if schema.kind == "steps":
            count = self._streams or 1
            store.open(schema, capacity + store.spare * count)
            rows = Streams(schema, store, capacity // count, count, strict, outside)
        else:
            store.open(schema, capacity, BESIDE if outside is None else CHECKED)
            rows = Examples(schema, store, capacity, retention, seeds.spawn(1)[0], outside)
        limit = DrawLimit(rows.slot_count, max_draws) if max_draws else None
        if limiter is not None:
            limiter.open(self._streams or 1)
        self._rows = rows
        self.shared = shared = Shared(rows, store, seeds, retention, limit, limiter, home)
        self._adding = (
            AddingSteps(schema, rows, shared, grows)
            if isinstance(rows, Streams)
            else AddingExamples(schema, rows, shared, grows)
        )
        if outside is not None and outside.looks:
            self.shared.guard(MemoryLock(rows, outside, self.shared.look))

    @property
    def schema(self) -> Schema:
        """What one row holds."""
        return self._schema

    @property
    def capacity(self) -> int:
        """Rows over all streams."""
        return self._rows.capacity

    @property
    def streams(self) -> int | None:
        """How many streams; None is one whose arrays have no stream axis."""
        return self._streams

    @property
    def view(self) -> View:
        """The first reader's."""
        return self._first.view

    @property
    def sampler(self) -> Sampler:
        """The first reader's."""
        return self._first.sampler

    @property
    def eligible(self) -> int:
        """How many rows can start an example of the first reader now."""
        return self._first.eligible

    @property
    def limiter(self) -> ReplayRatio | None:
        """What makes adding and sampling wait for each other, if anything does."""
        return self.shared.limiter

    def __len__(self) -> int:
        """Steps (or examples) held."""
        with self.shared.lock:
            return len(self._rows)

    def __repr__(self) -> str:
        return (
            f"<Memory of {len(self)} {self._schema.kind}, capacity {self.capacity}, "
            f"{self.view!r}, {self.sampler!r}>"
        )

    def add(
        self, *, stream: int | Sequence[int] | None = None, valid: Any = None, **fields: Any
    ) -> Any:
        """Adds one step of each stream, or one example. Everything is copied in.

        A step is `obs, action, reward, next_obs, terminated, truncated` and the schema's extras;
        `next_obs` is its true successor, at an episode's end the true final observation. The newest
        step can be replayed at once.

        Args:
            stream: of several streams, the one to add to (arrays without a stream axis) or
                those to add to, all different (arrays with an axis of that length).
            valid: bool, of the stream axis: where False, that stream's values are not looked at.
            fields: by name. With `streams=None` arrays have exactly the field's shape, otherwise a
                leading axis of the streams.

        Returns:
            The key, an int; or (N,) int64 keys where there is a stream axis. -1 stands where
            nothing was kept.

        Raises:
            SchemaError: a name, shape, dtype or value does not fit; nothing was changed.
            ChainError: the chain broke and `chain="raise"`; nothing was changed.
        """
        adding = self._adding
        if isinstance(adding, AddingExamples):
            refuse("add", "a memory of examples", stream=stream, valid=valid)
            return adding.one(fields)
        if self._streams is None:
            if stream is not None or valid is not None:
                refuse("add", "a memory made with streams=None", stream=stream, valid=valid)
            return adding.one(0, fields)
        if isinstance(stream, (int, np.integer)) and not isinstance(stream, bool):
            refuse("add", "a single stream", valid=valid)
            return adding.one(one_stream(stream, self._streams), fields)
        return adding.each(many_streams(stream, self._streams), valid, fields)

    def extend(self, *, stream: int | None = None, **fields: Any) -> NDArray[np.int64]:
        """Adds T steps of one stream in time order, or B examples, at once.

        Args:
            stream: which of several streams.
            fields: as for `add`, each with a leading axis of T (B). `next_obs` is (T, ...) too;
                where it is not the next row's obs, the chain breaks there as it would in `add`.

        Returns:
            (T,) keys. Of more rows than fit the newest are kept; the others' keys are stale
            (-1 for examples).

        Raises:
            SchemaError: as for `add`; nothing was changed.
            ChainError: as for `add`; nothing was changed.
        """
        adding = self._adding
        count = rows_given(fields)
        if isinstance(adding, AddingExamples):
            refuse("extend", "a memory of examples", stream=stream)
            return adding.many(fields, count)
        if self._streams is None:
            refuse("extend", "a memory made with streams=None", stream=stream)
            stream = 0
        elif stream is None:
            raise SchemaError(f"extend: stream: expected one of 0 to {self._streams - 1}, got None")
        return adding.many(one_stream(stream, self._streams or 1), fields, count)

    def sample(
        self,
        n: int,
        *,
        candidates: int | None = None,
        score: Score | None = None,
        choose: Choice = "proportional",
    ) -> Batch:
        """n examples from the first reader; see `Reader.sample`."""
        return self._first.sample(n, candidates=candidates, score=score, choose=choose)

    def update(self, keys: Any, priority: Any = None, **extras: Any) -> int:
        """New priorities, under the first reader, or new extras; see `Reader.update`."""
        return self._first.update(keys, priority, **extras)

    def remove(self, keys: Any) -> int:
        """Takes rows out of every reader at once; they start no example any more.

        Windows that began earlier may still run over a removed step. Stale keys are ignored.

        Returns:
            How many different rows were taken out.
        """
        wanted = np.unique(checked_keys(keys))
        with self.shared.lock:
            self.shared.check_changeable()
            self.shared.check_writable()
            slots, live = self._rows.find(wanted)
            self.shared.withdraw(slots[live])
            return int(live.sum())

    def cut(self, stream: int | Sequence[int] | None = None) -> int:
        """Closes open episodes as truncated, in all streams or in these.

        Returns:
            How many episodes were open.
        """
        rows = self._rows
        if isinstance(rows, Examples):
            raise ConfigurationError("cut: a memory of examples has no episodes")
        if stream is None:
            streams = np.arange(rows.count)
        elif isinstance(stream, (int, np.integer)) and not isinstance(stream, bool):
            streams = np.array([one_stream(stream, rows.count)])
        else:
            streams = many_streams(stream, rows.count)
        with self.shared.lock:
            self.shared.check_changeable()
            return rows.cut(streams)

    def resize(self, capacity: int) -> None:
        """Goes on with another capacity: rows over all streams, or examples.

        Of steps the oldest are dropped where a smaller memory has no room for them; of examples
        those that the retention rule would rather lose. Keys, priorities and open episodes stay
        as they are. Costs O(capacity), and for a moment the room of both; waits for batches that
        other threads are gathering. A memory made with `capacity=None` goes on growing from here.

        Raises:
            ConfigurationError: fewer than 2 rows a stream.
        """
        capacity = whole("capacity", capacity)
        if isinstance(self._rows, Streams) and capacity < 2 * self._rows.count:
            raise ConfigurationError(
                f"capacity: {self._rows.count} streams need at least {2 * self._rows.count} rows, "
                f"got {capacity}"
            )
        with self.shared.lock:
            self.shared.check_writable()
            self.shared.resize(capacity)

    def keep_growing(self) -> None:
        """Goes on as a memory that was made with `capacity=None`."""
        self._adding.grows = self._settings["grows"] = True

    def swap(self, *, probability: float = 0.5, **fields: Any) -> Batch:
        """Gives B examples and takes B, one for each, at once: the image pool of GAN training.

        While there is room an example is stored, and handed back too. In a full memory it takes,
        with this probability, the place of a random one, which is handed out; else it is handed
        straight back, and not stored (Shrivastava et al. 2017, section 2.3; Zhu et al. 2017).

        Args:
            probability: 0 to 1.
            fields: as for `extend`, (B, ...).

        Returns:
            The B examples, and `key` (B,): that of the example which was held, -1 where it is the
            one that was given.

        Raises:
            SchemaError: as for `extend`; nothing was changed.
            ConfigurationError: a memory of steps, or with another retention rule than `Fifo`.
        """
        adding = self._adding
        if isinstance(adding, AddingSteps):
            raise ConfigurationError("swap: steps stay in their episodes; use Schema.examples")
        if type(self.shared.retention) is not Fifo:
            raise ConfigurationError(
                f"swap: it chooses places itself and needs Fifo(), got {self.shared.retention!r}"
            )
        if not 0 <= probability <= 1:
            raise ConfigurationError(f"swap: expected a probability, got {probability!r}")
        taken, key = adding.swap(fields, rows_given(fields), probability)
        return Batch(nested(self._schema.fields, taken) | {"key": key})

    def clear(self) -> None:
        """Forgets every row. Keys stay unique, counters and generators go on."""
        with self.shared.lock:
            self.shared.check_changeable()
            self.shared.check_writable()
            self._rows.clear()
            self.shared.note_change()

    def reader(
        self,
        view: View | None = None,
        sampler: Sampler | None = None,
        transforms: Sequence[Any] = (),
        where: Predicate | None = None,
    ) -> Reader:
        """A further reader over the same rows, those held already and those to come.

        Args:
            view: default as for `Memory`.
            sampler: default `Uniform()`.
            transforms: default none.
            where: draws only from episodes for which this function of an `Episode` is true:
                `where=lambda episode: episode.episode_return > 100`. Each episode is asked about
                once, at the first sample or update after it ended, and with what is held of it
                then; its steps cannot be drawn before. It is called with the memory locked.

        Raises:
            ConfigurationError: a setting does not fit; and, from sample and update, `where` raised
                an error or returned no bool. It is then asked again the next time.
        """
        default = Transition() if self._schema.kind == "steps" else Example()
        return Reader(
            self.shared,
            view if view is not None else default,
            sampler if sampler is not None else Uniform(),
            transforms,
            where,
        )

    def loader(
        self,
        batch_size: int,
        device: Any = None,
        prefetch: int = 2,
        threads: int = 1,
        deterministic: bool = False,
    ) -> Loader:
        """Batches of the first reader, prepared ahead on background threads; see `Loader`."""
        return self._first.loader(batch_size, device, prefetch, threads, deterministic)

    @property
    def episodes(self) -> Episodes:
        """The episodes held now: statistics as arrays, fields by name; see `Episodes`."""
        rows = self._rows
        if isinstance(rows, Examples):
            raise ConfigurationError("episodes: a memory of examples has no episodes")
        with self.shared.lock:
            self.shared.check_open()
            return Source(rows, self.shared.store, self.shared.lock).held()

    @overload
    def __getitem__(self, keys: int | np.integer[Any]) -> Fields: ...
    @overload
    def __getitem__(self, keys: Any) -> Batch: ...
    def __getitem__(self, keys: Any) -> Batch | Fields:
        """Stored steps (or examples) by key: of one key every field of the row, of (M,) keys
        a batch of (M, ...), nested as the schema is.

        Of a step there are also `next_obs`, `terminated` and `truncated`; no view, and no
        transform, has a part in it. Everything is a copy.

        Raises:
            StaleError: one of them was overwritten, removed or never there.
            SchemaError: keys that are no whole numbers.
        """
        return lookup(self.shared, keys)

    def __contains__(self, key: Any) -> bool:
        """Whether this key's row is held and not removed."""
        with self.shared.lock:
            self.shared.check_open()
            return bool(self._rows.find(checked_keys(key))[1].all())

    # keys are no positions: without this, Python would try 0, 1, 2, ...
    __iter__ = None

    def stats(self) -> dict[str, float]:
        """Counts, as a flat dictionary of numbers.

        `rows` in use (steps, closing rows, and a row for each open episode's newest observation),
        `steps` or examples held, `episodes` with at least one step held, `eligible` for the first
        reader now, `bytes` allocated for rows, `mean_age` in steps of the row's own stream (in
        examples offered); and since the memory was made: steps `added`, rows `sampled`, keys
        `updated`, `stale_updates`, `chain_breaks`, rows `dropped` for not being finite.
        With a limiter also the seconds that either side has waited, `add_waited` and
        `sample_waited`.
        """
        shared = self.shared
        limiter = shared.limiter
        waited = {f"{side}_waited": s for side, s in limiter.waited.items()} if limiter else {}
        with shared.lock:
            shared.check_open()
            held = self._rows.stats()
            return {
                "rows": held["rows"],
                "steps": held["steps"],
                "episodes": held["episodes"],
                "eligible": self._first.eligible,
                "bytes": shared.store.nbytes,
                "added": self._rows.added,
                "sampled": shared.sampled,
                "updated": shared.updated,
                "stale_updates": shared.stale_updates,
                "chain_breaks": getattr(self._rows, "chain_breaks", 0),
                "dropped": self._rows.refused,
                "mean_age": held["mean_age"],
                **waited,
            }

    def estimate(self) -> Estimate:
        """What this memory needs when full; `recollect.estimate` says it before it is made."""
        shared = self.shared
        return self._estimate(
            self.capacity,
            self.sampler,
            shared.retention,
            shared.store,
            self._settings["max_draws"],
        )

    def _estimate(
        self,
        capacity: int,
        sampler: Sampler,
        retention: Retention,
        store: Store,
        max_draws: int | None,
    ) -> Estimate:
        return estimate(
            self._schema,
            capacity,
            streams=self._streams,
            sampler=sampler,
            retention=retention,
            store=store,
            max_draws=max_draws,
        )

    def flush(self) -> None:
        """Waits until a memory in a directory has reached the disk, all that was added until now.

        A killed process loses nothing that was added anyway; a power cut, what came after the last
        flush. Generators and samplers come back as of the last flush too. A memory in RAM has
        nothing to flush: see `save`.
        """
        self.shared.check_open()
        if self.shared.home is not None:
            self.shared.home.flush(self.shared)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a snapshot of everything into a folder; `rc.open(path)` brings it back.

        Other threads may go on adding and sampling meanwhile; they wait for as long as it takes to
        copy cursors and priorities. Saving to the same path again writes what has changed since,
        and the snapshot before stays whole until the new one is.

        Raises:
            StorageError: the disk is full, or the folder cannot be written, or holds other things;
                the snapshot before is still there.
        """
        shared = self.shared
        folder = Path(path).resolve()
        with shared.staying():
            with shared.lock:
                shared.check_open()
                if folder not in shared.savers:
                    shared.add_saver(Saver(folder, self._rows.slot_count))
                saver = shared.savers[folder]
            saver.save(shared, {**self._settings, "capacity": self.capacity})

    def close(self) -> None:
        """Ends the memory's use; everything but `close` then raises `ClosedError`.

        A memory in a directory is flushed, and other processes may have it.
        """
        shared = self.shared
        if shared.limiter is not None:
            shared.limiter.close()
        with shared.lock:
            closed, shared.closed = shared.closed, True
        if shared.home is not None and not closed:
            shared.home.close(shared)

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
