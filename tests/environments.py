"""Small environments that prove what they show, and a witness that keeps what really happened.

`Proof` encodes (environment, episode, step) in every observation and reward, and ends its
episodes as a script says. `Witness` stands between an environment and everything around it, and
writes each step down with copies: what a memory holds afterwards must be exactly that.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space

import recollect as rc
from recollect import trees

Script = Sequence[tuple[int, str]]
"""Length and end ("terminated", "truncated", "both") of one episode after the other, again and
again."""

SCRIPTS: tuple[Script, ...] = (
    ((3, "terminated"), (1, "truncated"), (1, "terminated"), (4, "both")),
    ((2, "truncated"), (5, "terminated")),
    ((3, "truncated"), (1, "terminated"), (1, "truncated"), (2, "terminated")),  # ends with first
    ((1, "terminated"), (1, "truncated")),
)

_WHERE = spaces.Box(0, 30_000, (3,), np.int32)
_IMAGE = spaces.Box(0, 255, (36, 30), np.uint8)
OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "box": _WHERE,
    "number": spaces.Discrete(1_000_000),
    "dict": spaces.Dict(where=_WHERE, image=_IMAGE, count=spaces.Discrete(1_000_000)),
    "tuple": spaces.Tuple((_WHERE, _IMAGE, spaces.MultiDiscrete([9, 30_000, 30_000]))),
    "nested": spaces.Dict(
        eye=spaces.Dict(left=_IMAGE, bits=spaces.MultiBinary(8)),
        rest=spaces.Tuple((spaces.Discrete(1_000_000, dtype=np.int32), _WHERE)),
    ),
}

_MOVE = spaces.Box(-1, 1, (2,), np.float32)
ACTIONS: dict[str, spaces.Space[Any]] = {
    "number": spaces.Discrete(5),
    "continuous": _MOVE,
    "dict": spaces.Dict(move=_MOVE, fire=spaces.Discrete(2)),
    "tuple": spaces.Tuple((spaces.MultiDiscrete([3, 4]), _MOVE)),
}


def observe(space: spaces.Space[Any], number: int, episode: int, step: int) -> Any:
    """The observation at this place."""
    if isinstance(space, spaces.Dict):
        return {name: observe(part, number, episode, step) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(observe(part, number, episode, step) for part in space.spaces)
    code = (number * 100 + episode) * 100 + step
    if isinstance(space, spaces.Discrete):
        return space.dtype.type(code)
    if isinstance(space, spaces.MultiBinary):
        return np.array([code >> bit & 1 for bit in range(8)], space.dtype)
    if space.shape == (3,):
        return np.array([number, episode, step], space.dtype)
    return (np.arange(np.prod(space.shape)) * (2 * code + 1)).reshape(space.shape).astype(np.uint8)


def reward(number: int, episode: int, step: int) -> float:
    """The reward of the step that begins at this place; exact in float32."""
    return number * 4096 + episode * 32 + step + 0.5


class Proof(gymnasium.Env[Any, Any]):
    """Every value is a function of the environment's number, the episode and the step.

    Args:
        reuse: returns the same arrays from every step and reset, overwritten.
    """

    def __init__(
        self,
        number: int = 0,
        script: Script = SCRIPTS[0],
        obs: str = "box",
        action: str = "number",
        reuse: bool = False,
    ) -> None:
        self.observation_space = OBSERVATIONS[obs]
        self.action_space = ACTIONS[action]
        self._number, self._script, self._reuse = number, script, reuse
        self._episode = self._step = -1
        self._shown: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._episode, self._step = self._episode + 1, 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        gain = reward(self._number, self._episode, self._step)
        self._step += 1
        length, end = self._script[self._episode % len(self._script)]
        over = self._step == length
        terminated, truncated = over and end != "truncated", over and end != "terminated"
        return self._observe(), gain, terminated, truncated, {}

    def _observe(self) -> Any:
        now = observe(self.observation_space, self._number, self._episode, self._step)
        self._shown = _overwritten(self._shown, now) if self._reuse else now
        return self._shown


def _overwritten(old: Any, new: Any) -> Any:
    """`new`, in the dictionaries and arrays of `old`."""
    if isinstance(old, dict):
        old.update({name: _overwritten(old[name], new[name]) for name in new})
    elif isinstance(old, tuple):
        return tuple(_overwritten(*pair) for pair in zip(old, new, strict=True))
    elif isinstance(old, np.ndarray):
        old[...] = new
    else:
        return new
    return old


class Witness(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Writes down every step as it really happened.

    Attributes:
        steps: all steps in order, as `memory.add` takes them, with the episode's number. The last
            step of an episode that a reset cut short is truncated.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.steps: list[dict[str, Any]] = []
        self._episode = -1
        self._obs: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        self._episode += 1
        self._obs = deepcopy(obs)
        if self.steps and not self.steps[-1]["terminated"]:
            self.steps[-1]["truncated"] = True
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        taken = deepcopy(action)
        obs, gain, terminated, truncated, info = self.env.step(action)
        self.steps.append(
            {
                "episode": self._episode,
                "obs": self._obs,
                "action": taken,
                "reward": gain,
                "next_obs": deepcopy(obs),
                "terminated": terminated,
                "truncated": truncated,
            }
        )
        self._obs = self.steps[-1]["next_obs"]
        return obs, gain, terminated, truncated, info


class Native(VectorEnv[Any, Any, Any]):
    """`Proof` environments, vectorised by hand as native vector environments are.

    All arrays that it returns are its own and overwritten by the next call. Final observations
    come as plain arrays (nested as the observation is), not as an array of objects. It waits for
    whom nobody resets under DISABLED.

    Args:
        mode: how it resets; what it states in its metadata is `states`, or nothing if None.
    """

    def __init__(
        self,
        scripts: Sequence[Script],
        mode: AutoresetMode,
        states: Any = None,
        obs: str = "box",
    ) -> None:
        self.num_envs = len(scripts)
        self.envs = [Witness(Proof(i, script, obs)) for i, script in enumerate(scripts)]
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.metadata = {} if states is None else {"autoreset_mode": states}
        self._real_mode = mode
        self._shown = self.observation_space.sample()
        self._final = self.observation_space.sample()
        self._over = np.zeros(self.num_envs, np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))
        for index in np.flatnonzero(mask):
            self._show(self._shown, index, self.envs[index].reset()[0])
            self._over[index] = False
        return self._shown, {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), np.bool_)
        for index, env in enumerate(self.envs):
            if self._over[index]:
                if self._real_mode is AutoresetMode.NEXT_STEP:
                    self.reset(options={"reset_mask": np.arange(self.num_envs) == index})
                continue
            obs, gain, terminated[index], truncated[index], _ = env.step(actions[index])
            rewards[index] = gain
            self._over[index] = terminated[index] or truncated[index]
            self._show(self._shown, index, obs)
        info: dict[str, Any] = {}
        if self._real_mode is AutoresetMode.SAME_STEP and self._over.any():
            ended = self._over.copy()
            for index in np.flatnonzero(ended):
                self._show(self._final, index, self.envs[index].steps[-1]["next_obs"])
            self.reset(options={"reset_mask": ended})
            info = {"final_obs": self._final, "_final_obs": ended}
        return self._shown, rewards, terminated, truncated, info

    def _show(self, shown: Any, index: int, obs: Any) -> None:
        values = dict(trees.leaves(obs, ""))
        for name, array in trees.leaves(shown, ""):
            array[index] = values[name]


def sync(
    mode: AutoresetMode, scripts: Sequence[Script] = SCRIPTS, copy: bool = True, **proof: Any
) -> SyncVectorEnv:
    """Witnessed `Proof` environments under Gymnasium's own vector environment."""
    makers = [
        lambda number=number, script=script: Witness(Proof(number, script, **proof))
        for number, script in enumerate(scripts)
    ]
    return SyncVectorEnv(makers, copy=copy, autoreset_mode=mode)


def everything(memory: rc.Memory, **view: Any) -> dict[int, dict[str, Any]]:
    """All steps that a view can start at, by key in time order, each with its flat fields."""
    eligible = int(memory.stats()["eligible"])
    reader = memory.reader(view=rc.Transition(**view))
    found: dict[int, dict[str, Any]] = {}
    for _ in range(200):
        if len(found) == eligible:
            break
        batch = reader.sample(max(2 * eligible, 1))
        flat = [leaf for name in batch for leaf in trees.leaves(batch[name], name)]
        for row, key in enumerate(batch.key.tolist()):
            if key not in found:
                found[key] = {name: values[row] for name, values in flat}
    assert len(found) == eligible
    return dict(sorted(found.items()))


def assert_holds(memory: rc.Memory, witnesses: Sequence[Any], **view: Any) -> None:
    """Asserts that the memory holds what each stream's witness saw: all of it, and nothing else.

    Args:
        witnesses: for each stream an object with `steps`, or a list of steps.
        view: arguments of the Transition that it is read with.
    """
    found = everything(memory, **view)
    fields = memory.schema.flat
    for stream, witness in enumerate(witnesses):
        steps = witness if isinstance(witness, list) else witness.steps
        keys = [key for key in found if key >> 40 == stream]
        assert len(keys) == len(steps)
        for key, step in zip(keys, steps, strict=True):
            for top in step.keys() - {"episode"}:
                for name, expected in trees.leaves(step[top], top):
                    got = found[key][name]
                    stored = np.asarray(expected).astype(got.dtype)
                    assert np.array_equal(got, stored), f"stream {stream}: {name}"
                    assert name not in fields or got.dtype == fields[name].dtype
    assert sum(len(w if isinstance(w, list) else w.steps) for w in witnesses) == len(memory)
    assert memory.stats()["chain_breaks"] == 0
