"""Reading B windows of T steps each, with a mask where they end early.

The one hard thing is padding: the slots after a window's last step may hold anything, so they are
never read. In their place the last step is read once more, which costs nothing, since it was just
fetched, and then zeroed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.errors import ConfigurationError
from recollect.stores.base import Slots
from recollect.views.base import Fields, Rows


class Windows(NamedTuple):
    """B windows of up to T steps. Each attribute is (B, T) but `steps`."""

    slots: Slots
    """In padding that of the last step."""
    row_key: NDArray[np.int64]
    """-1 in padding."""
    mask: NDArray[np.bool_]
    """Whether there is a step, and not padding."""
    steps: NDArray[np.int64]
    """(B,), how many steps there are, at least 1."""
    reward: NDArray[Any]
    """(B, T, ...)"""
    mark: NDArray[np.uint32]


def within_episode(rows: Rows, anchors: Slots, length: int) -> Windows:
    """The steps from each anchor (B,) to its episode's end, at most `length` of them."""
    time = np.arange(length)
    slots = rows.move(anchors[:, None], time)
    reward, mark = rows.scan(slots)
    ended = marks.ended(mark)
    steps = np.where(ended.any(axis=1), ended.argmax(axis=1) + 1, length)
    mask = time < steps[:, None]
    row_key = rows.keys(anchors)[:, None] + time
    if not mask.all():
        last = slots[np.arange(len(slots)), steps - 1]
        slots = np.where(mask, slots, last[:, None])
        row_key[~mask] = -1
    return Windows(slots, row_key, mask, steps, reward, mark)


def across_episodes(rows: Rows, anchors: Slots, length: int) -> Windows:
    """The `length` steps from each anchor (B,) on, through the stream's next episodes."""
    # no two closing rows are neighbours, so among so many rows there are enough steps
    reach = rows.move(anchors[:, None], np.arange(2 * length - 1))
    _, mark = rows.scan(reach)
    closing = marks.closing(mark)
    # steps before closing rows, otherwise in their order
    order = closing.argsort(axis=1, kind="stable")[:, :length]
    slots = np.take_along_axis(reach, order, axis=1)
    reward, mark = rows.scan(slots)
    steps = np.full(len(anchors), length)
    row_key = rows.keys(anchors)[:, None] + order
    return Windows(slots, row_key, np.ones(slots.shape, np.bool_), steps, reward, mark)


def gather(rows: Rows, windows: Windows, bootstrap: bool) -> Fields:
    """Every field of the windows' rows (B, T, ...), and `mask`, `first` and `row_key` (B, T).

    Args:
        bootstrap: obs is (B, T + 1, ...) and holds, after the last step, its successor.
    """
    slots, row_key, mask, steps, reward, mark = windows
    padding = None if mask.all() else ~mask
    observed = rows.schema.select("obs")
    (block,) = rows.read(slots)
    apart = {"reward", *(observed if bootstrap else ())}
    fields: Fields = {
        name: _blank(block[name], padding) for name in rows.schema.flat if name not in apart
    }
    if bootstrap:
        batch = np.arange(len(slots))
        longer = np.concatenate((slots, slots[:, -1:]), axis=1)
        longer[batch, steps] = rows.move(slots[batch, steps - 1], 1)
        beyond = None if padding is None else np.arange(longer.shape[1]) > steps[:, None]
        (block,) = rows.read(longer)
        fields |= {name: _blank(block[name], beyond) for name in observed}
    fields["reward"] = _blank(np.ascontiguousarray(reward), padding)
    fields["terminated"] = _blank(marks.terminated(mark), padding)
    fields["truncated"] = _blank(marks.truncated(mark), padding)
    fields["mask"] = mask
    fields["first"] = _blank(marks.offsets(mark) == 0, padding)
    fields["row_key"] = row_key
    return fields


def discounts(fields: Fields, gamma: float) -> NDArray[np.float32]:
    """(B, T), gamma, or 0 where a step terminated and in padding."""
    discount: NDArray[np.float32] = fields["mask"] * np.float32(gamma)
    discount[fields["terminated"]] = 0
    return discount


def checked_length(view: str, name: str, value: Any, least: int = 1) -> int:
    """A whole number of steps."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least:
        raise ConfigurationError(f"{view}: {name}: expected at least {least} steps, got {value!r}")
    return int(value)


def checked_flag(view: str, name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ConfigurationError(f"{view}: {name}: expected True or False, got {value!r}")
    return bool(value)


def _blank(values: NDArray[Any], padding: NDArray[np.bool_] | None) -> NDArray[Any]:
    """The same array with zeros in padding."""
    if padding is not None:
        values[padding] = 0
    return values
