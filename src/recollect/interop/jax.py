"""Batches as JAX arrays."""

from __future__ import annotations

from typing import Any

from recollect.batch import Batch, Fields, nest
from recollect.errors import MissingExtraError

try:
    import jax
except ImportError as error:
    raise MissingExtraError(
        'Batch.jax needs JAX, which is not installed: pip install "recollect[jax]"'
    ) from error


def to_jax(batch: Batch, device: Any = None) -> Batch:
    """`batch` with a JAX array for every array but `key`; see `Batch.jax`."""
    fields = {name: _plain(value) for name, value in batch.items() if name != "key"}
    moved = jax.device_put(fields, device)
    return Batch({name: nest(value) for name, value in moved.items()} | {"key": batch.key})


def _plain(value: Any) -> Any:
    """Containers that JAX knows: dicts and tuples."""
    if isinstance(value, Fields):
        return {name: _plain(child) for name, child in value.items()}
    if isinstance(value, tuple):
        return tuple(_plain(child) for child in value)
    return value
