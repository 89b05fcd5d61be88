"""The wrapper around a vector environment that adds the steps of each to a stream of a memory.

The one hard thing is that the environments are at different places in one and the same call of
`step`: some within an episode, some at its end, some only being reset, some waiting for it. Each
autoreset mode (`autoreset.py`) says which of them made a step that is stored, which began an
episode, and what followed the last step of those that ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from recollect.errors import ConfigurationError
from recollect.gym.autoreset import forgets_resets, vector_mode, with_final
from recollect.gym.environments import VectorBase
from recollect.gym.reading import Reading
from recollect.schema import as_numpy

if TYPE_CHECKING:
    from recollect.memory import Memory


class VectorRecorder(VectorBase):
    """A vector environment whose steps go into a memory, one stream each; made by `record`.

    Attributes:
        memory: where the steps go.
        keys: the keys of the newest steps, (num_envs,) int64; -1 where none was stored.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        memory: Memory,
        *,
        autoreset: AutoresetMode | str | None = None,
    ) -> None:
        reading = Reading(env, memory.schema)
        super().__init__(env)
        if memory.streams != env.num_envs:
            raise ConfigurationError(
                f"streams: the environment has num_envs={env.num_envs}, the memory "
                f"streams={memory.streams}; expected Memory(..., streams={env.num_envs})"
            )
        self.memory = memory
        self.keys: NDArray[np.int64] = np.full(env.num_envs, -1, np.int64)
        self._reading = reading
        self._mode = vector_mode(env, autoreset)
        self._obs: Any = None
        self._over: NDArray[np.bool_] = np.zeros(env.num_envs, np.bool_)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Resets all environments, or those in `options["reset_mask"]`.

        Their episodes that were still open end as truncated.
        """
        # read first, because environments take the mask out of the options
        mask = None if options is None else options.get("reset_mask")
        rows = np.ones_like(self._over) if mask is None else np.asarray(mask, np.bool_)
        self._obs = None
        obs, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        if mask is None:
            self.memory.cut()
        else:
            for stream in np.flatnonzero(rows).tolist():
                self.memory.cut(stream)
        self._reading.stacks.check_start(obs, rows)
        self._obs = self._reading.obs(obs)
        if not forgets_resets(self.env, self._mode):
            self._over &= ~rows
        return obs, info

    def step(self, actions: Any, **extras: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Steps all environments and adds their steps, with the schema's extras.

        An environment that was over is not stored: it was reset by this step (NEXT_STEP), or
        waits for its reset (DISABLED).

        Raises:
            SchemaError: an extra is missing or unknown (no environment was stepped), or a value
                does not fit the schema (they were).
            ConfigurationError: an episode ended, and its final observation is not there.
            gymnasium.error.ResetNeeded: `reset` was never called.
        """
        reading = self._reading
        taken, extras = reading.given(actions, extras)
        if self._obs is None:
            raise ResetNeeded("record: no episode is open; call reset() before step()")

        result = self.env.step(actions)
        obs, rewards, terminated, truncated, info = result
        before, after, over = self._obs, reading.obs(obs), self._over
        ended = _flags(terminated, "terminated") | _flags(truncated, "truncated")
        skipped = np.count_nonzero(over)
        # what was seen is kept before it is added: should `add` refuse it, the chain shows the gap
        self._obs = after
        self.keys = np.full(len(over), -1, np.int64)
        starts = ended if self._mode is AutoresetMode.SAME_STEP else np.zeros_like(over)
        if self._mode is AutoresetMode.NEXT_STEP:
            starts, self._over = over, ended
        elif self._mode is AutoresetMode.DISABLED:
            self._over = over | ended
        if reading.stacks.depths:
            reading.stacks.check_start(obs, starts)
            reading.stacks.check_next(before, obs, ~(over | starts))
        if self._mode is AutoresetMode.SAME_STEP and np.count_nonzero(ended):
            after = with_final(self.env, reading, before, after, info, ended)

        self.keys = self.memory.add(
            obs=before,
            action=taken,
            reward=rewards,
            next_obs=after,
            terminated=terminated,
            truncated=truncated,
            valid=~over if skipped else None,
            **extras,
        )
        return result


def _flags(value: Any, name: str) -> NDArray[np.bool_]:
    array = value if type(value) is np.ndarray else as_numpy(value, name)
    return array.astype(np.bool_, copy=False)
