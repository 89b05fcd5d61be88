"""A run of DQN that was stopped and goes on is the run that was never stopped."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import recollect as rc
from recollect.learners import dqn
from recollect.learners.checkpoints import Checkpoints
from recollect.learners.dqn import playing, training

CONFIG = dqn.DQNConfig(
    steps=600,
    hidden=(16,),
    capacity=300,  # so that rows are overwritten
    batch_size=16,
    warmup=100,
    train_every=2,
    target_every=25,
    epsilon_steps=400,
    eval_every=200,
    eval_episodes=2,
)


class Run(NamedTuple):
    trained: dqn.Trained
    reports: list[dqn.Progress]
    keys: list[np.ndarray]

    def __eq__(self, other: Any) -> bool:
        one, two = self.trained.network.state_dict(), other.trained.network.state_dict()
        return (
            self.reports == other.reports
            and self.trained[1:] == other.trained[1:]
            and len(self.keys) == len(other.keys)
            and all(map(np.array_equal, self.keys, other.keys))
            and all(torch.equal(one[name], two[name]) for name in one)
        )


@pytest.fixture(autouse=True)
def _in_the_foreground():
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.fixture
def keys(monkeypatch):
    """Those of all batches that were drawn."""
    drawn, sample = [], rc.Memory.sample

    def spy(self, n):
        batch = sample(self, n)
        drawn.append(batch.key)
        return batch

    monkeypatch.setattr(rc.Memory, "sample", spy)
    return drawn


RUNS: dict[dqn.DQNConfig, Run] = {}


class CrashError(Exception):
    """As good as a killed process."""


def stopping(reports, step, how):
    """A report that stops the run at the first news after this step."""

    def report(progress):
        reports.append(progress)
        if progress.step >= step and not stopped:
            stopped.append(progress.step)
            how()

    stopped: list[int] = []
    return report


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


def crash():
    raise CrashError


def whole(config, keys):
    """The run that is never stopped; whatever it is patched with, a configuration has only one."""
    if config not in RUNS:
        reports: list[dqn.Progress] = []
        trained = dqn.train(config, reports.append)
        RUNS[config] = Run(trained, reports, keys[:])
        keys.clear()
    return RUNS[config]


def in_parts(config, keys, checkpoints, step, how=ctrl_c):
    """The same run, stopped after so many steps, and gone on with."""
    reports: list[dqn.Progress] = []
    counted = []
    save = checkpoints.save

    def counting(memory, state):
        save(memory, state)
        counted.append(len(keys))

    checkpoints.save = counting
    try:
        stopped = dqn.train(config, stopping(reports, step, how), checkpoints)
        assert stopped.interrupted and step <= stopped.steps < step + 100
    except CrashError:
        pass
    begun = checkpoints.load()
    del reports[begun.state["counts"]["reports"] :], keys[counted[-1] :]
    trained = dqn.train(config, reports.append, checkpoints, begun)
    return Run(trained, reports, keys[:])


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(prioritized="on", dueling="on"),
        dict(n_step=4, n_step_end=1, n_step_over=200, target="off"),
        dict(envs=3, prioritized="on", gradient_steps=2),
        dict(replay="off", double="off"),
        dict(train_every=16, capacity=150),  # checkpoints find rows that have yet to enter
        dict(env="Acrobot-v1", n_step=1),
        dict(env="MinAtar/Asterix-v1", envs=2, train_every=8),
    ],
    ids=str,
)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(keys, tmp_path, options):
    config = replace(CONFIG, **options)
    expected = whole(config, keys)
    assert len(expected.keys) > 30
    assert in_parts(config, keys, Checkpoints(tmp_path, every=65), 350) == expected


def test_a_stopped_run_of_atari_goes_on_as_if_it_had_not_been(keys, tmp_path, monkeypatch):
    def evaluate(network, env, episodes, seed=None):  # a whole game takes long
        env.reset()
        return np.array([np.mean([env.step(1)[0].mean() for _ in range(20)])])

    monkeypatch.setattr(playing, "evaluate", evaluate)
    config = replace(
        CONFIG,
        env="ALE/Breakout-v5",
        envs=2,
        steps=240,
        capacity=200,
        batch_size=4,
        warmup=30,
        train_every=10,
        eval_every=60,
    )
    expected = whole(config, keys)
    assert len({report.evaluation for report in expected.reports}) > 3
    assert in_parts(config, keys, Checkpoints(tmp_path, every=90), 130) == expected


@pytest.mark.parametrize("every", [30, 350, 450])
def test_after_a_crash_it_goes_on_from_the_latest_checkpoint(keys, tmp_path, every):
    config = replace(CONFIG, prioritized="on", n_step=3)
    checkpoints = Checkpoints(tmp_path, every)
    expected = whole(config, keys)
    assert in_parts(config, keys, checkpoints, 500, crash) == expected
    assert checkpoints.load().state["counts"]["step"] == 600


def test_it_may_be_stopped_again_and_again(keys, tmp_path):
    expected = whole(CONFIG, keys)
    checkpoints, begun = Checkpoints(tmp_path, every=10_000), None
    reports: list[dqn.Progress] = []
    for step in (1, 75, 105, 200, 400, 595, 10_000):
        trained = dqn.train(CONFIG, stopping(reports, step, ctrl_c), checkpoints, begun)
        begun = checkpoints.load()
        assert len(reports) == begun.state["counts"]["reports"]
        assert begun.state["counts"]["step"] == trained.steps
    assert Run(trained, reports, keys) == expected


def test_an_evaluation_that_was_stopped_is_made_again(keys, tmp_path, monkeypatch):
    expected = whole(CONFIG, keys)
    evaluate, calls = dqn.evaluate, []

    def stopped(network, env, episodes, seed=None):
        calls.append(episodes)
        if len(calls) == 2:
            env.reset()
            env.step(0)
            ctrl_c()  # at once
        return evaluate(network, env, episodes, seed)

    monkeypatch.setattr(playing, "evaluate", stopped)
    checkpoints, reports = Checkpoints(tmp_path, every=10_000), []
    trained = dqn.train(CONFIG, reports.append, checkpoints)
    assert trained.interrupted and trained.steps == 400
    begun = checkpoints.load()
    assert begun.state["counts"]["evaluated"] == 200
    trained = dqn.train(CONFIG, reports.append, checkpoints, begun)
    assert Run(trained, reports, keys) == expected


def test_ctrl_c_does_not_wait_for_an_evaluation(keys, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "HEARTBEAT", 200)  # a report where one is due
    config = replace(CONFIG, seed=2)
    expected = whole(config, keys)
    checkpoints, reports = Checkpoints(tmp_path, every=10_000), []
    trained = dqn.train(config, stopping(reports, 400, ctrl_c), checkpoints)
    assert trained.interrupted and trained.steps == 400
    begun = checkpoints.load()
    assert begun.state["counts"]["evaluated"] == 200
    trained = dqn.train(config, reports.append, checkpoints, begun)
    assert Run(trained, reports, keys) == expected


def test_ctrl_c_while_the_last_checkpoint_is_written(tmp_path, monkeypatch):
    checkpoints, reports, save = Checkpoints(tmp_path, every=250), [], rc.Memory.save

    def impatient(memory, path):
        if memory.shared.rows.added > 250:
            ctrl_c()
        save(memory, path)

    monkeypatch.setattr(rc.Memory, "save", impatient)
    trained = dqn.train(CONFIG, stopping(reports, 350, ctrl_c), checkpoints)
    assert trained.interrupted and trained.steps >= 350  # what was learned is returned
    assert checkpoints.load().state["counts"]["step"] == 250


def test_a_finished_run_goes_on_with_more_steps(keys, tmp_path):
    checkpoints = Checkpoints(tmp_path, every=10_000)
    short, reports = replace(CONFIG, steps=400), []
    dqn.train(short, reports.append, checkpoints)
    longer = replace(short, steps=600)
    trained = dqn.train(longer, reports.append, checkpoints, checkpoints.load())
    run = Run(trained, reports, keys[:])
    keys.clear()
    assert longer == CONFIG and run == whole(CONFIG, keys)


class Line(gym.Env):
    """Its position is its step, and nobody knows how to save it."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = np.array([0, self.np_random.random()], np.float32)
        return self.place.copy(), {}

    def step(self, action):
        self.place[0] += 1
        return self.place.copy(), 1.0, self.place[0] == 50, False, {}


@pytest.fixture
def line():
    gym.register("Line-v0", entry_point=Line, disable_env_checker=True)
    yield "Line-v0"
    del gym.registry["Line-v0"]


def test_where_the_environment_cannot_be_saved_the_open_episode_is_closed(keys, tmp_path, line):
    config = replace(CONFIG, env=line, steps=500, capacity=2_000)
    expected = whole(config, keys)
    runs = []
    for part in ("a", "b"):
        checkpoints = Checkpoints(tmp_path / part, every=330)
        reports: list[dqn.Progress] = []
        with pytest.raises(CrashError):
            dqn.train(config, stopping(reports, 350, crash), checkpoints)
        begun = checkpoints.load()
        assert begun.state["player"]["envs"] is None
        del reports[begun.state["counts"]["reports"] :]
        keys.clear()
        trained = dqn.train(config, reports.append, checkpoints, begun)
        runs.append(Run(trained, reports, keys[:]))
    assert runs[0] == runs[1]
    (run, _), memory = runs, checkpoints.load().memory
    # six episodes, 30 steps of a seventh, and then whole ones again
    episodes = memory.episodes
    assert list(episodes.lengths) == [50] * 6 + [30] + [50] * 3 + [20]
    assert list(np.flatnonzero(episodes.truncated)) == [6]
    assert memory.stats()["chain_breaks"] == 0
    assert len({episode["obs"][0, 1] for episode in episodes}) == 11  # each begins differently
    before = [report for report in expected.reports if report.step <= 330]
    assert run.reports[: len(before)] == before
    assert run.trained.steps == 500 and run.reports[-1].episode == 9


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path, every=10_000)
    dqn.train(replace(CONFIG, steps=300), checkpoints=checkpoints)
    with pytest.raises(rc.DamagedError, match="the checkpoint is of another configuration"):
        dqn.train(replace(CONFIG, hidden=(8,)), begun=checkpoints.load())


def test_without_a_wish_for_it_nothing_is_saved(tmp_path):
    dqn.train(replace(CONFIG, steps=300), checkpoints=Checkpoints(tmp_path / "none", every=0))
    assert not (tmp_path / "none").exists()
