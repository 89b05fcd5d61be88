"""Gymnasium: a schema from an environment's spaces, and a wrapper that adds what it sees.

    env = gymnasium.make("CartPole-v1")
    memory = rc.Memory(rc.Schema.from_env(env), capacity=100_000)
    env = rc.record(env, memory)        # from here on `reset` and `step` fill the memory

The one hard thing is the end of an episode, which Gymnasium's vector environments report in three
ways (`metadata["autoreset_mode"]`):

- NEXT_STEP: `step` returns the final observation; the `step` after it only resets, its action and
  reward mean nothing, and it is not stored.
- SAME_STEP: `step` returns the next episode's first observation already; the final one is in
  `info["final_obs"]`.
- DISABLED: `step` returns the final observation; nothing follows until
  `reset(options={"reset_mask": mask})`.

Whatever is kept until the next step is copied first, since environments may overwrite the arrays
that they have handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import (
    AsyncVectorEnv,
    AutoresetMode,
    SyncVectorEnv,
    VectorEnv,
    VectorWrapper,
)
from gymnasium.wrappers import Autoreset, FrameStackObservation
from numpy.typing import NDArray

from recollect import trees
from recollect.errors import ConfigurationError, SchemaError
from recollect.schema import STEP_FIELDS, Field, Schema, Tree, as_numpy

if TYPE_CHECKING:
    from recollect.memory import Memory

    SingleBase = gymnasium.Wrapper[Any, Any, Any, Any]
    VectorBase = VectorWrapper[Any, Any, Any, Any, Any]
else:
    # VectorWrapper cannot be subscripted in the older releases of Gymnasium 1
    SingleBase, VectorBase = gymnasium.Wrapper, VectorWrapper

Copier = Callable[[Any], Any]


def schema_from_env(
    env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any],
    stack: int | Mapping[str, int] | None = None,
    **extras: Any,
) -> Schema:
    """The steps of a single or vector environment; what `Schema.from_env` does.

    Shapes and dtypes are those of the spaces. With `stack`, the named leaves of the observation
    are (k, ...) in the environment and stored without that axis.

    Raises:
        SchemaError: a space has no fixed size, or an observation has no such leading axis.
    """
    observation_space, action_space = _single_spaces(env)
    obs = _fields(observation_space, "obs")
    if stack is not None:
        flat = dict(trees.leaves(obs, "obs"))
        for name, depth in _depths(stack, flat).items():
            flat[name] = _unstacked(flat[name], name, depth)
        obs = trees.rebuild(obs, "obs", flat.__getitem__)
    return Schema.steps(obs=obs, action=_fields(action_space, "action"), **extras)


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
    env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any],
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
        reading = _Reading(env, memory.schema)
        super().__init__(env)
        self.memory = memory
        self.key = -1
        self._reading = reading
        self._resets_itself = _single_mode(env, autoreset) is AutoresetMode.NEXT_STEP
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
        self._reading.check_start(obs)
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
        if extras.keys() != reading.extras.keys():
            raise reading.extras_error(extras)
        resets = self._over and self._resets_itself
        if self._obs is None or (self._over and not resets):
            raise ResetNeeded("record: no episode is open; call reset() before step()")
        taken = reading.action(action)
        if extras:
            extras = reading.copied(extras)

        result = self.env.step(action)
        obs, reward, terminated, truncated, _ = result
        before, after = self._obs, reading.obs(obs)
        # what was seen is kept before it is added: should `add` refuse it, the chain shows the gap
        self._obs, self._over, self.key = after, bool(terminated or truncated), -1
        if resets:
            reading.check_start(obs)
        else:
            reading.check_next(before, obs)
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
        reading = _Reading(env, memory.schema)
        super().__init__(env)
        if memory.streams != env.num_envs:
            raise ConfigurationError(
                f"streams: the environment has num_envs={env.num_envs}, the memory "
                f"streams={memory.streams}; expected Memory(..., streams={env.num_envs})"
            )
        self.memory = memory
        self.keys: NDArray[np.int64] = np.full(env.num_envs, -1, np.int64)
        self._reading = reading
        self._mode = _vector_mode(env, autoreset)
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
        self._reading.check_start(obs, rows)
        self._obs = self._reading.obs(obs)
        if not self._forgets_resets():
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
        if extras.keys() != reading.extras.keys():
            raise reading.extras_error(extras)
        if self._obs is None:
            raise ResetNeeded("record: no episode is open; call reset() before step()")
        taken = reading.action(actions)
        if extras:
            extras = reading.copied(extras)

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
        if reading.stacks:
            reading.check_start(obs, starts)
            reading.check_next(before, obs, ~(over | starts))
        if self._mode is AutoresetMode.SAME_STEP and np.count_nonzero(ended):
            after = self._with_final(before, after, info, ended)

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

    def _with_final(self, before: Any, after: Any, info: Any, ended: NDArray[np.bool_]) -> Any:
        """`after` with the true final observations of the environments that have ended."""
        reading = self._reading
        previous = dict(trees.leaves(before, "obs"))
        flat = {name: np.array(value) for name, value in trees.leaves(after, "obs")}
        base = self.env.unwrapped
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

    def _forgets_resets(self) -> bool:
        """Whether an environment that was over is reset by the next step even after a `reset`.

        AsyncVectorEnv without shared memory does so. That step is no step, like any other that
        only resets.
        """
        base = self.env.unwrapped
        forgets = isinstance(base, AsyncVectorEnv) and not base.shared_memory
        return forgets and self._mode is AutoresetMode.NEXT_STEP


class _Reading:
    """How the values of one environment become what a memory stores.

    Attributes:
        tree, flat: the fields of the observation, nested and by flat name.
        obs, action, extras: functions that copy a value, for the extras by name.
        one: as `obs`, for the observation of one environment of several.
        stacks: whether the environment stacks frames of which only the newest is stored.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any], schema: Schema
    ) -> None:
        if schema.kind != "steps":
            raise ConfigurationError(
                "record: expected a memory of steps (Schema.steps or Schema.from_env), "
                "got one of independent examples"
            )
        observation_space, action_space = _single_spaces(env)
        batched = isinstance(env, VectorEnv)
        self._stacked: dict[str, int] = {}
        self.tree = schema.fields["obs"]
        self.flat = dict(trees.leaves(self.tree, "obs"))
        _agree(_fields(observation_space, "obs"), self.tree, "obs", self._stacked)
        _agree(_fields(action_space, "action"), schema.fields["action"], "action", None)
        self.stacks = bool(self._stacked)
        if self.stacks:
            _check_padding(env)
        self.obs = _copier(self.tree, "obs", self._stacked, batched)
        self.one = _copier(self.tree, "obs", self._stacked, False)
        self.action = _copier(schema.fields["action"], "action")
        self.extras = {
            name: _copier(tree, name)
            for name, tree in schema.fields.items()
            if name not in STEP_FIELDS
        }

    def copied(self, extras: Mapping[str, Any]) -> dict[str, Any]:
        """Copies of the extras, which may be views of an observation that `step` overwrites."""
        return {name: copy(extras[name]) for name, copy in self.extras.items()}

    def extras_error(self, extras: Mapping[str, Any]) -> SchemaError:
        """What is wrong with the names of these extras."""
        missing = [name for name in self.extras if name not in extras]
        unknown = [name for name in extras if name not in self.extras]
        parts = [f"missing {', '.join(missing)}"] if missing else []
        parts += [f"unknown {', '.join(unknown)}"] if unknown else []
        expected = "".join(f", {name}=..." for name in self.extras)
        return SchemaError(f"extras: {'; '.join(parts)}; expected env.step(action{expected})")

    def check_start(self, obs: Any, rows: NDArray[np.bool_] | None = None) -> None:
        """Refuses an episode's first stack of frames that a view would not rebuild.

        Args:
            rows: (num_envs,), which environments begin an episode; None for a single one.
        """
        if not self.stacks:
            return
        for name, frames in self._stacks(obs):
            frames = frames[None] if rows is None else frames[rows]
            first = np.repeat(frames[:, -1:], frames.shape[1], axis=1)
            if not np.array_equal(frames, first, equal_nan=True):
                raise self._stack_error(name, "to begin an episode with one frame {0} times")

    def check_next(self, before: Any, obs: Any, rows: NDArray[np.bool_] | None = None) -> None:
        """Refuses a stack whose frame before the newest is not what was the newest before.

        Args:
            rows: (num_envs,), which environments are within an episode; None for a single one.
        """
        if not self.stacks:
            return
        newest = dict(trees.leaves(before, "obs"))
        for name, frames in self._stacks(obs):
            if self._stacked[name] == 1:
                continue
            earlier = frames[-2] if rows is None else frames[:, -2][rows]
            previous = newest[name] if rows is None else newest[name][rows]
            if not np.array_equal(earlier, previous, equal_nan=True):
                raise self._stack_error(name, "of the last {0} observations")

    def _stacks(self, obs: Any) -> Iterator[tuple[str, NDArray[Any]]]:
        for name, value in trees.leaves(obs, "obs"):
            if name in self._stacked:
                yield name, as_numpy(value, name)

    def _stack_error(self, name: str, what: str) -> SchemaError:
        depth = self._stacked[name]
        return SchemaError(
            f"{name}: expected a stack {what.format(depth)}, as a view with stack={depth} rebuilds "
            "it, got other frames; store the observation as it is (Schema.from_env without stack), "
            "or let the environment stack so"
        )


def _single_spaces(env: Any) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    """The observation and the action space of one environment."""
    if isinstance(env, VectorEnv):
        return env.single_observation_space, env.single_action_space
    if isinstance(env, gymnasium.Env):
        return env.observation_space, env.action_space
    raise ConfigurationError(f"env: expected a Gymnasium environment, got {type(env).__name__}")


def _fields(space: spaces.Space[Any], path: str) -> Tree:
    """The fields that hold an element of `space`."""
    if isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        try:
            return Field(space.shape or (), space.dtype)
        except SchemaError as error:
            raise SchemaError(f"{path}: {error}") from error
    if isinstance(space, spaces.Dict):
        return {name: _fields(child, f"{path}.{name}") for name, child in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_fields(child, f"{path}.{i}") for i, child in enumerate(space.spaces))
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


def _agree(space: Tree, tree: Tree, path: str, stacked: dict[str, int] | None) -> None:
    """Checks that what a space describes fits the schema; notes the leaves to be unstacked."""
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
        _agree(dict(theirs)[name], child, f"{path}.{name}", stacked)


def _wrappers(env: Any) -> Iterator[Any]:
    """The wrappers around a single environment, outermost first."""
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env


def _check_padding(env: Any) -> None:
    """Refuses frame stacks that pad an episode's start by anything but its first observation."""
    members = getattr(env.unwrapped, "envs", ()) if isinstance(env, VectorEnv) else (env,)
    for member in members:
        for wrapper in _wrappers(member):
            if isinstance(wrapper, FrameStackObservation) and wrapper.padding_type != "reset":
                raise ConfigurationError(
                    "stack: FrameStackObservation pads an episode's start with other values than "
                    "its first observation, so that a view could not rebuild its stacks; use "
                    'padding_type="reset", or store whole stacks (Schema.from_env without stack)'
                )


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


def _mode(value: Any) -> AutoresetMode | None:
    """The mode that `value` names, if it names one."""
    name = str(value.value if isinstance(value, AutoresetMode) else value)
    name = name.replace("_", "").lower()
    return next((mode for mode in AutoresetMode if mode.value.lower() == name), None)


def _asked_mode(value: AutoresetMode | str) -> AutoresetMode:
    mode = _mode(value)
    if mode is None:
        raise ConfigurationError(
            f"autoreset: expected one of {', '.join(m.name for m in AutoresetMode)}, got {value!r}"
        )
    return mode


def _single_mode(env: gymnasium.Env[Any, Any], asked: AutoresetMode | str | None) -> AutoresetMode:
    """DISABLED, or NEXT_STEP under Gymnasium's Autoreset wrapper."""
    if asked is None:
        resets = any(isinstance(wrapper, Autoreset) for wrapper in _wrappers(env))
        return AutoresetMode.NEXT_STEP if resets else AutoresetMode.DISABLED
    mode = _asked_mode(asked)
    if mode is AutoresetMode.SAME_STEP:
        raise ConfigurationError("autoreset: a single environment is NEXT_STEP or DISABLED")
    return mode


def _vector_mode(env: VectorEnv[Any, Any, Any], asked: AutoresetMode | str | None) -> AutoresetMode:
    """The mode asked for, else the one that the environment states."""
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


def _copier(
    tree: Tree, path: str, stacked: Mapping[str, int] | None = None, batched: bool = False
) -> Callable[[Any], Any]:
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


def _flags(value: Any, name: str) -> NDArray[np.bool_]:
    array = value if type(value) is np.ndarray else as_numpy(value, name)
    return array.astype(np.bool_, copy=False)
