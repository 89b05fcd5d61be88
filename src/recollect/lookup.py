"""Reading rows back by their keys, as they are stored: no view, and nothing drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from recollect import marks, trees
from recollect.batch import Batch, Fields, nest, nested
from recollect.errors import StaleError
from recollect.reader import checked_keys
from recollect.shared import Shared
from recollect.streams import Streams


def lookup(shared: Shared, keys: Any) -> Batch | Fields:
    """See `Memory.__getitem__`."""
    wanted = checked_keys(keys)
    rows = shared.rows
    with shared.lock:
        shared.check_open()
        slots, live = rows.find(wanted)
        if not live.all():
            gone = wanted[~live]
            raise StaleError(
                f"key {gone[0]}: that row was overwritten, removed or never there "
                f"({len(gone)} of {len(wanted)} keys are gone)"
            )
        flat = {name: np.ascontiguousarray(value) for name, value in rows.whole(slots).items()}
        fields = nested(shared.schema.fields, flat)
        if isinstance(rows, Streams):
            (later,) = rows.read(rows.move(slots, 1))
            _, mark = rows.scan(slots)
            fields |= {
                "next_obs": nest(trees.rebuild(fields["obs"], "obs", later.__getitem__)),
                "terminated": marks.terminated(mark),
                "truncated": marks.truncated(mark),
            }
    batch = Batch(fields | {"key": wanted})
    return _first(batch) if np.ndim(keys) == 0 else batch


def _first(tree: Any) -> Any:
    """Row 0 of every array, nested as they are."""
    if isinstance(tree, Fields):
        return Fields({name: _first(child) for name, child in tree.items()})
    if isinstance(tree, tuple):
        return tuple(_first(child) for child in tree)
    return tree[0]
