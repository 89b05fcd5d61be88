"""`Episodes`: CONFORMANCE.md, B1 to B9 and P1, random lives beside the oracle, and bad input."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import STREAM_SHIFT, Whole, chi_square_tail
from recollect.views.episodes import Episodes
from selfproving import agree, everything, known_world, schema, stacked
from views.play import Life, all_of, play, prove, reward, small_schema, step, view

ENDS = "TUBCX"
UNLIKELY = 1e-3


def memory_of(trajectory: str, capacity: int = 100, **look: Any) -> rc.Memory:
    look = {"max_length": 8, **look}
    memory = rc.Memory(small_schema(), capacity, view=Episodes(**look), sampler=rc.Oldest(), seed=0)
    play(trajectory, memory)
    return memory


def table(memory: Any) -> list[tuple[int, int, int]]:
    """(episode, its steps, step that was drawn) of each example, whose steps count from 0."""
    rows = []
    for key, row in all_of(memory).items():
        steps = int(row["length"])
        episode = int(row["obs"][0, 0])
        shown = row["obs"][:steps].tolist()
        assert shown == [[episode, t] for t in range(steps)]
        assert row["mask"].tolist() == [t < steps for t in range(len(row["mask"]))]
        rows.append((episode, steps, key - int(row["row_key"][0])))
    return rows


def random_looks(rng: np.random.Generator, longest: int) -> list[Whole]:
    return [
        Whole(
            int(rng.integers(1, longest + 1)),
            by=by,
            longer=str(rng.choice(["cut", "skip"])),
            bootstrap=bool(rng.integers(2)),
            gamma=0.9 if rng.random() < 0.5 else None,
        )
        for by in ("episode", "step")
    ]


@pytest.mark.parametrize("seed", range(14))
def test_random_lives_agree_with_the_oracle(seed: int) -> None:
    rng = np.random.default_rng(3000 + seed)
    kind = ["dict", "flat", "tuple", "nested", "image"][seed % 5]
    size, longest = int(rng.integers(12, 40)), int(rng.integers(3, 12))
    life = Life(seed, random_looks(rng, 14), kind, [None, 1, 3][seed % 3], size, longest)
    life.live(30)
    assert life.seen


@pytest.mark.parametrize("seed", range(6))
def test_random_lives_of_long_episodes_agree_with_the_oracle(seed: int) -> None:
    """Episodes of 1 to 50 steps; the ring overwrites them in their middle."""
    rng = np.random.default_rng(4000 + seed)
    looks = random_looks(rng, 60)
    life = Life(seed, looks, "flat", [None, 3][seed % 2], int(rng.integers(60, 240)), 50)
    life.live(14)
    assert life.seen


def test_uniform_draws_what_the_oracle_expects() -> None:
    for by in ("episode", "step"):
        life = Life(5, [Whole(6, by, bootstrap=True, gamma=0.5)], "dict", 3, 24, 8)
        life.live(40)
        reader = life.memory.reader(view=view(life.looks[0]))
        agree(everything(reader), life.oracle.examples(life.looks[0]))


def test_by_hand() -> None:
    batch = memory_of("3T 1U 2.", max_length=4, bootstrap=True, gamma=0.5).sample(2)
    assert batch.key.tolist() == [0, 4]
    assert batch.length.tolist() == [3, 1]
    assert batch.obs[..., 1].tolist() == [[0, 1, 2, 3, 0], [0, 1, 0, 0, 0]]
    assert batch.mask.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert batch.first.tolist() == [[1, 0, 0, 0]] * 2
    assert batch.row_key.tolist() == [[0, 1, 2, -1], [4, -1, -1, -1]]
    assert batch.reward.tolist() == [[1, 2, 4, 0], [101, 0, 0, 0]]
    assert batch.discount.tolist() == [[0.5, 0.5, 0, 0], [0.5, 0, 0, 0]]
    assert "next_obs" not in batch


@pytest.mark.parametrize("by", ["episode", "step"])
def test_B1_no_example_mixes_episodes_or_streams(by: str) -> None:
    look = Whole(7, by, bootstrap=True)
    memory = rc.Memory(schema("dict"), 3 * 19, streams=3, view=view(look), seed=1)
    worlds = [known_world("dict", stream, 140) for stream in range(3)]
    for i in range(140):
        memory.add(**stacked([world[i] for world in worlds]))
        if i >= 16 and i % 4 == 0:
            batch = memory.sample(64)
            prove(batch, "dict", look)
            assert batch.first[:, 0].all()
            last = batch.length - 1
            done = (batch.terminated | batch.truncated)[np.arange(64), last]
            assert done.all()
    assert {key >> STREAM_SHIFT for key in memory.sample(200).key.tolist()} == {0, 1, 2}


@pytest.mark.parametrize("by", ["episode", "step"])
def test_B2_an_open_episode_is_not_drawn_until_it_ends(by: str) -> None:
    memory = memory_of("2T 3.", by=by)
    drawn = [0] if by == "episode" else [0, 1]
    assert table(memory) == [(0, 2, t) for t in drawn]
    memory.add(**step(1, 3, "U"))
    drawn_now = [0] if by == "episode" else [0, 1, 2, 3]
    assert table(memory) == [(0, 2, t) for t in drawn] + [(1, 4, t) for t in drawn_now]


@pytest.mark.parametrize("by", ["episode", "step"])
@pytest.mark.parametrize("start", range(13))
def test_B2_ring_seam_at_every_place(start: int, by: str) -> None:
    memory = memory_of("1T " * (start + 7), capacity=13, by=by, bootstrap=True)
    # Rows 3+1, 4+1, 4+1 are one more than the ring holds: the first of them has lost its head.
    play("3T 4U 4T", memory)
    drawn = range(1 if by == "episode" else 4)
    assert table(memory) == [(e, 4, t) for e in (1, 2) for t in drawn]
    for row in all_of(memory).values():
        assert row["obs"][4].tolist() == [row["obs"][0, 0], 4]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("length", [1, 3, 8])
def test_B3_the_true_final_observation_follows_the_last_step(length: int, end: str) -> None:
    found = all_of(memory_of(f"{length}{end} 2T 1T", bootstrap=True))
    assert found[0]["obs"].shape == (9, 2)
    assert found[0]["obs"][length].tolist() == [0, length]
    assert not found[0]["obs"][length + 1 :].any()


@pytest.mark.parametrize("end", ENDS)
def test_B4_discount_is_zero_exactly_where_the_episode_terminated(end: str) -> None:
    row = all_of(memory_of(f"3{end} 2T", gamma=0.5))[0]
    assert row["discount"].tolist() == [0.5, 0.5, 0 if end in "TB" else 0.5] + [0] * 5
    assert row["terminated"].tolist() == [False, False, end in "TB"] + [False] * 5
    assert row["truncated"].tolist() == [False, False, end in "UBCX"] + [False] * 5


@pytest.mark.parametrize("trajectory", ["1T", "1U 4T 1U 1B 2T", "1C 1X 1T", "7U 1T 7U"])
def test_B5_each_episode_is_there_once_with_all_its_rewards(trajectory: str) -> None:
    found = all_of(memory_of(trajectory))
    lengths = [int(part[:-1]) for part in trajectory.split()]
    assert [int(row["length"]) for row in found.values()] == lengths
    for episode, row in enumerate(found.values()):
        rewards = [reward(episode, t) for t in range(lengths[episode])]
        assert row["reward"].tolist() == rewards + [0] * (8 - lengths[episode])
    by_step = memory_of(trajectory, by="step")
    assert [row[1:] for row in table(by_step)] == [(n, t) for n in lengths for t in range(n)]


@pytest.mark.parametrize("by", ["episode", "step"])
def test_B6_a_longer_episode_is_cut_without_an_end_or_skipped(by: str) -> None:
    cut = memory_of("3U 6T 4T", max_length=4, by=by, bootstrap=True, gamma=0.5)
    drawn = (lambda n: range(n)) if by == "step" else (lambda n: range(1))
    assert table(cut) == [(e, n, t) for e, n in ((0, 3), (1, 4), (2, 4)) for t in drawn(n)]
    row = next(row for row in all_of(cut).values() if row["obs"][0, 0] == 1)
    assert row["obs"][4].tolist() == [1, 4]
    assert not row["terminated"].any()
    assert row["discount"].tolist() == [0.5] * 4
    skipped = memory_of("3U 6T 4T", max_length=4, by=by, longer="skip")
    assert table(skipped) == [(e, n, t) for e, n in ((0, 3), (2, 4)) for t in drawn(n)]


@pytest.mark.parametrize("end", ENDS)
def test_B7_not_even_a_nan_of_the_next_episode_leaks_in(end: str) -> None:
    memory = memory_of(f"3{end}", gamma=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rc.errors.ChainBreakWarning)
        memory.add(**step(1, 0) | {"reward": np.nan})
    memory.add(**step(1, 1, "T") | {"reward": np.inf})
    assert all_of(memory)[0]["reward"].tolist() == [1, 2, 4, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("by", ["episode", "step"])
@pytest.mark.parametrize("capacity", [7, 8, 9, 10, 11])
def test_B8_an_episode_leaves_whole_when_its_first_row_is_overwritten(
    capacity: int, by: str
) -> None:
    memory = memory_of("4T", capacity=capacity, by=by)
    for t in range(3 * capacity):
        memory.add(**step(1 + t // 4, t % 4, "U" if t % 4 == 3 else ""))
        # rows that came later, and the one after the newest step of an open episode
        newest = 5 + 5 * (t // 4) + t % 4 + 1
        held = [e for e in range(1 + (t + 1) // 4) if newest - 5 * e < capacity]
        drawn = range(1 if by == "episode" else 4)
        assert table(memory) == [(e, 4, k) for e in held for k in drawn]


@pytest.mark.parametrize("streams", [1, 2])
def test_B8_all_steps_of_a_long_episode_leave_at_once(streams: int) -> None:
    memory = rc.Memory(
        small_schema(),
        400 * streams,
        streams=streams,
        view=Episodes(500, by="step"),
        sampler=rc.Oldest(),
    )
    for stream in range(streams):
        play("300T 50U", memory, stream=stream)
    assert memory.eligible == 350 * streams
    play("48U", memory, first=2, stream=streams - 1)
    assert memory.eligible == 50 + 48 + 350 * (streams - 1)


@pytest.mark.parametrize("by", ["episode", "step"])
def test_B9_a_broken_chain_closes_the_episode_and_is_counted(by: str) -> None:
    memory = memory_of("3.", by=by)
    assert table(memory) == []
    with pytest.warns(rc.errors.ChainBreakWarning):
        memory.add(**step(1, 0))
    assert memory.stats()["chain_breaks"] == 1
    assert table(memory) == [(0, 3, t) for t in range(1 if by == "episode" else 3)]
    assert all_of(memory)[0]["truncated"].tolist() == [False, False, True] + [False] * 5


@pytest.mark.parametrize("longer", ["cut", "skip"])
@pytest.mark.parametrize("by", ["episode", "step"])
def test_P1_episodes_are_drawn_evenly_or_in_proportion_to_length(by: str, longer: str) -> None:
    look = Whole(9, by, longer)
    life = Life(3, [look], "flat", 3, 70, 12)
    life.live(60)
    expected = life.oracle.examples(look)
    reader = life.memory.reader(view=view(look))
    drawn = []
    for _ in range(80):
        batch = reader.sample(300)
        drawn.append(batch.row_key[:, 0])
        assert (batch.probability == 1 / len(expected)).all()
    begins, counts = np.unique(np.concatenate(drawn), return_counts=True)
    # a step that `remove` took out brings its episode no more
    brought = [int(row["row_key"][0]) for row in expected.values()]
    assert begins.tolist() == sorted(set(brought))
    share = np.array([brought.count(begin) for begin in begins.tolist()]) / len(brought)
    assert chi_square_tail(counts, 24_000 * share) > UNLIKELY


def test_P1_by_step_the_probability_times_the_length_is_the_episodes() -> None:
    memory = rc.Memory(small_schema(), 60, view=Episodes(5, by="step"), seed=4)
    play("7U 1T 3T 5B 2C 4.", memory)
    lengths = np.array([5, 1, 3, 5, 2])
    batch = memory.sample(20_000)
    episode = batch.obs[:, 0, 0]
    np.testing.assert_allclose(batch.probability * batch.length, lengths[episode] / 16)
    counts = np.bincount(episode, minlength=5)
    assert chi_square_tail(counts, 20_000 * lengths / 16) > UNLIKELY
    evenly = memory.reader(view=Episodes(5)).sample(20_000)
    assert (evenly.probability == 1 / 5).all()
    assert chi_square_tail(np.bincount(evenly.obs[:, 0, 0]), np.full(5, 4000.0)) > UNLIKELY


def test_a_prioritized_episode_has_one_priority_and_remove_takes_it_out() -> None:
    memory = rc.Memory(
        small_schema(), 60, view=Episodes(5), sampler=rc.Prioritized(alpha=1.0, epsilon=0.0)
    )
    play("3U 2T 4T", memory)
    assert memory.update([0, 4, 7], priority=[1.0, 0.0, 3.0]) == 3
    batch = memory.sample(400)
    assert set(batch.key.tolist()) == {0, 7}
    np.testing.assert_allclose(batch.probability, np.where(batch.key == 7, 0.75, 0.25))
    memory.remove([7])
    assert set(memory.sample(50).key.tolist()) == {0}


@pytest.mark.parametrize("by", ["episode", "step"])
def test_batches_are_whole_while_another_thread_writes(by: str) -> None:
    look = Whole(7, by, bootstrap=True)
    memory = rc.Memory(schema("image"), 2 * 24, streams=2, view=view(look), seed=0)
    worlds = [known_world("image", stream, 900) for stream in range(2)]
    steps = [stacked(list(pair)) for pair in zip(*worlds, strict=True)]
    for one in steps[:30]:
        memory.add(**one)
    writer = threading.Thread(target=lambda: [memory.add(**one) for one in steps[30:]])
    writer.start()
    sampled = 0
    while writer.is_alive() or not sampled:
        batch = memory.sample(16)
        prove(batch, "image", look)
        assert batch.first[:, 0].all()
        sampled += 1
    writer.join()


@pytest.mark.parametrize(
    ("look", "why"),
    [
        ({"max_length": 0}, "max_length"),
        ({"max_length": 3.0}, "max_length"),
        ({"max_length": 3, "by": "length"}, 'by: expected "episode" or "step"'),
        ({"max_length": 3, "longer": "raise"}, 'longer: expected "cut" or "skip"'),
        ({"max_length": 3, "bootstrap": 1}, "bootstrap"),
        ({"max_length": 3, "gamma": -1}, "gamma"),
    ],
)
def test_settings_out_of_range_are_refused(look: dict[str, Any], why: str) -> None:
    with pytest.raises(rc.errors.ConfigurationError, match=why):
        Episodes(**look)


def test_a_schema_that_does_not_fit_is_refused() -> None:
    with pytest.raises(rc.errors.ConfigurationError, match="Episodes makes examples of a schema"):
        rc.Memory(rc.Schema.examples(x=rc.Field((), int)), 4, view=Episodes(2))
    with pytest.raises(rc.errors.ConfigurationError, match="`length` of their own"):
        rc.Memory(small_schema(length=rc.Field((), int)), 4, view=Episodes(2))


@pytest.mark.parametrize(
    ("trajectory", "look", "why"),
    [
        ("9.", {}, "a finished episode whose first step"),
        ("9T 9U", {"longer": "skip"}, "a finished episode of at most 8 steps whose first step"),
    ],
)
def test_nothing_to_draw_says_what_is_needed(trajectory: str, look: Any, why: str) -> None:
    with pytest.raises(rc.errors.EmptyMemoryError, match=why):
        memory_of(trajectory, **look).sample(1)


def test_repr_names_what_decides() -> None:
    assert repr(Episodes(9, by="step")) == "Episodes(9, by='step', longer='cut')"
