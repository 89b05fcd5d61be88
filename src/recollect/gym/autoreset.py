"""How an environment goes from one episode to the next, and where its final observation is.

Gymnasium's vector environments do it in three ways (`metadata["autoreset_mode"]`):

- NEXT_STEP: `step` returns the final observation; the `step` after it only resets, its action and
  reward mean nothing, and it is not stored.
- SAME_STEP: `step` returns the next episode's first observation already; the final one is in
  `info["final_obs"]`.
- DISABLED: `step` returns the final observation; nothing follows until
  `reset(options={"reset_mask": mask})`.

The one hard thing is that the values look the same under all three: an observation taken for that
of another mode is stored without an error, as the successor of a step that it never followed. So a
mode is never guessed, and what a mode promises is checked as far as it can be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import Autoreset
from numpy.typing import NDArray

from recollect import trees
from recollect.errors import ConfigurationError
from recollect.gym.environments import wrappers
from recollect.gym.reading import Reading
from recollect.schema import Tree


def single_mode(env: gymnasium.Env[Any, Any], asked: AutoresetMode | str | None) -> AutoresetMode:
    """DISABLED, or NEXT_STEP under Gymnasium's Autoreset wrapper.

    Raises:
        ConfigurationError: `asked` is no mode, or none of a single environment.
    """
    if asked is None:
        resets = any(isinstance(wrapper, Autoreset) for wrapper in wrappers(env))
        return AutoresetMode.NEXT_STEP if resets else AutoresetMode.DISABLED
    mode = _asked_mode(asked)
    if mode is AutoresetMode.SAME_STEP:
        raise ConfigurationError("autoreset: a single environment is NEXT_STEP or DISABLED")
    return mode


def vector_mode(env: VectorEnv[Any, Any, Any], asked: AutoresetMode | str | None) -> AutoresetMode:
    """The mode asked for, else the one that the environment states.

    Raises:
        ConfigurationError: `asked` is no mode, or nobody states one.
    """
    if asked is not None:
        return _asked_mode(asked)
    # an environment without metadata of its own shows those of the base class, which all such
    # environments share and may write to
    stated = env.metadata.get("autoreset_mode")
    if env.metadata is VectorEnv.metadata:
        stated = getattr(env.unwrapped, "autoreset_mode", None)
    mode = _mode(stated)
    if mode is None:
        raise ConfigurationError(
            f"autoreset: {env} does not say how it resets (autoreset_mode={stated!r}); name it: "
            f"record(..., autoreset=AutoresetMode.X) with X one of "
            f"{', '.join(m.name for m in AutoresetMode)}"
        )
    return mode


def _asked_mode(value: AutoresetMode | str) -> AutoresetMode:
    mode = _mode(value)
    if mode is None:
        raise ConfigurationError(
            f"autoreset: expected one of {', '.join(m.name for m in AutoresetMode)}, got {value!r}"
        )
    return mode


def _mode(value: Any) -> AutoresetMode | None:
    """The mode that `value` names, if it names one."""
    name = str(value.value if isinstance(value, AutoresetMode) else value)
    name = name.replace("_", "").lower()
    return next((mode for mode in AutoresetMode if mode.value.lower() == name), None)


def forgets_resets(env: VectorEnv[Any, Any, Any], mode: AutoresetMode) -> bool:
    """Whether an environment that was over is reset by the next step even after a `reset`.

    AsyncVectorEnv without shared memory does so. That step is no step, like any other that only
    resets.
    """
    base = env.unwrapped
    forgets = isinstance(base, AsyncVectorEnv) and not base.shared_memory
    return forgets and mode is AutoresetMode.NEXT_STEP


def with_final(
    env: VectorEnv[Any, Any, Any],
    reading: Reading,
    before: Any,
    after: Any,
    info: Any,
    ended: NDArray[np.bool_],
) -> Any:
    """`after` with the true final observations of the environments that ended under SAME_STEP.

    Args:
        before, after: the observations around a step, as they are stored, (num_envs, ...).
        info: what the step returned.
        ended: (num_envs,), whose episodes ended with it.

    Raises:
        ConfigurationError: a final observation is not there, or was overwritten by the reset.
    """
    previous = dict(trees.leaves(before, "obs"))
    flat = {name: np.array(value) for name, value in trees.leaves(after, "obs")}
    base = env.unwrapped
    first = getattr(base, "_env_obs", None) if isinstance(base, SyncVectorEnv) else None
    for index in np.flatnonzero(ended).tolist():
        final = _final_obs(info, reading.tree, index)
        reused = set() if first is None else _same_arrays(final, first[index])
        for name, value in trees.leaves(reading.one(final), "obs"):
            flat[name][index] = reading.flat[name].cast(value, name)
            # a constant may well be one array for ever
            if name in reused and not np.array_equal(flat[name][index], previous[name][index]):
                raise ConfigurationError(
                    f"{name}: environment {index} returns the same array from every step and "
                    "reset, so that under SAME_STEP its reset overwrites its final "
                    "observation; let it return copies, or use AutoresetMode.NEXT_STEP"
                )
    return trees.rebuild(reading.tree, "obs", flat.__getitem__)


def _final_obs(info: Any, tree: Tree, index: int) -> Any:
    """The final observation of environment `index`, out of what SAME_STEP reports."""
    values = info.get("final_obs") if isinstance(info, Mapping) else None
    if values is not None and ("_final_obs" not in info or info["_final_obs"][index]):
        final = _pick(values, tree, index)
        if final is not None:
            return final
    raise ConfigurationError(
        f"autoreset: environment {index} has ended, and info['final_obs'] does not hold its final "
        "observation as SAME_STEP promises; name the mode that the environment really follows: "
        "record(..., autoreset=...)"
    )


def _pick(values: Any, tree: Tree, index: int) -> Any:
    """The value of one environment, out of an array of all or a tree of such arrays."""
    if isinstance(tree, dict) and isinstance(values, Mapping):
        return {name: _pick(values[name], child, index) for name, child in tree.items()}
    if isinstance(tree, tuple) and isinstance(values, tuple):
        return tuple(_pick(values[i], child, index) for i, child in enumerate(tree))
    return values[index]


def _same_arrays(one: Any, other: Any) -> set[str]:
    """The leaves that are one and the same array object in both observations."""
    others = dict(trees.leaves(other, "obs"))
    leaves = trees.leaves(one, "obs")
    return {name for name, x in leaves if isinstance(x, np.ndarray) and x is others.get(name)}
