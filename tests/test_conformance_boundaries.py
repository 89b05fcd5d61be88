"""CONFORMANCE.md, Boundaries: B1 to B9, as tables of trajectories in and transitions out.

A trajectory is written as its episodes, "3T 2U 1B 4C 2X 3.": so many steps, then how they end: T
terminated, U truncated, B both, C `memory.cut`, X a reset that nobody told the memory of, "." still
going on. The observation of step t of episode e is [e, t], its reward `2 ** t` plus `100 * e`, so a
sum shows at sight which rewards went into it.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import STREAM_SHIFT, Look, Steps
from selfproving import KINDS, agree, everything, known_world, prove, schema, stacked, view

ENDS = "TUBCX"
DEPTHS = (1, 2, 3, 4)
WINDOWS = (1, 2, 3, 4, 5)


def small_schema(**extras: Any) -> rc.Schema:
    return rc.Schema.steps(obs=rc.Field((2,), np.int64), action=rc.Field((), np.int64), **extras)


def parse(trajectory: str) -> list[tuple[int, str]]:
    return [(int(episode[:-1]), episode[-1]) for episode in trajectory.split()]


def step(e: int, t: int, end: str = "") -> dict[str, Any]:
    return {
        "obs": np.array([e, t]),
        "action": 1000 * e + t,
        "reward": reward(e, t),
        "next_obs": np.array([e, t + 1]),
        "terminated": end in ("T", "B"),
        "truncated": end in ("U", "B"),
    }


def reward(e: int, t: int) -> float:
    return 2.0**t + 100 * e


def play(trajectory: str, memory: Any, first: int = 0) -> None:
    """Adds the trajectory; its first episode has the number `first`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rc.errors.ChainBreakWarning)
        for e, (length, end) in enumerate(parse(trajectory), start=first):
            for t in range(length):
                memory.add(**step(e, t, end if t + 1 == length else ""))
            if end == "C":
                memory.cut()


def memory_of(trajectory: str, capacity: int = 100, **look: Any) -> rc.Memory:
    memory = rc.Memory(small_schema(), capacity, view=view(Look(**look)), seed=0)
    play(trajectory, memory)
    return memory


def table(memory: Any) -> list[tuple[Any, ...]]:
    """(episode, t, reward, steps, next t, discount, terminated, truncated) of each drawable row."""
    rows = everything(memory).values()
    for row in rows:
        assert row["action"] == 1000 * row["obs"][0] + row["obs"][1]
        assert row["next_obs"][0] == row["obs"][0], "an example spans two episodes"
    return sorted(
        (
            *row["obs"].tolist(),
            float(row["reward"]),
            int(row["steps"]),
            int(row["next_obs"][1]),
            round(float(row["discount"]), 6),
            bool(row["terminated"]),
            bool(row["truncated"]),
        )
        for row in rows
    )


def window(e: int, t: int, length: int, end: str, n: int, gamma: float) -> tuple[Any, ...]:
    """The row of `table` for step t of an ended episode, in closed form."""
    steps = min(n, length - t)
    total = (2.0**t) * sum((2 * gamma) ** k for k in range(steps))
    total += 100 * e * sum(gamma**k for k in range(steps))
    reached = t + steps == length
    terminated = reached and end in "TB"
    discount = 0.0 if terminated else round(gamma**steps, 6)
    truncated = reached and end in "UBCX"
    return (e, t, total, steps, t + steps, discount, terminated, truncated)


def windows(trajectory: str, n: int, gamma: float, first: int = 0) -> list[tuple[Any, ...]]:
    """`table` of a trajectory of which nothing was overwritten, in closed form."""
    rows = []
    for e, (length, end) in enumerate(parse(trajectory), start=first):
        startable = length if end != "." else length - n + 1
        rows += [window(e, t, length, end, n, gamma) for t in range(startable)]
    return rows


def test_the_closed_form_agrees_with_a_table_by_hand() -> None:
    # gamma 1/2: each further reward of an episode weighs as much as the first.
    assert windows("3T 2U 4.", n=2, gamma=0.5) == [
        (0, 0, 2.0, 2, 2, 0.25, False, False),
        (0, 1, 4.0, 2, 3, 0.0, True, False),
        (0, 2, 4.0, 1, 3, 0.0, True, False),
        (1, 0, 152.0, 2, 2, 0.25, False, True),
        (1, 1, 102.0, 1, 2, 0.5, False, True),
        (2, 0, 302.0, 2, 2, 0.25, False, False),
        (2, 1, 304.0, 2, 3, 0.25, False, False),
        (2, 2, 308.0, 2, 4, 0.25, False, False),
    ]


@pytest.mark.parametrize("n", WINDOWS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_B1_no_window_or_stack_mixes_episodes_or_streams(n: int, depth: int) -> None:
    kind = "dict" if depth % 2 else "flat"
    look = Look(n, 0.9, {"obs": depth})
    memory = rc.Memory(schema(kind), 3 * 17, streams=3, view=view(look), seed=n)
    worlds = [known_world(kind, stream, 140) for stream in range(3)]
    for i in range(140):
        memory.add(**stacked([world[i] for world in worlds]))
        if i >= 16 and i % 4 == 0:
            prove(memory.sample(64), kind, look)
    assert memory.stats()["chain_breaks"] == 0
    assert {key >> STREAM_SHIFT for key in everything(memory)} == {0, 1, 2}


def test_B1_streams_added_to_in_turns_stay_apart() -> None:
    look = Look(3, 0.9, 2)
    memory = rc.Memory(schema("flat"), 3 * 40, streams=3, view=view(look), seed=0)
    worlds = [known_world("flat", stream, 60) for stream in range(3)]
    done = [0, 0, 0]
    order = np.random.default_rng(1).integers(0, 3, 100)
    for stream in order.tolist():
        memory.add(stream=stream, **worlds[stream][done[stream]])
        done[stream] += 1
    prove(memory.sample(500), "flat", look)


@pytest.mark.parametrize("n", WINDOWS)
@pytest.mark.parametrize("capacity", [2, 3, 5, 8])
def test_B2_newest_row_has_its_successor_and_oldest_is_nobodys(capacity: int, n: int) -> None:
    """One endless episode around the ring several times, looked at after each step."""
    memory = rc.Memory(small_schema(), capacity, view=rc.NStep(n, gamma=0.5), seed=0)
    for t in range(3 * capacity + 1):
        memory.add(**step(0, t))
        held = range(max(0, t + 2 - capacity), t + 1)
        assert len(memory) == len(held)
        startable = [s for s in held if s + n <= t + 1]
        if startable:
            found = everything(memory)
            assert sorted(found) == startable
            for key, row in found.items():
                assert row["obs"][1] == key
                assert row["next_obs"][1] == key + n
        else:
            with pytest.raises(rc.errors.EmptyMemoryError):
                memory.sample(1)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("start", range(9))
def test_B2_ring_seam_at_every_place_of_ended_episodes(end: str, start: int) -> None:
    """The trajectory is laid over the seam of a ring of 9 rows at each of its places."""
    capacity, trajectory = 9, f"2{end} 3{end} 2{end}"
    memory = rc.Memory(small_schema(), capacity, view=rc.NStep(2, gamma=0.5), seed=0)
    play("1T 1T 1T 1T 1T " + "1T " * start, memory, first=3)
    play(trajectory, memory)
    # An X at the very end is not known to be one: the last episode goes on.
    newest = trajectory[:-1] + "." if end == "X" else trajectory
    expected = windows(newest, 2, 0.5)
    # Rows 2+1, 3+1, 2+1 are one more than the ring holds, so the first step is gone.
    assert table(memory) == expected[1:]


@pytest.mark.parametrize("n", WINDOWS)
@pytest.mark.parametrize("length", [1, 2, 4])
def test_B3_truncation_carries_the_true_final_observation(length: int, n: int) -> None:
    memory = memory_of(f"{length}U 3U 2T", n=n, gamma=0.5)
    rows = [row for row in everything(memory).values() if row["obs"][0] == 0]
    final = [row["next_obs"].tolist() for row in rows if row["obs"][1] + n >= length]
    assert len(final) == min(n, length)
    assert all(observation == [0, length] for observation in final)


@pytest.mark.parametrize("n", WINDOWS)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("length", [1, 2, 3, 5, 6])
def test_B4_mask_is_zero_exactly_if_terminated_inside_window(length: int, end: str, n: int) -> None:
    trajectory = f"2T {length}{end} 3U 3."
    memory = memory_of(trajectory, n=n, gamma=0.5)
    assert table(memory) == windows(trajectory, n, 0.5)
    for row in everything(memory).values():
        inside = row["obs"][0] == 0 or (row["obs"][0] == 1 and end in "TB")
        ends_there = row["obs"][1] + n >= {0: 2, 1: length, 2: 3, 3: 99}[int(row["obs"][0])]
        assert (row["discount"] == 0) == (inside and ends_there)


def test_B4_both_flags_mask_and_are_both_kept() -> None:
    assert table(memory_of("2B", n=1, gamma=0.5)) == [
        (0, 0, 1.0, 1, 1, 0.5, False, False),
        (0, 1, 2.0, 1, 2, 0.0, True, True),
    ]


@pytest.mark.parametrize("end", "TU")
def test_B4_transition_view_masks_alike(end: str) -> None:
    memory = memory_of(f"2{end} 1{end}", gamma=0.5)
    assert table(memory) == windows(f"2{end} 1{end}", 1, 0.5)
    assert "discount" not in memory.reader(view=rc.Transition()).sample(1)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(
    "trajectory",
    ["1T", "1U", "1T 1U 1B", "1C 1X 1T", "4T", "1U 4T 1U 1U 2T 1T", "7U 1T 7U"],
)
def test_B5_each_step_starts_one_row_with_its_own_reward(trajectory: str, n: int) -> None:
    memory = memory_of(trajectory, n=n, gamma=0.5)
    steps = [(e, t) for e, (length, _) in enumerate(parse(trajectory)) for t in range(length)]
    assert [row[:2] for row in table(memory)] == steps
    assert len(memory) == len(steps)
    singles = memory.reader(view=rc.Transition(gamma=0.5))
    assert [row[2] for row in table(singles)] == [reward(e, t) for e, t in steps]


@pytest.mark.parametrize("capacity", [2, 3, 4, 5, 6])
def test_B5_one_step_episodes_around_the_ring(capacity: int) -> None:
    memory = rc.Memory(small_schema(), capacity, view=rc.NStep(3, gamma=0.5), seed=0)
    for e in range(4 * capacity):
        play(f"1{'TU'[e % 2]}", memory, first=e % 20)
        held = range(max(0, e + 1 - capacity // 2), e + 1)
        expected = sorted(window(k % 20, 0, 1, "TU"[k % 2], 3, 0.5) for k in held)
        assert table(memory) == expected


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.99, 1.0])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_B6_shortened_tails_keep_their_own_discount_and_final_observation(
    n: int, gamma: float
) -> None:
    rows = table(memory_of("4U 4T 1U", n=n, gamma=gamma))
    for e, t, _, steps, next_t, discount, *_ in rows:
        length = 1 if e == 2 else 4
        assert steps == min(n, length - t)
        assert next_t == min(t + n, length)
        if e != 1 or t + n < length:
            assert discount == round(gamma**steps, 6)


def test_B6_by_hand() -> None:
    assert table(memory_of("3U", n=5, gamma=0.5)) == [
        (0, 0, 3.0, 3, 3, 0.125, False, True),
        (0, 1, 4.0, 2, 3, 0.25, False, True),
        (0, 2, 4.0, 1, 3, 0.5, False, True),
    ]


@pytest.mark.parametrize("end", "UCX")
@pytest.mark.parametrize("n", WINDOWS)
@pytest.mark.parametrize("length", [1, 3, 5])
def test_B7_truncation_ends_a_window(length: int, n: int, end: str) -> None:
    """Whatever follows, the rows of a truncated episode are the same."""
    alone = windows(f"{length}U", n, 0.5)
    for following in ("3T", "1T 1T 1T", "6U", "1."):
        rows = table(memory_of(f"{length}{end} {following}", n=n, gamma=0.5))
        assert [row for row in rows if row[0] == 0] == alone


@pytest.mark.parametrize("end", ENDS)
def test_B7_not_even_a_nan_of_the_next_episode_leaks_in(end: str) -> None:
    memory = rc.Memory(small_schema(), 50, view=rc.NStep(4, gamma=0.5), seed=0)
    play(f"3{end}", memory)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rc.errors.ChainBreakWarning)
        for t in range(4):
            memory.add(**step(1, t) | {"reward": [np.nan, np.inf, -np.inf, np.nan][t]})
    rows = [row for row in everything(memory).values() if row["obs"][0] == 0]
    assert [float(row["reward"]) for row in rows] == [3.0, 4.0, 4.0]


def test_B7_n_may_be_a_schedule_whose_largest_value_decides_eligibility() -> None:
    """n goes from 1 to 5 over four calls and stays there."""
    memory = rc.Memory(
        small_schema(), 50, view=rc.NStep(rc.linear(1, 5, over=4), gamma=0.5), seed=0
    )
    play("7U 8.", memory)
    for n in (1, 2, 3, 4, 5, 5):
        batch = memory.sample(600)
        e, t = batch.obs.T
        assert {(0, k) for k in range(7)} | {(1, k) for k in range(4)} == set(
            zip(e.tolist(), t.tolist(), strict=True)
        )
        steps = np.minimum(n, np.where(e == 0, 7, 8) - t)
        np.testing.assert_array_equal(batch.steps, steps)
        np.testing.assert_array_equal(batch.next_obs[:, 1], t + steps)
        np.testing.assert_allclose(batch.discount, 0.5**steps)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("end", ENDS)
def test_B8_stack_repeats_the_first_observation(end: str, depth: int) -> None:
    found = everything(memory_of(f"3T 5{end} 2T", stack={"obs": depth}))
    assert len(found) == 10
    for row in found.values():
        e, t = row["obs"][-1]
        frames = [[e, max(0, t - back)] for back in range(depth - 1, -1, -1)]
        assert row["obs"].tolist() == frames
        frames = [[e, max(0, t + 1 - back)] for back in range(depth - 1, -1, -1)]
        assert row["next_obs"].tolist() == frames


def test_B8_by_hand() -> None:
    found = everything(memory_of("2T", n=2, gamma=0.5, stack=3))
    assert [
        (row["obs"][:, 1].tolist(), row["next_obs"][:, 1].tolist()) for row in found.values()
    ] == [
        ([0, 0, 0], [0, 1, 2]),
        ([0, 0, 1], [0, 1, 2]),
    ]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("capacity", [6, 7])
def test_B8_row_whose_history_was_overwritten_is_not_eligible(capacity: int, depth: int) -> None:
    """One endless episode: of the held steps the first depth - 1 lack their history once the
    episode's own start has been overwritten."""
    memory = rc.Memory(small_schema(), capacity, view=rc.Transition(stack=depth), seed=0)
    for t in range(3 * capacity):
        memory.add(**step(0, t))
        oldest = max(0, t + 2 - capacity)
        startable = range(oldest if oldest == 0 else oldest + depth - 1, t + 1)
        found = everything(memory)
        assert sorted(found) == list(startable)
        for key, row in found.items():
            frames = [max(0, key - back) for back in range(depth - 1, -1, -1)]
            assert row["obs"][:, 1].tolist() == frames


def test_B8_episode_start_at_the_ring_head_still_pads() -> None:
    """Four rows hold the second episode alone: the first one's closing row was just overwritten."""
    memory = memory_of("3T 3T", capacity=4, stack=4)
    assert sorted(row["obs"][:, 1].tolist() for row in everything(memory).values()) == [
        [0, 0, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 1, 2],
    ]


def test_B8_each_leaf_has_its_own_stack() -> None:
    kind = "dict"
    for stack in ({"obs.image": 3}, {"obs.place": 2, "obs.image": 4}, {"obs.speed": 1}, 2):
        look = Look(2, 0.9, stack)
        memory, oracle = rc.Memory(schema(kind), 20, view=view(look), seed=0), Steps(20)
        for world_step in known_world(kind, 0, 60):
            memory.add(**world_step)
            oracle.add(**world_step)
        agree(everything(memory), oracle.examples(look))
        prove(memory.sample(100), kind, look)


@pytest.mark.parametrize("kind", list(KINDS))
def test_B8_every_kind_of_observation(kind: str) -> None:
    look = Look(3, 0.9, {"obs": 3})
    memory, oracle = rc.Memory(schema(kind), 20, view=view(look), seed=0), Steps(20)
    for world_step in known_world(kind, 0, 60):
        memory.add(**world_step)
        oracle.add(**world_step)
    agree(everything(memory), oracle.examples(look))


@pytest.mark.parametrize("n", [1, 3])
def test_B9_a_broken_chain_closes_the_episode_and_is_counted(n: int) -> None:
    memory = rc.Memory(small_schema(), 50, view=rc.NStep(n, gamma=0.5), seed=0)
    play("3.", memory)
    assert table(memory) == windows("3.", n, 0.5)
    with pytest.warns(rc.errors.ChainBreakWarning):
        memory.add(**step(1, 0))
    assert memory.stats()["chain_breaks"] == 1
    assert memory.stats()["episodes"] == 2
    assert table(memory) == windows("3X 1.", n, 0.5)
    memory.add(**step(1, 1, "T"))
    assert memory.stats()["chain_breaks"] == 1
    assert table(memory) == windows("3X 2T", n, 0.5)


def test_B9_is_warned_of_at_the_first_tenth_and_hundredth() -> None:
    memory = rc.Memory(small_schema(), 50, seed=0)
    warned_at = []
    for e in range(120):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            memory.add(**step(e % 20, 0))
        if caught:
            assert [w.category for w in caught] == [rc.errors.ChainBreakWarning]
            warned_at.append(e)
    assert warned_at == [1, 10, 100]
    assert memory.stats()["chain_breaks"] == 119


def test_B9_warns_where_one_call_passes_the_tenth() -> None:
    memory = rc.Memory(small_schema(), 50, seed=0)
    with pytest.warns(rc.errors.ChainBreakWarning):
        memory.extend(**stacked([step(e, 0) for e in range(8)]))
    with pytest.warns(rc.errors.ChainBreakWarning):
        memory.extend(**stacked([step(e, 0) for e in range(8, 14)]))
    assert memory.stats()["chain_breaks"] == 13


@pytest.mark.parametrize("how", ["add", "extend", "batched"])
def test_B9_chain_raise_leaves_the_memory_unchanged(how: str) -> None:
    pair = []
    for _ in range(2):
        streams = 2 if how == "batched" else None
        memory = rc.Memory(small_schema(), 40, streams=streams, chain="raise", seed=3)
        for t in range(4):
            one = step(0, t)
            memory.add(**(stacked([one, one]) if streams else one))
        pair.append(memory)
    bad, twin = pair
    breaking: dict[str, Any] = {
        "add": lambda: bad.add(**step(1, 0)),
        "extend": lambda: bad.extend(**stacked([step(0, 4), step(0, 5), step(1, 0)])),
        "batched": lambda: bad.add(**stacked([step(0, 4), step(1, 0)])),
    }
    with pytest.raises(rc.errors.ChainError):
        breaking[how]()
    assert bad.stats() == twin.stats()
    for memory in pair:
        following = step(0, 4, "T")
        memory.add(**(stacked([following, following]) if how == "batched" else following))
    assert bad.stats() == twin.stats()
    agree(everything(bad), {k: _plain(row) for k, row in everything(twin).items()})


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in row.keys() - {"key", "weight", "probability"}}


@pytest.mark.parametrize(
    ("before", "after", "breaks"),
    [(np.nan, np.nan, 0), (0.0, -0.0, 1), (1.0, 1.0, 0), (1.0, np.nextafter(1, 2), 1)],
)
def test_B9_observations_are_compared_as_bytes(before: float, after: float, breaks: int) -> None:
    memory = rc.Memory(rc.Schema.steps(obs=rc.Field((2,), np.float64), action=rc.Field((), int)), 9)
    common = {"action": 0, "reward": 0.0, "terminated": False, "truncated": False}
    memory.add(obs=np.zeros(2), next_obs=np.array([5, before]), **common)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rc.errors.ChainBreakWarning)
        memory.add(obs=np.array([5, after]), next_obs=np.ones(2), **common)
    assert memory.stats()["chain_breaks"] == breaks


@pytest.mark.parametrize("leaf", ["image", "place", "speed"])
def test_B9_a_change_of_any_leaf_breaks_the_chain(leaf: str) -> None:
    memory = rc.Memory(schema("dict"), 30, seed=0)
    first, second = known_world("dict", 2, 2)
    memory.add(**first)
    second["obs"][leaf].reshape(-1)[-1] += 1
    with pytest.warns(rc.errors.ChainBreakWarning):
        memory.add(**second)
    assert memory.stats()["chain_breaks"] == 1


def test_B9_only_the_broken_stream_is_closed() -> None:
    memory = rc.Memory(small_schema(), 60, streams=3, view=rc.NStep(2, gamma=0.5), seed=0)
    for t in range(3):
        memory.add(**stacked([step(e, t) for e in range(3)]))
    with pytest.warns(rc.errors.ChainBreakWarning):
        memory.add(**stacked([step(0, 3), step(7, 0), step(2, 3)]))
    stats = memory.stats()
    assert (stats["chain_breaks"], stats["episodes"]) == (1, 4)
    expected = [window(0, t, 9, ".", 2, 0.5) for t in range(3)]
    expected += [window(1, t, 3, "X", 2, 0.5) for t in range(3)]
    expected += [window(2, t, 9, ".", 2, 0.5) for t in range(3)]
    assert table(memory) == expected


def test_B9_no_break_after_an_end_or_a_cut_or_clear() -> None:
    memory = rc.Memory(small_schema(), 60, seed=0)
    play("2T 2U 2B 2C 1T", memory)
    play("2.", memory, first=9)
    memory.clear()
    play("2T", memory)
    assert memory.stats()["chain_breaks"] == 0
