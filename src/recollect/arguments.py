"""What the memory's methods are given: checks, each with an error that names what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import trees
from recollect.errors import ConfigurationError, SchemaError
from recollect.schema import Schema, as_numpy


def whole(name: str, value: Any) -> int:
    """A positive whole number, or an error that names it."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ConfigurationError(f"{name}: expected a positive whole number, got {value!r}")
    return int(value)


def refuse(method: str, kind: str, **arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise SchemaError(f"{method}: {kind} takes no {name}, got {value!r}")


def rows_given(fields: dict[str, Any]) -> int:
    """How many rows `extend` was given: the length of the first array."""
    for name, tree in fields.items():
        for path, value in trees.leaves(tree, name):
            shape = as_numpy(value, path).shape
            if not shape:
                raise SchemaError(f"{path}: expected a leading axis of rows, got a scalar")
            return int(shape[0])
    raise SchemaError("extend: expected fields, got none")


def one_stream(stream: Any, count: int) -> int:
    """One of so many streams."""
    number = not isinstance(stream, bool) and isinstance(stream, (int, np.integer))
    if not number or not 0 <= stream < count:
        raise SchemaError(f"stream: expected one of 0 to {count - 1}, got {stream!r}")
    return int(stream)


def many_streams(streams: Any, count: int) -> NDArray[np.int64]:
    """Different ones of so many streams; all of them, unless some are named."""
    if streams is None:
        return np.arange(count)
    if np.ndim(streams) != 1:
        raise SchemaError(f"stream: expected a number or a sequence of them, got {streams!r}")
    chosen = np.array([one_stream(stream, count) for stream in streams], np.int64)
    if len(np.unique(chosen)) < len(chosen):
        raise SchemaError(f"stream: expected different streams, got {list(streams)}")
    return chosen


def checked_mask(valid: Any, count: int) -> NDArray[np.bool_]:
    mask = as_numpy(valid, "valid")
    if mask.dtype != np.bool_ or mask.shape != (count,):
        raise SchemaError(f"valid: expected bool ({count},), got {mask.dtype} {mask.shape}")
    return mask


def with_axis(flat: dict[str, Any], schema: Schema) -> dict[str, Any]:
    return {name: np.asarray(value, schema.flat[name].dtype)[None] for name, value in flat.items()}


def without_dropped(
    flat: dict[str, Any], keep: NDArray[np.bool_]
) -> tuple[dict[str, Any], int, bool]:
    """Rows of a run without those that are dropped, the chain closed before each of them."""
    before_gap = np.append(~keep[1:], False)
    terminated, truncated = flat["terminated"], flat["truncated"]
    flat = {**flat, "truncated": truncated | (before_gap & ~terminated)}
    rows = {name: value[keep] for name, value in flat.items()}
    return rows, int(keep.sum()), not keep[0]
