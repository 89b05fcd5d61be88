"""Environments that stack frames, of which only the newest is stored.

The one hard thing is that a view rebuilds a stack from what it finds in the memory: the last k
observations, and at an episode's start its first one repeated. A stack that the environment made
otherwise (frames skipped, zeros before the start, frames of the episode before) could not come back
as the agent saw it. So every stack is compared with what a view would make of it, while recording,
and one that differs is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.wrappers import FrameStackObservation
from numpy.typing import NDArray

from recollect import trees
from recollect.errors import ConfigurationError, SchemaError
from recollect.gym.environments import Environment, wrappers
from recollect.schema import as_numpy


class Stacks:
    """The frame stacks of one environment, and whether a view can rebuild them.

    Attributes:
        depths: how many frames each stacked leaf of the observation shows, by flat name; empty
            where nothing is stacked, and every check passes at once.
    """

    def __init__(self, env: Environment, depths: dict[str, int]) -> None:
        self.depths = depths
        if depths:
            _check_padding(env)

    def check_start(self, obs: Any, rows: NDArray[np.bool_] | None = None) -> None:
        """Refuses an episode's first stack of frames that a view would not rebuild.

        Args:
            rows: (num_envs,), which environments begin an episode; None for a single one.
        """
        if not self.depths:
            return
        for name, frames in self._stacked(obs):
            frames = frames[None] if rows is None else frames[rows]
            first = np.repeat(frames[:, -1:], frames.shape[1], axis=1)
            if not np.array_equal(frames, first, equal_nan=True):
                raise self._error(name, "to begin an episode with one frame {0} times")

    def check_next(self, before: Any, obs: Any, rows: NDArray[np.bool_] | None = None) -> None:
        """Refuses a stack whose frame before the newest is not what was the newest before.

        Args:
            before: the newest frames of the observation before, as they are stored.
            rows: (num_envs,), which environments are within an episode; None for a single one.
        """
        if not self.depths:
            return
        newest = dict(trees.leaves(before, "obs"))
        for name, frames in self._stacked(obs):
            if self.depths[name] == 1:
                continue
            earlier = frames[-2] if rows is None else frames[:, -2][rows]
            previous = newest[name] if rows is None else newest[name][rows]
            if not np.array_equal(earlier, previous, equal_nan=True):
                raise self._error(name, "of the last {0} observations")

    def _stacked(self, obs: Any) -> Iterator[tuple[str, NDArray[Any]]]:
        for name, value in trees.leaves(obs, "obs"):
            if name in self.depths:
                yield name, as_numpy(value, name)

    def _error(self, name: str, what: str) -> SchemaError:
        depth = self.depths[name]
        return SchemaError(
            f"{name}: expected a stack {what.format(depth)}, as a view with stack={depth} rebuilds "
            "it, got other frames; store the observation as it is (Schema.from_env without stack), "
            "or let the environment stack so"
        )


def _check_padding(env: Any) -> None:
    """Refuses frame stacks that pad an episode's start by anything but its first observation."""
    members = getattr(env.unwrapped, "envs", ()) if isinstance(env, VectorEnv) else (env,)
    for member in members:
        for wrapper in wrappers(member):
            if isinstance(wrapper, FrameStackObservation) and wrapper.padding_type != "reset":
                raise ConfigurationError(
                    "stack: FrameStackObservation pads an episode's start with other values than "
                    "its first observation, so that a view could not rebuild its stacks; use "
                    'padding_type="reset", or store whole stacks (Schema.from_env without stack)'
                )
