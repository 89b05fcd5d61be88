"""Nested containers, and the flat names of their leaves.

Observations and actions may be nested in dicts and tuples. Inside the library a leaf goes by one
flat name, its path joined by dots: `{"obs": {"image": ..., "speed": ...}}` has the leaves
`obs.image` and `obs.speed`, and `{"obs": (..., ...)}` has `obs.0` and `obs.1`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

Leaf = TypeVar("Leaf")


def children(tree: Any) -> list[tuple[str, Any]] | None:
    """The named children of a container, or None if `tree` is a leaf."""
    if isinstance(tree, Mapping):
        return [(str(name), child) for name, child in tree.items()]
    if isinstance(tree, tuple):
        return [(str(position), child) for position, child in enumerate(tree)]
    return None


def leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Each leaf with its flat name, in order."""
    inner = children(tree)
    if inner is None:
        yield path, tree
        return
    for name, child in inner:
        yield from leaves(child, f"{path}.{name}")


def rebuild(tree: Any, path: str, leaf: Callable[[str], Leaf]) -> Any:
    """A tree of the same containers, whose leaves are `leaf(flat name)`."""
    if isinstance(tree, Mapping):
        return {name: rebuild(child, f"{path}.{name}", leaf) for name, child in tree.items()}
    if isinstance(tree, tuple):
        return tuple(rebuild(child, f"{path}.{i}", leaf) for i, child in enumerate(tree))
    return leaf(path)
