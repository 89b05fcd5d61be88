"""Hindsight, against a memory of plain lists that knows which goals a step may get, and what an
example has to hold under each.

What a step achieved says where it was: (stream, episode, number of the observation). So a goal in a
batch says by itself which observation it was taken from.
"""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import recollect as rc
from oracle import STREAM_SHIFT, Ring, Steps, chi_square_tail, leaves
from recollect.views.hindsight import Hindsight
from recollect.views.sequence import Sequence

GAMMA = 0.5
SOUGHT = -1  # the episode and observation that a goal names that is as it was stored
STRATEGIES = ("future", "final", "episode")


def observation(stream: int, episode: int, t: int) -> dict[str, np.ndarray]:
    here = np.array([stream, episode, t])
    # as in environments that move the goal now and then, it is not the same throughout
    return {
        "observation": 7 * here.astype(np.float32),
        "achieved_goal": here,
        "desired_goal": np.array([stream, SOUGHT, -10 - t]),
    }


def goal_schema(**extras: Any) -> rc.Schema:
    three = rc.Field((3,), np.int64)
    return rc.Schema.steps(
        obs={
            "observation": rc.Field((3,), np.float32),
            "achieved_goal": three,
            "desired_goal": three,
        },
        action=rc.Field((), np.int64),
        bonus=rc.Field((), np.float32),
        **extras,
    )


def step(stream: int, episode: int, t: int, end: str = "") -> dict[str, Any]:
    return {
        "obs": observation(stream, episode, t),
        "action": t,
        "reward": 1000.0 + t,
        "next_obs": observation(stream, episode, t + 1),
        "terminated": end in ("T", "B"),
        "truncated": end in ("U", "B"),
        "bonus": t / 8,
    }


def reward(achieved: Any, desired: Any, info: Any) -> Any:
    """Another number for each pair of observations of an episode, and for each step."""
    assert achieved.shape == desired.shape == (len(achieved), 3)
    assert set(info) == {"bonus"} and len(info) == 1
    np.testing.assert_array_equal(achieved[:, :2], desired[:, :2])
    np.testing.assert_array_equal(info["bonus"], (achieved[:, 2] - 1) / 8)
    return achieved[:, 2] * 64.0 + desired[:, 2] + info["bonus"]


def terminated(achieved: Any, desired: Any, info: Any) -> Any:
    return (achieved[:, 2] + 2 * desired[:, 2]) % 5 == 0


def play(memory: rc.Memory, oracle: Steps, episodes: list[tuple[int, int, str]]) -> None:
    """Adds episodes (stream, length, end), numbered as they come; ends: T terminated, U truncated,
    B both, C `memory.cut`, X a reset that nobody told of, "." still going on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rc.ChainBreakWarning)
        for number, (stream, length, end) in enumerate(episodes):
            for t in range(length):
                fields = step(stream, number, t, end if t + 1 == length else "")
                chosen = {} if memory.streams is None else {"stream": stream}
                key = memory.add(**chosen, **fields)
                assert key == oracle.add(stream=stream, **fields)
            if end == "C":
                memory.cut(**chosen)
                oracle.cut(stream)


def goals_of(ring: Ring, i: int, strategy: str) -> list[int]:
    """The observations, by number, that an example of row i may get for a goal."""
    first = last = i
    while last + 1 < len(ring.rows) and ring.rows[last].step is not None:
        last += 1
    while first > 0 and ring.rows[first - 1].step is not None:
        first -= 1
    begin = {"future": i + 1, "final": last, "episode": first + 1}[strategy]
    return [row.offset for row in ring.rows[begin : last + 1]]


def expected(ring: Ring, i: int, goal: int | None, n: int, ends_anew: bool) -> dict[str, Any]:
    """The example of row i under this goal, None: as it was stored."""
    total, steps = 0.0, 0
    while True:
        row, then = ring.rows[i + steps], ring.rows[i + steps + 1]
        ends = row.step["terminated"], row.step["truncated"]
        if goal is None:
            total += GAMMA**steps * row.step["reward"]
        else:
            total += GAMMA**steps * (64 * then.offset + goal + row.offset / 8)
            if ends_anew:
                terminal = (then.offset + 2 * goal) % 5 == 0
                ends = terminal, ends[1] or (then.step is None and not terminal)
        steps += 1
        if any(ends) or steps == n:
            break
    example = {
        "reward": total,
        "steps": steps,
        "terminated": ends[0],
        "truncated": ends[1],
        "discount": 0.0 if ends[0] else GAMMA**steps,
        "action": ring.rows[i].step["action"],
        "bonus": ring.rows[i].step["bonus"],
    }
    for name, number in (("obs", i), ("next_obs", i + steps)):
        for leaf, value in ring.rows[number].obs.items():
            example[f"{name}.{leaf}"] = value
        if goal is not None:
            here = ring.rows[number].obs["achieved_goal"]
            example[f"{name}.desired_goal"] = np.array([*here[:2], goal])
    return example


def finished(ring: Ring) -> list[int]:
    """Places of the steps of finished episodes."""
    places = [i for i, row in enumerate(ring.rows) if row.step is not None]
    return [i for i in places if not ring.rows[i + ring.steps_left(i)].open]


def check(
    batch: rc.Batch, oracle: Steps, strategy: str, n: int, ends_anew: bool
) -> dict[int, Counter[int | None]]:
    """Asserts that each example is right under its goal; how often each key got which goal."""
    found: dict[int, Counter[int | None]] = {}
    known: dict[tuple[int, int | None], dict[str, Any]] = {}
    columns = dict(leaves(batch))
    for b, key in enumerate(batch.key.tolist()):
        ring = oracle.rings[key >> STREAM_SHIFT]
        (i,) = (i for i, row in enumerate(ring.rows) if key & (1 << STREAM_SHIFT) - 1 == row.number)
        stored = batch.obs.desired_goal[b, 1] == SOUGHT
        goal = None if stored else int(batch.obs.desired_goal[b, 2])
        assert stored or goal in goals_of(ring, i, strategy)
        if (key, goal) not in known:
            known[key, goal] = expected(ring, i, goal, n, ends_anew)
        for name, value in known[key, goal].items():
            assert np.array_equal(columns[name][b], value), f"{name} of {key} under {goal}"
        found.setdefault(key, Counter())[goal] += 1
    return found


def looking(strategy: str, n: int | None = None, **more: Any) -> Hindsight:
    inner = rc.Transition(gamma=GAMMA) if n is None else rc.NStep(n, gamma=GAMMA)
    return Hindsight(inner, reward=reward, strategy=strategy, **more)


def memory_of(
    episodes: list[tuple[int, int, str]],
    view: Hindsight,
    size: int = 200,
    streams: int | None = None,
    **more: Any,
) -> tuple[rc.Memory, Steps]:
    count = streams or 1
    memory = rc.Memory(goal_schema(), size * count, streams=streams, view=view, seed=0, **more)
    oracle = Steps(size, count)
    play(memory, oracle, episodes)
    return memory, oracle


# ------------------------------------------------------------------ CONFORMANCE.md, Hindsight


def test_H1_the_goal_and_the_reward_are_of_the_next_achieved_goal() -> None:
    # one step: its own next achieved goal is the only one, and is reached by it
    def reached(achieved: Any, desired: Any, info: Any) -> Any:
        return np.where((achieved == desired).all(axis=1), 5, -1)

    for strategy in STRATEGIES:
        view = Hindsight(rc.Transition(), reward=reached, strategy=strategy, ratio=1)
        memory, _ = memory_of([(0, 1, "U")], view)
        batch = memory.sample(20)
        np.testing.assert_array_equal(batch.obs.desired_goal, [[0, 0, 1]] * 20)
        np.testing.assert_array_equal(batch.next_obs.desired_goal, [[0, 0, 1]] * 20)
        np.testing.assert_array_equal(batch.reward, [5] * 20)
    # many steps: whoever reaches the goal is rewarded, the step before is not
    view = Hindsight(rc.Transition(), reward=reached, ratio=1)
    batch = memory_of([(0, 9, "U")], view)[0].sample(500)
    near = batch.obs.desired_goal[:, 2] - batch.obs.achieved_goal[:, 2]
    assert set(near.tolist()) == set(range(1, 10))
    np.testing.assert_array_equal(batch.reward, np.where(near == 1, 5, -1))
    assert batch.reward.dtype == np.float32


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_H2_goals_are_of_the_same_episode_and_final_is_its_last_state(strategy: str) -> None:
    episodes = [(0, 4, "T"), (0, 1, "U"), (0, 6, "C"), (0, 2, "B"), (0, 3, "X"), (0, 5, "T")]
    memory, oracle = memory_of([*episodes, (0, 4, ".")], looking(strategy, ratio=1))
    found = check(memory.sample(4000), oracle, strategy, 1, ends_anew=False)
    assert set(found) == {oracle.rings[0].rows[i].number for i in finished(oracle.rings[0])}
    assert len(found) == 21
    for i in finished(oracle.rings[0]):
        row = oracle.rings[0].rows[i]
        length = episodes[int(row.obs["achieved_goal"][1])][1]
        goals = {
            "future": set(range(row.offset + 1, length + 1)),
            "final": {length},
            "episode": set(range(1, length + 1)),
        }[strategy]
        assert set(found[row.number]) == goals


def test_H3_ends_are_recomputed_or_left_as_they_were() -> None:
    def reached(achieved: Any, desired: Any, info: Any) -> Any:
        return (achieved == desired).all(axis=1)

    episodes = [(0, 4, "T"), (0, 4, "U")]
    both = {"reward": lambda *given: 1.0 * reached(*given), "strategy": "episode", "ratio": 1}
    memory, _ = memory_of(episodes, Hindsight(rc.NStep(9, gamma=GAMMA), **both))
    left = memory.sample(500)
    t, episode = left.obs.achieved_goal[:, 2], left.obs.achieved_goal[:, 1]
    np.testing.assert_array_equal(left.steps, 4 - t)
    np.testing.assert_array_equal(left.terminated, episode == 0)
    np.testing.assert_array_equal(left.truncated, episode == 1)

    view = Hindsight(rc.NStep(9, gamma=GAMMA), terminated=reached, **both)
    anew = memory.reader(view=view, sampler=rc.Uniform()).sample(500)
    t, goal = anew.obs.achieved_goal[:, 2], anew.obs.desired_goal[:, 2]
    ahead = goal > t
    assert ahead.any() and not ahead.all()
    # the window ends where the goal is reached, which is rewarded; past it, at the episode's end,
    # where nothing terminates any more: the episode stops, its value does not
    np.testing.assert_array_equal(anew.steps, np.where(ahead, goal - t, 4 - t))
    np.testing.assert_array_equal(anew.terminated, ahead)
    np.testing.assert_array_equal(
        anew.truncated, ~ahead | (goal == 4) & (anew.obs.achieved_goal[:, 1] == 1)
    )
    np.testing.assert_array_equal(anew.next_obs.achieved_goal[:, 2], np.where(ahead, goal, 4))
    np.testing.assert_allclose(anew.reward, np.where(ahead, GAMMA ** (goal - t - 1.0), 0))
    np.testing.assert_allclose(anew.discount, np.where(ahead, 0, GAMMA ** (4.0 - t)))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_H4_the_store_is_never_changed(strategy: str) -> None:
    view = looking(strategy, 3, terminated=terminated, ratio=1)
    store = rc.Ram()
    episodes = [(0, 40, "T"), (1, 30, "U"), (0, 1, "B"), (1, 50, "C"), (0, 30, "X"), (0, 9, ".")]
    memory, _ = memory_of(episodes, view, size=64, streams=2, store=store)
    before = [array.tobytes() for array in store.arrays.values()]
    for _ in range(20):
        batch = memory.sample(64)
        assert (batch.obs.desired_goal[:, 1] != SOUGHT).all()
        # what was sampled is the caller's
        for array in (batch.obs.desired_goal, batch.next_obs.desired_goal, batch.reward):
            assert array.flags.c_contiguous and array.flags.writeable
            array[...] = 0
    assert [array.tobytes() for array in store.arrays.values()] == before


# ------------------------------------------------------------------ distributions


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_P1_goals_are_uniform_over_what_the_strategy_names(strategy: str) -> None:
    episodes = [(0, 30, "U"), (0, 7, "T"), (0, 12, "C"), (0, 3, ".")]
    # of the first episode only the last rows are held
    memory, oracle = memory_of(episodes, looking(strategy, ratio=0.6), size=33)
    found: dict[int, Counter[int | None]] = {}
    for _ in range(30):
        for key, goals in check(memory.sample(900), oracle, strategy, 1, False).items():
            del goals[None]
            found.setdefault(key, Counter()).update(goals)
    total = sum(sum(drawn.values()) for drawn in found.values())
    ring = oracle.rings[0]
    counts, shares = [], []
    for i in finished(ring):
        goals = goals_of(ring, i, strategy)
        drawn = found[ring.rows[i].number]
        assert set(drawn) <= set(goals)
        counts += [drawn[goal] for goal in goals]
        shares += [total / len(found) / len(goals)] * len(goals)
    assert ring.rows[0].offset > 0, "the test wants an episode whose beginning is overwritten"
    assert chi_square_tail(np.array(counts), np.array(shares)) > 1e-4


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_older_lap_of_the_ring_is_not_taken_for_an_episodes_end(strategy: str) -> None:
    memory, oracle = memory_of([(0, 6, "T"), (0, 6, "T"), (0, 5, "T")], looking(strategy), size=20)
    memory.sample(50)  # most episodes have six steps
    for t in range(3):
        fields = step(0, 3, t, "T" if t == 2 else "")
        assert memory.add(**fields) == oracle.add(**fields)
    # six rows from the beginning of this one, the closing row of the first one is still there
    assert oracle.rings[0].rows[0].number == 4
    found = check(memory.sample(400), oracle, strategy, 1, False)
    assert {20, 21, 22} <= set(found)


def test_P1_examples_are_relabelled_as_often_as_the_ratio_says() -> None:
    for ratio in (0.0, 0.3, 0.8, 1.0):
        memory, _ = memory_of([(0, 20, "T")], looking("future", ratio=ratio))
        batch = memory.sample(4000)
        kept = batch.obs.desired_goal[:, 1] == SOUGHT
        np.testing.assert_array_equal(kept, batch.next_obs.desired_goal[:, 1] == SOUGHT)
        np.testing.assert_array_equal(batch.reward[kept], 1000 + batch.action[kept])
        if 0 < ratio < 1:
            expected = np.array([1 - ratio, ratio]) * 4000
            assert chi_square_tail(np.array([kept.sum(), (~kept).sum()]), expected) > 1e-4
            # whether has nothing to do with which step, nor with which goal
            assert abs(np.corrcoef(kept, batch.action)[0, 1]) < 0.06
        else:
            assert kept.all() == (ratio == 0) and kept.any() == (ratio == 0)


def test_the_ratio_may_be_a_schedule_over_sample_calls() -> None:
    memory, _ = memory_of([(0, 20, "T")], looking("final", ratio=rc.linear(0, 1, over=4)))
    shares = [
        (memory.sample(1000).obs.desired_goal[:, 1] != SOUGHT).mean().item() for _ in range(6)
    ]
    np.testing.assert_allclose(shares, [0, 0.25, 0.5, 0.75, 1, 1], atol=0.05)


def test_the_same_seed_draws_the_same_goals() -> None:
    drawn = []
    for _ in range(2):
        memory, _ = memory_of([(0, 50, "T"), (0, 40, "U")], looking("episode", 3))
        drawn.append([memory.sample(32).obs.desired_goal.tobytes() for _ in range(5)])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 5


# ------------------------------------------------------------------ any episodes, any ring

SETTINGS = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
lives = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 50), st.sampled_from("TUBCX.")),
    min_size=1,
    max_size=12,
)


@SETTINGS
@given(
    lives=lives,
    streams=st.sampled_from([None, 1, 3]),
    size=st.integers(2, 80),
    strategy=st.sampled_from(STRATEGIES),
    n=st.sampled_from([None, 1, 2, 5]),
    ends_anew=st.booleans(),
    removed=st.integers(0, 3),
)
def test_every_example_is_right_under_its_goal(
    lives: Any, streams: Any, size: int, strategy: str, n: Any, ends_anew: bool, removed: int
) -> None:
    lives = [(stream % (streams or 1), length, end) for stream, length, end in lives]
    view = looking(strategy, n, terminated=terminated if ends_anew else None)
    memory, oracle = memory_of(lives, view, size, streams)
    wanted = {
        stream << STREAM_SHIFT | ring.rows[i].number
        for stream, ring in enumerate(oracle.rings)
        for i in finished(ring)
    }
    gone = sorted(wanted)[:removed]
    memory.remove(gone)
    wanted -= set(gone)
    if not wanted:
        with pytest.raises(rc.EmptyMemoryError):
            memory.sample(1)
        return
    assert memory.eligible == len(wanted)
    found = check(memory.sample(160), oracle, strategy, n or 1, ends_anew)
    assert set(found) <= wanted


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("streams", [None, 2])
@pytest.mark.parametrize("end", "TC.")
def test_an_episode_that_began_where_an_older_one_did_is_not_taken_for_it(
    strategy: str, streams: Any, end: str
) -> None:
    # rows of both lie in the ring, each as far from its episode's first row as from its slot
    size = 24
    for newer in range(1, 14, 2):
        for rest in (0, 2, 5):
            episodes = [(0, 16 + rest, "U"), (0, 6 - rest, "T"), (0, newer, end)]
            memory, oracle = memory_of(episodes, looking(strategy, ratio=1), size, streams)
            ring = oracle.rings[0]
            assert ring.rows[-1].number - ring.rows[-1].offset == size
            check(memory.sample(100), oracle, strategy, 1, ends_anew=False)


def test_long_episodes_are_searched_to_their_end() -> None:
    for length in (1, 2, 7, 127, 128, 129, 255, 256, 257, 5_000, 40_000):
        rows: dict[str, Any] = {
            name: np.stack([step(0, 0, 0)["obs"][name]] * (length + 1))
            for name in ("observation", "achieved_goal", "desired_goal")
        }
        rows["achieved_goal"][:, 2] = np.arange(length + 1)
        ends = np.arange(length) == length - 1
        memory = rc.Memory(
            goal_schema(), 50_000, view=looking("final", ratio=1), sampler=rc.Shuffled(), seed=0
        )
        memory.extend(
            obs={name: rows[name][:-1] for name in rows},
            next_obs={name: rows[name][1:] for name in rows},
            action=np.arange(length),
            reward=np.zeros(length),
            terminated=ends,
            truncated=~ends & ends,
            bonus=np.arange(length) / np.float32(8),
        )
        batch = memory.sample(min(length, 2000))
        assert (batch.obs.desired_goal[:, 2] == length).all()


def test_stacks_show_the_goal_in_every_frame() -> None:
    def reached(achieved: Any, desired: Any, info: Any) -> Any:
        return (achieved == desired).all(axis=1)

    view = Hindsight(rc.NStep(2, GAMMA, stack=3), reward=reached, ratio=0.5)
    memory, _ = memory_of([(0, 6, "T"), (0, 2, "U")], view)
    batch = memory.sample(300)
    chosen = batch.obs.desired_goal[:, 0, 1] != SOUGHT
    assert chosen.any() and not chosen.all()
    for part, later in ((batch.obs, 0), (batch.next_obs, batch.steps)):
        t = part.achieved_goal[:, -1, 2]
        np.testing.assert_array_equal(t, batch.action + later)
        frames = np.maximum(t[:, None] - [2, 1, 0], 0)
        np.testing.assert_array_equal(part.achieved_goal[:, :, 2], frames)
        np.testing.assert_array_equal(part.desired_goal[~chosen, :, 2], -10 - frames[~chosen])
        goals = part.desired_goal[chosen]
        np.testing.assert_array_equal(goals, goals[:, :1].repeat(3, axis=1))
        assert (goals[:, -1, 2] > batch.action[chosen]).all()


def test_sequences_have_one_goal_throughout_and_end_where_it_is_reached() -> None:
    def reached(achieved: Any, desired: Any, info: Any) -> Any:
        return (achieved == desired).all(axis=1)

    view = Hindsight(Sequence(5, bootstrap=True), reward=reached, terminated=reached, ratio=1)
    memory, _ = memory_of([(0, 9, "U"), (0, 2, "T"), (0, 3, ".")], view)
    batch = memory.sample(300)
    assert not hasattr(batch, "next_obs")
    t, goal = batch.action[:, 0], batch.obs.desired_goal[:, 0, 2]
    steps = np.minimum(goal - t, 5)
    np.testing.assert_array_equal(batch.mask, np.arange(5) < steps[:, None])
    np.testing.assert_array_equal(batch.reward, np.arange(5) == (goal - t - 1)[:, None])
    np.testing.assert_array_equal(batch.terminated, batch.reward == 1)
    for b in range(300):
        goals = batch.obs.desired_goal[b, : steps[b] + 1, 2]
        np.testing.assert_array_equal(goals, goal[b])
        keys = batch.row_key[b, : steps[b]]
        np.testing.assert_array_equal(keys, batch.key[b] + np.arange(steps[b]))
    with pytest.raises(rc.ConfigurationError, match="a goal is one episode's, and Sequence"):
        Hindsight(Sequence(5, cross_episodes=True), reward=reached)


# ------------------------------------------------------------------ beside the other parts


@pytest.mark.parametrize(
    "sampler",
    [rc.Prioritized(), rc.Ranked(), rc.Newest(), rc.Oldest(), rc.Shuffled(), rc.Recent(20)],
    ids=repr,
)
def test_any_sampler_draws_the_examples(sampler: Any) -> None:
    episodes = [(0, 20, "U"), (1, 9, "T"), (1, 15, "C"), (0, 12, "T"), (0, 3, ".")]
    memory, oracle = memory_of(episodes, looking("future", 3), 30, 2, sampler=sampler)
    for _ in range(5):
        batch = memory.sample(16)
        check(batch, oracle, "future", 3, ends_anew=False)
        if sampler.takes_priorities:
            assert memory.update(batch.key, priority=batch.reward) == 16


def test_an_episode_that_goes_on_is_not_drawn_and_enters_as_it_ends() -> None:
    memory = rc.Memory(goal_schema(), 100, view=looking("future"), seed=0)
    for t in range(5):
        memory.add(**step(0, 0, t))
        assert memory.eligible == 0
        with pytest.raises(rc.EmptyMemoryError):
            memory.sample(4)
    memory.add(**step(0, 0, 5, "U"))
    assert memory.eligible == 6
    memory.add(**step(0, 1, 0))
    assert memory.eligible == 6


def test_readers_with_and_without_hindsight_share_the_rows() -> None:
    memory, oracle = memory_of([(0, 8, "T"), (0, 3, ".")], looking("final", 2, ratio=1))
    plain = memory.reader(view=rc.NStep(2, GAMMA), sampler=rc.Uniform())
    assert (memory.eligible, plain.eligible) == (8, 10)
    check(memory.sample(50), oracle, "final", 2, ends_anew=False)
    assert (plain.sample(50).obs.desired_goal[:, 1] == SOUGHT).all()
    memory.resize(6)
    oracle.resize(6)
    check(memory.sample(50), oracle, "final", 2, ends_anew=False)


def test_rewards_may_have_a_shape_and_goals_too() -> None:
    goal = rc.Field((2, 2), np.float64)
    schema = rc.Schema.steps(
        obs={"here": rc.Field((2, 2), np.float32), "there": goal},
        action=rc.Field((), np.int64),
        reward=rc.Field((2,), np.float64),
    )

    def rewards(achieved: Any, desired: Any, info: Any) -> Any:
        assert not info
        return desired[:, 0] - achieved[:, 0]

    view = Hindsight(rc.NStep(3, 1.0), "there", "here", reward=rewards, ratio=1)
    memory = rc.Memory(schema, 100, view=view, seed=0)
    for t in range(9):
        here, then = (np.full((2, 2), s, np.float32) for s in (t, t + 1))
        memory.add(
            obs={"here": here, "there": here - 9},
            next_obs={"here": then, "there": then - 9},
            action=t,
            reward=np.zeros(2),
            terminated=False,
            truncated=t == 8,
        )
    batch = memory.sample(200)
    assert batch.obs.there.dtype == np.float64 and batch.obs.there.shape == (200, 2, 2)
    goal, t = batch.obs.there[:, 0, 0], batch.action
    total = sum(np.where(t + k < 9, goal - (t + k + 1), 0) for k in range(3))
    np.testing.assert_array_equal(batch.reward, np.stack([total, total], axis=1))


def test_extras_are_read_when_they_are_asked_for() -> None:
    seen: list[Any] = []

    def rewards(achieved: Any, desired: Any, info: Any) -> Any:
        seen.append(info)
        return np.zeros(len(achieved))

    memory, _ = memory_of([(0, 8, "T")], Hindsight(rc.Transition(), reward=rewards, ratio=1))
    memory.sample(4)
    (info,) = seen
    assert list(info) == ["bonus"] and info["bonus"].shape == (4,)
    with pytest.raises(KeyError):
        info["obs.observation"]


def test_a_goal_that_is_chosen_by_nobody_asks_for_no_reward() -> None:
    def rewards(achieved: Any, desired: Any, info: Any) -> Any:
        raise AssertionError("nothing was relabelled")

    memory, _ = memory_of([(0, 8, "T")], Hindsight(rc.Transition(), reward=rewards, ratio=0))
    memory.sample(64)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_goals_are_right_while_a_thread_adds(strategy: str) -> None:
    # a batch of which a row was overwritten meanwhile is drawn anew: only what is returned is
    # looked at here, as the functions see the others too
    def rewards(achieved: Any, desired: Any, info: Any) -> Any:
        return 64.0 * achieved[:, 2] + desired[:, 2]

    view = Hindsight(rc.Transition(), reward=rewards, strategy=strategy, ratio=1)
    memory = rc.Memory(goal_schema(), 40, view=view, seed=0)
    lengths = [1 + (5 * episode + episode**2) % 17 for episode in range(400)]
    for t in range(lengths[0]):
        memory.add(**step(0, 0, t, "U" if t + 1 == lengths[0] else ""))
    errors: list[BaseException] = []
    done = threading.Event()

    def add() -> None:
        try:
            for episode, length in enumerate(lengths[1:], start=1):
                for t in range(length):
                    memory.add(**step(0, episode, t, "U" if t + 1 == length else ""))
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=add, daemon=True)
    thread.start()
    rounds = 0
    while not done.is_set() or rounds < 20:
        batch = memory.sample(16)
        here, goal = batch.obs.achieved_goal, batch.obs.desired_goal
        np.testing.assert_array_equal(here[:, :2], goal[:, :2])
        last = np.array(lengths)[here[:, 1]]
        least = {"future": here[:, 2] + 1, "final": last, "episode": 1}[strategy]
        assert (goal[:, 2] >= least).all() and (goal[:, 2] <= last).all()
        np.testing.assert_array_equal(batch.reward, 64 * (here[:, 2] + 1) + goal[:, 2])
        rounds += 1
    thread.join(60)
    assert not errors and not thread.is_alive()


# ------------------------------------------------------------------ bad input

three, four = rc.Field((3,), np.float32), rc.Field((4,), np.float32)


@pytest.mark.parametrize(
    ("obs", "message"),
    [
        (three, r"obs\.desired_goal is no field; goals are fields of a Dict obs, which has obs$"),
        ({"achieved_goal": three}, r"obs\.desired_goal is no field.* has obs\.achieved_goal$"),
        ({"desired_goal": three}, r"obs\.achieved_goal is no field.* has obs\.desired_goal$"),
        (
            {"desired_goal": {"x": three}, "achieved_goal": three},
            r"obs\.desired_goal is no field.* has obs\.desired_goal\.x, obs\.achieved_goal$",
        ),
        (
            {"desired_goal": three, "achieved_goal": four},
            r"obs\.achieved_goal has shape \(4,\), obs\.desired_goal has \(3,\)",
        ),
        (
            {"desired_goal": rc.Field((3,), np.int64), "achieved_goal": three},
            r"obs\.achieved_goal is float32, obs\.desired_goal is int64",
        ),
    ],
)
def test_goals_that_are_missing_or_do_not_fit(obs: Any, message: str) -> None:
    schema = rc.Schema.steps(obs=obs, action=rc.Field((), np.int64))
    with pytest.raises(rc.ConfigurationError, match=message):
        rc.Memory(schema, 10, view=looking("future"))


def test_examples_have_no_episodes() -> None:
    schema = rc.Schema.examples(x=rc.Field((), np.float32))
    with pytest.raises(rc.ConfigurationError, match="Hindsight makes examples of a schema of step"):
        rc.Memory(schema, 10, view=looking("future"))
    with pytest.raises(rc.ConfigurationError, match=r"a view of steps, got Example\(\)"):
        Hindsight(rc.Example(), reward=reward)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"view": None}, "expected a view of steps, got None"),
        ({"reward": None}, "reward: expected a function of achieved, desired and info, got None"),
        ({"terminated": True}, "terminated: expected a function .* got True"),
        ({"strategy": "past"}, '"future", "final", "episode"; got \'past\''),
        ({"ratio": 1.5}, "ratio: expected 0 to 1 or a schedule, got 1.5"),
        ({"ratio": -0.1}, "ratio: expected 0 to 1"),
        ({"ratio": float("nan")}, "ratio: expected 0 to 1"),
        ({"ratio": True}, "ratio: expected 0 to 1"),
        ({"ratio": "all"}, "ratio: expected 0 to 1"),
    ],
)
def test_settings_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(rc.ConfigurationError, match=message):
        Hindsight(**{"view": rc.Transition(), "reward": reward} | given)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda a: np.zeros((len(a), 1)), r"of 8 steps: expected float32 of shape \(8,\), got"),
        (lambda a: np.zeros(len(a) - 1), r"reward.* got float64 of \(7,\)"),
        (lambda a: 0.0, r"reward\(achieved, desired, info\).* got float64 of \(\)"),
        (lambda a: None, "reward.* got object"),
        (lambda a: np.array(["x"] * len(a)), "reward.* got <U1"),
        (lambda a: np.zeros(len(a), complex), "reward.* got complex128"),
    ],
)
def test_a_reward_function_that_returns_something_else(returned: Any, message: str) -> None:
    view = Hindsight(rc.NStep(1, GAMMA), reward=lambda a, d, info: returned(a), ratio=1)
    memory, _ = memory_of([(0, 8, "T")], view)
    with pytest.raises(rc.ConfigurationError, match=message):
        memory.sample(8)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda a: np.zeros(len(a)), r"terminated.* expected bool of shape \(8,\), got float64"),
        (lambda a: np.zeros((len(a), 3), bool), r"terminated.* got bool of \(8, 3\)"),
    ],
)
def test_a_function_of_ends_that_returns_something_else(returned: Any, message: str) -> None:
    ends = {"terminated": lambda a, d, info: returned(a)}
    memory, _ = memory_of([(0, 8, "T")], looking("future", ratio=1, **ends))
    with pytest.raises(rc.ConfigurationError, match=message):
        memory.sample(8)


def test_a_schedule_that_leaves_the_range() -> None:
    memory, _ = memory_of([(0, 8, "T")], looking("future", ratio=rc.linear(0.5, 2, over=1)))
    memory.sample(4)
    with pytest.raises(rc.ConfigurationError, match="ratio: expected 0 to 1"):
        memory.sample(4)


def test_it_says_what_it_is() -> None:
    view = looking("final", 3, ratio=0.25)
    assert repr(view) == 'Hindsight(NStep(3, gamma=0.5), strategy="final", ratio=0.25)'
