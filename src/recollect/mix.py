"""`mix`: one batch from several memories, such as online and offline data, old and new tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.batch import Batch, Fields
from recollect.errors import ConfigurationError, SchemaError
from recollect.memory import Memory
from recollect.reader import Reader, checked_keys
from recollect.schema import as_numpy
from recollect.shares import checked_fractions, split


class Mix:
    """Draws from several memories (or readers) at once; made by `mix`."""

    def __init__(self, parts: list[Memory | Reader], fractions: NDArray[np.float64], seed: Any):
        self.parts = parts
        self.fractions = fractions
        self._rng = np.random.default_rng(seed)

    def __repr__(self) -> str:
        inner = ", ".join(
            f"{part!r}: {fraction:g}"
            for part, fraction in zip(self.parts, self.fractions, strict=True)
        )
        return f"mix({{{inner}}})"

    def sample(self, n: int) -> Batch:
        """n examples, (n, ...) each, those of the first part first.

        A part gives its share of n rounded down, and one more as often as makes its share exact.
        `source` (n,) says which part each example came from, by its place in the mix. `weight` is
        as the parts give it; `probability` times the part's fraction.

        Raises:
            EmptyMemoryError: a part that has to give something has nothing to give.
            SchemaError: the parts give batches of different fields.
        """
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise ConfigurationError(f"sample: expected a positive whole number, got {n!r}")
        counts = split(int(n), self.fractions, self._rng)
        drawn = [place for place in range(len(self.parts)) if counts[place]]
        batches = [self.parts[place].sample(int(counts[place])) for place in drawn]
        fields = dict(_joined(batches, "batch"))
        source = np.repeat(drawn, [len(batch.key) for batch in batches])
        fields["probability"] = fields["probability"] * self.fractions[source]
        fields["source"] = source
        return Batch(fields)

    def update(self, keys: Any, priority: Any = None, *, source: Any, **extras: Any) -> int:
        """As `Memory.update`, for keys of a batch whose `source` is given too.

        Every part gets its own; parts before one that raises an error have been updated.
        """
        wanted, origin = checked_keys(keys), np.atleast_1d(as_numpy(source, "source"))
        if origin.shape != wanted.shape or origin.dtype.kind not in "iu":
            raise SchemaError(
                f"source: expected {len(wanted)} whole numbers, as many as keys, got "
                f"{origin.dtype} {origin.shape}"
            )
        if len(origin) and not (origin.min() >= 0 and origin.max() < len(self.parts)):
            raise SchemaError(f"source: expected 0 to {len(self.parts) - 1}, got {origin}")
        values = {name: as_numpy(value, name) for name, value in extras.items()}
        if priority is not None:
            values["priority"] = np.atleast_1d(as_numpy(priority, "priority"))
        live = 0
        for place, part in enumerate(self.parts):
            own = np.flatnonzero(origin == place)
            if len(own):
                live += part.update(wanted[own], **{name: v[own] for name, v in values.items()})
        return live


def mix(parts: Mapping[Memory | Reader, float], seed: int | None = None) -> Mix:
    """One source of batches from several memories.

        both = rc.mix({online: 0.75, offline: 0.25})
        batch = both.sample(256)                    # 192 of one, 64 of the other
        both.update(batch.key, priority=error, source=batch.source)

    Args:
        parts: memories or readers, and the fraction of each batch that they give.
        seed: decides who gives one more where a share is no whole number.

    Raises:
        ConfigurationError: fractions that do not sum to 1, or something that cannot be sampled.
    """
    fractions = checked_fractions("mix", parts)
    for part in parts:
        if not isinstance(part, (Memory, Reader)):
            raise ConfigurationError(f"mix: expected memories or readers, got {part!r}")
    return Mix(list(parts), fractions, seed)


def _joined(trees: list[Any], path: str) -> Any:
    """Batches of the same fields, one after the other."""
    first = trees[0]
    if isinstance(first, (Fields, tuple)):
        if isinstance(first, tuple):
            same = all(isinstance(tree, tuple) and len(tree) == len(first) for tree in trees)
        else:
            same = all(isinstance(tree, Fields) and tree.keys() == first.keys() for tree in trees)
        if not same:
            raise SchemaError(f"mix: {path}: the parts give different fields: {trees!r}")
        if isinstance(first, tuple):
            pairs = zip(*trees, strict=True)
            return tuple(_joined(list(pair), f"{path}.{i}") for i, pair in enumerate(pairs))
        return Fields(
            {name: _joined([tree[name] for tree in trees], f"{path}.{name}") for name in first}
        )
    if any(tree.shape[1:] != first.shape[1:] or tree.dtype != first.dtype for tree in trees):
        shapes = ", ".join(f"{tree.dtype} {tree.shape[1:]}" for tree in trees)
        raise SchemaError(f"mix: {path}: the parts give different arrays: {shapes}")
    return np.concatenate(trees)
