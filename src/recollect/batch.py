"""`Batch`: what `sample` returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from recollect import trees

if TYPE_CHECKING:
    import torch


class Fields(Mapping[str, Any]):
    """A read-only mapping whose items are also attributes."""

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __getattr__(self, name: str) -> Any:
        # only called when the usual lookup fails, so methods keep their names
        try:
            return object.__getattribute__(self, "_fields")[name]
        except KeyError:
            known = ", ".join(self._fields)
            hint = "; give the view a gamma, as in Transition(gamma=0.99)"
            raise AttributeError(
                f"no field {name!r}; this {_kind(self)} has {known}"
                f"{hint if name == 'discount' else ''}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *map(str, self._fields)]

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={_describe(value)}" for name, value in self._fields.items())
        return f"{type(self).__name__}({inner})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._fields,)


class Batch(Fields):
    """B training examples: arrays by name, B first, nested as the schema is.

    `batch.reward` and `batch["reward"]` are the same. A nested obs is a mapping with attributes
    again (`batch.obs.image`), or a tuple. Which fields there are is the view's to say; always there
    are `key` (B,) int64, which `update` and `remove` take, `probability` (B,) float64, and `weight`
    (B,) float32. The arrays belong to the caller.
    """

    __slots__ = ()

    def torch(self, device: torch.device | str | int | None = None) -> Batch:
        """The same batch as tensors; `key` stays NumPy.

        On the CPU the tensors share these arrays' memory, without a copy. To an accelerator the
        small fields travel together, in one transfer, and each large one in its own.

        Args:
            device: as torch takes it; None is the CPU.

        Raises:
            MissingExtraError: torch is not installed.
        """
        from recollect.interop import torch as interop

        return interop.to_torch(self, device)

    def jax(self, device: Any = None) -> Batch:
        """The same batch as JAX arrays; `key` stays NumPy.

        As everywhere in JAX, 64-bit numbers become 32-bit ones unless `jax_enable_x64` is set.

        Args:
            device: as `jax.device_put` takes it; None is JAX's default device.

        Raises:
            MissingExtraError: JAX is not installed.
        """
        from recollect.interop import jax as interop

        return interop.to_jax(self, device)


def _kind(fields: Fields) -> str:
    return "batch" if isinstance(fields, Batch) else "mapping"


def _describe(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype}{list(value.shape)}"
    return repr(value)


def nested(trees_by_name: Mapping[str, Any], flat: dict[str, Any]) -> dict[str, Any]:
    """Arrays by flat name as trees of the same containers."""
    return {
        name: nest(trees.rebuild(tree, name, flat.__getitem__))
        for name, tree in trees_by_name.items()
    }


def nest(tree: Any) -> Any:
    """Dicts inside a batch as `Fields`, at every depth; arrays and tuples of them as they are."""
    if isinstance(tree, dict):
        return Fields({name: nest(child) for name, child in tree.items()})
    if isinstance(tree, tuple):
        return tuple(nest(child) for child in tree)
    return tree
