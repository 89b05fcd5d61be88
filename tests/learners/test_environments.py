"""Environments made ready: which can be used, and what the agent then sees."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import recollect as rc
from recollect.learners import environments, presets
from recollect.learners.environments import LifeByLife, make_env, make_envs, stacked


class Spaces(gym.Env[Any, Any]):
    """Any spaces; every episode lasts one step."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        return self.observation_space.sample(), 0.0, True, False, {}


TWO = spaces.Discrete(2)
ENVS = {
    "Dict-v0": (spaces.Dict({"a": spaces.Box(0, 1, (2, 2)), "b": spaces.Discrete(3)}), TWO),
    "Discrete-v0": (spaces.Discrete(4), TWO),
    "Shifted-v0": (spaces.Box(0, 1, (2,)), spaces.Discrete(3, start=-1)),
    "Image-v0": (spaces.Box(0, 255, (8, 8, 3), np.uint8), TWO),
    "Ragged-v0": (spaces.Sequence(spaces.Discrete(3)), TWO),
    "Continuous-v0": (spaces.Box(0, 1, (2,)), spaces.Box(0, 1, (1,))),
}


@pytest.fixture(autouse=True)
def _registered():
    """Makes the environments above known for one test."""
    for name, pair in ENVS.items():
        gym.register(name, entry_point=lambda pair=pair: Spaces(*pair), disable_env_checker=True)
    yield
    for name in ENVS:
        del gym.registry[name]


@pytest.mark.parametrize(("env", "width"), [("Dict-v0", 4 + 3), ("Discrete-v0", 4)])
def test_observations_are_flattened(env, width):
    assert make_env(env).observation_space.shape == (width,)
    envs = make_envs(env, 3)
    assert envs.reset(seed=1)[0].shape == (3, width)


def test_actions_that_do_not_count_from_zero():
    env = make_env("Shifted-v0")
    assert env.action_space == spaces.Discrete(3)
    for action in range(3):
        env.reset()
        env.step(action)
    envs = make_envs("Shifted-v0", 3)
    envs.reset()
    envs.step(np.array([0, 1, 2]))


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("Nowhere-v0", "cannot make the environment 'Nowhere-v0'"),
        ("CartPole-v99", "version `v99`"),
        ("no_such_module:Env-v0", "no_such_module"),
        ("", "cannot make the environment ''"),
        ("Image-v0", "fit in a vector, or games of MinAtar or Atari"),
        ("Ragged-v0", "fit in a vector"),
        ("Continuous-v0", "discrete actions"),
        ("Pendulum-v1", "discrete actions"),
        ("ALE/Nowhere-v5", "cannot make the environment 'ALE/Nowhere-v5'"),
        ("MinAtar/Nowhere-v1", "cannot make the environment 'MinAtar/Nowhere-v1'"),
    ],
)
def test_environments_that_cannot_be_used(env, message):
    with pytest.raises(rc.ConfigurationError, match=message):
        make_env(env)


@pytest.mark.parametrize(
    ("env", "module", "package"),
    [
        ("ALE/Pong-v5", "ale_py", "ale-py"),
        ("ALE/Pong-v5", "cv2", "opencv-python-headless"),
        ("MinAtar/Breakout-v1", "minatar.gym", "minatar"),
    ],
)
def test_what_is_not_installed_is_named(monkeypatch, env, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(rc.MissingExtraError, match=rf'{package} is not .*"recollect\[gym\]"'):
        make_env(env)


def test_games_of_minatar_are_grids_of_booleans():
    env = make_env("MinAtar/Breakout-v1")
    assert env.observation_space == spaces.Box(0, 1, (10, 10, 4), bool)
    assert stacked(env.observation_space) is None
    assert env.spec.max_episode_steps == environments.MINATAR_LIMIT
    first, second = (
        [env.reset(seed=3)[0], *(env.step(action)[0] for action in (1, 2, 0))] for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_atari_games_are_four_frames_and_the_newest_is_the_last():
    env = make_env("ALE/Breakout-v5")
    assert env.observation_space == spaces.Box(0, 255, (4, 84, 84), np.uint8)
    assert stacked(env.observation_space) == 4
    obs, _ = env.reset(seed=1)
    assert (obs == obs[-1]).all()  # as a view's stack begins
    after, *_ = env.step(1)
    np.testing.assert_array_equal(after[:-1], obs[1:])


@pytest.mark.parametrize(("training", "ends"), [(True, [4, 3, 2, 1, 0]), (False, [0])])
def test_only_in_training_does_an_episode_of_atari_end_with_a_life(training, ends):
    env = make_env("ALE/Breakout-v5", training)
    env.reset(seed=1)
    lives: list[int] = []
    while 0 not in lives:
        _, _, terminated, truncated, info = env.step(1)
        assert not truncated
        if terminated:
            lives.append(info["lives"])
            env.reset()
    assert lives == ends


@pytest.mark.parametrize(("training", "least"), [(True, 1), (False, 10)])
def test_only_in_training_are_rewards_of_atari_signs(training, least):
    env = make_env("ALE/MsPacman-v5", training)
    env.reset(seed=1)
    rewards = {float(env.step(3)[1]) for _ in range(120)}  # dots, ten points each
    assert rewards - {0.0}
    assert min(rewards - {0.0}) >= least
    assert not training or rewards == {0.0, 1.0}


class Game(gym.Env[int, int]):
    """Counts its steps. A life is lost at 2 and at 5, the game is over at 7."""

    observation_space = spaces.Discrete(100)
    action_space = spaces.Discrete(2)
    games = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict]:
        super().reset(seed=seed)
        self.count = 0
        self.games += 1
        return self.count, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict]:
        self.count += 1
        return self.count, 1.0, self.count == 7, False, {}

    @property
    def ale(self) -> Game:
        return self

    def lives(self) -> int:
        return 3 - (self.count >= 2) - (self.count >= 5) - (self.count >= 7)


def test_a_life_ends_an_episode_and_the_game_goes_on():
    game = Game()
    env = LifeByLife(game)
    episodes = []
    for _ in range(4):
        seen = [env.reset()[0]]
        ended = False
        while not ended:
            obs, _, terminated, truncated, _ = env.step(1)
            assert not truncated
            seen.append(obs)
            ended = terminated
        episodes.append(seen)
    # between 2 and 3, and 5 and 6, lies the no-op with which the game goes on
    assert episodes == [[0, 1, 2], [3, 4, 5], [6, 7], [0, 1, 2]]
    assert game.games == 2


def test_a_seed_begins_a_new_game():
    game = Game()
    env = LifeByLife(game)
    env.reset(seed=1)
    env.step(1)
    assert env.reset(seed=1)[0] == 0
    assert game.games == 2


@pytest.mark.parametrize(
    ("env", "pattern"),
    [
        ("CartPole-v1", "CartPole-*"),
        ("Acrobot-v1", "Acrobot-*"),
        ("MinAtar/Breakout-v1", "MinAtar/*"),
        ("ALE/Pong-v5", "ALE/*"),
        ("LunarLander-v3", "*"),
        ("", "*"),
    ],
)
def test_the_name_decides_which_preset_holds(env, pattern):
    assert presets.pattern(env) == pattern
    config = presets.preset(env)
    assert config.env == env
    for name, value in presets.PRESETS[pattern].items():
        assert getattr(config, name) == value


def test_options_outdo_a_preset():
    config = presets.preset("MinAtar/Breakout-v1", steps=7, gamma=0.5)
    assert (config.steps, config.gamma, config.batch_size) == (7, 0.5, 32)
