"""What transforms of single fields have in common: which fields are meant, as arrays or tensors.

torch is never imported here: whoever passes a tensor has imported it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.transforms.base import Transform, flattened


class FieldTransform(Transform):
    """What changes some fields of a batch.

    Args:
        fields: dotted paths of fields or of whole subtrees: "obs", "obs.image", "reward". Where
            obs, or a part of it, is named, that part of next_obs is meant too, if there is one.
    """

    def __init__(self, fields: str | Sequence[str]) -> None:
        self.fields = checked_fields(type(self).__name__, "fields", fields)

    def leaves(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The arrays or tensors that are meant, by flat name."""
        paths = [
            path
            for field in self.fields
            for path in ((field, f"next_{field}") if field.split(".")[0] == "obs" else (field,))
        ]
        found = selected(batch, paths)
        for field in self.fields:
            if not any(within(name, field) for name in found):
                known = ", ".join(flattened(batch))
                raise ConfigurationError(
                    f"{type(self).__name__}: {field!r} is no field of the batch; known: {known}"
                )
        for name, leaf in found.items():
            if not isinstance(leaf, np.ndarray) and not is_tensor(leaf):
                raise self.error(name, "a NumPy array or a tensor of torch", type(leaf).__name__)
        return found

    def floating(self, path: str, leaf: Any) -> Any:
        """`leaf` as it is where it is float32 or float64, otherwise as float32."""
        if leaf.is_complex() if is_tensor(leaf) else leaf.dtype.kind == "c":
            raise self.error(path, "real numbers", leaf.dtype)
        if str(leaf.dtype).endswith(("float32", "float64")):
            return leaf
        return leaf.float() if is_tensor(leaf) else leaf.astype(np.float32)

    def generator(self, rng: np.random.Generator | None) -> np.random.Generator:
        if not isinstance(rng, np.random.Generator):
            raise ConfigurationError(
                f"{type(self).__name__}: it is random: call it with a generator, transform(batch, "
                f"rng); got {rng!r}"
            )
        return rng

    def error(self, path: str, expected: str, got: Any) -> ConfigurationError:
        return ConfigurationError(f"{type(self).__name__}: {path}: expected {expected}, got {got}")


def within(name: str, path: str) -> bool:
    """Whether the leaf of this flat name is what `path` names, or a part of it."""
    return name == path or name.startswith(f"{path}.")


def selected(batch: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """The arrays at and below these paths, by flat name, in the batch's order."""
    return {
        name: leaf
        for name, leaf in flattened(batch).items()
        if any(within(name, path) for path in paths)
    }


def is_tensor(value: Any) -> bool:
    """Whether this is a tensor of torch, which is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def float_type(leaf: Any) -> Any:
    """The NumPy dtype of a float32 or float64 array or tensor."""
    return np.float64 if str(leaf.dtype).endswith("float64") else np.float32


def like(leaf: Any, array: NDArray[Any]) -> Any:
    """`array` as what `leaf` is: as it is beside an array, on its device beside a tensor."""
    return sys.modules["torch"].from_numpy(array).to(leaf.device) if is_tensor(leaf) else array


def checked_fields(owner: str, name: str, fields: Any) -> tuple[str, ...]:
    """Dotted paths, of which one may stand alone."""
    paths = (fields,) if isinstance(fields, str) else fields
    if (
        not isinstance(paths, Sequence)
        or not paths
        or not all(isinstance(path, str) and path for path in paths)
    ):
        raise ConfigurationError(f"{owner}: {name}: expected names of fields, got {fields!r}")
    return tuple(paths)


def checked_number(
    owner: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf
) -> float:
    """A finite number from low to high."""
    number = isinstance(value, (int, float, np.integer, np.floating))
    if not number or isinstance(value, bool) or not math.isfinite(value):
        raise ConfigurationError(f"{owner}: {name}: expected a number, got {value!r}")
    if not low <= value <= high:
        span = f"from {low:g} up" if high == math.inf else f"from {low:g} to {high:g}"
        raise ConfigurationError(f"{owner}: {name}: expected a number {span}, got {value!r}")
    return float(value)
