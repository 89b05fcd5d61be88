"""What a transform is: a small callable on a gathered batch.

    def brighter(batch):
        return {"obs": batch.obs + 1}                       # a plain function is a transform

    augment = Chain([RandomShift(4), Scale(1 / 255), brighter])
    augment(batch, rng)                                     # arrays, as a memory calls it
    augment(batch.torch("cuda"), rng)                       # or tensors, wherever they are

Batches are read-only: a transform returns another batch, in which some fields are replaced, and
leaves the arrays that it was given as they are. Randomness comes from the NumPy generator of the
call, for tensors too, so that one seed decides and both paths do the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import trees
from recollect.batch import Batch, Fields, nest
from recollect.errors import ConfigurationError
from recollect.schema import Schema
from recollect.states import Saved, joined, parted

ALWAYS = ("weight", "probability", "key")
"""What every batch has, whatever was done to it."""


class Transform(ABC):
    """Makes another batch of a batch.

    The reader that owns it calls `open` once, `observe` with whatever is added to the memory, and
    the transform itself, from any thread, with each batch. Batches are transformed without a lock.
    """

    random: bool = False
    """Whether a call needs a generator."""

    @property
    def observes(self) -> bool:
        """Whether `observe` is for this transform."""
        return type(self).observe is not Transform.observe

    def open(self, schema: Schema) -> None:  # noqa: B027 (most transforms ask for nothing stored)
        """Checks the settings against what is stored, and raises `ConfigurationError`."""

    def observe(self, rows: Mapping[str, Any]) -> None:  # noqa: B027 (most learn nothing)
        """What was just added, by flat name: (M, ...) each, or one row without that axis.

        One thread at a time calls this, others may be transforming batches meanwhile.
        """

    @abstractmethod
    def __call__(self, batch: Batch, rng: np.random.Generator | None = None) -> Batch:
        """Another batch; `batch` and its arrays stay as they are.

        Args:
            rng: a generator of this call's own; a transform that is `random` needs one.

        Raises:
            ConfigurationError: the batch lacks a field, or one does not have the right shape or
                dtype, or there is no generator.
        """

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that it learned from rows."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from what `state` returned, after `open`.

        Raises:
            ConfigurationError: the state does not fit.
        """
        Saved(repr(self), state, [])


class Function(Transform):
    """A plain function of a batch, which returns a batch, or new values of some fields by name."""

    def __init__(self, function: Callable[[Batch], Batch | Mapping[str, Any]]) -> None:
        self.function = function

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))

    def __call__(self, batch: Batch, rng: np.random.Generator | None = None) -> Batch:
        made = self.function(batch)
        if not isinstance(made, Mapping):
            raise ConfigurationError(
                f"transform {self!r}: expected it to return a batch or a mapping of fields, got "
                f"{type(made).__name__}"
            )
        if not isinstance(made, Batch):
            return replaced(batch, made)
        lost = [name for name in ALWAYS if name in batch and name not in made]
        if lost:
            raise ConfigurationError(
                f"transform {self!r}: every batch needs {', '.join(lost)}; return a mapping of the "
                "fields that change, or recollect.transforms.base.replaced(batch, {...})"
            )
        return made


class Chain(Transform):
    """Transforms and plain functions, one after the other.

    Raises:
        ConfigurationError: something that cannot be called.
    """

    def __init__(self, transforms: Sequence[Any]) -> None:
        if callable(transforms) or not isinstance(transforms, Sequence):
            raise ConfigurationError(f"transforms: expected a list of them, got {transforms!r}")
        for part in transforms:
            if not callable(part) or isinstance(part, type):
                raise ConfigurationError(
                    f"transforms: expected transforms or functions of a batch, got {part!r}"
                )
        self.transforms = tuple(transforms)
        self.parts: list[Transform] = [
            part if isinstance(part, Transform) else Function(part) for part in transforms
        ]
        self.random = any(part.random for part in self.parts)

    def __repr__(self) -> str:
        return f"Chain({self.parts!r})"

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def observes(self) -> bool:
        return any(part.observes for part in self.parts)

    def open(self, schema: Schema) -> None:
        for part in self.parts:
            part.open(schema)

    def observe(self, rows: Mapping[str, Any]) -> None:
        for part in self.parts:
            part.observe(rows)

    def __call__(self, batch: Batch, rng: np.random.Generator | None = None) -> Batch:
        for part in self.parts:
            batch = part(batch, rng)
        return batch

    def state(self) -> dict[str, NDArray[Any]]:
        return joined(part.state() for part in self.parts)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        states = parted("transforms", state, len(self.parts))
        for part, saved in zip(self.parts, states, strict=True):
            part.restore(saved)


def replaced(batch: Mapping[str, Any], changes: Mapping[str, Any]) -> Batch:
    """A batch with new values of some fields: `replaced(batch, {"obs.image": images})`.

    Args:
        batch: stays as it is; what is not changed is shared with it, not copied.
        changes: by dotted path of what is replaced, an array or a whole subtree, or by the name of
            a further field.

    Raises:
        ConfigurationError: a dotted path that leads nowhere.
    """
    met: set[str] = set()
    fields = {name: _rebuilt(tree, name, changes, met) for name, tree in batch.items()}
    for path in changes:
        if path not in met:
            if "." in path:
                known = ", ".join(flattened(batch))
                raise ConfigurationError(f"{path!r} is no field of the batch; known: {known}")
            fields[path] = nest(changes[path])
    return Batch(fields)


def _rebuilt(tree: Any, path: str, changes: Mapping[str, Any], met: set[str]) -> Any:
    if path in changes:
        met.add(path)
        return nest(changes[path])
    if isinstance(tree, Mapping):
        return Fields(
            {name: _rebuilt(child, f"{path}.{name}", changes, met) for name, child in tree.items()}
        )
    if isinstance(tree, tuple):
        return tuple(
            _rebuilt(child, f"{path}.{place}", changes, met) for place, child in enumerate(tree)
        )
    return tree


def flattened(batch: Mapping[str, Any]) -> dict[str, Any]:
    """All arrays of a batch by flat name."""
    return {path: leaf for name in batch for path, leaf in trees.leaves(batch[name], name)}
