"""Environments, made ready for a learner of action values.

Whatever the environment, the learner sees one of three kinds of observation:

- a vector: anything that Gymnasium can flatten into one;
- a grid (height, width, channels) of booleans: MinAtar's games (Young & Tian, 2019);
- four frames (4, 84, 84) of uint8, the newest last: Atari's games, preprocessed as in the DQN paper
  (Mnih et al., 2015).

Actions count from 0. `training=True` asks for what Atari agents are trained on: an episode ends
with a life, and a reward is only a sign. They are measured without: whole games, real scores.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from recollect.errors import ConfigurationError, MissingExtraError

Env = gym.Env[Any, Any]

FRAMES = 4
"""Atari frames in an observation."""

MINATAR_LIMIT = 10_000
"""Steps after which an episode of MinAtar is cut short: the games themselves may go on for ever."""

STICKINESS = 0.25
"""Of Atari, how probably a frame repeats the action of the frame before (Machado et al., 2018)."""

ATARI_TEST_LIMIT = 18_000
"""Frames (five minutes of play) after which an Atari game is cut short when an agent is measured,
as in the DQN paper: one that never serves would wait half an hour."""


def make_env(name: str, training: bool = False) -> Env:
    """One environment, as an agent is measured on it, or trained.

    Raises:
        ConfigurationError: there is no such environment, or none that DQN could learn.
        MissingExtraError: the package that it comes from is not installed.
    """
    try:
        if name.startswith("ALE/"):
            env = _atari(name, training)
        elif name.startswith("MinAtar/"):
            env = _minatar(name)
        else:
            env = _vector(name)
    except MissingExtraError:
        raise
    except (gym.error.Error, ImportError) as error:
        raise ConfigurationError(f"cannot make the environment {name!r}: {error}") from error
    actions = env.action_space
    if not isinstance(actions, spaces.Discrete):
        raise ConfigurationError(f"DQN needs discrete actions, those of {name} are {actions}")
    if actions.start != 0:
        first = actions.start
        counted = spaces.Discrete(int(actions.n))
        env = gym.wrappers.TransformAction(env, lambda action: action + first, counted)
    return env


def make_envs(name: str, count: int) -> VectorEnv[Any, Any, Any]:
    """So many of them, for training: each step returns the next episode's start where one ended."""
    makers = [lambda: make_env(name, training=True)] * count
    return SyncVectorEnv(makers, copy=False, autoreset_mode=AutoresetMode.SAME_STEP)


def stacked(space: spaces.Space[Any]) -> int | None:
    """How many frames an observation stacks; None of vectors and grids."""
    frames = len(space.shape or ()) == 3 and space.dtype == np.uint8
    return FRAMES if frames else None


def _vector(name: str) -> Env:
    env: Env = gym.make(name)
    space = env.observation_space
    if not (isinstance(space, spaces.Box) and space.shape):
        env = gym.wrappers.FlattenObservation(env)
    if len(env.observation_space.shape or ()) != 1:
        raise ConfigurationError(
            "DQN needs observations that fit in a vector, or games of MinAtar or Atari; "
            f"those of {name} are {space}"
        )
    return env


def _minatar(name: str) -> Env:
    try:
        from minatar.gym import register_envs  # type: ignore[import-untyped]
    except ImportError as error:
        raise _missing("MinAtar", "minatar", name) from error
    if "MinAtar/Breakout-v1" not in gym.registry:
        register_envs()
    env: Env = gym.make(name, max_episode_steps=MINATAR_LIMIT)
    return env


def _atari(name: str, training: bool) -> Env:
    try:
        import ale_py
        import cv2  # noqa: F401 (what the frames are scaled with)
    except ImportError as error:
        package = "ale-py" if error.name == "ale_py" else "opencv-python-headless"
        raise _missing("Atari", package, name) from error
    if "ALE/Pong-v5" not in gym.registry:
        gym.register_envs(ale_py)
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # it greets on every start
    limit: dict[str, Any] = {} if training else {"max_num_frames_per_episode": ATARI_TEST_LIMIT}
    # the emulator would do it too, but what it repeats then could not be saved
    env: Env = gym.make(name, frameskip=1, repeat_action_probability=0.0, **limit)
    env = gym.wrappers.StickyAction(env, STICKINESS)
    env = gym.wrappers.AtariPreprocessing(env, noop_max=30, frame_skip=4, screen_size=84)
    if training:
        env = gym.wrappers.TransformReward(
            LifeByLife(env), lambda reward: float(np.sign(float(reward)))
        )
    return gym.wrappers.FrameStackObservation(env, FRAMES, padding_type="reset")


class LifeByLife(gym.Wrapper[Any, Any, Any, Any]):
    """Ends an episode with each life; the next begins where the game goes on.

    (`AtariPreprocessing(terminal_on_life_loss=True)` would begin a new game instead, and an agent
    would never see what comes after its first life.)
    """

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        self._lives = 0
        self._over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Plays on, unless the game is over or a seed asks for a certain new one."""
        if not self._over and seed is None:
            obs, _, terminated, truncated, info = self.env.step(0)  # no-op
            self._over = terminated or truncated
        if self._over or seed is not None:
            obs, info = self.env.reset(seed=seed, options=options)
        self._over = False
        self._lives = self._left()
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps; terminated also where a life is lost."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._over = terminated or truncated
        before, self._lives = self._lives, self._left()
        return obs, reward, terminated or self._lives < before, truncated, info

    def _left(self) -> int:
        game: Any = self.env.unwrapped
        return int(game.ale.lives())


def _missing(games: str, package: str, name: str) -> MissingExtraError:
    return MissingExtraError(
        f"{name} is one of {games}'s games, and {package} is not installed: "
        'pip install "recollect[gym]"'
    )
