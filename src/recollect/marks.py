"""The mark beside each row of a stream: how its step ended, and how far into its episode it is.

    31 ................... 4     3        2         1           0
    offset in the episode      REMOVED  CLOSING  TRUNCATED  TERMINATED

A closing row holds the observation after an episode's last step; its offset is the episode's
length. With the offset in the row itself, a window never has to search for its episode's start,
even when that has been overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

TERMINATED = 1
TRUNCATED = 2
CLOSING = 4
REMOVED = 8
ENDED = TERMINATED | TRUNCATED

OFFSET_SHIFT = 4
LAST_OFFSET = 2**28 - 1
"""Offsets stop growing here: an episode of over 268 million steps has no known beginning."""
OFFSET_MASK = np.uint32(LAST_OFFSET << OFFSET_SHIFT)
LATER_CLOSING = np.uint32(1 << OFFSET_SHIFT | CLOSING)
LAST_CARRIED = np.uint32(LAST_OFFSET - 1 << OFFSET_SHIFT)
"""Of offsets in their place in the mark: where they stand; what a closing row has more than the
step before it; and the last offset but one."""

# arrays that are at hand spare a conversion of small numbers at every call
_TERMINATED, _TRUNCATED = np.array(TERMINATED, np.uint32), np.array(TRUNCATED, np.uint32)
_ENDED, _CLOSING = np.array(ENDED, np.uint32), np.array(CLOSING, np.uint32)
_TRUNCATED_BYTE = np.array(TRUNCATED, np.uint8)
_FLAG = np.dtype(np.bool_)


def terminated(mark: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which steps terminated."""
    return _has(mark, _TERMINATED)


def truncated(mark: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which steps were truncated."""
    return _has(mark, _TRUNCATED)


def ended(mark: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which steps ended their episode."""
    return _has(mark, _ENDED)


def closing(mark: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which rows are closing rows."""
    return _has(mark, _CLOSING)


def ends(rows: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """How each step ended, as marks without an offset."""
    mark: NDArray[np.uint8] = rows["truncated"].view(np.uint8) * _TRUNCATED_BYTE
    mark |= rows["terminated"].view(np.uint8)
    return mark


def offsets(mark: NDArray[Any]) -> NDArray[np.int64]:
    """How many steps of its episode came before each row."""
    return (mark >> OFFSET_SHIFT).astype(np.int64)


def _has(mark: NDArray[np.uint32], bits: NDArray[np.uint32]) -> NDArray[np.bool_]:
    flags: NDArray[np.bool_] = (mark & bits).astype(_FLAG)
    return flags
