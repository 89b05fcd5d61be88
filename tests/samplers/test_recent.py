"""`Recent`: ranks against a list, distributions against their formulas; P1 of the conformance."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recollect as rc
from oracle import chi_square_tail
from recollect.samplers.order import Ranks
from recollect.samplers.recent import Recent
from samplers.lives import live

UNLIKELY = 1e-3


def filled(sampler: Recent, count: int, capacity: int | None = None) -> Recent:
    sampler.open(capacity or count)
    sampler.enter(np.arange(count))
    return sampler


def with_holes(sampler: Recent) -> tuple[Recent, list[int]]:
    """A sampler of ten, a hundred having come and most gone, and who they are, newest first."""
    rng = np.random.default_rng(0)
    sampler.open(20)
    members: list[int] = []
    for _ in range(100):
        free = sorted(set(range(20)) - set(members))
        slot = int(rng.choice(free))
        sampler.enter(np.array([slot]))
        members.insert(0, slot)
        if len(members) > 10:
            sampler.leave(np.array([members.pop(int(rng.integers(1, len(members))))]))
    return sampler, members


@settings(deadline=None, max_examples=60)
@given(data=st.data(), window=st.integers(1, 12))
def test_probabilities_follow_the_ranks_of_live_members(data: st.DataObject, window: int):
    rng = np.random.default_rng(0)
    sampler = Recent(window=window)
    for moment in live(data, sampler):
        assert sampler.state()["members"].tolist() == moment.members
        if not moment.members:
            continue
        inside = set(moment.members[-window:])
        expected = [1 / len(inside) if slot in inside else 0.0 for slot in moment.members]
        assert sampler.probability(np.array(moment.members)).tolist() == expected
        slots, probability = sampler.draw(20, rng)
        assert set(slots.tolist()) <= inside
        assert (probability == 1 / len(inside)).all()


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_the_rank_of_each_member_and_the_member_of_each_rank(data: st.DataObject):
    sampler = Recent(window=1)
    for moment in live(data, sampler):
        count = len(moment.members)
        ranks: Ranks = sampler._ranks
        descending = np.arange(count - 1, -1, -1)
        assert ranks.at(descending).tolist() == moment.members
        assert ranks.of(np.array(moment.members, np.int64)).tolist() == descending.tolist()


def test_ranks_stay_right_as_long_as_rows_come_and_go():
    """The ring wraps with holes in it, and closes ranks again and again around an old member."""
    rng = np.random.default_rng(3)
    ranks = Ranks(50)
    members: list[int] = []
    for step in range(3000):
        if len(members) == 50:
            gone = {members[i] for i in rng.choice(np.arange(1, 50), 7, replace=False)}
            ranks.leave(np.array(sorted(gone)))
            members = [slot for slot in members if slot not in gone]
        slot = int(rng.choice(sorted(set(range(50)) - set(members))))
        ranks.enter(np.array([slot]))
        members.append(slot)
        if step % 10 == 0:
            assert ranks.at(np.arange(len(members)))[::-1].tolist() == members
            assert ranks.of(np.array(members))[::-1].tolist() == list(range(len(members)))


def test_ranks_never_close_where_the_oldest_leave_first(monkeypatch: pytest.MonkeyPatch):
    ranks = Ranks(10)
    monkeypatch.setattr(ranks, "_close_ranks", lambda: pytest.fail("closed ranks"))
    ranks.enter(np.arange(10))
    for step in range(100):
        # streams may leave a little out of order
        leaving = np.array([2 * step % 10 + 1, 2 * step % 10])
        ranks.leave(leaving[:1])
        ranks.leave(leaving[1:])
        ranks.enter(leaving)
        assert ranks.at(np.array([1, 0])).tolist() == leaving.tolist()


@pytest.mark.parametrize("window", [2, 4, 10, 999])
def test_P1_a_window_is_drawn_evenly(window: int):
    sampler, newest_first = with_holes(Recent(window=window))
    slots, _ = sampler.draw(20_000, np.random.default_rng(1))
    inside = newest_first[:window]
    counts = np.bincount(slots, minlength=20)
    assert counts[inside].sum() == 20_000
    assert chi_square_tail(counts[inside], np.full(len(inside), 20_000 / len(inside))) > UNLIKELY


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999, 1 - 1e-12, math.nextafter(1, 0)])
def test_P1_decay_is_drawn_as_stated(decay: float):
    sampler, newest_first = with_holes(Recent(decay=decay))
    due = np.array([float(Fraction(decay) ** rank) for rank in range(10)])
    due /= due.sum()
    np.testing.assert_allclose(sampler.probability(np.array(newest_first)), due, rtol=1e-12)
    slots, probability = sampler.draw(40_000, np.random.default_rng(2))
    np.testing.assert_array_equal(probability, sampler.probability(slots))
    counts = np.bincount(slots, minlength=20)[newest_first]
    assert counts.sum() == 40_000
    assert chi_square_tail(counts, 40_000 * due) > UNLIKELY


@pytest.mark.parametrize("decay", [0.3, 0.999, 1 - 1e-6, 1 - 1e-9, math.nextafter(1, 0)])
def test_P1_decay_over_a_hundred_thousand_rows(decay: float):
    count, draws = 100_000, 20_000
    sampler = filled(Recent(decay=decay), count)
    probability = sampler.probability(np.arange(count))
    assert math.isclose(math.fsum(probability), 1, rel_tol=1e-9)
    assert (np.diff(probability) >= 0).all()
    # a random point below what each drawn row adds to the distribution function is even on (0, 1)
    rng = np.random.default_rng(4)
    slots, stated = sampler.draw(draws, rng)
    np.testing.assert_array_equal(stated, probability[slots])
    points = np.cumsum(probability)[slots] - rng.random(draws) * stated
    counts = np.bincount(np.minimum((points * 50).astype(int), 49), minlength=50)
    assert chi_square_tail(counts, np.full(50, draws / 50)) > UNLIKELY


class Extremes:
    """A generator of the smallest and the largest random number there is."""

    def random(self, n: int) -> np.ndarray:
        return np.resize([0.0, math.nextafter(1, 0)], n)


@pytest.mark.parametrize("count", [7, 9, 64])
@pytest.mark.parametrize(
    "settings",
    [{"window": 64}, *({"decay": d} for d in (0.9, 0.999, 1 - 1e-9, math.nextafter(1, 0)))],
    ids=str,
)
def test_the_smallest_and_the_largest_random_number_stay_within_the_members(
    settings: dict[str, float], count: int
):
    """0.999 with 64 rows: the formula rounds up to rank 64, of 0 to 63."""
    sampler = filled(Recent(**settings), count)
    newest, oldest = sampler.draw(2, Extremes())[0].tolist()
    assert (newest, oldest) == (count - 1, 0)


def test_a_memory_replays_its_newest_rows():
    memory = rc.Memory(
        rc.Schema.examples(x=rc.Field((), np.int64)), 100, sampler=Recent(window=10), seed=0
    )
    decayed = memory.reader(sampler=Recent(decay=0.5))
    keys = memory.extend(x=np.arange(250))
    batch = memory.sample(500)
    assert set(batch.x.tolist()) == set(range(240, 250))
    assert (batch.probability == 0.1).all() and (batch.weight == 1).all()
    memory.remove(keys[-1:])
    assert set(memory.sample(500).x.tolist()) == set(range(239, 249))
    drawn = decayed.sample(100)
    np.testing.assert_allclose(drawn.probability, 0.5 ** (249 - drawn.x))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"window": 3, "decay": 0.5},
        *({"window": bad} for bad in (0, -1, 2.5, True, "3")),
        *({"decay": bad} for bad in (0.0, 1.0, -0.5, 1.5, math.nan, 1, "x")),
    ],
    ids=str,
)
def test_bad_settings_are_refused(settings: dict[str, object]):
    with pytest.raises(rc.ConfigurationError, match="expected"):
        Recent(**settings)


def test_it_belongs_to_one_reader_and_tells_its_settings():
    assert repr(Recent(window=5)) == "Recent(window=5)"
    assert repr(Recent(decay=0.25)) == "Recent(decay=0.25)"
    sampler = Recent(window=5)
    assert len(sampler) == 0
    filled(sampler, 3)
    with pytest.raises(rc.ConfigurationError, match="belongs to a reader"):
        sampler.open(3)
