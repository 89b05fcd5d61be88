"""`Interpolate`: replays mixtures of examples (mixup), or of transitions and their neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.batch import Batch
from recollect.errors import ConfigurationError
from recollect.schema import as_numpy
from recollect.transforms.base import flattened, replaced
from recollect.transforms.fields import (
    FieldTransform,
    checked_fields,
    checked_number,
    like,
    selected,
)

KEPT_APART = ("discount", "terminated", "mask", "first")
"""Examples that differ in one of these have targets that cannot be averaged."""


class Interpolate(FieldTransform):
    """Convex mixtures of each example with another one of the batch, its partner.

        value = share * own value + (1 - share) * partner's value,    share ~ Beta(alpha, alpha)

    for the chosen fields, one share per example. Two further fields say what was done: `share` (B,)
    float32, and `partner` (B,) int64, the partner's place in the batch. All other fields stay the
    example's own, so that a class label is mixed in the loss:

        loss = share * cross_entropy(label) + (1 - share) * cross_entropy(label[partner])

    Without `neighbours` the partners are a random permutation of the batch (Zhang et al. 2018,
    "mixup: Beyond Empirical Risk Minimization"). With `neighbours=k` the partner is one of the k
    nearest, each equally likely, by Euclidean distance between standardised observations and
    actions, so that mixtures stay near the transitions that there are (Sander et al. 2022,
    "Neighborhood Mixup Experience Replay", which looks for neighbours in the whole memory; here
    they are those of the batch, at O(B**2) cost, and other draws of the same row do not count).

    An example whose partner differs from it in discount, terminated, mask or first is not mixed,
    and has share 1 and itself as partner; neighbours are looked for among those that agree in all
    of them. The result is float32, or float64 where the field is. For tensors on their device, but
    neighbours are found by the processor.

    Args:
        alpha: above 0; 1 makes every share equally likely, small values rarely mix much.
        fields: what is mixed: floats, or images of bytes. For transitions
            `("obs", "action", "reward")`; next_obs goes with obs.
        neighbours: how many of the nearest a partner is chosen from. None: everyone.
        near: the fields whose distance counts, by dotted path; without next_obs.
    """

    random = True

    def __init__(
        self,
        alpha: float,
        fields: str | Sequence[str],
        neighbours: int | None = None,
        near: str | Sequence[str] = ("obs", "action"),
    ) -> None:
        super().__init__(fields)
        self.alpha = checked_number("Interpolate", "alpha", alpha, 0)
        if self.alpha == 0:
            raise ConfigurationError("Interpolate: alpha: expected a number above 0, got 0")
        whole = isinstance(neighbours, (int, np.integer)) and not isinstance(neighbours, bool)
        if neighbours is not None and not (whole and neighbours >= 1):
            raise ConfigurationError(
                f"Interpolate: neighbours: expected at least 1, or None, got {neighbours!r}"
            )
        self.neighbours = neighbours
        self.near = checked_fields("Interpolate", "near", near)

    def __repr__(self) -> str:
        near = "" if self.neighbours is None else f", neighbours={self.neighbours}"
        return f"Interpolate({self.alpha:g}, {self.fields}{near})"

    def __call__(self, batch: Batch, rng: np.random.Generator | None = None) -> Batch:
        rng = self.generator(rng)
        for name in ("share", "partner"):
            if name in batch:
                raise ConfigurationError(f"Interpolate: the batch has a field {name!r} already")
        leaves = {path: self._mixable(path, leaf) for path, leaf in self.leaves(batch).items()}
        one = next(iter(leaves.values()))
        count = len(one)
        share = rng.beta(self.alpha, self.alpha, count).astype(np.float32)
        kind = _kinds(batch, count)
        if self.neighbours is None:
            partner = rng.permutation(count)
        else:
            partner = self._neighbour(batch, kind, rng)
        partner = np.where(kind[partner] == kind, partner, np.arange(count))
        share[partner == np.arange(count)] = 1
        other, towards = like(one, partner), like(one, 1 - share)
        changes: dict[str, Any] = {
            # written as a step towards the partner, so that a share of 1 changes nothing at all
            path: leaf + towards.reshape(-1, *[1] * (leaf.ndim - 1)) * (leaf[other] - leaf)
            for path, leaf in leaves.items()
        }
        return replaced(batch, {**changes, "share": like(one, share), "partner": other})

    def _mixable(self, path: str, leaf: Any) -> Any:
        dtype = str(leaf.dtype).removeprefix("torch.")
        if dtype != "uint8" and "float" not in dtype:
            raise self.error(path, "floats, or images of bytes, which have means", dtype)
        return self.floating(path, leaf)

    def _neighbour(
        self, batch: Mapping[str, Any], kind: NDArray[np.intp], rng: np.random.Generator
    ) -> NDArray[np.intp]:
        """A random one of the nearest of each example's own kind (B,); itself if there is none."""
        for field in self.near:
            if not selected(batch, (field,)):
                known = ", ".join(flattened(batch))
                raise ConfigurationError(
                    f"Interpolate: near: {field!r} is no field of the batch; known: {known}"
                )
        count = len(kind)
        distance = _distances([as_numpy(x, p) for p, x in selected(batch, self.near).items()])
        key = as_numpy(batch["key"], "key")
        distance[(kind[:, None] != kind) | (key[:, None] == key)] = np.inf
        nearest = np.argsort(distance, axis=1, kind="stable")[:, : self.neighbours]
        there = np.isfinite(np.take_along_axis(distance, nearest, axis=1)).sum(axis=1)
        chosen = (rng.random(count) * there).astype(np.intp)
        partner: NDArray[np.intp] = nearest[np.arange(count), chosen]
        return np.where(there > 0, partner, np.arange(count))


def _kinds(batch: Mapping[str, Any], count: int) -> NDArray[np.intp]:
    """(B,), the same number for examples that may be mixed."""
    parts = [
        as_numpy(batch[name], name).reshape(count, -1).astype(np.float64)
        for name in KEPT_APART
        if name in batch
    ]
    if not parts:
        return np.zeros(count, np.intp)
    _, kinds = np.unique(np.concatenate(parts, axis=1), axis=0, return_inverse=True)
    return kinds.reshape(count)


def _distances(fields: list[NDArray[Any]]) -> NDArray[np.float64]:
    """(B, B) squared distances of standardised features; what never differs does not count."""
    flat = [field.reshape(len(field), -1).astype(np.float64) for field in fields]
    features = np.concatenate(flat, axis=1)
    features -= features.mean(axis=0)
    deviation = features.std(axis=0)
    features /= np.where(deviation > 0, deviation, 1)
    length = np.einsum("ij,ij->i", features, features)
    squared: NDArray[np.float64] = length[:, None] + length - 2 * features @ features.T
    return squared
