"""Schemas and spaces: the fields that hold what a space contains, and whether a schema fits one.

The one hard thing is an environment that stacks frames. Stored as they come, the frames of a stack
of k would be stored k times; so one of them is stored, and a view puts them together again. The
schema is then without the leading axis that the space has, and both functions here know of it:
`schema_from_env` takes it off the leaves that are named, `agree` finds out which leaves have lost
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from recollect import trees
from recollect.errors import ConfigurationError, SchemaError
from recollect.gym.environments import Environment, single_spaces
from recollect.schema import Field, Schema, Tree


def schema_from_env(
    env: Environment, stack: int | Mapping[str, int] | None = None, **extras: Any
) -> Schema:
    """The steps of a single or vector environment; what `Schema.from_env` does.

    Shapes and dtypes are those of the spaces. With `stack`, the named leaves of the observation
    are (k, ...) in the environment and stored without that axis.

    Raises:
        SchemaError: a space has no fixed size, or an observation has no such leading axis.
        ConfigurationError: `env` is no environment, or `stack` no depth of a leaf that it has.
    """
    observation_space, action_space = single_spaces(env)
    obs = fields(observation_space, "obs")
    if stack is not None:
        flat = dict(trees.leaves(obs, "obs"))
        for name, depth in _depths(stack, flat).items():
            flat[name] = _unstacked(flat[name], name, depth)
        obs = trees.rebuild(obs, "obs", flat.__getitem__)
    return Schema.steps(obs=obs, action=fields(action_space, "action"), **extras)


def fields(space: spaces.Space[Any], path: str) -> Tree:
    """The fields that hold an element of `space`.

    Raises:
        SchemaError: the space, or one within it, has no fixed size; `path` says which.
    """
    if isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        try:
            return Field(space.shape or (), space.dtype)
        except SchemaError as error:
            raise SchemaError(f"{path}: {error}") from error
    if isinstance(space, spaces.Dict):
        return {name: fields(child, f"{path}.{name}") for name, child in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(fields(child, f"{path}.{i}") for i, child in enumerate(space.spaces))
    wrapper = "TransformAction" if path.startswith("action") else "TransformObservation"
    raise SchemaError(
        f"{path}: expected a space of fixed size (Box, Discrete, MultiDiscrete, MultiBinary, or "
        f"Dict and Tuple of them), got {space}; turn it into one of these with a wrapper such as "
        f"gymnasium.wrappers.{wrapper}"
    )


def _depths(stack: int | Mapping[str, int], flat: Mapping[str, Field]) -> dict[str, int]:
    """How many observations the environment stacks, by the flat name of the leaf."""
    depths: dict[str, int] = {}
    for path, depth in (stack if isinstance(stack, Mapping) else {"obs": stack}).items():
        if isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or depth < 1:
            raise ConfigurationError(f"stack: expected a positive whole number, got {depth!r}")
        names = [name for name in flat if name == path or name.startswith(f"{path}.")]
        if not names:
            raise ConfigurationError(f"stack: {path!r} is none of {', '.join(flat)}")
        depths.update((name, int(depth)) for name in names)
    return depths


def _unstacked(field: Field, name: str, depth: int) -> Field:
    """The field of one of `depth` stacked observations."""
    if not field.shape or field.shape[0] != depth:
        raise SchemaError(
            f"{name}: expected shape ({depth}, ...) of an environment that stacks {depth} "
            f"observations, got {field.shape}"
        )
    return Field(field.shape[1:], field.dtype)


def agree(space: Tree, tree: Tree, path: str, stacked: dict[str, int] | None) -> None:
    """Checks that what a space describes fits the schema.

    Args:
        space: the space's own fields.
        tree: the schema's.
        path: where both stand, as it is named in errors.
        stacked: receives the depth of each leaf that is stored without its leading axis, by flat
            name; None: none may be.

    Raises:
        SchemaError: names, a shape or a dtype do not fit.
    """
    if isinstance(space, Field) and isinstance(tree, Field):
        is_stack = stacked is not None and space.shape[1:] == tree.shape and space.shape != ()
        if space.shape != tree.shape and not is_stack:
            raise SchemaError(
                f"{path}: the environment has shape {space.shape}, the memory's schema {tree.shape}"
            )
        integers = space.dtype.kind in "iu" and tree.dtype.kind in "iu"
        if not integers and not np.can_cast(space.dtype, tree.dtype, "same_kind"):
            raise SchemaError(
                f"{path}: the environment has dtype {space.dtype}, the memory's schema {tree.dtype}"
            )
        if stacked is not None and space.shape != tree.shape:
            stacked[path] = space.shape[0]
        return
    ours, theirs = trees.children(tree), trees.children(space)
    alike = isinstance(tree, dict) == isinstance(space, dict)
    if not ours or not theirs or not alike or dict(ours).keys() != dict(theirs).keys():
        raise SchemaError(f"{path}: the environment has {space!r}, the memory's schema {tree!r}")
    for name, child in ours:
        agree(dict(theirs)[name], child, f"{path}.{name}", stacked)
