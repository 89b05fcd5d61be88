"""DQN as a whole: that it learns, repeatably, as its settings say, and reports what happens."""

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
from recollect.learners.dqn import learning, playing, training
from recollect.learners.environments import make_env


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


@pytest.fixture(autouse=True)
def _registered():
    """Makes the environment above known for one test."""
    gym.register(
        "Corridor-v0", entry_point=Corridor, max_episode_steps=30, disable_env_checker=True
    )
    yield
    del gym.registry["Corridor-v0"]


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


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(double="off"),
        dict(dueling="on"),
        dict(n_step=3),
        dict(n_step=3, n_step_end=1, n_step_over=500),
        dict(envs=4),
    ],
    ids=str,
)
def test_it_learns_the_shortest_way(options):
    trained = dqn.train(replace(SMALL, **options))
    env = make_env("Corridor-v0")
    returns = dqn.evaluate(trained.network, env, 3, seed=dqn.Seeds.of(SMALL.seed).test)
    assert returns == pytest.approx([Corridor.best] * 3)
    assert trained.score == pytest.approx(Corridor.best)
    assert (trained.steps, trained.interrupted) == (1_500, False)


def test_it_trains_on_games_of_minatar():
    small = replace(SMALL, env="MinAtar/Breakout-v1", steps=400, dueling="on", envs=2)
    reports: list[dqn.Progress] = []
    trained = dqn.train(small, reports.append)
    assert trained.score is not None
    assert reports[-1].episode > 0


def test_it_trains_on_atari_and_stores_each_frame_once():
    config = dqn.DQNConfig(
        env="ALE/Pong-v5",
        envs=2,
        steps=60,
        hidden=(16,),
        n_step=3,
        capacity=100,
        batch_size=4,
        warmup=20,
        train_every=10,
        gradient_steps=1,
        eval_every=1_000,
    )
    reports: list[dqn.Progress] = []

    def stop(progress: dqn.Progress) -> None:  # before the evaluation, which plays a whole game
        reports.append(progress)
        if progress.step >= 50:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "HEARTBEAT", 10)
        trained = dqn.train(config, stop)
    assert trained.interrupted
    assert reports[-1].updates == 2
    assert reports[-1].loss is not None
    assert reports[-1].bytes == pytest.approx(reports[-1].rows * 84 * 84, rel=0.05)


def test_it_learns_to_balance_a_pole_for_a_while():
    trained = dqn.train(dqn.DQNConfig(steps=4_000, eval_every=1_000, eval_episodes=5))
    returns = dqn.evaluate(trained.network, make_env("CartPole-v1"), 10, seed=7)
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
    for report in reports:
        assert (report.loss is not None) == (report.step > 208)  # the first round after warmup
    last = reports[-1]
    assert last.rows >= 1_000
    assert last.bytes > 1_000
    assert last.updates == 8 * (1_000 // 8 - 200 // 8)
    assert last.replay_ratio == 32 * last.updates / 1_000


@pytest.mark.parametrize(("every", "updates"), [(8, 125 - 25), (2, 500 - 100)])
def test_side_by_side_environments_train_as_much(every, updates):
    for envs in (1, 4):
        reports: list[dqn.Progress] = []
        config = replace(SMALL, steps=1_000, envs=envs, train_every=every, gradient_steps=1)
        trained = dqn.train(config, reports.append)
        assert trained.steps == 1_000
        assert reports[-1].updates == updates


def test_side_by_side_environments_report_each_episode():
    reports: list[dqn.Progress] = []
    dqn.train(replace(SMALL, envs=3, steps=400), reports.append)
    episodes = [report.episode for report in reports if report.episode_return is not None]
    assert episodes == list(range(1, len(episodes) + 1))
    assert reports[-1].step == 402  # a whole number of steps in each
    best = [report.episode_return for report in reports if report.episode_return is not None]
    assert max(best) <= Corridor.best + 1e-6


@pytest.mark.parametrize(("envs", "n"), [(1, 1), (1, 3), (4, 1), (4, 3)])
def test_without_replay_only_the_newest_steps_are_seen(monkeypatch, envs, n):
    sample, sizes = rc.Memory.sample, []
    window = max(envs, 8)

    def spy(self, size):
        batch = sample(self, size)
        stream, number = batch.key >> 40, batch.key & (1 << 40) - 1
        # steps wait for their n successors, and enter together where an episode ends
        assert (number >= self._rows.head[stream] - window // envs - 2 * n - 1).all()
        sizes.append(len(set(batch.key.tolist())))
        return batch

    config = replace(SMALL, steps=400, replay="off", envs=envs, n_step=n, train_every=8)
    monkeypatch.setattr(rc.Memory, "sample", spy)
    dqn.train(config)
    assert max(sizes) == window


@pytest.mark.parametrize("target", ["on", "off"])
@pytest.mark.parametrize("double", ["on", "off"])
def test_without_target_network_the_network_is_its_own(monkeypatch, target, double):
    error, seen = dqn.td_error, set()

    def spy(network, goal, batch, twice):
        seen.add((network is goal, twice))
        return error(network, goal, batch, twice)

    monkeypatch.setattr(learning, "td_error", spy)
    dqn.train(replace(SMALL, steps=300, target=target, double=double))
    # choosing by the network and by the target is then the same
    assert seen == {(target == "off", target == "on" and double == "on")}


def test_prioritized_replay_gives_each_drawn_row_its_error(monkeypatch):
    update, sample, batches, given = rc.Memory.update, rc.Memory.sample, [], []

    def drawing(self, n):
        batches.append(sample(self, n))
        return batches[-1]

    def updating(self, keys, priority=None):
        given.append((keys, priority))
        return update(self, keys, priority)

    monkeypatch.setattr(rc.Memory, "sample", drawing)
    monkeypatch.setattr(rc.Memory, "update", updating)
    dqn.train(replace(SMALL, steps=600, prioritized="on", beta=0.3))
    assert len(given) == len(batches) > 300
    for batch, (keys, priority) in zip(batches, given, strict=True):
        np.testing.assert_array_equal(keys, batch.key)
        assert priority.shape == (32,)
    assert len({float(p) for p in batches[-1].probability}) > 5
    # beta reaches 1 with the last update, whose weights then correct all of the bias
    last = batches[-1]
    np.testing.assert_allclose(last.weight, last.probability.min() / last.probability, rtol=0.02)
    with pytest.raises(rc.ConfigurationError, match="prioritized needs replay"):
        replace(SMALL, prioritized="on", replay="off")


def test_progress_is_reported_within_endless_episodes(monkeypatch):
    monkeypatch.setattr(training, "HEARTBEAT", 10)
    reports: list[dqn.Progress] = []
    dqn.train(replace(SMALL, steps=25, warmup=100), reports.append)
    assert [report.step for report in reports if report.episode_return is None] == [10, 20]


def test_the_weights_of_the_best_evaluation_are_kept(monkeypatch):
    scores, seen = [1.0, 3.0, 3.0, 2.0], []

    def evaluate(network, env, episodes, seed=None):
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return np.array([scores[len(seen) - 1]])

    monkeypatch.setattr(playing, "evaluate", evaluate)
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
