"""The wrapper around a single environment that adds its steps to a memory.

The one hard thing is to know whether a call of `step` is one: after an episode's end it is a
mistake, or, where the environment resets itself, no step but a reset that is not stored. A `reset`,
on the other hand, may come in the middle of an episode, and then closes it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from recollect.errors import ConfigurationError
from recollect.gym.autoreset import single_mode
from recollect.gym.environments import SingleBase
from recollect.gym.reading import Reading

if TYPE_CHECKING:
    from recollect.memory import Memory


class Recorder(SingleBase):
    """A single environment whose steps go into a memory; made by `record`.

    Attributes:
        memory: where the steps go.
        key: the key of the newest step, -1 before the first and after an automatic reset.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        memory: Memory,
        *,
        autoreset: AutoresetMode | str | None = None,
        stream: int | None = None,
    ) -> None:
        reading = Reading(env, memory.schema)
        super().__init__(env)
        self.memory = memory
        self.key = -1
        self._reading = reading
        self._resets_itself = single_mode(env, autoreset) is AutoresetMode.NEXT_STEP
        _check_stream(memory, stream)
        where = {} if stream is None else {"stream": int(stream)}
        self._add = partial(memory.add, **where)
        self._cut = partial(memory.cut, **where)
        self._obs: Any = None
        self._over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets the environment; an episode that was still open ends as truncated."""
        self._obs = None
        obs, info = self.env.reset(seed=seed, options=options)
        self._cut()
        self._reading.stacks.check_start(obs)
        self._obs, self._over = self._reading.obs(obs), False
        return obs, info

    def step(self, action: Any, **extras: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps the environment and adds the step, with the schema's extras.

        Raises:
            SchemaError: an extra is missing or unknown (the environment was not stepped), or a
                value does not fit the schema (it was).
            gymnasium.error.ResetNeeded: there is no episode to step in.
        """
        reading = self._reading
        taken, extras = reading.given(action, extras)
        resets = self._over and self._resets_itself
        if self._obs is None or (self._over and not resets):
            raise ResetNeeded("record: no episode is open; call reset() before step()")

        result = self.env.step(action)
        obs, reward, terminated, truncated, _ = result
        before, after = self._obs, reading.obs(obs)
        # what was seen is kept before it is added: should `add` refuse it, the chain shows the gap
        self._obs, self._over, self.key = after, bool(terminated or truncated), -1
        if resets:
            reading.stacks.check_start(obs)
        else:
            reading.stacks.check_next(before, obs)
            self.key = self._add(
                obs=before,
                action=taken,
                reward=reward,
                next_obs=after,
                terminated=terminated,
                truncated=truncated,
                **extras,
            )
        return result


def _check_stream(memory: Memory, stream: int | None) -> None:
    """Refuses a stream that a single environment cannot feed."""
    streams = memory.streams
    if stream is None:
        if streams is not None:
            raise ConfigurationError(
                f"streams: a single environment, but the memory has streams={streams}; expected "
                "Memory(..., streams=None), or record(..., stream=k) to feed one of them"
            )
    elif streams is None:
        raise ConfigurationError(f"stream={stream}: the memory has one stream (streams=None)")
    elif isinstance(stream, bool) or not isinstance(stream, (int, np.integer)):
        raise ConfigurationError(f"stream: expected a whole number, got {stream!r}")
    elif not 0 <= stream < streams:
        raise ConfigurationError(f"stream={stream}: the memory has streams={streams}")
