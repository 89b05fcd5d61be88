"""The state of an environment, taken out of it and put back, so that a run can go on with it.

Gymnasium has nothing of the kind. What an environment remembers lies in its game, in its generator,
and in each wrapper around it: how many steps of the time limit are gone, which frames are stacked.
Whatever is forgotten makes a run that goes on silently another one; so only classes that are known
here are trusted, exactly these and not what others derive from them, and of anything else there is
no state.
"""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

import gymnasium as gym
from gymnasium import wrappers
from gymnasium.envs.classic_control import AcrobotEnv, CartPoleEnv, MountainCarEnv
from gymnasium.vector import SyncVectorEnv, VectorEnv, VectorWrapper

from recollect.errors import ConfigurationError
from recollect.gym import VectorRecorder
from recollect.learners.environments import LifeByLife

Environment = gym.Env[Any, Any] | VectorEnv[Any, Any, Any]
State = dict[str, Any]
"""Of numbers, strings, bytes and NumPy arrays, in dictionaries, lists and tuples."""

REMEMBERED: dict[type, tuple[str, ...]] = {
    AcrobotEnv: ("state",),
    CartPoleEnv: ("state", "steps_beyond_terminated"),
    MountainCarEnv: ("state",),
    LifeByLife: ("_lives", "_over"),
    SyncVectorEnv: ("_terminations", "_truncations", "_autoreset_envs"),
    VectorRecorder: ("_obs", "_over", "keys"),
    wrappers.AtariPreprocessing: ("obs_buffer", "lives", "game_over"),
    wrappers.FlattenObservation: (),
    wrappers.FrameStackObservation: ("obs_queue", "padding_value"),
    wrappers.OrderEnforcing: (),
    wrappers.PassiveEnvChecker: (),
    wrappers.StickyAction: ("last_action", "is_sticky_actions", "num_repeats", "repeats_taken"),
    wrappers.TimeLimit: ("_elapsed_steps",),
    wrappers.TransformAction: (),
    wrappers.TransformReward: (),
}
"""The attributes that change between one reset and the next, of each class that is known."""

WITH_GENERATOR = (AcrobotEnv, CartPoleEnv, MountainCarEnv)


def state_of(env: Environment) -> State | None:
    """What `restore` needs to go on from here, a copy; None where it is not known how.

    Known are CartPole, Acrobot and MountainCar, MinAtar's games and Atari's, one or several in a
    `SyncVectorEnv`, recorded or not, in the wrappers that this package puts around them. Atari's
    emulator does not tell which action it would repeat: let a wrapper repeat actions.
    """
    own = _own(env)
    inner = [state_of(part) for part in _inner(env)]
    if own is None or any(state is None for state in inner):
        return None
    return {"kind": type(env).__name__, "own": own, "inner": inner}


def restore(env: Environment, state: State) -> None:
    """Puts an environment where another, made in the same way, was when its state was taken.

    It is reset first, as every wrapper expects before the first step. A recorder's memory is not
    told: it must be as it was at that moment too.

    Raises:
        ConfigurationError: the environment was made in another way.
    """
    played = env.env if isinstance(env, VectorRecorder) else env
    played.reset(seed=0)
    _put_back(env, state)


def _put_back(env: Environment, state: State) -> None:
    inner = _inner(env)
    if state["kind"] != type(env).__name__ or len(state["inner"]) != len(inner):
        raise ConfigurationError(
            f"this environment is not made as the one whose state was saved: expected "
            f"{state['kind']} around {len(state['inner'])}, got {type(env).__name__} around "
            f"{len(inner)}"
        )
    for part, saved in zip(inner, state["inner"], strict=True):
        _put_back(part, saved)
    own, game = copy.deepcopy(state["own"]), _game(env)
    if game == "atari":
        _put_back_atari(env, own)
    elif game == "minatar":
        _put_back_minatar(env, own)
    else:
        if "generator" in own:
            env.np_random.bit_generator.state = own.pop("generator")
        for name, value in own.items():
            former = getattr(env, name)
            bounded = isinstance(former, deque)
            setattr(env, name, deque(value, maxlen=former.maxlen) if bounded else value)


def _own(env: Any) -> State | None:
    """What this layer remembers, without what it wraps."""
    game = _game(env)
    if game == "atari":
        return _of_atari(env)
    if game == "minatar":
        return _of_minatar(env)
    names = REMEMBERED.get(type(env))
    if names is None or not all(hasattr(env, name) for name in names):
        return None
    own: State = {name: copy.deepcopy(getattr(env, name)) for name in names}
    if isinstance(env, WITH_GENERATOR):
        own["generator"] = env.np_random.bit_generator.state
    return own


def _inner(env: Environment) -> list[Environment]:
    """What is wrapped, or played side by side."""
    if isinstance(env, SyncVectorEnv):
        return list(env.envs)
    if isinstance(env, gym.Wrapper | VectorWrapper):
        return [env.env]
    return []


def _game(env: Environment) -> str | None:
    """Which of the games that are not always installed it is, by the name of its class."""
    names = {"ale_py.env.AtariEnv": "atari", "minatar.gym.BaseEnv": "minatar"}
    return names.get(f"{type(env).__module__}.{type(env).__name__}")


def _of_atari(env: Any) -> State | None:
    if env.ale.getFloat("repeat_action_probability") > 0:
        return None
    emulator = env.ale.cloneSystemState().serialize()  # its generator included
    return {"emulator": emulator, "generator": env.np_random.bit_generator.state}


def _put_back_atari(env: Any, own: State) -> None:
    import ale_py

    env.ale.restoreSystemState(ale_py.ALEState(own["emulator"]))
    env.np_random.bit_generator.state = own["generator"]


def _of_minatar(env: Any) -> State:
    game = env.game
    board = {name: value for name, value in vars(game.env).items() if name != "random"}
    return {
        "board": copy.deepcopy(board),
        "last_action": game.last_action,
        "generator": game.random.get_state(legacy=False),
    }


def _put_back_minatar(env: Any, own: State) -> None:
    game = env.game
    vars(game.env).update(own["board"])
    game.last_action = own["last_action"]
    # of the game and its board, since a reset with a seed has made one of theirs
    game.random.set_state(own["generator"])
