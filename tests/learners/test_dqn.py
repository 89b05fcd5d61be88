"""The DQN learner: its formulas by hand, and that it learns, repeatably."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import recollect as rc
from recollect.learners import dqn


class Corridor(gym.Env[np.ndarray, np.int64]):
    """Five states in a row; each step costs 0.1, and the right end pays 1 and ends the episode."""

    observation_space = spaces.Box(0.0, 1.0, (5,), np.float32)
    action_space = spaces.Discrete(2)
    best = 1 - 4 * 0.1

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.state = 0
        return self._obs(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.state = max(self.state + (1 if action == 1 else -1), 0)
        ended = self.state == 4
        return self._obs(), ended - 0.1, ended, False, {}

    def _obs(self) -> np.ndarray:
        return np.eye(5, dtype=np.float32)[self.state]


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


ENVS = {
    "Corridor-v0": (Corridor, 30),
    "Dict-v0": (
        lambda: Spaces(
            spaces.Dict({"a": spaces.Box(0, 1, (2, 2)), "b": spaces.Discrete(3)}),
            spaces.Discrete(2),
        ),
        None,
    ),
    "Discrete-v0": (lambda: Spaces(spaces.Discrete(4), spaces.Discrete(2)), None),
    "Shifted-v0": (lambda: Spaces(spaces.Box(0, 1, (2,)), spaces.Discrete(3, start=-1)), None),
    "Image-v0": (
        lambda: Spaces(spaces.Box(0, 255, (8, 8, 3), np.uint8), spaces.Discrete(2)),
        None,
    ),
    "Ragged-v0": (
        lambda: Spaces(spaces.Sequence(spaces.Discrete(3)), spaces.Discrete(2)),
        None,
    ),
    "Continuous-v0": (lambda: Spaces(spaces.Box(0, 1, (2,)), spaces.Box(0, 1, (1,))), None),
}


@pytest.fixture(autouse=True)
def _registered():
    """Makes the environments above known for one test."""
    for name, (make, limit) in ENVS.items():
        gym.register(name, entry_point=make, max_episode_steps=limit, disable_env_checker=True)
    yield
    for name in ENVS:
        del gym.registry[name]


SMALL = dqn.DQNConfig(
    env="Corridor-v0",
    steps=1_500,
    hidden=(16,),
    learning_rate=5e-3,
    batch_size=32,
    warmup=200,
    train_every=8,
    gradient_steps=8,
    target_every=40,
    epsilon_steps=800,
    eval_every=250,
    eval_episodes=2,
)


def test_it_learns_the_shortest_way():
    trained = dqn.train(SMALL)
    env = dqn.make_env("Corridor-v0")
    returns = dqn.evaluate(trained.network, env, 3, seed=dqn.Seeds.of(SMALL.seed).test)
    assert returns == pytest.approx([Corridor.best] * 3)
    assert trained.score == pytest.approx(Corridor.best)
    assert (trained.steps, trained.interrupted) == (1_500, False)


def test_it_learns_to_balance_a_pole_for_a_while():
    trained = dqn.train(dqn.DQNConfig(steps=4_000, eval_every=1_000, eval_episodes=5))
    returns = dqn.evaluate(trained.network, dqn.make_env("CartPole-v1"), 10, seed=7)
    assert returns.mean() > 100  # random actions last for about 20 steps


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    config = dqn.DQNConfig(steps=1_400, warmup=500, hidden=(16,), eval_every=500, eval_episodes=2)
    runs = []
    for seed in (3, 3, 4):
        torch.rand(seed)  # whatever happened to the global generator before does not matter
        reports: list[dqn.Progress] = []
        trained = dqn.train(replace(config, seed=seed), reports.append)
        runs.append((reports, trained.network.state_dict()))
    (first, weights), (second, same), (third, _) = runs
    assert first == second
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert first != third


class Line(torch.nn.Module):
    """Action values (slope_0 * obs, slope_1 * obs) of a scalar observation."""

    def __init__(self, *slopes: float) -> None:
        super().__init__()
        self.slopes = torch.nn.Parameter(torch.tensor([slopes]))

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        return obs * self.slopes


@pytest.mark.parametrize(
    ("terminated", "truncated", "goal"),
    [
        (False, False, 1.5 + 0.5 * 6),
        (False, True, 1.5 + 0.5 * 6),  # the true last observation has a value
        (True, False, 1.5),
        (True, True, 1.5),
    ],
)
@pytest.mark.parametrize(("action", "slope"), [(0, 1.0), (1, 4.25)])
def test_td_loss_by_hand(terminated, truncated, goal, action, slope):
    schema = rc.Schema.steps(obs=rc.Field((1,), np.float32), action=rc.Field((), np.int64))
    memory = rc.Memory(schema, 10, view=rc.Transition(gamma=0.5), seed=0)
    memory.add(
        obs=np.ones(1, np.float32),
        action=action,
        reward=1.5,
        next_obs=np.full(1, 3, np.float32),
        terminated=terminated,
        truncated=truncated,
    )
    network, target = Line(1.0, 4.25), Line(-1.0, 2.0)  # max_a target(3) = 6
    loss = dqn.td_loss(network, target, memory.sample(4).torch())
    error = abs(slope - goal)
    huber = 0.5 * error**2 if error <= 1 else error - 0.5
    assert loss.item() == pytest.approx(huber)

    loss.backward()
    slopes = network.slopes.grad.flatten()
    assert slopes[action].item() == pytest.approx(float(np.clip(slope - goal, -1, 1)))
    assert slopes[1 - action].item() == 0
    assert target.slopes.grad is None


def test_epsilon_falls_evenly_from_start_to_end():
    config = replace(SMALL, steps=400, epsilon_start=0.9, epsilon_end=0.1, epsilon_steps=200)
    reports: list[dqn.Progress] = []
    dqn.train(config, reports.append)
    for report in reports:
        expected = 0.9 - 0.8 * min(report.step / 200, 1)
        assert report.epsilon == pytest.approx(expected)
    assert reports[-1].epsilon == pytest.approx(0.1)


def test_reports_tell_what_happened():
    reports: list[dqn.Progress] = []
    dqn.train(replace(SMALL, steps=1_000, eval_every=300), reports.append)
    evaluations = [report.step for report in reports if report.evaluation is not None]
    assert evaluations == [300, 600, 900, 1_000]
    episodes = [report.episode for report in reports if report.episode_return is not None]
    assert episodes == list(range(1, len(episodes) + 1))
    trained = [report.loss is not None for report in reports]
    assert trained == [report.step > 208 for report in reports]  # the first round after warmup
    assert reports[-1].rows >= 1_000


def test_progress_is_reported_within_endless_episodes(monkeypatch):
    monkeypatch.setattr(dqn, "HEARTBEAT", 10)
    reports: list[dqn.Progress] = []
    dqn.train(replace(SMALL, steps=25, warmup=100), reports.append)
    assert [report.step for report in reports if report.episode_return is None] == [10, 20]


def test_the_weights_of_the_best_evaluation_are_kept(monkeypatch):
    scores, seen = [1.0, 3.0, 3.0, 2.0], []

    def evaluate(network, env, episodes, seed=None):
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return np.array([scores[len(seen) - 1]])

    monkeypatch.setattr(dqn, "evaluate", evaluate)
    trained = dqn.train(replace(SMALL, steps=1_000, eval_every=250))
    assert trained.score == 3.0
    kept = trained.network.state_dict()
    # of equals the later one
    assert all(torch.equal(kept[name], seen[2][name]) for name in kept)
    assert not all(torch.equal(kept[name], seen[3][name]) for name in kept)


@pytest.mark.parametrize(("stop", "evaluated"), [(50, False), (700, True)])
def test_an_interrupted_run_returns_what_it_learned(stop, evaluated):
    def report(progress: dqn.Progress) -> None:
        if progress.step >= stop:
            raise KeyboardInterrupt

    trained = dqn.train(SMALL, report)
    assert trained.interrupted
    assert stop <= trained.steps < SMALL.steps
    assert (trained.score is not None) == evaluated


def test_evaluation_is_decided_by_its_seed():
    network = dqn.train(dqn.DQNConfig(steps=100)).network
    env = dqn.make_env("CartPole-v1")
    first = dqn.evaluate(network, env, 6, seed=5)
    going_on = dqn.evaluate(network, env, 6)
    again = dqn.evaluate(network, env, 6, seed=5)
    np.testing.assert_array_equal(first, again)
    assert (first != going_on).any()


def test_every_source_of_chance_has_its_own_seed():
    assert len(set(dqn.Seeds.of(1)) | set(dqn.Seeds.of(2))) == 2 * len(dqn.Seeds._fields)
    assert dqn.Seeds.of(1) == dqn.Seeds.of(1)


@pytest.mark.parametrize(("env", "width"), [("Dict-v0", 4 + 3), ("Discrete-v0", 4)])
def test_observations_are_flattened(env, width):
    assert dqn.make_env(env).observation_space.shape == (width,)
    dqn.train(replace(SMALL, env=env, steps=300))


def test_actions_that_do_not_count_from_zero():
    env = dqn.make_env("Shifted-v0")
    assert env.action_space == spaces.Discrete(3)
    dqn.train(replace(SMALL, env="Shifted-v0", steps=300))


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("Nowhere-v0", "cannot make the environment 'Nowhere-v0'"),
        ("CartPole-v99", "version `v99`"),
        ("no_such_module:Env-v0", "no_such_module"),
        ("", "cannot make the environment ''"),
        ("Image-v0", "fit in a vector"),
        ("Ragged-v0", "fit in a vector"),
        ("Continuous-v0", "discrete actions"),
    ],
)
def test_environments_that_cannot_be_used(env, message):
    with pytest.raises(rc.ConfigurationError, match=message):
        dqn.make_env(env)


@pytest.mark.parametrize("name", ["nonsense", "cuda:99", "cpu:x", "meta"])
def test_devices_that_cannot_be_used(name):
    with pytest.raises(rc.ConfigurationError, match=f"cannot use the device '{name}'"):
        dqn.find_device(name)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("hidden", (64, 0)),
        ("capacity", 1),
        ("seed", -1),
        ("warmup", -1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("max_grad_norm", float("inf")),
        ("gamma", 1.01),
        ("epsilon_end", -0.1),
    ],
)
def test_settings_out_of_range(option, value):
    with pytest.raises(rc.ConfigurationError, match=f"{option} must be"):
        dqn.DQNConfig(**{option: value})
