"""How what an environment takes and returns becomes what a memory stores.

The one hard thing is that environments may overwrite the arrays that they have handed out, and
agents those that they have handed in. A step is stored only after the environment has made it; what
is kept until then, and an observation until the step after, is copied first. The functions that
copy are made once, when recording begins, so that nothing is looked up in the schema at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from recollect import trees
from recollect.errors import ConfigurationError, SchemaError
from recollect.gym.environments import Environment, single_spaces
from recollect.gym.schemas import agree, fields
from recollect.gym.stacks import Stacks
from recollect.schema import STEP_FIELDS, Schema, Tree, as_numpy

Copier = Callable[[Any], Any]


class Reading:
    """How the values of one environment become what a memory stores.

    Attributes:
        tree, flat: the fields of the observation, nested and by flat name.
        obs, action, extras: functions that copy a value, for the extras by name.
        one: as `obs`, for the observation of one environment of several.
        stacks: the frame stacks of which only the newest frame is stored.

    Raises:
        ConfigurationError: the memory holds no steps, or the environment pads its stacks.
        SchemaError: a space does not fit the schema's field.
    """

    def __init__(self, env: Environment, schema: Schema) -> None:
        if schema.kind != "steps":
            raise ConfigurationError(
                "record: expected a memory of steps (Schema.steps or Schema.from_env), "
                "got one of independent examples"
            )
        observation_space, action_space = single_spaces(env)
        batched = isinstance(env, VectorEnv)
        stacked: dict[str, int] = {}
        self.tree = schema.fields["obs"]
        self.flat = dict(trees.leaves(self.tree, "obs"))
        agree(fields(observation_space, "obs"), self.tree, "obs", stacked)
        agree(fields(action_space, "action"), schema.fields["action"], "action", None)
        self.stacks = Stacks(env, stacked)
        self.obs = _copier(self.tree, "obs", stacked, batched)
        self.one = _copier(self.tree, "obs", stacked, False)
        self.action = _copier(schema.fields["action"], "action")
        self.extras = {
            name: _copier(tree, name)
            for name, tree in schema.fields.items()
            if name not in STEP_FIELDS
        }

    def given(self, action: Any, extras: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Copies of what `step` is given; extras may be views of an observation that it overwrites.

        Raises:
            SchemaError: an extra is missing or unknown.
        """
        if extras.keys() != self.extras.keys():
            raise self._extras_error(extras)
        if extras:
            extras = {name: copy(extras[name]) for name, copy in self.extras.items()}
        return self.action(action), extras

    def _extras_error(self, extras: Mapping[str, Any]) -> SchemaError:
        """What is wrong with the names of these extras."""
        missing = [name for name in self.extras if name not in extras]
        unknown = [name for name in extras if name not in self.extras]
        parts = [f"missing {', '.join(missing)}"] if missing else []
        parts += [f"unknown {', '.join(unknown)}"] if unknown else []
        expected = "".join(f", {name}=..." for name in self.extras)
        return SchemaError(f"extras: {'; '.join(parts)}; expected env.step(action{expected})")


def _copier(
    tree: Tree, path: str, stacked: Mapping[str, int] | None = None, batched: bool = False
) -> Copier:
    """A function that copies a value of this tree, of a stacked leaf the newest frame.

    What does not have the tree's form is passed on as it is: `add` refuses it and says why.
    """
    if isinstance(tree, dict):
        named = {n: _copier(child, f"{path}.{n}", stacked, batched) for n, child in tree.items()}

        def copy_dict(value: Any) -> Any:
            if not isinstance(value, Mapping) or value.keys() != named.keys():
                return value
            return {name: copy(value[name]) for name, copy in named.items()}

        return copy_dict
    if isinstance(tree, tuple):
        parts = [_copier(child, f"{path}.{i}", stacked, batched) for i, child in enumerate(tree)]

        def copy_tuple(value: Any) -> Any:
            if not isinstance(value, (tuple, list)) or len(value) != len(parts):
                return value
            return tuple([copy(child) for copy, child in zip(parts, value, strict=True)])

        return copy_tuple
    if stacked and path in stacked:
        newest = (slice(None), -1) if batched else -1
        return lambda value: np.array(as_numpy(value, path)[newest])

    def copy_leaf(value: Any) -> Any:
        if type(value) is np.ndarray:
            return value.copy()
        if isinstance(value, (int, float, np.generic)):
            return value
        return np.array(as_numpy(value, path))

    return copy_leaf
