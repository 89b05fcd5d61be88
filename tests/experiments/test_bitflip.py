"""Bit flipping: the game, what is replayed with hindsight and without, and what is written."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import recollect as rc
from recollect.cli.bitflip import RunBitflip
from recollect.experiments import bitflip
from recollect.experiments.bitflip import Agent, Bitflip, Flipping, Task


def test_a_bit_is_flipped_in_every_episode_until_the_goal_or_the_nth_step():
    rng = np.random.default_rng(0)
    n, episodes = 4, 40
    flipping = Flipping(n, episodes, np.random.default_rng(1))
    assert (flipping.state != flipping.goal).any(axis=1).all()
    state = flipping.state.tolist()
    goal = flipping.goal.tolist()
    running = [True] * episodes
    lengths = [0] * episodes
    while flipping.running.any():
        assert flipping.running.tolist() == running
        before = flipping.obs
        action = rng.integers(0, n, episodes)
        step = flipping.step(action)
        assert step["valid"].tolist() == running
        assert before["achieved_goal"].tolist() == state, "what was seen has changed"
        for e in range(episodes):
            if not running[e]:
                continue
            state[e][action[e]] ^= 1
            lengths[e] += 1
            reached = state[e] == goal[e]
            assert step["terminated"][e] == reached
            assert step["truncated"][e] == (not reached and lengths[e] == n)
            assert step["reward"][e] == (0 if reached else -1)
            running[e] = not reached and lengths[e] < n
        assert step["next_obs"]["achieved_goal"].tolist() == state
        assert step["next_obs"]["desired_goal"].tolist() == goal
    reached = [state[e] == goal[e] for e in range(episodes)]
    assert flipping.reached.tolist() == reached
    assert any(reached) and not all(reached)


def test_starts_and_goals_are_random():
    flipping = Flipping(6, 2000, np.random.default_rng(0))
    for bits in (flipping.state, flipping.goal, flipping.state ^ flipping.goal):
        np.testing.assert_allclose(bits.mean(axis=0), 0.5, atol=0.05)
    # of two equal ones the goal is drawn again: with one bit it is always the other
    assert (Flipping(1, 50, np.random.default_rng(0)).running).all()


@pytest.mark.parametrize("hindsight", [False, True])
def test_episodes_are_replayed_as_they_were_or_under_goals_reached_later(hindsight):
    agent = Agent(6, hindsight, seed=1)
    share = np.mean([agent.play(bitflip.EPISODES, 1.0, remember=True) for _ in range(6)])
    episodes = agent.memory.episodes
    assert agent.memory.stats()["chain_breaks"] == 0
    assert len(episodes) == 6 * bitflip.EPISODES
    assert np.mean([episode.terminated for episode in episodes]) == share
    histories = {}
    for episode in episodes:
        bits = episode["obs"]["achieved_goal"]
        goal = episode["obs"]["desired_goal"]
        assert (goal == goal[0]).all()
        # each step flips the bit that it names
        flipped = (bits[1:] != bits[:-1]).argmax(axis=1)
        np.testing.assert_array_equal(flipped, episode["action"])
        assert ((bits[1:] != bits[:-1]).sum(axis=1) == 1).all()
        assert episode.terminated == (bits[-1] == goal[0]).all()
        assert episode.terminated or (episode.truncated and episode.length == 6)
        for t, key in enumerate(episode.keys.tolist()):
            histories[key] = bits[t + 1 :], goal[0]

    batch = agent.memory.sample(2000)
    wanted, later = batch.next_obs.desired_goal, batch.next_obs.achieved_goal
    reached = (wanted == later).all(axis=1)
    np.testing.assert_array_equal(batch.reward, np.where(reached, 0, -1))
    np.testing.assert_array_equal(batch.terminated, reached)
    np.testing.assert_allclose(batch.discount, np.where(reached, 0, 0.98), rtol=1e-6)
    kept = 0
    for key, goal in zip(batch.key.tolist(), wanted, strict=True):
        reachable, own = histories[key]
        kept += (goal == own).all()
        assert (goal == own).all() or (hindsight and (goal == reachable).all(axis=1).any())
    assert kept == 2000 if not hindsight else 300 < kept < 700


def test_the_first_weights_and_episodes_of_a_seed_are_those_of_both_agents():
    both = [Agent(5, hindsight, seed=3) for hindsight in (False, True)]
    for agent in both:
        agent.play(bitflip.EPISODES, 0.2, remember=True)
    first, second = (agent.memory.episodes for agent in both)
    assert [episode.length for episode in first] == [episode.length for episode in second]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one["action"], other["action"])
        np.testing.assert_array_equal(one["obs"]["desired_goal"], other["obs"]["desired_goal"])
    assert Agent(5, False, seed=4).rng.random() != Agent(5, False, seed=3).rng.random()


def test_actions_are_greedy_or_as_random_as_is_asked_for():
    agent = Agent(8, False, seed=1)
    obs = Flipping(8, 4000, np.random.default_rng(0)).obs
    bits = np.concatenate([obs["achieved_goal"], obs["desired_goal"]], axis=1)
    with torch.no_grad():
        best = agent.network(torch.tensor(bits * 2.0 - 1).float()).argmax(dim=1).numpy()
    np.testing.assert_array_equal(agent.act(obs, 0), best)
    # a random action is the best one once in eight times
    assert abs((agent.act(obs, 0.2) == best).mean() - (0.8 + 0.2 / 8)) < 0.02


def test_a_cycle_of_updates_is_that_of_a_slow_one(monkeypatch):
    monkeypatch.setattr(bitflip, "UPDATES", 3)
    monkeypatch.setattr(bitflip, "BATCH_SIZE", 16)
    agent, other = (Agent(4, True, seed=2) for _ in range(2))
    for each in (agent, other):
        for _ in range(3):
            each.play(bitflip.EPISODES, 1.0, remember=True)
        # values beyond what returns there can be, so that clipping shows
        with torch.no_grad():
            each.target[2].bias += torch.tensor([90.0, -90.0, 0.0, -200.0])
    agent.learn()
    batch = other.memory.sample(48)
    first = [parameter.clone() for parameter in other.target.parameters()]

    def see(obs):
        bits = np.concatenate([obs.achieved_goal, obs.desired_goal], axis=1)
        return torch.tensor(np.where(bits == 1, 1.0, -1.0)).float()

    for i in range(3):
        loss = 0.0
        for b in range(16 * i, 16 * i + 16):
            with torch.no_grad():
                future = float(other.target(see(batch.next_obs))[b].max())
            target = float(batch.reward[b]) + float(batch.discount[b]) * future
            target = min(max(target, -50.0), 0.0)
            loss = loss + (other.network(see(batch.obs))[b, batch.action[b]] - target) ** 2 / 16
        other.optimizer.zero_grad()
        loss.backward()
        other.optimizer.step()
    for new, same in zip(agent.network.parameters(), other.network.parameters(), strict=True):
        torch.testing.assert_close(new, same, rtol=1e-3, atol=1e-5)
    for now, before, new in zip(
        agent.target.parameters(), first, agent.network.parameters(), strict=True
    ):
        torch.testing.assert_close(now, 0.95 * before + 0.05 * new)


@pytest.fixture
def threads():
    """Gives PyTorch its threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_hindsight_learns_what_is_hardly_ever_rewarded(monkeypatch, threads):
    monkeypatch.setattr(bitflip, "CYCLES", 25)
    rates = {hindsight: bitflip.train(Task(8, hindsight, 1, 1)) for hindsight in (False, True)}
    assert rates[True][0] == rates[False][0] < 0.1
    assert rates[True][1] > 0.6
    assert rates[False][1] < 0.2


def test_the_rates_of_a_seed_are_always_the_same(monkeypatch, threads):
    monkeypatch.setattr(bitflip, "CYCLES", 2)
    rates = [bitflip.train(Task(3, True, seed, 2)) for seed in (1, 1, 2)]
    assert rates[0] == rates[1] != rates[2]
    assert [len(each) for each in rates] == [3, 3, 3]


@pytest.fixture
def trained(monkeypatch):
    """Rates that take no time: hindsight learns in as many epochs as there are fives of bits."""

    def train(task):
        if not task.hindsight:
            return [0.0] * (task.epochs + 1)
        slope = 5 / task.n
        return [min(1.0, slope * epoch + task.seed / 100) for epoch in range(task.epochs + 1)]

    monkeypatch.setattr(bitflip, "train", train)


def test_the_command_draws_and_tabulates(capsys, tmp_path, trained):
    out = tmp_path / "new" / "folder"
    assert RunBitflip(sizes=(20, 5), seeds=3, epochs=3, out=out, jobs=1).run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        " 5 bits, DQN: success rate 0.000, 0.000, 0.000 after 3 epochs",
        " 5 bits, DQN with hindsight: success rate 1.000, 1.000, 1.000 after 3 epochs",
        "20 bits, DQN: success rate 0.000, 0.000, 0.000 after 3 epochs",
        "20 bits, DQN with hindsight: success rate 0.760, 0.770, 0.780 after 3 epochs",
    ]
    assert lines[-2:] == [f"picture  {out / 'bitflip.png'}", f"table    {out / 'bitflip.md'}"]
    assert (out / "bitflip.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "bitflip.md").read_text()
    assert "| 5 | DQN | 0.000 (0.000 to 0.000) | not reached |\n" in text
    assert "| 5 | DQN with hindsight | 1.000 (1.000 to 1.000) | 1 |\n" in text
    assert "| 20 | DQN with hindsight | 0.770 (0.760 to 0.780) | not reached |\n" in text
    assert "mean over 3 seeds" in text


def test_one_seed_and_one_size_make_a_picture_too(tmp_path, trained):
    experiment = Bitflip((7,), 1, 4, tmp_path)
    results = experiment.run(1)
    assert experiment.draw(results).read_bytes().startswith(b"\x89PNG")
    assert "mean over one seed" in experiment.tabulate(results).read_text()
    assert experiment.rows(results)[1] == ("7", "DQN with hindsight", "1.000", "2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": ()}, r"sizes must be 1 to 64 bits, got \(\)"),
        ({"sizes": (5, 65)}, r"sizes must be 1 to 64 bits, got \(5, 65\)"),
        ({"sizes": (0,)}, "sizes must be 1 to 64 bits"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"jobs": 0}, "jobs must be at least 1, got 0"),
    ],
)
def test_what_makes_no_sense(tmp_path, options, message):
    with pytest.raises(rc.ConfigurationError, match=message):
        RunBitflip(**options, out=tmp_path / "never").run()
    assert not any(tmp_path.iterdir())
