"""`Memory`: rows, retention and the first reader. The only thing most users touch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recollect import trees
from recollect.batch import Batch
from recollect.draws import DrawLimit
from recollect.episodes import Episodes
from recollect.errors import ChainBreakWarning, ConfigurationError, SchemaError
from recollect.examples import Examples
from recollect.reader import Reader, Shared, checked_keys
from recollect.retention.base import Retention
from recollect.retention.fifo import Fifo
from recollect.samplers.base import Sampler
from recollect.samplers.uniform import Uniform
from recollect.schema import Schema, as_numpy
from recollect.stores.base import Store
from recollect.stores.ram import Ram
from recollect.streams import Streams
from recollect.views.base import View
from recollect.views.example import Example
from recollect.views.transition import Transition


class Memory:
    """What an agent, or any learner on a stream, has lived through; `sample` replays it.

    Every public method may be called from any thread.

    Args:
        schema: what one row holds; decides whether this is a memory of steps or of examples.
        capacity: rows over all streams, rounded down to a multiple of `streams`. Steps take a row
            each, and every episode one more for the observation after its last step.
        streams: parallel environments, each a ring of its own; None is one stream whose arrays
            have no stream axis.
        view: what an example looks like. Default: `Transition()`, or `Example()` of examples.
        sampler: which rows are replayed. Default: `Uniform()`.
        retention: which example makes room for the next; streams are rings. Default: `Fifo()`.
        store: where rows live. Default: `Ram()`.
        max_draws: a row leaves once it was replayed so often, by whichever reader.
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
        capacity: int,
        *,
        streams: int | None = None,
        view: View | None = None,
        sampler: Sampler | None = None,
        retention: Retention | None = None,
        store: Store | None = None,
        max_draws: int | None = None,
        chain: Literal["warn", "raise"] = "warn",
        seed: int | None = None,
    ) -> None:
        if not isinstance(schema, Schema):
            raise ConfigurationError(f"schema: expected a Schema, got {type(schema).__name__}")
        capacity = _whole("capacity", capacity)
        if max_draws is not None:
            max_draws = _whole("max_draws", max_draws)
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
        rows: Streams | Examples
        if schema.kind == "steps":
            count = 1 if streams is None else _whole("streams", streams)
            size = capacity // count
            if size < 2:
                raise ConfigurationError(
                    f"capacity: {count} streams need at least 2 rows each, a step and the "
                    f"observation after it: {2 * count} rows, got {capacity}"
                )
            if not retention.keeps_time_order:
                raise ConfigurationError(
                    f"retention: {retention!r} does not keep time order, as steps need: use Fifo()"
                )
            store.open(schema, size * count)
            rows = Streams(schema, store, size, count, strict=chain == "raise")
        else:
            if streams is not None:
                raise ConfigurationError("streams: a memory of examples has no streams")
            store.open(schema, capacity)
            rows = Examples(schema, store, capacity, retention, seeds.spawn(1)[0])
        limit = DrawLimit(rows.capacity, max_draws) if max_draws else None
        self._shared = Shared(rows, store, seeds, limit)
        self._rows = rows
        self._schema = schema
        self._streams = streams
        self._dropped = 0
        self._first = Reader(self._shared, view, sampler if sampler is not None else Uniform())

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

    def __len__(self) -> int:
        """Steps (or examples) held."""
        with self._shared.lock:
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
        rows = self._rows
        if isinstance(rows, Examples):
            _refuse("add", "a memory of examples", stream=stream, valid=valid)
            flat = self._schema.check(fields)
            return int(self._keep_examples(rows, _with_axis(flat, self._schema), 1)[0])
        if self._streams is None:
            if stream is not None or valid is not None:
                _refuse("add", "a memory made with streams=None", stream=stream, valid=valid)
            return self._add_one(rows, 0, fields)
        if isinstance(stream, (int, np.integer)) and not isinstance(stream, bool):
            _refuse("add", "a single stream", valid=valid)
            return self._add_one(rows, self._one_stream(stream), fields)
        return self._add_each(rows, self._many_streams(stream), valid, fields)

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
        rows = self._rows
        count = _rows_given(fields)
        if isinstance(rows, Examples):
            _refuse("extend", "a memory of examples", stream=stream)
            return self._keep_examples(rows, self._schema.check(fields, (count,)), count)
        if self._streams is None:
            _refuse("extend", "a memory made with streams=None", stream=stream)
            stream = 0
        elif stream is None:
            raise SchemaError(f"extend: stream: expected one of 0 to {self._streams - 1}, got None")
        stream = self._one_stream(stream)
        flat = self._schema.check(fields, (count,))
        keep = self._schema.finite_rows(flat, (count,))
        with self._shared.lock:
            self._shared.check_open()
            before = rows.chain_breaks
            if keep is None:
                keys = rows.extend(stream, flat, count)
            else:
                keys = np.full(count, -1, np.int64)
                keys[keep] = rows.extend(stream, *_without_dropped(flat, keep))
                if not keep[-1]:
                    rows.cut(np.array([stream]))
                self._dropped += int((~keep).sum())
        self._warn_of_breaks(before)
        return keys

    def sample(self, n: int) -> Batch:
        """n examples from the first reader; see `Reader.sample`."""
        return self._first.sample(n)

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
        with self._shared.lock:
            self._shared.check_open()
            slots, live = self._rows.find(wanted)
            self._shared.withdraw(slots[live])
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
            streams = np.array([self._one_stream(stream)])
        else:
            streams = self._many_streams(stream)
        with self._shared.lock:
            self._shared.check_open()
            return rows.cut(streams)

    def clear(self) -> None:
        """Forgets every row. Keys stay unique, counters and generators go on."""
        with self._shared.lock:
            self._shared.check_open()
            self._rows.clear()

    def reader(self, view: View | None = None, sampler: Sampler | None = None) -> Reader:
        """A further reader over the same rows, those held already and those to come.

        Args:
            view: default as for `Memory`.
            sampler: default `Uniform()`.
        """
        default = Transition() if self._schema.kind == "steps" else Example()
        return Reader(
            self._shared,
            view if view is not None else default,
            sampler if sampler is not None else Uniform(),
        )

    @property
    def episodes(self) -> Episodes:
        """The episodes held now, for reading; see `Episodes`."""
        rows = self._rows
        if isinstance(rows, Examples):
            raise ConfigurationError("episodes: a memory of examples has no episodes")
        with self._shared.lock:
            self._shared.check_open()
            return Episodes(rows, self._shared.store, self._shared.lock)

    def stats(self) -> dict[str, float]:
        """Counts, as a flat dictionary of numbers.

        `rows` in use (steps, closing rows, and a row for each open episode's newest observation),
        `steps` or examples held, `episodes` with at least one step held, `eligible` for the first
        reader now, `bytes` allocated for rows, `mean_age` in steps of the row's own stream (in
        examples offered); and since the memory was made: steps `added`, rows `sampled`, keys
        `updated`, `stale_updates`, `chain_breaks`, rows `dropped` for not being finite.
        """
        shared = self._shared
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
                "dropped": self._dropped,
                "mean_age": held["mean_age"],
            }

    def close(self) -> None:
        """Ends the memory's use; everything but `close` then raises `ClosedError`."""
        with self._shared.lock:
            self._shared.closed = True

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _add_one(self, rows: Streams, stream: int, fields: dict[str, Any]) -> int:
        flat = self._schema.check(fields)
        dropped = self._schema.finite_rows(flat) is not None
        shared = self._shared
        with shared.lock:
            shared.check_open()
            before = rows.chain_breaks
            if dropped:
                self._dropped += 1
                rows.cut(np.array([stream]))
                return -1
            key = rows.append(stream, flat)
        if rows.chain_breaks != before:
            self._warn_of_breaks(before)
        return key

    def _add_each(
        self, rows: Streams, streams: NDArray[np.int64], valid: Any, fields: dict[str, Any]
    ) -> NDArray[np.int64]:
        only = None if valid is None else _mask(valid, len(streams))
        flat = self._schema.check(fields, (len(streams),), only)
        keys = np.full(len(streams), -1, np.int64)
        chosen = np.arange(len(streams)) if only is None else np.flatnonzero(only)
        keep = self._schema.finite_rows(flat, (len(chosen),))
        with self._shared.lock:
            self._shared.check_open()
            before = rows.chain_breaks
            if keep is not None:
                flat = {name: value[keep] for name, value in flat.items()}
                lost, chosen = chosen[~keep], chosen[keep]
            if len(chosen):
                keys[chosen] = rows.append_each(streams[chosen], flat)
            if keep is not None:
                self._dropped += len(lost)
                rows.cut(streams[lost])
        self._warn_of_breaks(before)
        return keys

    def _keep_examples(self, rows: Examples, flat: dict[str, Any], count: int) -> NDArray[np.int64]:
        keep = self._schema.finite_rows(flat, (count,))
        with self._shared.lock:
            self._shared.check_open()
            if keep is None:
                return rows.extend(flat, count)
            keys = np.full(count, -1, np.int64)
            kept = {name: value[keep] for name, value in flat.items()}
            keys[keep] = rows.extend(kept, int(keep.sum()))
            self._dropped += int((~keep).sum())
            return keys

    def _one_stream(self, stream: Any) -> int:
        count = self._streams or 1
        number = not isinstance(stream, bool) and isinstance(stream, (int, np.integer))
        if not number or not 0 <= stream < count:
            raise SchemaError(f"stream: expected one of 0 to {count - 1}, got {stream!r}")
        return int(stream)

    def _many_streams(self, streams: Any) -> NDArray[np.int64]:
        if streams is None:
            return np.arange(self._streams or 1)
        if np.ndim(streams) != 1:
            raise SchemaError(f"stream: expected a number or a sequence of them, got {streams!r}")
        chosen = np.array([self._one_stream(stream) for stream in streams], np.int64)
        if len(np.unique(chosen)) < len(chosen):
            raise SchemaError(f"stream: expected different streams, got {list(streams)}")
        return chosen

    def _warn_of_breaks(self, before: int) -> None:
        """Warns when the count of broken chains has just reached 1, 10, 100, ..."""
        rows = self._rows
        assert isinstance(rows, Streams)
        if len(str(rows.chain_breaks)) > len(str(before)) or (rows.chain_breaks and not before):
            warnings.warn(
                f"{rows.chain_breaks} broken chains: a step's obs was not the next_obs before it, "
                "as after a reset that was not reported; that episode was closed as truncated. "
                "Pass terminated or truncated at an episode's end, or call memory.cut().",
                ChainBreakWarning,
                stacklevel=4,
            )


def _whole(name: str, value: Any) -> int:
    """A positive whole number, or an error that names it."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ConfigurationError(f"{name}: expected a positive whole number, got {value!r}")
    return int(value)


def _refuse(method: str, kind: str, **arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise SchemaError(f"{method}: {kind} takes no {name}, got {value!r}")


def _rows_given(fields: dict[str, Any]) -> int:
    """How many rows `extend` was given: the length of the first array."""
    for name, tree in fields.items():
        for path, value in trees.leaves(tree, name):
            shape = as_numpy(value, path).shape
            if not shape:
                raise SchemaError(f"{path}: expected a leading axis of rows, got a scalar")
            return int(shape[0])
    raise SchemaError("extend: expected fields, got none")


def _mask(valid: Any, count: int) -> NDArray[np.bool_]:
    mask = as_numpy(valid, "valid")
    if mask.dtype != np.bool_ or mask.shape != (count,):
        raise SchemaError(f"valid: expected bool ({count},), got {mask.dtype} {mask.shape}")
    return mask


def _with_axis(flat: dict[str, Any], schema: Schema) -> dict[str, Any]:
    return {name: np.asarray(value, schema.flat[name].dtype)[None] for name, value in flat.items()}


def _without_dropped(
    flat: dict[str, Any], keep: NDArray[np.bool_]
) -> tuple[dict[str, Any], int, bool]:
    """Rows of a run without those that are dropped, the chain closed before each of them."""
    before_gap = np.append(~keep[1:], False)
    terminated, truncated = flat["terminated"], flat["truncated"]
    flat = {**flat, "truncated": truncated | (before_gap & ~terminated)}
    rows = {name: value[keep] for name, value in flat.items()}
    return rows, int(keep.sum()), not keep[0]
