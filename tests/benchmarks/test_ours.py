"""What is measured of ours is what its name says: the view, the sampler, the retention rule."""

import sys

import numpy as np
import pytest
from benchmarks.footprint import ROLLUP
from benchmarks.libraries import recollect as ours
from benchmarks.workloads import WORKLOADS

import recollect as rc
from benchmarks import alone, data, footprint

ROWS = 3200


def leaves(batch, name):
    value = batch[name]
    return list(value.values()) if hasattr(value, "values") else [value]


@pytest.mark.parametrize(
    "workload", [each for each in WORKLOADS if each.floor], ids=lambda w: w.name
)
def test_a_floor_copies_as_many_bytes_as_a_batch_has(workload):
    batch = getattr(ours, workload.name)(ROWS)()
    names = ("obs", "action", "reward", "next_obs", "terminated", "truncated")
    held = sum(leaf.nbytes for name in names if name in batch for leaf in leaves(batch, name))
    if workload.name == "sample_frames":  # of which only the frames count
        held = batch.obs.nbytes + batch.next_obs.nbytes
    copied = workload.floor.open(ROWS)()
    assert copied.nbytes == held


@pytest.mark.parametrize("run", [1, 3])
def test_a_floor_copies_rows_of_its_source(run, monkeypatch):
    numbered = np.repeat(np.arange(100, dtype=np.uint8)[:, None], 4, axis=1)
    monkeypatch.setattr("benchmarks.workloads.np.ones", lambda shape, dtype: numbered)
    from benchmarks.workloads import Copy

    copied = Copy(4, 50, run).open(100)().reshape(50, run, 4)
    assert (np.diff(copied.astype(int), axis=1) == 1).all()
    assert len(np.unique(copied[:, 0, 0])) > 20


@pytest.mark.parametrize("name", ["sample_vectors", "sample_nstep", "sample_frames"])
def test_our_draws_are_what_they_claim(name):
    batch = getattr(ours, name)(ROWS)()
    assert batch.obs.shape[0] == (32 if name == "sample_frames" else 256)
    assert batch.next_obs.shape == batch.obs.shape
    if name == "sample_frames":
        assert batch.obs.shape == (32, 4, 84, 84)
    if name == "sample_nstep":
        assert batch.steps.max() == 3


def test_sequences_are_as_long_as_they_claim():
    frames, vectors = ours.sequence_frames(ROWS)(), ours.sequence_vectors(ROWS)()
    assert frames.obs.shape == (16, 64, 64, 64, 3) and frames.obs.dtype == np.uint8
    assert vectors.obs.shape == (64, 80, 17)
    # a picture holds its number within the episode of 1000
    number = np.ascontiguousarray(frames.obs.reshape(16, 64, -1)[..., :8]).view(np.int64)[..., 0]
    mask = frames["mask"]
    assert (np.diff(number, axis=1)[mask[:, 1:]] == 1).all()
    assert len(np.unique(number[:, 0])) > 8


def test_hindsight_gives_goals_that_were_reached():
    memory_rows = 5000
    batch = ours.hindsight(memory_rows)()
    steps = data.fetch(memory_rows)
    goal = batch.obs["desired_goal"]
    asked = {row.tobytes() for row in steps["desired_goal"]}
    reached = {row.tobytes() for row in steps["next_achieved_goal"]}
    old = np.array([row.tobytes() in asked for row in goal])
    assert all(row.tobytes() in reached for row in goal[~old])
    assert 0.65 < (~old).mean() < 0.92
    np.testing.assert_array_equal(
        batch.reward, data.fetch_reward(batch.next_obs["achieved_goal"], goal)
    )
    assert (batch.reward == 0).any() and (batch.reward == -1).any()


def expected(alpha=0.6):
    """The priorities that the rows were given first, as probabilities in order of their keys."""
    mass = (data.priorities(len(ours.keys_of(ours.filled(ROWS)))) + 1e-6) ** alpha
    return mass / mass.sum()


def places(batch):
    return np.searchsorted(ours.keys_of(ours.filled(ROWS)), batch.key)


def test_prioritized_draws_by_priorities_that_differ():
    batch = ours.prioritized(ROWS)()
    np.testing.assert_allclose(batch.probability, expected()[places(batch)], rtol=1e-9)
    assert len(np.unique(batch.probability)) > 200


def test_ranked_draws_by_rank():
    # a fresh sampler is empty, and false: `sampler or Prioritized()` would measure something else
    batch = ours.ranked(ROWS)()
    share = np.arange(1.0, len(expected()) + 1) ** -0.7
    share /= share.sum()
    nearest = np.abs(batch.probability[:, None] - share).min(axis=1)
    np.testing.assert_allclose(nearest / batch.probability, 0, atol=1e-9)


def test_mixture_draws_half_by_priority_and_half_uniformly():
    batch, probability = ours.mixture(ROWS)(), expected()
    wanted = 0.5 * probability + 0.5 / len(probability)
    np.testing.assert_allclose(batch.probability, wanted[places(batch)], rtol=1e-9)


def test_parts_of_the_mixture_are_its_two_parts():
    uniform, by_priority = ours.parts_of_mixture(ROWS)()
    assert len(uniform.key) == len(by_priority.key) == 128
    np.testing.assert_allclose(uniform.probability, 1 / len(expected()))
    np.testing.assert_allclose(by_priority.probability, expected()[places(by_priority)], rtol=1e-9)


def test_costs_by_capacity_are_of_three_readers():
    uniform, by_priority, sequences = (call() for call in ours.by_capacity(ROWS))
    np.testing.assert_allclose(uniform.probability, 1 / len(expected()))
    np.testing.assert_allclose(by_priority.probability, expected()[places(by_priority)], rtol=1e-9)
    assert sequences.obs.shape == (64, 80, 17)


def test_costs_by_episodes_are_of_as_many_steps_each():
    for episodes in (10, 300):
        windows, whole, goals = (call() for call in ours.by_episodes(3000, episodes, 10))
        assert windows["mask"].shape == whole["mask"].shape == (64, 10)
        assert windows["mask"].all() and whole["mask"].all()
        assert whole["first"][:, 0].all() and len(goals.key) == 256
        # only with long episodes can a window begin later than an episode
        assert windows["first"][:, 0].all() == (episodes == 300)


@pytest.mark.parametrize("name", ["prioritized", "ranked", "mixture"])
def test_every_turn_gives_new_priorities(name, monkeypatch):
    given = []
    update = rc.Memory.update

    def watched(memory, keys, priority=None, **extras):
        given.append((np.array(keys), np.array(priority)))
        return update(memory, keys, priority, **extras)

    monkeypatch.setattr(rc.Memory, "update", watched)
    turn = getattr(ours, name)(ROWS)
    given.clear()  # what the rows were given before measuring
    batches = [turn(), turn()]
    assert len(given) == 2
    for batch, (keys, priority) in zip(batches, given, strict=True):
        np.testing.assert_array_equal(keys, batch.key)
        assert priority.shape == (256,) and (priority > 0).all()
    assert (given[0][1] != given[1][1]).any()


@pytest.mark.parametrize(
    "retention", [rc.Fifo(), rc.Reservoir(), rc.Balanced(by="label"), rc.DropLowest()], ids=repr
)
def test_examples_are_offered_to_a_full_memory(retention, monkeypatch):
    memories = []
    extend = rc.Memory.extend

    def watched(memory, **fields):
        memories.append((memory, len(fields["label"])))
        return extend(memory, **fields)

    monkeypatch.setattr(rc.Memory, "extend", watched)
    offer = ours.offer_five(200, retention)
    offer()
    (memory, filling), (_, offered) = memories
    assert (len(memory), filling, offered) == (200, 200, 5)


def test_parts_stand_under_their_own_names(monkeypatch):
    measured = {}
    monkeypatch.setattr(alone, "interleaved", lambda calls, turns: measured.update(calls) or {})
    for name in ("prioritized", "ranked", "mixture", "parts_of_mixture"):
        monkeypatch.setattr(ours, name, lambda rows, name=name: (name, rows))
    monkeypatch.setattr(ours, "offer_five", lambda rows, retention: (type(retention), rows))
    alone.parts(0.1)
    assert measured == {
        "Prioritized, 1 M rows": ("prioritized", 100_000),
        "Ranked, 1 M rows": ("ranked", 100_000),
        "Mixture of Uniform and Prioritized, 128 of each": ("mixture", 100_000),
        "Uniform and Prioritized, 128 of each, one after the other": (
            "parts_of_mixture",
            100_000,
        ),
        "offer 5 to a full Fifo of 100 k": (rc.Fifo, 10_000),
        "offer 5 to a full Reservoir of 100 k": (rc.Reservoir, 10_000),
        "offer 5 to a full Balanced of 100 k, 10 labels": (rc.Balanced, 10_000),
        "offer 5 to a full DropLowest of 100 k": (rc.DropLowest, 10_000),
    }


def test_readers_are_opened_under_their_own_names(monkeypatch):
    opened, made = [], {}
    reader = rc.Memory.reader

    def watched(memory, *parts):
        opened.append(reader(memory, *parts))
        return opened[-1]

    monkeypatch.setattr(rc.Memory, "reader", watched)
    monkeypatch.setattr(
        alone, "interleaved", lambda calls, turns, seconds: made.update(calls) or {}
    )
    alone.opening(0.002)
    for name, call in made.items():
        eligible = call()
        assert opened[-1].eligible == eligible > 0
        view, sampler = type(opened[-1].view).__name__, type(opened[-1].sampler).__name__
        assert name.startswith(view) and (sampler in name or sampler == "Uniform")


@pytest.mark.skipif(not ROLLUP.exists(), reason="the system does not tell")
def test_a_step_takes_a_frame_and_little_more(tmp_path):
    path = tmp_path / "episodes.npz"
    np.savez(path, data.frames(200), data.frames(300))
    size = footprint.measured_apart(sys.executable, "recollect", "stored_frames", path, 6000)
    assert size is not None
    assert 0.95 < size / (84 * 84 + 20) < 1.1


def test_stacks_repeat_the_first_frame():
    episode = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    stacks = data.stacks(episode)[:, 0, 0]
    assert stacks.tolist() == [
        [0, 0, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 1, 2],
        [0, 1, 2, 3],
        [1, 2, 3, 4],
        [2, 3, 4, 5],
    ]


def test_episodes_are_played_until_there_are_enough_steps():
    episodes = [np.zeros(4), np.zeros(3)]
    assert [len(each) - 1 for each in data.played(9, episodes)] == [3, 2, 3, 1]


def test_a_game_is_played_for_so_many_steps():
    pytest.importorskip("ale_py")
    (frames,) = data.atari(40, "Pong")
    assert frames.shape == (41, 84, 84) and frames.dtype == np.uint8
    assert len(np.unique(frames, axis=0)) > 20
