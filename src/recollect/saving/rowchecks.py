"""What can be told of rows that should be right: whether they fit together, and what they hold.

Each function looks at some rows and says which of them are wrong, or what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.examples import GENERATION_SHIFT, SLOT_MASK, checksums
from recollect.saving.contents import Part
from recollect.saving.findings import some
from recollect.schema import Schema
from recollect.stores.base import Slots

Rows = Mapping[str, NDArray[Any]]
Bools = NDArray[np.bool_]


def episodes(parts: Iterable[Part]) -> Iterator[str]:
    """Whether the rows of one stream, all its parts, are episodes one after the other."""
    before = np.zeros(0, np.uint32)
    closings = 0
    for part in parts:
        if not part.joined:
            before, closings = before[:0], part.now.lost
        mark = np.concatenate((before, part.mark))
        yield from _in_order(mark, part.first - len(before), part.stream)
        closings += int(np.count_nonzero(part.mark & marks.CLOSING))
        before = mark[-1:]
        if part.last:
            yield from _at_the_end(before, part)
            if closings != part.now.ended:
                yield (
                    f"stream {part.stream} has {closings - part.now.lost} rows that close an "
                    f"episode, its cursors say {part.now.ended - part.now.lost}"
                )


def _in_order(mark: NDArray[np.uint32], first: int, stream: int) -> Iterator[str]:
    """Each row after the one before it; `first` is the number of the first."""
    offset, closing = marks.offsets(mark), marks.closing(mark)
    flagged = marks.ended(mark)
    ends = flagged & ~closing
    due = np.where(closing, 0, offset + 1)[:-1]
    follows = (offset[1:] == due) | (due >= marks.LAST_OFFSET - 1)
    for wrong, what in (
        (~follows, "not as far into their episodes as the rows before them say"),
        (ends[:-1] & ~closing[1:], "not the closing rows that the steps before them need"),
        (closing[1:] & ~ends[:-1], "closing rows, though the steps before them ended nothing"),
    ):
        if wrong.any():
            numbers = first + 1 + np.flatnonzero(wrong)
            yield f"stream {stream}: rows {some(numbers)}: {what}"
    both = np.flatnonzero(flagged & closing)
    if len(both):
        yield f"stream {stream}: rows {some(first + both)}: closing rows that are marked as steps"


def _at_the_end(last: NDArray[np.uint32], part: Part) -> Iterator[str]:
    """Whether a stream ends as its cursor says; `last` is the mark of its last row, if any."""
    if not len(last):
        return
    mark, number = int(last[0]), part.now.head - 1
    if bool(mark & marks.CLOSING) == part.now.open:
        said, found = ("an", "a") if part.now.open else ("no", "no")
        yield (
            f"stream {part.stream}: row {number}: {found} closing row, its cursor says that {said} "
            "episode is open"
        )
    elif part.now.open and not mark & marks.ENDED:
        # an episode that was being cut when its process was killed is closed by who opens it
        due = min((mark >> marks.OFFSET_SHIFT) + 1, marks.LAST_OFFSET)
        if part.after >> marks.OFFSET_SHIFT not in (due, marks.LAST_OFFSET):
            yield (
                f"stream {part.stream}: rows {number + 1}: not as far into their episodes as the "
                "rows before them say"
            )


def not_finite(schema: Schema, rows: Rows, closing: Bools) -> Iterator[tuple[str, str, Bools]]:
    """Of fields that are to be finite: the array, the field, and which rows (M,) are not."""
    for name, field in schema.flat.items():
        if not field.finite:
            continue
        array, values = column(rows, name)
        wrong = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if schema.kind == "steps" and name != "obs" and not name.startswith("obs."):
            wrong &= ~closing  # a closing row has nothing but an observation
        if wrong.any():
            yield array, name, wrong


def column(rows: Rows, name: str) -> tuple[str, NDArray[Any]]:
    """In which array a field is, and its values (M, ...)."""
    if (array := f"field.{name}") in rows:
        return array, rows[array]
    array = "narrow" if name in (rows["narrow"].dtype.names or ()) else "packed"
    return array, rows[array][name]


def priorities(ledger: NDArray[Any], keys: NDArray[np.int64]) -> Bools:
    """(M,), of which of the rows with these keys the ledger cannot be right."""
    priority = ledger["priority"]
    given = ledger["key"] == keys + 1
    wrong: Bools = (ledger["key"] < 0) | (given & ~(np.isfinite(priority) & (priority >= 0)))
    return wrong


def identities(rows: Rows, slots: Slots) -> Bools:
    """(M,), which of these examples have a key that nobody gave them, or came before the first."""
    key, mark = rows["beside.key"], rows["narrow"]["mark"].astype(np.int64)
    slot, generation = key & SLOT_MASK, key >> GENERATION_SHIFT
    # an example that had to move when the memory shrank lies below the slot of its key
    impossible = (slot < slots) | (generation % 2 == 0) | (rows["beside.arrival"] < 0)
    wrong: Bools = impossible | ((slot == slots) & (generation != mark))
    return wrong


def unlike(schema: Schema, rows: Rows) -> Bools:
    """(M,), which of these examples are not as their checksums say."""
    fields = [np.ascontiguousarray(column(rows, name)[1]) for name in schema.flat]
    mark = rows["narrow"]["mark"]
    due = checksums([*fields, rows["beside.key"], rows["beside.arrival"], mark])
    wrong: Bools = rows["beside.checksum"] != due
    return wrong
