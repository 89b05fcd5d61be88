"""Adding rows: checked first, then written under the lock, with room made and the limiter asked.

Values are checked before anything else, so that what is refused has changed nothing. Rows that are
not finite are left out, where the schema says so, and the episodes in which they are missing end
there.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.arguments import checked_mask, with_axis, without_dropped
from recollect.errors import ChainBreakWarning, SchemaError
from recollect.examples import Examples
from recollect.schema import Schema
from recollect.shared import Shared
from recollect.streams import Streams

Int64s = NDArray[np.int64]


class Adding:
    """What adding steps and adding examples have in common.

    Args:
        grows: whether there is always room for more.
    """

    def __init__(self, schema: Schema, shared: Shared, grows: bool) -> None:
        self.schema = schema
        self.shared = shared
        self.grows = grows

    def writing(self, count: int, longest: int | None = None) -> AbstractContextManager[Any]:
        """The lock, for adding so many rows; `longest`: at most so many to one stream."""
        if self.shared.limiter is None and not self.grows:
            return self.shared.lock
        return self._admitted(count, count if longest is None else longest)

    @contextmanager
    def _admitted(self, count: int, longest: int) -> Iterator[None]:
        """The lock, once the limiter lets us in, and with room for so many rows."""
        shared = self.shared
        if shared.limiter is not None:
            shared.limiter.add(count)
        try:
            with shared.lock:
                shared.check_changeable()
                while self.grows and self._make_room(longest):
                    # the lock was let go: others may have taken that room, or drawn ahead
                    shared.check_changeable()
                yield
        except BaseException:
            if shared.limiter is not None:
                shared.limiter.take_back(added=count)
            raise

    def _make_room(self, count: int) -> bool:
        """Grows, by doubling, so that so many more rows fit into every stream; False: they do."""
        rows, streams = self.shared.rows, 1
        if isinstance(rows, Streams):
            # each step may end an episode, and the first one break off another
            count, streams = 2 * count + 2, rows.count
        size = rows.capacity // streams
        wanted = size
        while rows.used + count > wanted:
            wanted *= 2
        if wanted > size:
            self.shared.resize(wanted * streams, grows=True)
        return wanted > size


class AddingSteps(Adding):
    """Steps come in one by one, one of each stream, or many of one stream."""

    def __init__(self, schema: Schema, rows: Streams, shared: Shared, grows: bool) -> None:
        super().__init__(schema, shared, grows)
        self._rows = rows

    def one(self, stream: int, fields: dict[str, Any]) -> int:
        """A step of one stream, without an axis; its key, -1 if it was not kept."""
        rows, shared = self._rows, self.shared
        flat = self.schema.check(fields)
        dropped = self.schema.finite_rows(flat) is not None
        with self.writing(1):
            shared.check_changeable()
            before = rows.found
            if dropped:
                rows.refuse(np.array([stream]))
                return -1
            key = rows.append(stream, flat)
            if shared.watched:
                shared.observe(flat)
        if rows.found != before:
            self._warn_of_breaks(rows.found - before)
        return key

    def each(self, streams: Int64s, valid: Any, fields: dict[str, Any]) -> Int64s:
        """A step of each of M streams; (M,) keys, -1 where it was not valid or not kept."""
        rows = self._rows
        only = None if valid is None else checked_mask(valid, len(streams))
        flat = self.schema.check(fields, (len(streams),), only)
        chosen = None if only is None else np.flatnonzero(only)
        count = len(streams) if chosen is None else len(chosen)
        keep = self.schema.finite_rows(flat, (count,))
        with self.writing(count, longest=1):
            self.shared.check_changeable()
            before = rows.found
            if chosen is not None or keep is not None:
                keys = self._some(streams, chosen, keep, flat)
            elif count > 1:
                keys = rows.append_each(streams, flat)
                self.shared.observe(flat)
            else:
                # a vector of one environment, as whole numbers
                only_one = {name: value[0] for name, value in flat.items()}
                keys = np.array([rows.append(int(streams[0]), only_one)])
                self.shared.observe(only_one)
        if rows.found != before:
            self._warn_of_breaks(rows.found - before)
        return keys

    def many(self, stream: int, fields: dict[str, Any], count: int) -> Int64s:
        """So many steps of one stream, in time order; (T,) keys."""
        rows = self._rows
        flat = self.schema.check(fields, (count,))
        keep = self.schema.finite_rows(flat, (count,))
        with self.writing(count):
            self.shared.check_changeable()
            before = rows.found
            if keep is None:
                keys = rows.extend(stream, flat, count)
                self.shared.observe(flat)
            else:
                keys = np.full(count, -1, np.int64)
                kept, many, afresh = without_dropped(flat, keep)
                keys[keep] = rows.extend(stream, kept, many, afresh)
                self.shared.observe(kept)
                rows.refuse(np.array([stream]), int((~keep).sum()), cut=not keep[-1])
        if rows.found != before:
            self._warn_of_breaks(rows.found - before)
        return keys

    def _some(
        self,
        streams: Int64s,
        chosen: NDArray[np.intp] | None,
        keep: NDArray[np.bool_] | None,
        flat: dict[str, Any],
    ) -> Int64s:
        """Adds to the chosen places of `streams`, but for rows that are not to be kept."""
        keys = np.full(len(streams), -1, np.int64)
        chosen = np.arange(len(streams)) if chosen is None else chosen
        if keep is not None:
            flat = {name: value[keep] for name, value in flat.items()}
            lost, chosen = chosen[~keep], chosen[keep]
        if len(chosen):
            keys[chosen] = self._rows.append_each(streams[chosen], flat)
            self.shared.observe(flat)
        if keep is not None:
            self._rows.refuse(streams[lost])
        return keys

    def _warn_of_breaks(self, new: int) -> None:
        """Warns, if the count of broken chains has just reached 1, 10, 100, ..."""
        count = self._rows.chain_breaks
        before = count - new
        if len(str(count)) > len(str(before)) or not before:
            warnings.warn(
                f"{count} broken chains: a step's obs was not the next_obs before it, "
                "as after a reset that was not reported; that episode was closed as truncated. "
                "Pass terminated or truncated at an episode's end, or call memory.cut().",
                ChainBreakWarning,
                stacklevel=4,  # who called the memory
            )


class AddingExamples(Adding):
    """Examples come in as many as there are, and the retention rule says which are kept."""

    def __init__(self, schema: Schema, rows: Examples, shared: Shared, grows: bool) -> None:
        super().__init__(schema, shared, grows)
        self._rows = rows

    def one(self, fields: dict[str, Any]) -> int:
        """An example without an axis; its key, -1 if it was not kept."""
        flat = with_axis(self.schema.check(fields), self.schema)
        return int(self._offer(flat, 1)[0])

    def many(self, fields: dict[str, Any], count: int) -> Int64s:
        """So many examples; (B,) keys, -1 where one was not kept."""
        return self._offer(self.schema.check(fields, (count,)), count)

    def swap(
        self, fields: dict[str, Any], count: int, probability: float
    ) -> tuple[dict[str, NDArray[Any]], Int64s]:
        """Gives so many and takes as many; what was taken, and its keys. See `Examples.swap`."""
        flat = self.schema.check(fields, (count,))
        if self.schema.finite_rows(flat, (count,)) is not None:
            raise SchemaError("swap: expected finite values, got NaN or infinity")
        with self.writing(count):
            self.shared.check_changeable()
            self.shared.check_writable()
            taken = self._rows.swap(flat, count, probability)
            self.shared.observe(flat)
        return taken

    def _offer(self, flat: dict[str, Any], count: int) -> Int64s:
        rows = self._rows
        keep = self.schema.finite_rows(flat, (count,))
        with self.writing(count):
            self.shared.check_changeable()
            self.shared.check_writable()
            if keep is None:
                keys = rows.extend(flat, count)
                self.shared.observe(flat)
                return keys
            keys = np.full(count, -1, np.int64)
            kept = {name: value[keep] for name, value in flat.items()}
            keys[keep] = rows.extend(kept, int(keep.sum()))
            self.shared.observe(kept)
            rows.refused += int((~keep).sum())
            return keys
