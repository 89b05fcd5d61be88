"""What one row holds: `Field` (a shape and a dtype) and `Schema` (named fields, maybe nested).

Every value that enters a memory passes through `Field.cast`, the one place that decides what fits:

- shapes must match exactly;
- Python scalars adapt to the field, as long as their value fits;
- arrays must be castable `same_kind`, integers also across signedness and width, as long as every
  value fits;
- everything else raises `SchemaError` with the field's name, what was expected and what came.
"""

from __future__ import annotations

import dataclasses
import keyword
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from recollect import trees
from recollect.errors import SchemaError

KINDS = "biufc"
"""The NumPy kinds a field may have: bool, signed, unsigned, float, complex."""

STEP_FIELDS = ("obs", "action", "reward", "next_obs", "terminated", "truncated")
"""What every step brings, besides its extras."""

RESERVED = frozenset(
    [
        # what a batch can do
        *("get", "items", "keys", "values", "torch", "jax", "tf"),
        # what a batch holds besides the schema's own fields
        *("discount", "first", "key", "mask", "probability", "row_key", "steps", "weight"),
        # what every step has
        *STEP_FIELDS,
        # parameters of add, extend and update
        *("self", "stream", "valid", "priority"),
    ]
)
"""Names that no field of one's own may have."""


@dataclasses.dataclass(frozen=True, init=False)
class Field:
    """One array of a row.

    Args:
        shape: the array's shape, without any batch, time or stream axis; `()` is a scalar.
        dtype: bool, integer, float or complex; comes back from `sample` as it is given here.
        finite: True refuses NaN and infinity with a `SchemaError`; "drop" leaves the whole row out
            and counts it in `stats()["dropped"]`, closing an open episode there.

    Attributes:
        scalars: which Python types fit this field, if their value does.
        low: the smallest finite value that fits.
        high: the largest.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    finite: bool | Literal["drop"]
    scalars: frozenset[type] = dataclasses.field(repr=False, compare=False)
    low: float = dataclasses.field(repr=False, compare=False)
    high: float = dataclasses.field(repr=False, compare=False)

    def __init__(
        self,
        shape: int | tuple[int, ...] = (),
        dtype: DTypeLike = np.float32,
        finite: bool | Literal["drop"] = False,
    ) -> None:
        sizes = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        for size in sizes:
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
                raise SchemaError(f"Field shape: expected positive whole numbers, got {shape!r}")
        try:
            kind = np.dtype(dtype)
        except TypeError as error:
            raise SchemaError(f"Field dtype: {dtype!r} is no NumPy dtype") from error
        if kind.kind not in KINDS:
            raise SchemaError(f"Field dtype: expected bool, integer, float or complex, got {kind}")
        if finite not in (True, False, "drop"):
            raise SchemaError(f'Field finite: expected True, False or "drop", got {finite!r}')
        object.__setattr__(self, "shape", tuple(int(size) for size in sizes))
        object.__setattr__(self, "dtype", kind)
        object.__setattr__(self, "finite", finite if kind.kind in "fc" else False)
        scalars, low, high = _scalars(kind)
        object.__setattr__(self, "scalars", scalars if self.shape == () else frozenset())
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    def __repr__(self) -> str:
        finite = f", finite={self.finite!r}" if self.finite else ""
        return f"Field({self.shape}, {self.dtype}{finite})"

    @property
    def nbytes(self) -> int:
        """Bytes of one value."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def cast(
        self,
        value: Any,
        name: str,
        lead: tuple[int, ...] = (),
        only: NDArray[np.bool_] | None = None,
    ) -> Any:
        """`value` as what can be stored here, or a `SchemaError` that names the field.

        Args:
            value: an array, tensor, sequence or scalar of shape `lead + self.shape`.
            name: what to call the field in an error.
            lead: axes in front of the field's own, as for several streams or many rows.
            only: of the rows, shape `lead`, those that are wanted; the others are not looked at.

        Returns:
            An array of exactly this dtype and shape, which may be `value` itself, or a Python
            scalar that fits.
        """
        kind = type(value)
        if kind is np.ndarray and value.dtype == self.dtype and value.shape == lead + self.shape:
            return value if only is None else value[only]
        if isinstance(value, np.generic):
            value, kind = value.item(), type(value.item())
        if kind is float or kind is bool or kind is int:
            return self._cast_scalar(value, name, lead)
        return self._cast_array(as_numpy(value, name), name, lead, only)

    def _cast_scalar(self, value: Any, name: str, lead: tuple[int, ...]) -> Any:
        if lead or self.shape:
            raise SchemaError(f"{name}: expected shape {lead + self.shape}, got a scalar {value!r}")
        # NaN and infinity are floats like any other, while a finite value must stay finite
        fits = self.low <= value <= self.high or value != value or value in (np.inf, -np.inf)
        if fits and type(value) in self.scalars:
            return value
        raise SchemaError(f"{name}: {value!r} does not fit {self.dtype}")

    def _cast_array(
        self,
        array: NDArray[Any],
        name: str,
        lead: tuple[int, ...],
        only: NDArray[np.bool_] | None,
    ) -> NDArray[Any]:
        if array.shape != lead + self.shape:
            raise SchemaError(f"{name}: expected shape {lead + self.shape}, got {array.shape}")
        if only is not None:
            array = array[only]
        if array.dtype == self.dtype:
            return array
        integers = array.dtype.kind in "iu" and self.dtype.kind in "iu"
        if not integers and not np.can_cast(array.dtype, self.dtype, "same_kind"):
            raise SchemaError(f"{name}: expected dtype {self.dtype}, got {array.dtype}")
        if np.can_cast(array.dtype, self.dtype, "safe") or array.size == 0:
            return array.astype(self.dtype)
        if integers:
            smallest, largest = int(array.min()), int(array.max())
            if smallest < self.low or largest > self.high:
                worst = smallest if smallest < self.low else largest
                raise SchemaError(f"{name}: {worst} does not fit {self.dtype}")
            return array.astype(self.dtype)
        try:
            with np.errstate(over="raise"):
                return array.astype(self.dtype)
        except FloatingPointError as error:
            raise SchemaError(f"{name}: a value does not fit {self.dtype}") from error


def _scalars(dtype: np.dtype[Any]) -> tuple[frozenset[type], float, float]:
    """The Python types that fit a dtype, and its smallest and largest finite value."""
    if dtype.kind == "b":
        return frozenset((bool, int)), 0, 1
    if dtype.kind in "iu":
        integers = np.iinfo(dtype)
        return frozenset((bool, int)), int(integers.min), int(integers.max)
    largest = float(min(np.finfo(dtype).max, np.finfo(np.float64).max))
    return frozenset((bool, int, float)), -largest, largest


def as_numpy(value: Any, name: str) -> NDArray[Any]:
    """`value` as a NumPy array: arrays, tensors (on any device, with gradients), sequences."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if "bfloat16" in str(value.dtype):
            value = value.float()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise SchemaError(f"{name}: {type(value).__name__} is no array: {error}") from error
    if array.dtype.kind not in KINDS:
        raise SchemaError(f"{name}: expected numbers, got {type(value).__name__} {array.dtype}")
    return array


Tree = Field | dict[str, Any] | tuple[Any, ...]
FLAG = Field((), np.bool_)
REWARD = Field((), np.float32)


class Schema:
    """The named fields of one row, each a `Field` or a dict or tuple of fields.

    Make one with `Schema.steps`, `Schema.examples`, `Schema.from_env` or `Schema.like`.

    Attributes:
        kind: "steps" (time, streams, episodes) or "examples" (independent rows).
        fields: what is stored, by name, nested as it was given.
        flat: the same without nesting: `{"obs.image": Field(...), ...}`.
    """

    kind: Literal["steps", "examples"]
    fields: dict[str, Tree]
    flat: dict[str, Field]

    def __init__(self, kind: Literal["steps", "examples"], fields: Mapping[str, Any]) -> None:
        self.kind = kind
        self.fields = {name: _checked_tree(tree, name) for name, tree in fields.items()}
        self.flat = _flatten(self.fields)
        # what `add` is given: a step also brings its successor and how it ended
        inputs = dict(self.fields)
        if kind == "steps":
            inputs["next_obs"] = self.fields["obs"]
            inputs["terminated"] = inputs["truncated"] = FLAG
        self._inputs = inputs
        self._refuses = [name for name, field in self.flat.items() if field.finite is True]
        self._drops = [name for name, field in self.flat.items() if field.finite == "drop"]

    @staticmethod
    def steps(obs: Any, action: Any, reward: Any = REWARD, **extras: Any) -> Schema:
        """Steps of episodes: obs, action, reward, terminated and truncated, and any extras."""
        _check_names(extras, "steps")
        return Schema("steps", {"obs": obs, "action": action, "reward": reward, **extras})

    @staticmethod
    def examples(**fields: Any) -> Schema:
        """Independent examples, without time."""
        if not fields:
            raise SchemaError("Schema.examples: expected at least one field")
        _check_names(fields, "examples")
        return Schema("examples", fields)

    @staticmethod
    def from_env(env: Any, stack: Any = None, **extras: Any) -> Schema:
        """Steps of a Gymnasium environment, single or vector, from its spaces.

        Args:
            env: its observation and action spaces are Box, Discrete, MultiDiscrete, MultiBinary,
                or Dict and Tuple of them; others raise `SchemaError`.
            stack: how many observations the environment itself stacks (an int, or
                `{"obs.image": 4}`). One of them is stored; a view with the same `stack` puts
                them together again.
            extras: further fields of a step.
        """
        from recollect.gym import schema_from_env

        return schema_from_env(env, stack=stack, **extras)

    @staticmethod
    def like(example: Mapping[str, Any]) -> Schema:
        """The schema of one row as `add` takes it: of steps if it has obs and action.

        Arrays keep their shape and dtype; Python floats become float32, ints int64.
        """
        if not isinstance(example, Mapping):
            raise SchemaError(f"Schema.like: expected a mapping, got {type(example).__name__}")
        steps = "obs" in example and "action" in example
        successor = {"next_obs", "terminated", "truncated"} if steps else set()
        fields = {
            name: _tree_like(value, name)
            for name, value in example.items()
            if name not in successor
        }
        return Schema.steps(**fields) if steps else Schema.examples(**fields)

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Schema) and self.kind == other.kind
        return same and self.fields == other.fields  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((self.kind, tuple(sorted(self.flat))))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={tree!r}" for name, tree in self.fields.items())
        return f"Schema.{self.kind}({fields})"

    def select(self, prefix: str) -> list[str]:
        """The flat names of the field or subtree with this dotted path."""
        return [name for name in self.flat if name == prefix or name.startswith(prefix + ".")]

    def check(
        self,
        values: Mapping[str, Any],
        lead: tuple[int, ...] = (),
        only: NDArray[np.bool_] | None = None,
    ) -> dict[str, Any]:
        """What `add` was given, cast and by flat name (a successor's under `next_obs`).

        Args:
            values: by top name, nested as the schema is.
            lead: the axes that stand in front of each field's own shape.
            only: of the rows, shape `lead`, those that are wanted.
        """
        if values.keys() != self._inputs.keys():
            raise self._names_error(values)
        flat: dict[str, Any] = {}
        for name, tree in self._inputs.items():
            value = values[name]
            if type(tree) is Field:
                # the usual kinds of values are let through without a call
                kind = type(value)
                if only is None and (
                    (value.dtype is tree.dtype and value.shape == lead + tree.shape)
                    if kind is np.ndarray
                    else (not lead and kind in tree.scalars and tree.low <= value <= tree.high)
                ):
                    flat[name] = value
                else:
                    flat[name] = tree.cast(value, name, lead, only)
            else:
                _check_tree(tree, value, name, lead, only, flat)
        if self._refuses:
            self._refuse_non_finite(flat)
        return flat

    def check_extras(self, values: Mapping[str, Any], rows: int) -> dict[str, Any]:
        """New values of stored fields for so many rows: a step's extras, an example's anything."""
        flat: dict[str, Any] = {}
        for name, value in values.items():
            if name not in self.fields or (self.kind == "steps" and name in STEP_FIELDS):
                known = [n for n in self.fields if self.kind == "examples" or n not in STEP_FIELDS]
                raise SchemaError(f"update: {name!r} is no extra field; known: {_list(known)}")
            _check_tree(self.fields[name], value, name, (rows,), None, flat)
        self._refuse_non_finite(flat)
        for name in self._drops:
            if name in flat and not np.isfinite(flat[name]).all():
                raise SchemaError(f"{name}: expected finite values, got NaN or infinity")
        return flat

    def finite_rows(
        self, flat: Mapping[str, Any], lead: tuple[int, ...] = ()
    ) -> NDArray[np.bool_] | None:
        """Which rows may be stored under `finite="drop"`, shape `lead`; None where all may."""
        if not self._drops:
            return None
        keep = np.ones(lead, np.bool_)
        for name in self._drops:
            for leaf in (name, _successor(name)):
                if leaf in flat:
                    finite = np.isfinite(flat[leaf])
                    keep &= finite.all(axis=tuple(range(len(lead), finite.ndim)))
        return None if keep.all() else keep

    def _refuse_non_finite(self, flat: Mapping[str, Any]) -> None:
        for name in self._refuses:
            for leaf in (name, _successor(name)):
                if leaf in flat and not np.isfinite(flat[leaf]).all():
                    raise SchemaError(f"{leaf}: expected finite values, got NaN or infinity")

    def _names_error(self, values: Mapping[str, Any]) -> SchemaError:
        missing = [name for name in self._inputs if name not in values]
        unknown = [name for name in values if name not in self._inputs]
        parts = [f"missing {_list(missing)}"] if missing else []
        parts += [f"unknown {_list(unknown)}"] if unknown else []
        return SchemaError(f"fields: {'; '.join(parts)}; expected {_list(self._inputs)}")


def _successor(name: str) -> str:
    """The flat name under which `add` gets the next value of an obs leaf."""
    return "next_" + name if name == "obs" or name.startswith("obs.") else name


def _list(names: Any) -> str:
    return ", ".join(names) or "none"


def _check_names(fields: Mapping[str, Any], kind: str) -> None:
    for name in fields:
        free = kind == "examples" and name in ("obs", "action", "reward")
        if name in RESERVED and not free:
            raise SchemaError(f"field {name!r}: the name belongs to Batch; choose another")
        if not name.isidentifier() or name.startswith("_") or keyword.iskeyword(name):
            raise SchemaError(f"field {name!r}: expected a public Python identifier")


def _checked_tree(tree: Any, path: str) -> Tree:
    """A copy of `tree` whose leaves are known to be fields and whose containers are not empty."""
    if isinstance(tree, Field):
        return tree
    inner = trees.children(tree)
    if inner is None:
        raise SchemaError(f"{path}: expected a Field, dict or tuple, got {type(tree).__name__}")
    if not inner:
        raise SchemaError(f"{path}: expected at least one field, got an empty container")
    for name, child in inner:
        if not name:
            raise SchemaError(f"{path}: a field's name may not be empty")
        _checked_tree(child, f"{path}.{name}")
    if isinstance(tree, Mapping):
        return {str(name): _checked_tree(child, f"{path}.{name}") for name, child in tree.items()}
    return tuple(_checked_tree(child, f"{path}.{i}") for i, child in enumerate(tree))


def _flatten(fields: Mapping[str, Tree]) -> dict[str, Field]:
    flat: dict[str, Field] = {}
    for top, tree in fields.items():
        for name, field in trees.leaves(tree, top):
            if name in flat:
                raise SchemaError(f"{name}: two fields have this path")
            flat[name] = field
    return flat


def _check_tree(
    tree: Tree,
    value: Any,
    path: str,
    lead: tuple[int, ...],
    only: NDArray[np.bool_] | None,
    flat: dict[str, Any],
) -> None:
    """Casts the leaves of `value` into `flat`."""
    if isinstance(tree, Field):
        flat[path] = tree.cast(value, path, lead, only)
    elif isinstance(tree, dict):
        if not isinstance(value, Mapping):
            raise SchemaError(f"{path}: expected a mapping, got {type(value).__name__}")
        if value.keys() != tree.keys():
            raise SchemaError(f"{path}: expected {_list(tree)}, got {_list(map(str, value))}")
        for name, child in tree.items():
            _check_tree(child, value[name], f"{path}.{name}", lead, only, flat)
    else:
        if not isinstance(value, tuple) or len(value) != len(tree):
            got = f"{len(value)} values" if isinstance(value, tuple) else type(value).__name__
            raise SchemaError(f"{path}: expected a tuple of {len(tree)}, got {got}")
        for position, child in enumerate(tree):
            _check_tree(child, value[position], f"{path}.{position}", lead, only, flat)


def _tree_like(value: Any, path: str) -> Tree:
    if isinstance(value, Mapping):
        return {str(name): _tree_like(child, f"{path}.{name}") for name, child in value.items()}
    if isinstance(value, tuple):
        return tuple(_tree_like(child, f"{path}.{i}") for i, child in enumerate(value))
    if type(value) is float:
        return REWARD
    array = as_numpy(value, path)
    return Field(array.shape, array.dtype)
