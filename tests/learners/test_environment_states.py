"""The state of environments: what it was taken from and what it was put into go on alike."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

import recollect as rc
from recollect.learners.environment_states import restore, state_of
from recollect.learners.environments import FRAMES, make_env, make_envs, stacked


def play(env, actions):
    """All that an environment says to these actions; it is reset where an episode ends."""
    said = []
    for action in actions:
        obs, reward, terminated, truncated, info = env.step(int(action))
        said.append((obs.copy(), reward, terminated, truncated, info.get("lives")))
        if terminated or truncated:
            said.append((env.reset()[0].copy(), 0, False, False, None))
    return said


def same(one, other):
    return len(one) == len(other) and all(
        np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "training", "steps"),
    [
        ("CartPole-v1", True, 300),
        ("Acrobot-v1", True, 700),
        ("MountainCar-v0", True, 300),
        *((f"MinAtar/{game}-v1", True, 300) for game in ("Asterix", "Breakout", "Freeway")),
        *((f"MinAtar/{game}-v1", True, 300) for game in ("Seaquest", "SpaceInvaders")),
        ("ALE/Breakout-v5", True, 200),
        ("ALE/Breakout-v5", False, 80),
        ("ALE/MsPacman-v5", True, 100),
    ],
)
def test_what_gets_the_state_goes_on_alike(name, training, steps):
    rng = np.random.default_rng(0)
    env = make_env(name, training)
    actions = rng.integers(env.action_space.n, size=steps)
    env.reset(seed=3)
    play(env, actions)
    state = state_of(env)
    expected = play(env, actions[::-1])
    assert not same(expected, play(env, actions[::-1]))  # they have not come to a standstill
    for _ in range(2):
        other = make_env(name, training)
        restore(other, state)
        assert same(play(other, actions[::-1]), expected)
        other.close()
    restore(env, state)  # back where it was
    assert same(play(env, actions[::-1]), expected)
    env.close()


def test_the_time_limit_goes_on():
    env = make_env("MountainCar-v0")
    env.reset(seed=1)
    play(env, [0] * 150)
    other = make_env("MountainCar-v0")
    restore(other, state_of(env))
    assert [truncated for _, _, _, truncated, _ in play(other, [0] * 50)][-2:] == [True, False]


def recorded(name, count):
    envs = make_envs(name, count)
    stack = stacked(envs.single_observation_space)
    view = rc.Transition(stack=stack)
    schema = rc.Schema.from_env(envs, stack=stack)
    return rc.record(envs, rc.Memory(schema, 2_000, streams=count, view=view, seed=0))


@pytest.mark.parametrize("name", ["CartPole-v1", "ALE/Breakout-v5"])
def test_recorded_environments_go_on_within_their_episodes(tmp_path, name):
    rng = np.random.default_rng(0)
    envs = recorded(name, 3)
    actions = rng.integers(2, size=(200, 3))
    envs.reset(seed=5)
    for action in actions[:77]:
        envs.step(action)
    state = state_of(envs)
    envs.memory.save(tmp_path)
    other = rc.record(make_envs(name, 3), rc.open(tmp_path))
    restore(other, state)
    for action in actions[77:]:
        expected, got = envs.step(action), other.step(action)
        for one, two in zip(expected[:4], got[:4], strict=True):
            np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(envs.keys, other.keys)
    assert other.memory.stats() == envs.memory.stats()
    assert other.memory.stats()["chain_breaks"] == 0
    one, two = envs.memory.sample(64), other.memory.sample(64)
    for field in one:
        np.testing.assert_array_equal(one[field], two[field])


class Heavier(CartPoleEnv):
    """What it adds to CartPole nobody knows."""


class Counting(gym.Wrapper):
    """A wrapper that nobody knows."""


@pytest.mark.parametrize(
    "make",
    [
        Heavier,
        lambda: Counting(gym.make("CartPole-v1")),
        lambda: gym.wrappers.FlattenObservation(Counting(gym.make("CartPole-v1"))),
        lambda: gym.make("Blackjack-v1"),
        lambda: SyncVectorEnv([CartPoleEnv, Heavier]),
        lambda: AsyncVectorEnv([CartPoleEnv]),
        lambda: gym.make("ALE/Pong-v5"),  # its emulator repeats actions
    ],
)
def test_of_what_is_not_known_there_is_no_state(make):
    make_env("ALE/Pong-v5").close()  # which makes the name known
    env = make()
    env.reset(seed=0)
    assert state_of(env) is None
    env.close()


def test_of_the_next_step_mode_it_is_known_who_is_reset_next():
    def make():
        return SyncVectorEnv(
            [lambda: gym.make("CartPole-v1")] * 2, autoreset_mode=AutoresetMode.NEXT_STEP
        )

    envs, other = make(), make()
    envs.reset(seed=0)
    actions = np.array([1, 0])
    while not envs.step(actions)[2].any():
        actions = actions[::-1] if envs.np_random[0].random() < 0.3 else actions
    restore(other, state_of(envs))
    for one, two in zip(envs.step(actions)[:4], other.step(actions)[:4], strict=True):
        np.testing.assert_array_equal(one, two)


def test_an_environment_that_is_made_in_another_way_is_refused():
    env = make_env("CartPole-v1")
    env.reset(seed=0)
    with pytest.raises(rc.ConfigurationError, match="expected TimeLimit around 1, got CartPoleEnv"):
        restore(CartPoleEnv(), state_of(env))
    envs = make_envs("CartPole-v1", 2)
    envs.reset(seed=0)
    with pytest.raises(rc.ConfigurationError, match=r"SyncVectorEnv around 2, got .* around 3"):
        restore(make_envs("CartPole-v1", 3), state_of(envs))


def spied(env):
    """The actions that its game is given from now on, frame by frame."""
    acted, act = [], env.unwrapped.step
    env.unwrapped.step = lambda action: acted.append(int(action)) or act(action)
    return acted


def test_of_atari_it_is_known_which_action_is_repeated_next():
    env, other = make_env("ALE/Breakout-v5"), make_env("ALE/Breakout-v5")
    acted, others = spied(env), spied(other)
    env.reset(seed=1)
    repeated = 0
    for _ in range(12):
        env.step(3)
        restore(other, state_of(env))
        acted.clear(), others.clear()
        env.step(2), other.step(2)
        assert acted == others
        repeated += acted[0] == 3
    assert 0 < repeated < 8


def test_frames_of_atari_repeat_an_action_a_quarter_of_the_time():
    env = make_env("ALE/Breakout-v5")
    assert env.observation_space.shape == (FRAMES, 84, 84)
    assert env.unwrapped.ale.getFloat("repeat_action_probability") == 0
    acted = spied(env)
    env.reset(seed=1)
    rng, repeated = np.random.default_rng(0), []
    for _ in range(600):
        action, former, before = int(rng.integers(4)), acted[-1], len(acted)
        if env.step(action)[2]:
            env.reset()
        elif action != former:
            repeated.append(acted[before] == former)
            assert set(acted[before:]) <= {former, action}
    count = len(repeated)
    assert count > 400
    assert abs(sum(repeated) - count / 4) < 4 * np.sqrt(count * 3 / 16)
