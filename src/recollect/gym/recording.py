"""`record`: any environment of Gymnasium's, wrapped so that a memory sees what it does.

The one hard thing is what one call has to take: a single environment or a vector of them, a memory
of its own or a stream of one that others feed too. Which wrapper comes back is known by the
environment's class alone, also to a type checker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import gymnasium
from gymnasium.vector import AutoresetMode, VectorEnv

from recollect.errors import ConfigurationError
from recollect.gym.environments import Environment
from recollect.gym.single import Recorder
from recollect.gym.vector import VectorRecorder

if TYPE_CHECKING:
    from recollect.memory import Memory


@overload
def record(
    env: gymnasium.Env[Any, Any],
    memory: Memory,
    *,
    autoreset: AutoresetMode | str | None = None,
    stream: int | None = None,
) -> Recorder: ...


@overload
def record(
    env: VectorEnv[Any, Any, Any],
    memory: Memory,
    *,
    autoreset: AutoresetMode | str | None = None,
    stream: None = None,
) -> VectorRecorder: ...


def record(
    env: Environment,
    memory: Memory,
    *,
    autoreset: AutoresetMode | str | None = None,
    stream: int | None = None,
) -> Recorder | VectorRecorder:
    """Wraps an environment so that every step it makes is added to `memory`.

    The schema's extras are given to `step`: `env.step(action, log_prob=...)`. A `reset` in the
    middle of an episode closes that episode as truncated.

    Where the schema stores an observation of shape `stored` and the environment's is
    `(k, *stored)`, the environment stacks frames, and the newest is stored. A stack that a view
    with `stack=k` would not rebuild is refused.

    Args:
        env: a single environment, or a vector environment of `memory.streams` environments.
        memory: a memory of steps whose schema fits the environment's spaces.
        autoreset: how the environment resets, if it does not say so itself or says it wrongly:
            an `AutoresetMode`, or its name or value.
        stream: for a single environment that feeds one stream of a memory with several.

    Raises:
        ConfigurationError: the streams do not match, or nobody says how the environment resets.
        SchemaError: a space does not fit the schema's field.
    """
    if isinstance(env, VectorEnv):
        if stream is not None:
            raise ConfigurationError("stream: a vector environment fills all streams of a memory")
        return VectorRecorder(env, memory, autoreset=autoreset)
    return Recorder(env, memory, autoreset=autoreset, stream=stream)
