"""`Sequence`: CONFORMANCE.md, B1 to B9 and P1, random lives beside the oracle, and bad input."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import STREAM_SHIFT, Windows, chi_square_tail, leaves
from recollect.views.sequence import Sequence
from selfproving import agree, everything, known_world, schema, stacked
from views.play import Life, all_of, play, prove, reward, small_schema, step, view

ENDS = "TUBCX"
UNLIKELY = 1e-3


def memory_of(trajectory: str, capacity: int = 100, **look: Any) -> rc.Memory:
    memory = rc.Memory(small_schema(), capacity, view=Sequence(**look), sampler=rc.Oldest(), seed=0)
    play(trajectory, memory)
    return memory


def table(memory: Any) -> list[tuple[tuple[int, int], ...]]:
    """The (episode, step) of each step of each window."""
    found = all_of(memory)
    for row in found.values():
        shown = row["obs"][: len(row["mask"])][row["mask"]]
        np.testing.assert_array_equal(row["action"][row["mask"]], shown @ [1000, 1])
    return [
        tuple(map(tuple, row["obs"][: len(row["mask"])][row["mask"]].tolist()))
        for row in found.values()
    ]


def random_looks(rng: np.random.Generator, longest: int) -> list[Windows]:
    looks = []
    for _ in range(3):
        length, n = int(rng.integers(1, longest + 1)), int(rng.integers(1, 5))
        looks.append(
            Windows(
                length,
                burn_in=int(rng.integers(length)),
                stride=int(rng.integers(1, 6)),
                pad=bool(rng.integers(2)),
                bootstrap=bool(rng.integers(2)),
                cross_episodes=bool(rng.integers(2)),
                n=n,
                gamma=0.9 if n > 1 or rng.random() < 0.5 else None,
            )
        )
    return looks


@pytest.mark.parametrize("seed", range(16))
def test_random_lives_agree_with_the_oracle(seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    kind = ["dict", "flat", "tuple", "nested", "image"][seed % 5]
    size, longest = int(rng.integers(12, 40)), int(rng.integers(3, 14))
    life = Life(seed, random_looks(rng, 8), kind, [None, 1, 3][seed % 3], size, longest)
    life.live(30)
    assert life.seen


@pytest.mark.parametrize("seed", range(6))
def test_random_lives_of_long_episodes_agree_with_the_oracle(seed: int) -> None:
    """Episodes of 1 to 50 steps; the ring overwrites them in their middle."""
    rng = np.random.default_rng(2000 + seed)
    looks = random_looks(rng, 24)[:2]
    life = Life(seed, looks, "flat", [None, 3][seed % 2], int(rng.integers(30, 120)), 50)
    life.live(14)
    assert life.seen


def test_uniform_draws_what_the_oracle_expects() -> None:
    life = Life(5, [Windows(5, 1, 2, bootstrap=True, n=2, gamma=0.5)], "dict", 3, 20, 9)
    life.live(40)
    reader = life.memory.reader(view=view(life.looks[0]))
    agree(everything(reader), life.oracle.examples(life.looks[0]))


def test_by_hand() -> None:
    memory = memory_of("3T 5.", length=3, bootstrap=True, gamma=0.5)
    batch = memory.sample(6)
    assert batch.key.tolist() == [0, 1, 2, 4, 5, 6]
    assert batch.obs[..., 1].tolist() == [
        [0, 1, 2, 3],
        [1, 2, 3, 0],
        [2, 3, 0, 0],
        [0, 1, 2, 3],
        [1, 2, 3, 4],
        [2, 3, 4, 5],
    ]
    assert batch.mask[:3].tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert batch.mask[3:].all()
    assert batch.first[:, 0].tolist() == [1, 0, 0, 1, 0, 0]
    assert not batch.first[:, 1:].any()
    assert batch.row_key[:4].tolist() == [[0, 1, 2], [1, 2, -1], [2, -1, -1], [4, 5, 6]]
    assert batch.reward[1].tolist() == [2, 4, 0]
    assert batch.discount[:3].tolist() == [[0.5, 0.5, 0], [0.5, 0, 0], [0, 0, 0]]
    assert batch.terminated[1].tolist() == [False, True, False]
    assert "next_obs" not in batch
    assert "steps" not in batch


def test_B1_no_window_mixes_episodes_or_streams() -> None:
    look = Windows(5, bootstrap=True)
    memory = rc.Memory(schema("dict"), 3 * 17, streams=3, view=view(look), seed=1)
    worlds = [known_world("dict", stream, 140) for stream in range(3)]
    for i in range(140):
        memory.add(**stacked([world[i] for world in worlds]))
        if i >= 16 and i % 4 == 0:
            prove(memory.sample(64), "dict", look)
    assert {key >> STREAM_SHIFT for key in memory.sample(200).key.tolist()} == {0, 1, 2}


def test_B1_a_window_across_episodes_stays_in_its_stream_and_marks_each_beginning() -> None:
    look = Windows(9, bootstrap=True, cross_episodes=True)
    memory = rc.Memory(schema("dict"), 3 * 29, streams=3, view=view(look), seed=1)
    worlds = [known_world("dict", stream, 140) for stream in range(3)]
    begun = 0
    for i in range(140):
        memory.add(**stacked([world[i] for world in worlds]))
        if i >= 16 and i % 4 == 0:
            batch = memory.sample(64)
            prove(batch, "dict", look)
            assert batch.mask.all()
            begun += int(batch.first[:, 1:].sum())
    assert begun > 1000


def test_B2_windows_of_an_open_episode_are_full_and_have_their_true_successor() -> None:
    for t in range(1, 9):
        memory = memory_of(f"{t}.", length=3, bootstrap=True)
        assert table(memory) == [((0, k), (0, k + 1), (0, k + 2)) for k in range(t - 2)]
        for key, row in all_of(memory).items():
            assert row["obs"][3].tolist() == [0, key + 3]


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("start", range(11))
def test_B2_ring_seam_at_every_place(start: int, cross: bool) -> None:
    memory = rc.Memory(
        small_schema(),
        11,
        view=Sequence(3, bootstrap=True, cross_episodes=cross),
        sampler=rc.Oldest(),
    )
    play("1T " * (start + 6), memory, first=3)
    # Rows 2+1, 3+1, 4+1 are one more than the ring holds, so the first step is gone.
    play("2T 3U 4T", memory)
    steps = [(0, 1), *((1, t) for t in range(3)), *((2, t) for t in range(4))]
    within = [tuple(s for s in steps[i : i + 3] if s[0] == steps[i][0]) for i in range(8)]
    across = [tuple(steps[i : i + 3]) for i in range(6)]
    assert table(memory) == (across if cross else within)
    for row in all_of(memory).values():
        count = row["mask"].sum()
        episode, t = row["obs"][count - 1]
        assert row["obs"][count].tolist() == [episode, t + 1]


@pytest.mark.parametrize("length", [1, 2, 4])
def test_B3_a_truncated_window_ends_with_the_true_final_observation(length: int) -> None:
    found = all_of(memory_of(f"{length}U 3U 2T", length=3, bootstrap=True))
    rows = [row for row in found.values() if row["obs"][0, 0] == 0]
    assert len(rows) == length
    for row in rows:
        count = row["mask"].sum()
        if row["truncated"].any():
            assert row["obs"][count].tolist() == [0, length]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("n", [1, 3])
def test_B4_discount_is_zero_exactly_where_the_last_step_summed_terminated(
    end: str, n: int
) -> None:
    for cross in (False, True):
        look: dict[str, Any] = {"cross_episodes": cross, "bootstrap": True, "gamma": 0.5}
        found = all_of(memory_of(f"2T 4{end} 4U", length=4, n=n, **look))
        terminating = {0: 2, 1: 4 if end in "TB" else 99, 2: 99}
        for row in found.values():
            for t in np.flatnonzero(row["mask"]):
                episode, at = row["obs"][t]
                steps = row["steps"][t] if n > 1 else 1
                masked = steps > 0 and at + steps == terminating[episode]
                assert (row["discount"][t] == 0) == masked
        flags = [row["terminated"][t] for row in found.values() for t in (0,)]
        assert any(flags)


@pytest.mark.parametrize("trajectory", ["1T", "1U 4T 1U 1B 2T", "1C 1X 1T", "7U 1T 7U"])
def test_B5_each_step_starts_one_window_with_its_own_reward(trajectory: str) -> None:
    memory = memory_of(trajectory, length=3)
    singles = rc.Memory(small_schema(), 100)
    play(trajectory, singles)
    found = all_of(memory)
    assert set(found) == set(everything(singles))
    for row in found.values():
        for t in np.flatnonzero(row["mask"]):
            assert row["reward"][t] == reward(*row["obs"][t])


def test_B5_stride_counts_from_each_episodes_start() -> None:
    assert [row[0] for row in table(memory_of("5U 1T 6T", length=2, stride=2))] == [
        (0, 0),
        (0, 2),
        (0, 4),
        (1, 0),
        (2, 0),
        (2, 2),
        (2, 4),
    ]
    starts = [row[0] for row in table(memory_of("5U 1T 6T", length=2, stride=2, pad=False))]
    assert starts == [(0, 0), (0, 2), (2, 0), (2, 2), (2, 4)]


def test_B6_tails_keep_their_own_discount_and_final_observation() -> None:
    found = all_of(memory_of("4U 4T", length=3, n=3, gamma=0.5, bootstrap=True))
    for row in found.values():
        for t in np.flatnonzero(row["mask"]):
            episode, at = row["obs"][t]
            inside = int(row["mask"].sum())
            steps = min(3, inside - t)
            assert row["steps"][t] == steps
            assert row["obs"][t + steps].tolist() == [episode, at + steps]
            ends_by_t = episode == 1 and at + steps == 4
            assert row["discount"][t] == (0 if ends_by_t else 0.5**steps)
            expected = sum(0.5**k * reward(episode, at + k) for k in range(steps))
            assert row["reward"][t] == pytest.approx(expected)


def test_B6_returns_by_hand() -> None:
    """Rewards 1, 2, 4; without the successor of the last step its return has nowhere to go."""
    gamma = 0.5
    for end, bootstrap, expected in (
        ("U", True, ([3.0, 4.0, 4.0], [3, 2, 1], [0.125, 0.25, 0.5])),
        ("U", False, ([2.0, 2.0, 0.0], [2, 1, 0], [0.25, 0.5, 1.0])),
        ("T", False, ([3.0, 4.0, 4.0], [3, 2, 1], [0.0, 0.0, 0.0])),
    ):
        memory = memory_of(f"3{end}", length=4, n=5, gamma=gamma, bootstrap=bootstrap)
        row = all_of(memory)[0]
        assert row["reward"].tolist() == [*expected[0], 0]
        assert row["steps"].tolist() == [*expected[1], 0]
        assert row["discount"].tolist() == [*expected[2], 0]


def test_B7_truncation_ends_a_return_inside_a_window() -> None:
    memory = memory_of("2U 3T", length=5, n=3, gamma=0.5, cross_episodes=True)
    row = all_of(memory)[0]
    # The observation after the truncated step is not in the batch: that return stops before it.
    assert row["steps"].tolist() == [1, 0, 3, 2, 1]
    assert row["reward"].tolist() == [1, 0, 100 * 1.75 + 3, 100 * 1.5 + 4, 104]
    assert row["discount"].tolist() == [0.5, 1, 0, 0, 0]
    assert row["first"].tolist() == [True, False, True, False, False]
    assert row["truncated"].tolist() == [False, True, False, False, False]


@pytest.mark.parametrize("gamma", [0.0, 0.5])
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("end", ENDS)
def test_B7_not_even_a_nan_of_the_next_episode_leaks_in(
    end: str, cross: bool, gamma: float
) -> None:
    look = {"cross_episodes": cross, "n": 3, "gamma": gamma}
    memory = memory_of(f"3{end}", length=4, **look)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rc.errors.ChainBreakWarning)
        for t in range(4):
            memory.add(**step(1, t) | {"reward": np.nan})
    rows = [row for row in all_of(memory).values() if row["obs"][0, 0] == 0]
    assert len(rows) == 3
    for row in rows:
        own = row["mask"] & (row["obs"][:, 0] == 0)
        assert np.isfinite(row["reward"][own]).all()
        assert np.isfinite(row["discount"]).all()


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("capacity", [6, 7, 8])
def test_B8_windows_never_reach_into_overwritten_rows(capacity: int, stride: int) -> None:
    """One endless episode: starts are the held multiples of the stride whose window is full."""
    memory = rc.Memory(
        small_schema(), capacity, view=Sequence(3, stride=stride), sampler=rc.Oldest()
    )
    for t in range(4 * capacity):
        memory.add(**step(0, t))
        oldest = max(0, t + 2 - capacity)
        starts = [k for k in range(oldest, t - 1) if k % stride == 0]
        assert table(memory) == [((0, k), (0, k + 1), (0, k + 2)) for k in starts]


@pytest.mark.parametrize("cross", [False, True])
def test_B9_a_broken_chain_closes_the_episode_and_is_counted(cross: bool) -> None:
    memory = memory_of("3.", length=2, cross_episodes=cross)
    assert table(memory) == [((0, 0), (0, 1)), ((0, 1), (0, 2))]
    with pytest.warns(rc.errors.ChainBreakWarning):
        memory.add(**step(1, 0))
    assert memory.stats()["chain_breaks"] == 1
    last = ((0, 2), (1, 0)) if cross else ((0, 2),)
    assert table(memory) == [((0, 0), (0, 1)), ((0, 1), (0, 2)), last]
    row = all_of(memory)[2]
    assert row["truncated"].tolist() == [True, False]
    assert row["first"].tolist() == [False, cross]


@pytest.mark.parametrize("cross", [False, True])
def test_P1_window_starts_are_drawn_evenly(cross: bool) -> None:
    look = Windows(4, stride=2, cross_episodes=cross)
    life = Life(3, [look], "flat", 3, 25, 7)
    life.live(60)
    expected = sorted(life.oracle.eligible(look))
    reader = life.memory.reader(view=view(look))
    batches = [reader.sample(400) for _ in range(60)]
    for batch in batches:
        assert (batch.probability == 1 / len(expected)).all()
    keys, counts = np.unique(np.concatenate([b.key for b in batches]), return_counts=True)
    assert keys.tolist() == expected
    assert chi_square_tail(counts, np.full(len(keys), 24_000 / len(keys))) > UNLIKELY


def test_P1_prioritized_windows_are_drawn_by_the_priority_of_their_start() -> None:
    memory = rc.Memory(small_schema(), 60, view=Sequence(3, stride=2), seed=4)
    play("7U 4T 6T", memory)
    reader = memory.reader(view=Sequence(3, stride=2), sampler=rc.Prioritized(alpha=0.5, beta=1.0))
    starts = np.array([0, 2, 4, 6, 8, 10, 13, 15, 17])
    priority = np.arange(1.0, 10)
    assert reader.update(starts, priority=priority) == 9
    wanted = np.sqrt(priority + reader.sampler.epsilon)
    wanted /= wanted.sum()
    drawn = []
    for _ in range(2000):
        batch = reader.sample(10)
        at = np.searchsorted(starts, batch.key)
        np.testing.assert_allclose(batch.probability, wanted[at], rtol=1e-6)
        drawn.append(at[np.arange(10) == len(drawn) % 10])
    counts = np.bincount(np.concatenate(drawn), minlength=9)
    assert chi_square_tail(counts, 2000 * wanted) > UNLIKELY


def test_recurrent_state_is_read_at_the_first_row_and_rewritten_by_row_key() -> None:
    memory = rc.Memory(
        small_schema(state=rc.Field((2,), np.float32)), 50, view=Sequence(4, burn_in=2, stride=2)
    )
    for t in range(7):
        memory.add(**step(0, t, "T" if t == 6 else ""), state=np.full(2, t))
    batch = memory.sample(40)
    np.testing.assert_array_equal(batch.state[:, 0, 0], batch.key)
    assert set(batch.key.tolist()) == {0, 2, 4}, "the window from step 6 would only warm up"
    wanted = batch.row_key[batch.mask]
    new = (100 + batch.row_key[batch.mask])[:, None] + np.zeros(2, np.float32)
    assert memory.update(wanted, state=new) == len(wanted)
    again = memory.sample(40)
    np.testing.assert_array_equal(again.state[again.mask][:, 0], 100 + again.row_key[again.mask])
    assert memory.update(np.array([-1, -1]), state=np.zeros((2, 2))) == 0


def test_windows_run_over_removed_steps_that_start_none() -> None:
    memory = memory_of("5T", length=3)
    memory.remove([2])
    assert table(memory) == [
        ((0, 0), (0, 1), (0, 2)),
        ((0, 1), (0, 2), (0, 3)),
        ((0, 3), (0, 4)),
        ((0, 4),),
    ]


@pytest.mark.parametrize("kind", ["nested", "tuple", "image"])
def test_dtypes_are_as_stored_and_padding_is_zero(kind: str) -> None:
    memory = rc.Memory(schema(kind), 40, view=Sequence(9, bootstrap=True), seed=0)
    memory.extend(**stacked(known_world(kind, 0, 30)))
    batch = memory.sample(64)
    stored = {name: field.dtype for name, field in memory.schema.flat.items()}
    beyond = np.arange(10) > batch.mask.sum(axis=1)[:, None]
    assert beyond[:, :9].any()
    for name, value in leaves(batch.obs, "obs"):
        assert value.dtype == stored[name]
        assert value.shape[:2] == (64, 10)
        assert not value[beyond].any()
    for name in ("action", "reward"):
        assert batch[name].dtype == stored[name]
    for name in ("action", "reward", "terminated", "truncated", "first"):
        assert not batch[name][~batch.mask].any()
    assert (batch.terminated.dtype, batch.truncated.dtype) == (bool, bool)
    assert (batch.mask.dtype, batch.first.dtype, batch.row_key.dtype) == (bool, bool, np.int64)


def test_n_may_be_a_schedule() -> None:
    memory = rc.Memory(
        small_schema(),
        50,
        view=Sequence(6, n=rc.linear(1, 3, over=2), gamma=0.5, bootstrap=True, pad=False),
    )
    play("9U", memory)
    for n in (1, 2, 3, 3):
        expected = np.minimum(n, 6 - np.arange(6))
        assert (memory.sample(5).steps == expected).all()


def test_rewards_with_axes_of_their_own_are_summed_alike() -> None:
    fields = rc.Schema.steps(
        obs=rc.Field((), np.int64), action=rc.Field((), int), reward=rc.Field((2,), np.float64)
    )
    memory = rc.Memory(fields, 20, view=Sequence(4, n=2, gamma=0.5, bootstrap=True, stride=9))
    for t in range(4):
        memory.add(
            obs=t,
            action=0,
            reward=np.array([t, 10.0 * t]),
            next_obs=t + 1,
            terminated=t == 3,
            truncated=False,
        )
    batch = memory.sample(1)
    assert batch.reward.dtype == np.float64
    assert batch.reward[0, :, 0].tolist() == [0.5, 2.0, 3.5, 3.0]
    np.testing.assert_array_equal(batch.reward[..., 1], 10 * batch.reward[..., 0])
    assert batch.discount[0].tolist() == [0.25, 0.25, 0, 0]


@pytest.mark.parametrize("cross", [False, True])
def test_batches_are_whole_while_another_thread_writes(cross: bool) -> None:
    look = Windows(6, bootstrap=True, cross_episodes=cross)
    memory = rc.Memory(schema("image"), 2 * 20, streams=2, view=view(look), seed=0)
    worlds = [known_world("image", stream, 900) for stream in range(2)]
    steps = [stacked(list(pair)) for pair in zip(*worlds, strict=True)]
    for one in steps[:20]:
        memory.add(**one)
    writer = threading.Thread(target=lambda: [memory.add(**one) for one in steps[20:]])
    writer.start()
    sampled = 0
    while writer.is_alive() or not sampled:
        prove(memory.sample(16), "image", look)
        sampled += 1
    writer.join()


def test_observations_at_a_seam_are_the_stored_bytes() -> None:
    """A window over the ring's end, in large fields and small."""
    look = Windows(8)
    memory = rc.Memory(schema("dict"), 12, view=view(look), seed=0)
    memory.extend(**stacked(known_world("dict", 0, 40)))
    prove(memory.sample(50), "dict", look)


@pytest.mark.parametrize(
    ("look", "why"),
    [
        ({"length": 0}, "length"),
        ({"length": 2.5}, "length"),
        ({"length": True}, "length"),
        ({"length": 4, "burn_in": 4}, "burn_in: expected less than the window's 4 steps, got 4"),
        ({"length": 4, "burn_in": -1}, "burn_in"),
        ({"length": 4, "stride": 0}, "stride"),
        ({"length": 4, "pad": 1}, "pad"),
        ({"length": 4, "bootstrap": None}, "bootstrap"),
        ({"length": 4, "cross_episodes": "yes"}, "cross_episodes"),
        ({"length": 4, "n": 3}, "need gamma"),
        ({"length": 4, "n": rc.constant(2)}, "need gamma"),
        ({"length": 4, "n": 0, "gamma": 0.9}, "n: expected"),
        ({"length": 4, "gamma": 1.5}, "gamma"),
    ],
)
def test_settings_out_of_range_are_refused(look: dict[str, Any], why: str) -> None:
    with pytest.raises(rc.errors.ConfigurationError, match=why):
        Sequence(**look)


def test_examples_have_no_sequences() -> None:
    with pytest.raises(rc.errors.ConfigurationError, match="Sequence makes examples of a schema"):
        rc.Memory(rc.Schema.examples(x=rc.Field((), int)), 4, view=Sequence(2))


@pytest.mark.parametrize(
    ("look", "why"),
    [
        ({"length": 5, "pad": False}, "5 steps of its episode"),
        ({"length": 9, "burn_in": 4}, "9 steps of its episode, or 5 once that has ended"),
        ({"length": 20, "cross_episodes": True}, "20 steps in a row in its stream"),
    ],
)
def test_a_window_that_never_fits_says_what_it_needs(look: dict[str, Any], why: str) -> None:
    memory = memory_of("4T 4U 4T", **look)
    with pytest.raises(rc.errors.EmptyMemoryError, match=why):
        memory.sample(1)


def test_repr_names_what_is_not_usual() -> None:
    assert repr(Sequence(8)) == "Sequence(8)"
    shown = "Sequence(8, burn_in=2, pad=False, n=3, gamma=0.9)"
    assert repr(Sequence(8, burn_in=2, pad=False, n=3, gamma=0.9)) == shown
