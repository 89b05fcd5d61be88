"""Gymnasium's environments, single and vector: their classes, their spaces and their wrappers.

The one hard thing is that the two kinds have no class in common, and different names for what is
the same; what takes either of them asks here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gymnasium
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper

from recollect.errors import ConfigurationError

Environment = gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]

if TYPE_CHECKING:
    SingleBase = gymnasium.Wrapper[Any, Any, Any, Any]
    VectorBase = VectorWrapper[Any, Any, Any, Any, Any]
else:
    # VectorWrapper cannot be subscripted in the older releases of Gymnasium 1
    SingleBase, VectorBase = gymnasium.Wrapper, VectorWrapper


def single_spaces(env: Any) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    """The observation and the action space of one environment.

    Raises:
        ConfigurationError: `env` is no environment of Gymnasium's.
    """
    if isinstance(env, VectorEnv):
        return env.single_observation_space, env.single_action_space
    if isinstance(env, gymnasium.Env):
        return env.observation_space, env.action_space
    raise ConfigurationError(f"env: expected a Gymnasium environment, got {type(env).__name__}")


def wrappers(env: Any) -> Iterator[Any]:
    """The wrappers around a single environment, outermost first."""
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env
