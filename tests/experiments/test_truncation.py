"""Truncation right and wrong: the closed form, the steps replayed, one update, what is written."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

import recollect as rc
from recollect.cli.truncation import RunTruncation
from recollect.experiments import truncation
from recollect.experiments.truncation import Learner, Task, Truncation, closed_form


@pytest.fixture
def threads():
    """Gives PyTorch its threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("limit", [1, 4, 30])
def test_the_closed_form_is_what_the_targets_say_on_average(limit):
    for right in (True, False):
        value = 0.0
        for _ in range(3000):
            targets = [1 + 0.97 * value for _ in range(limit)]
            if not right:
                targets[-1] = 1
            value = sum(targets) / limit
        assert closed_form(limit, right) == pytest.approx(value)


def test_what_is_learned_from_the_memory_is_the_closed_form():
    for limit in (1, 10, 60):
        for right in (True, False):
            learned = truncation.learn_loop(limit, right, seed=1)
            assert learned == pytest.approx(closed_form(limit, right), rel=0.015)
    # a truncation that is taken for the end makes leaving look better, if the limit is short
    assert closed_form(10, False) < truncation.LEAVING < closed_form(20, False)
    assert truncation.LEAVING < closed_form(10, True) == pytest.approx(1 / 0.03)


def test_the_steps_replayed_are_whole_episodes_with_their_true_final_observations(monkeypatch):
    monkeypatch.setattr(truncation, "STEPS", 2000)
    memory = truncation.swing_at_random(Task(limit=7, seed=3))
    assert len(memory) >= 2000
    ended = [episode for episode in memory.episodes if episode.ended]
    assert len(ended) > 200
    assert {(e.length, e.terminated, e.truncated) for e in ended} == {(7, False, True)}
    batch = memory.sample(3000)
    assert abs(batch.truncated.mean() - 1 / 7) < 0.03
    assert (batch.discount == np.float32(0.97)).all()
    torque = batch.action[:, 0]
    np.testing.assert_allclose([(torque == u).mean() for u in (-2, 0, 2)], 1 / 3, atol=0.04)
    # the pendulum of Gymnasium: mass and length 1, gravity 10, steps of 0.05 s
    cos, sin, speed = batch.obs.T
    assert np.abs([cos.mean(), sin.mean(), speed.mean() / 8]).max() < 0.2
    assert np.abs(speed).max() > 7
    then = np.clip(speed + (15 * sin + 3 * torque) * 0.05, -8, 8)
    angle = np.arctan2(sin, cos) + then * 0.05
    expected = np.stack([np.cos(angle), np.sin(angle), then], axis=1)
    np.testing.assert_allclose(batch.next_obs, expected, atol=1e-4)


def batch_of(memory, n=64):
    return memory.sample(n).torch()


def test_an_update_takes_the_step_of_a_slow_one(monkeypatch):
    monkeypatch.setattr(truncation, "STEPS", 500)
    batch = batch_of(truncation.swing_at_random(Task(limit=3, seed=1)))
    assert batch.truncated.any() and not batch.truncated.all()
    for right in (True, False):
        learner, other = (Learner(right, seed=5) for _ in range(2))
        for each in (learner, other):  # the networks disagree about the best action
            with torch.no_grad():
                each.target[4].bias += torch.tensor([3.0, 0.0, -2.0])
        before = [parameter.clone() for parameter in other.target.parameters()]
        loss = 0.0
        for b in range(64):
            with torch.no_grad():
                best = other.network(batch.next_obs)[b].argmax()
                future = float(other.target(batch.next_obs)[b, best])
            ends = not right and bool(batch.truncated[b])
            wanted = 0.1 * float(batch.reward[b]) + (0 if ends else 0.97) * future
            action = [-2, 0, 2].index(int(batch.action[b, 0]))
            loss = loss + (other.network(batch.obs)[b, action] - wanted) ** 2 / 64
        other.optimizer.zero_grad()
        loss.backward()
        other.optimizer.step()
        learner.learn(batch)
        for new, same in zip(learner.network.parameters(), other.network.parameters(), strict=True):
            torch.testing.assert_close(new, same, rtol=1e-3, atol=1e-5)
        for now, old, new in zip(
            learner.target.parameters(), before, learner.network.parameters(), strict=True
        ):
            torch.testing.assert_close(now, 0.99 * old + 0.01 * new)


def test_both_learners_differ_in_nothing_but_what_follows_a_truncation(monkeypatch):
    monkeypatch.setattr(truncation, "STEPS", 500)

    def weights(limit, learners):
        batch = batch_of(truncation.swing_at_random(Task(limit, seed=1)))
        for learner in learners:
            learner.learn(batch)
        return [[p.detach() for p in learner.network.parameters()] for learner in learners]

    def same(one, other):
        return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

    assert same(*weights(200, [Learner(right, seed=2) for right in (True, False)]))
    assert not same(*weights(3, [Learner(right, seed=2) for right in (True, False)]))
    assert not same(*weights(200, [Learner(True, seed) for seed in (2, 3)]))


def test_the_score_is_the_mean_return_of_greedy_episodes():
    learner = Learner(True, seed=1)
    with torch.no_grad():
        learner.target[4].weight.zero_()
        learner.target[4].bias.copy_(torch.tensor([0.0, 1.0, 0.0]))  # never any torque
    score = learner.score(seed=9)
    assert score == learner.score(seed=9)
    returns = []
    for i in range(truncation.ENVIRONMENTS):
        env = gym.make("Pendulum-v1", max_episode_steps=200)
        env.reset(seed=9 + i)
        rewards = [env.step(np.zeros(1, np.float32))[1] for _ in range(200)]
        env.close()
        returns.append(sum(rewards))
    assert score == pytest.approx(np.mean(returns))


def test_scores_are_of_the_last_evaluations_alone(monkeypatch, threads):
    for name, value in {"STEPS": 200, "UPDATES": 9, "EVALUATE_EVERY": 2, "EVALUATIONS": 3}.items():
        monkeypatch.setattr(truncation, name, value)
    asked = {True: [], False: []}

    def score(learner, seed):
        asked[learner.right].append(seed)
        return float(seed) + learner.right

    monkeypatch.setattr(Learner, "score", score)
    assert truncation.train_both(Task(limit=5, seed=100)) == {False: 107.0, True: 108.0}
    assert asked == {True: [105, 107, 109], False: [105, 107, 109]}


@pytest.fixture
def trained(monkeypatch):
    """Scores that take no time."""

    def train_both(task):
        return {True: -200.0 - task.seed, False: -200.0 - 10_000 / task.limit - 3 * task.seed}

    monkeypatch.setattr(truncation, "train_both", train_both)
    monkeypatch.setattr(truncation, "LOOP_UPDATES", 10)


def test_the_command_draws_and_tabulates(capsys, tmp_path, trained):
    out = tmp_path / "new" / "folder"
    assert RunTruncation(limits=(20, 10), seeds=3, out=out, jobs=1).run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        " 10 steps: Pendulum -202, with truncation taken for termination -1206",
        " 20 steps: Pendulum -202, with truncation taken for termination -706",
    ]
    files = [f"picture  {out / 'truncation.png'}", f"table    {out / 'truncation.md'}"]
    assert lines[-2:] == files
    assert (out / "truncation.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "truncation.md").read_text()
    assert "(33.33)" in text and "(7.87)" in text
    assert "| -202 (-204 to -200) | -706 (-713 to -699) |\n" in text


def test_one_seed_and_one_limit_make_a_picture_too(tmp_path, trained):
    experiment = Truncation((25,), 1, tmp_path)
    results = experiment.run(1)
    assert experiment.draw(results).read_bytes().startswith(b"\x89PNG")
    text = experiment.tabulate(results).read_text()
    assert "| -201 | -603 |\n" in text
    assert "one seed" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limits": ()}, r"limits must be 1 to 200 steps, got \(\)"),
        ({"limits": (0, 5)}, r"limits must be 1 to 200 steps, got \(0, 5\)"),
        ({"limits": (201,)}, "limits must be 1 to 200 steps"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"jobs": 0}, "jobs must be at least 1, got 0"),
    ],
)
def test_what_makes_no_sense(tmp_path, options, message):
    with pytest.raises(rc.ConfigurationError, match=message):
        RunTruncation(**options, out=tmp_path / "never").run()
    assert not any(tmp_path.iterdir())
