"""Batches as a memory would gather them, for tests of what is done to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from recollect import trees
from recollect.batch import Batch, nest


def batch_of(**fields: Any) -> Batch:
    """A batch of these fields, and what every batch has."""
    first = next(leaf for name in fields for _, leaf in trees.leaves(fields[name], name))
    count = len(first)
    return Batch(
        {name: nest(tree) for name, tree in fields.items()}
        | {
            "weight": np.ones(count, np.float32),
            "probability": np.full(count, 1 / count),
            "key": np.arange(count),
        }
    )


def flat(batch: Any) -> dict[str, Any]:
    """Its arrays by flat name; those of tensors, too."""
    return {
        path: leaf if isinstance(leaf, np.ndarray) else leaf.numpy()
        for name in batch
        for path, leaf in trees.leaves(batch[name], name)
    }


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def numbers(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)
