"""The Blind Cliffwalk: the right transitions, and every rule against a slow, obvious one."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

import recollect as rc
from recollect.cli import main
from recollect.experiments import cliffwalk
from recollect.experiments.cliffwalk import RULES, Cliffwalk, Quartiles, count_updates, transitions
from recollect.samplers.ranked import Ranked


def walk(n):
    """Every sequence of actions to its end, as lists of (state, action, reward, next, ended)."""
    for actions in itertools.product((0, 1), repeat=n):
        episode = []
        for state, action in enumerate(actions):
            right = action == state % 2
            ended = not right or state == n - 1
            reward = float(right and state == n - 1)
            episode.append((state, action, reward, n if ended else state + 1, ended))
            if ended:
                break
        yield episode


def columns(steps):
    names = ("obs", "action", "reward", "next_obs", "terminated")
    return list(zip(*(steps[name].tolist() for name in names), strict=True))


def beginning(n, seed):
    """The steps in the order of this seed, and the first values."""
    first, order, _ = np.random.SeedSequence([seed, n]).generate_state(3)
    steps = cliffwalk.experience(n, np.random.default_rng(order))
    values = np.zeros((n + 1, 2))
    values[:n] = np.random.default_rng(first).normal(0, 0.1, (n, 2))
    return columns(steps), values


def truth(n):
    """By iterating Bellman's equation over all there is."""
    values = np.zeros((n + 1, 2))
    different = {step for episode in walk(n) for step in episode}
    for _ in range(n):
        for state, action, reward, then, ended in different:
            values[state, action] = reward + (1 - 1 / n) * (not ended) * values[then].max()
    return values


def heap_order(line, key, place):
    """Moves the row at this place of a heap up or down to where its key belongs."""
    while place and key(line[(place - 1) // 2]) > key(line[place]):
        line[place], line[(place - 1) // 2] = line[(place - 1) // 2], line[place]
        place = (place - 1) // 2
    while 2 * place + 1 < len(line):
        child = min(range(2 * place + 1, len(line))[:2], key=lambda other: key(line[other]))
        if key(line[place]) <= key(line[child]):
            break
        line[place], line[child] = line[child], line[place]
        place = child


def reference(rule, n, seed, sort_every=None):
    """The updates that a rule takes; sums and losses are computed anew each time."""
    steps, values = beginning(n, seed)
    true = truth(n)
    rng = np.random.default_rng(seed)
    priority = np.ones(len(steps))
    line = list(range(len(steps)))  # a heap; a row's rank is its place
    updates = 0

    def key(row):
        return -priority[row], row

    def error(step):
        state, action, reward, then, ended = step
        return reward + (1 - 1 / n) * (not ended) * values[then].max() - values[state, action]

    def loss():
        return ((values - true)[:n] ** 2).mean()

    def loss_after(step):
        state, action = step[:2]
        before = values[state, action]
        values[state, action] += error(step) / 4
        after = loss()
        values[state, action] = before
        return after

    while loss() >= 1e-3:
        if rule == "uniform":
            row = rng.integers(len(steps))
        elif rule == "greedy":
            row = int(priority.argmax())  # of equal ones the first: the oldest
        elif rule == "oracle":
            row = int(np.argmin([loss_after(step) for step in steps]))
        elif rule == "proportional":
            mass = (priority + 1e-6) ** 0.6
            row = int(rng.choice(len(steps), p=mass / mass.sum()))
        else:
            mass = (1 / np.arange(1, len(steps) + 1)) ** 0.7
            row = line[rng.choice(len(steps), p=mass / mass.sum())]
        step = steps[row]
        priority[row] = abs(error(step))
        values[step[0], step[1]] += error(step) / 4
        updates += 1
        if rule == "rank":
            heap_order(line, key, line.index(row))
            if updates % (sort_every or len(steps) + 2**n) == 0:
                line.sort(key=key)
    return updates


@pytest.mark.parametrize("n", [2, 3, 6])
def test_the_memory_holds_all_sequences_of_actions_to_their_end_one_rewarded(n):
    steps = cliffwalk.experience(n, np.random.default_rng(0))
    rows = columns(steps)
    assert len(rows) == transitions(n) == 2 ** (n + 1) - 2
    ends = [i + 1 for i, row in enumerate(rows) if row[-1]]
    episodes = [rows[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    assert Counter(map(tuple, episodes)) == Counter(map(tuple, walk(n)))
    assert steps["reward"].sum() == 1
    assert not steps["truncated"].any()
    memory = cliffwalk.filled(n, rc.Uniform(), steps, seed=0)
    stats = memory.stats()
    assert len(memory) == stats["eligible"] == transitions(n)
    assert (stats["episodes"], stats["chain_breaks"]) == (2**n, 0)
    batch = memory.sample(64)
    np.testing.assert_allclose(batch.discount, (1 - 1 / n) * ~batch.terminated, rtol=1e-6)


def test_the_order_is_random():
    orders = {
        cliffwalk.experience(4, np.random.default_rng(seed))["obs"].tobytes() for seed in range(9)
    }
    assert len(orders) == 9


@pytest.mark.parametrize("n", [2, 5, 16])
def test_the_true_values_solve_the_bellman_equation(n):
    if n < 10:
        np.testing.assert_allclose(cliffwalk.true_values(n), truth(n)[:n])
    values = cliffwalk.true_values(n)
    assert values[n - 1].max() == 1
    np.testing.assert_allclose(values[:-1].max(axis=1), (1 - 1 / n) * values[1:].max(axis=1))


@pytest.mark.parametrize("rule", ["greedy", "oracle"])
def test_rules_without_chance_take_exactly_the_updates_of_the_reference(rule):
    for n, seed in itertools.product((2, 3, 5), (1, 2, 3)):
        assert count_updates(rule, n, seed) == reference(rule, n, seed), (n, seed)


def mean_difference(rule, sort_every=None):
    """Of the logarithms of our updates and the reference's, both from the same beginnings, so that
    what differs is the draws; and its standard error."""
    n, seeds = 4, range(120)
    ours = np.log([count_updates(rule, n, seed) for seed in seeds])
    theirs = np.log([reference(rule, n, seed, sort_every) for seed in seeds])
    return (ours - theirs).mean(), (ours - theirs).std(ddof=1) / len(seeds) ** 0.5


@pytest.mark.parametrize("rule", ["uniform", "rank", "proportional"])
def test_rules_of_chance_take_the_updates_of_the_reference_on_average(rule):
    mean, error = mean_difference(rule)
    assert abs(mean) < 3 * error
    assert error < 0.04


def test_ranks_that_are_always_sorted_take_the_updates_of_such_a_reference(monkeypatch):
    rule = RULES["rank"]._replace(make=lambda: Ranked(alpha=0.7, beta=0.0, sort_every=1))
    monkeypatch.setitem(RULES, "rank", rule)
    mean, error = mean_difference("rank", sort_every=1)
    assert abs(mean) < 3 * error < 0.1


def test_the_updates_of_a_seed_are_always_the_same():
    for rule in RULES:
        assert count_updates(rule, 3, 5) == count_updates(rule, 3, 5)
        assert len({count_updates(rule, 4, seed) for seed in range(6)}) > 1


def test_a_rule_that_is_stuck_is_said_to_be(monkeypatch):
    monkeypatch.setattr(cliffwalk, "PATIENCE", 1)
    for rule in ("greedy", "uniform", "oracle"):
        monkeypatch.setattr(cliffwalk, "ENOUGH", 0.0)
        with pytest.raises(rc.RecollectError, match=rf"^{rule}, n = 3, seed 1: stuck after \d+ up"):
            count_updates(rule, 3, 1)


@pytest.mark.parametrize(
    ("rule", "updates", "verdict"),
    [
        ("uniform", 10 * 2046 - 1, "no, fewer"),
        ("uniform", 10 * 2046, "yes"),
        ("uniform", 19 * 2046, "yes"),
        ("uniform", 19 * 2046 + 1, "no, more"),
        ("rank", 2.1 * 2046, "no, fewer"),
        ("rank", 2.3 * 2046, "yes"),
        ("proportional", 1.9 * 2046, "yes"),
        ("proportional", 2.3 * 2046, "no, more"),
        ("greedy", 1.2 * 2046, "yes"),
        ("greedy", 1.0 * 2046, "no, fewer"),
        ("oracle", 419, "no, fewer"),
        ("oracle", 420, "yes"),
        ("oracle", 490.5, "no, more"),
    ],
)
def test_what_is_within_the_ranges(rule, updates, verdict):
    assert RULES[rule].verdict(updates) == verdict


@pytest.fixture
def counted(monkeypatch):
    """Counts that take no time: those of each rule at n = 10, one more for each seed."""
    counts = {"uniform": 30_690, "rank": 4_000, "proportional": 3_000, "greedy": 2_400}

    def count(rule, n, seed):
        return int(counts.get(rule, 450) * 2.0 ** (n - 10)) + seed

    monkeypatch.setattr(cliffwalk, "count_updates", count)


def test_the_command_draws_and_tabulates(capsys, tmp_path, counted):
    out = tmp_path / "new" / "folder"
    arguments = ["experiment", "cliffwalk", "--sizes", "11", "10", "--seeds", "5", "--jobs", "1"]
    assert main([*arguments, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "n = 10,   2,046 transitions: uniform 30,693, rank 4,003, proportional 3,003, "
        "greedy 2,403, oracle 453 updates"
    )
    assert lines[1].startswith("n = 11,   4,094 transitions: uniform 61,383, rank 8,003")
    table = [line.split("  ") for line in lines[2:8]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in table]
    assert cells[0] == ["n = 10", "median (quartiles)", "range", "within"]
    assert cells[1] == ["uniform", "15.00 N (15.00 N to 15.00 N)", "10 to 19 N", "yes"]
    assert cells[2] == ["rank-based", "1.96 N (1.96 N to 1.96 N)", "2.2 to 2.7 N", "no, fewer"]
    assert cells[5] == ["oracle", "453 (452 to 454)", "420 to 490", "yes"]
    assert lines[8:] == [f"picture  {out / 'cliffwalk.png'}", f"table    {out / 'cliffwalk.md'}"]
    assert (out / "cliffwalk.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "cliffwalk.md").read_text()
    assert "median over 5 seeds" in text
    assert "| greedy | 1.17 N (1.17 N to 1.17 N) | 1.1 to 1.3 N | yes |\n" in text
    assert "| 11 | 4,094 | 61,383 (61,382 to 61,384) | 8,003 (8,002 to 8,004) |" in text


def test_without_ten_states_there_is_nothing_to_compare_with(capsys, tmp_path, counted):
    arguments = ["experiment", "cliffwalk", "--sizes", "12", "--seeds", "1", "--jobs", "1"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    assert "the ranges are for n = 10, which is not among the sizes" in capsys.readouterr().out
    text = (tmp_path / "cliffwalk.md").read_text()
    assert "within" not in text
    assert "median over one seed" in text


def test_processes_count_as_one_does(tmp_path):
    said = []
    results = [Cliffwalk((3, 2), 3, tmp_path).run(jobs, said.append) for jobs in (1, 2)]
    assert results[0] == results[1]
    assert list(results[0]) == list(RULES)
    counts = [count_updates("greedy", 3, seed) for seed in (1, 2, 3)]
    assert results[0]["greedy"][3] == Quartiles.of(counts)
    assert results[0]["greedy"][3].median == sorted(counts)[1]
    assert [line[:6] for line in said] == ["n =  2", "n =  3"] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sizes", "1"], "sizes must be 2 to 20 states, got (1,)"),
        (["--sizes", "4", "21"], "sizes must be 2 to 20 states, got (4, 21)"),
        (["--sizes"], "sizes must be 2 to 20 states, got ()"),
        (["--seeds", "0"], "seeds must be at least 1, got 0"),
        (["--jobs", "0"], "jobs must be at least 1, got 0"),
    ],
)
def test_what_makes_no_sense(capsys, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", "cliffwalk", *options]) == 1
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert not any(tmp_path.iterdir())
