"""`Normalize`: subtracts the mean of a stored field and divides by its standard deviation.

The moments are those of all rows ever added, whatever was forgotten or replayed since. They are
kept in float64 and merged as rows come (Chan, Golub and LeVeque 1983, "Algorithms for Computing the
Sample Variance"; for single rows that is Welford's update), so that nothing cancels however many
rows there are. Each field's moments are replaced as one object, because batches are transformed
while rows come in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recollect.batch import Batch
from recollect.errors import ConfigurationError
from recollect.schema import Schema
from recollect.states import Saved
from recollect.transforms.base import replaced
from recollect.transforms.fields import FieldTransform, checked_number, float_type, is_tensor, like

CHUNK = 1 << 20
"""How many numbers are brought to float64 at a time."""


class Moments(NamedTuple):
    """What is known of one field of so many rows."""

    rows: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    """The sum of squared distances from the mean, as `mean` of the field's shape."""

    def merged(self, rows: NDArray[Any]) -> Moments:
        """With further rows (M, ...)."""
        added = len(rows)
        if not added:
            return self
        if added == 1:
            mean, squares = rows[0].astype(np.float64), np.zeros(())
        else:
            values = rows.astype(np.float64)
            mean = values.mean(axis=0)
            values -= mean
            squares = np.einsum("i...,i...->...", values, values)
        total = self.rows + added
        distance = mean - self.mean
        share = added / total
        return Moments(
            total,
            self.mean + distance * share,
            self.squares + squares + distance * distance * (self.rows * share),
        )


class Normalize(FieldTransform):
    """`(value - mean) / sqrt(variance + epsilon)`, each number of a field by its own moments.

    Moments are of the field as it is stored, so this goes before transforms that change its values
    or its shape; axes that a view puts in front, time or stacked observations, share them, and
    next_obs is normalised as obs is. Every added step counts once, with its obs; an episode's last
    observation, which starts no step, does not. Rows with NaN or infinity in a field are left out
    of its moments. Before the first row the values stay as they are.

    Padding is changed like everything else: the zeros behind a sequence's last step become
    -mean / deviation (they stay zeros with `center=False`). The batch's `mask` tells them apart.

    The result is float32, or float64 where the field is. For tensors on their device. Costs a few
    microseconds per `add` and field, and 2 x 8 bytes per number of a row.

    Args:
        fields: stored fields; see `FieldTransform`.
        center: whether the mean is subtracted; rewards are only scaled with `center=False`, so that
            their sign stays.
        clip: bounds the result to -clip to clip. None: no bounds.
        epsilon: added to the variance, so that what never changes is not divided by 0.

    Raises:
        ConfigurationError: a field that is not stored, or is complex.
    """

    def __init__(
        self,
        fields: str | Sequence[str] = ("obs",),
        *,
        center: bool = True,
        clip: float | None = None,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(fields)
        if not isinstance(center, bool):
            raise ConfigurationError(f"Normalize: center: expected True or False, got {center!r}")
        self.center = center
        self.clip = None if clip is None else checked_number("Normalize", "clip", clip, 0)
        self.epsilon = checked_number("Normalize", "epsilon", epsilon, 0)
        if self.epsilon == 0 or self.clip == 0:
            raise ConfigurationError("Normalize: expected clip and epsilon above 0, got 0")
        self._moments: dict[str, Moments] = {}

    def __repr__(self) -> str:
        return f"Normalize({self.fields})"

    def open(self, schema: Schema) -> None:
        if self._moments:
            raise ConfigurationError(f"transforms: this {self!r} belongs to a reader; make another")
        moments: dict[str, Moments] = {}
        for field in self.fields:
            names = schema.select(field)
            if not names:
                known = ", ".join(schema.flat)
                raise ConfigurationError(f"Normalize: {field!r} is not stored; known: {known}")
            for name in names:
                shape = schema.flat[name].shape
                if schema.flat[name].dtype.kind == "c":
                    raise self.error(name, "real numbers", schema.flat[name].dtype)
                moments[name] = Moments(0, np.zeros(shape), np.zeros(shape))
        self._moments = moments

    def observe(self, rows: Mapping[str, Any]) -> None:
        """What was just added, by flat name: (M, ...) each, or one row without that axis."""
        for name, moments in self._moments.items():
            shape = moments.mean.shape
            values = np.asarray(rows[name])
            values = values.reshape(-1, *shape) if values.shape != shape else values[None]
            size = max(1, CHUNK // max(1, moments.mean.size))
            for first in range(0, len(values), size):
                chunk = values[first : first + size]
                if chunk.dtype.kind == "f":
                    finite = np.isfinite(chunk).reshape(len(chunk), -1).all(axis=1)
                    chunk = chunk if finite.all() else chunk[finite]
                moments = moments.merged(chunk)
            self._moments[name] = moments

    def __call__(self, batch: Batch, rng: np.random.Generator | None = None) -> Batch:
        changes = {path: self._normalized(path, x) for path, x in self.leaves(batch).items()}
        return replaced(batch, changes)

    def moments(self, path: str) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        """Rows seen, mean and variance of a field by its flat name; copies."""
        count, mean, squares = self._moments[path]
        return count, mean.copy(), squares / max(count, 1)

    def state(self) -> dict[str, NDArray[Any]]:
        return {
            f"{path}.{name}": np.array(value)
            for path, moments in self._moments.items()
            for name, value in moments._asdict().items()
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        names = [f"{path}.{name}" for path in self._moments for name in Moments._fields]
        saved = Saved(repr(self), state, names)
        self._moments = {
            path: Moments(
                saved.number(f"{path}.rows"),
                saved.floats(f"{path}.mean", moments.mean.shape),
                saved.floats(f"{path}.squares", moments.mean.shape, least=0),
            )
            for path, moments in self._moments.items()
        }

    def _normalized(self, path: str, leaf: Any) -> Any:
        stored = path if path in self._moments else path.removeprefix("next_")
        if stored not in self._moments:
            raise ConfigurationError(
                f"Normalize: {path}: nothing is known of it; it must be stored, and `open` be "
                "called first, as a memory does"
            )
        count, mean, squares = self._moments[stored]
        shape = mean.shape
        if tuple(leaf.shape)[leaf.ndim - len(shape) :] != shape or leaf.ndim <= len(shape):
            raise self.error(
                path,
                f"(B, ..., {', '.join(map(str, shape))}) as it is stored",
                f"{tuple(leaf.shape)}; let Normalize go before what changes shapes",
            )
        values = self.floating(path, leaf)
        if not count:
            return values
        dtype = float_type(values)
        if self.center:
            values = values - like(values, np.asarray(mean, dtype))
        deviation = np.sqrt(squares / count + self.epsilon)
        values = values * like(values, np.asarray(1 / deviation, dtype))
        if self.clip is None:
            return values
        clip = self.clip
        return values.clamp(-clip, clip) if is_tensor(values) else np.clip(values, -clip, clip)
