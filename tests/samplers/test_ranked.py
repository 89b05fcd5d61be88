"""`Ranked`: P in proportion to (1 / rank) ** alpha."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recollect as rc
from oracle import chi_square_tail
from samplers.lives import live

SCHEMA = rc.Schema.examples(number=rc.Field((), np.int64))
UNLIKELY = 1e-3


def filled(priorities: Any, **options: Any) -> rc.Memory:
    memory = rc.Memory(SCHEMA, len(priorities), sampler=rc.Ranked(**options), seed=0)
    memory.update(memory.extend(number=np.arange(len(priorities))), priority=priorities)
    return memory


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0, 2.5])
@pytest.mark.parametrize("stratified", [False, True])
def test_P1_rows_are_drawn_by_their_ranks(alpha: float, stratified: bool) -> None:
    priorities = np.random.default_rng(0).permutation(24) ** 3.0
    # as many updates as rows sort them, so that the ranks are exact
    memory = filled(priorities, alpha=alpha, stratified=stratified)
    rank = 24 - np.argsort(np.argsort(priorities))
    expected = (1 / rank) ** alpha
    expected /= expected.sum()
    counts = np.zeros(24)
    for _ in range(100):
        batch = memory.sample(500)
        np.testing.assert_allclose(batch.probability, expected[batch.number])
        np.add.at(counts, batch.number, 1)
    tail = chi_square_tail(counts, expected * counts.sum())
    assert tail > (0.5 if stratified else UNLIKELY)
    np.testing.assert_allclose(memory.sampler.probability(np.arange(24)), expected)


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_ranks_are_approximately_those_of_the_priorities_through_any_life(
    data: st.DataObject,
) -> None:
    sampler = rc.Ranked(alpha=1.0, sort_every=data.draw(st.integers(1, 40)))
    rng = np.random.default_rng(0)
    priority: dict[int, float] = {}
    for moment in live(data, sampler, largest=30):
        largest = max(priority.values(), default=0) or 1.0
        if moment.left:
            priority = {slot: p for slot, p in priority.items() if slot not in moment.left}
        if moment.moved:
            priority = {moment.moved[slot]: p for slot, p in priority.items()}
        priority |= dict.fromkeys(moment.entered, largest)
        if moment.members and rng.random() < 0.7:
            slots = rng.choice(moment.members, 3)
            values = rng.integers(0, 6, 3).astype(float)
            sampler.update(slots, values)
            priority |= dict(zip(slots.tolist(), values.tolist(), strict=True))
        assert priority.keys() == set(moment.members)
        if not moment.members:
            continue
        members = np.array(moment.members)
        probability = sampler.probability(members)
        assert probability.sum() == pytest.approx(1)
        rank = np.rint(probability.max() / probability).astype(int)
        assert sorted(rank.tolist()) == list(range(1, len(members) + 1))
        by_rank = dict(zip(rank.tolist(), (priority[m] for m in moment.members), strict=True))
        assert all(by_rank[r] <= by_rank[r // 2] for r in by_rank if r > 1)
        slots, drawn = sampler.draw(20, rng)
        np.testing.assert_allclose(drawn, sampler.probability(slots))


class TheEnd(np.random.Generator):
    """Every number is the last one below 1, which stratifying then rounds up to 1."""

    def random(self, size: int) -> Any:  # type: ignore[override]
        return np.full(size, np.nextafter(1.0, 0.0))


@pytest.mark.parametrize("alpha", [0.0, 0.7, 40.0, 1_000.0])
@pytest.mark.parametrize("stratified", [False, True])
def test_P2_a_draw_at_the_very_end_is_of_a_row_that_counts(alpha: float, stratified: bool) -> None:
    """Under a large alpha the last ranks add nothing to a sum of floats, or are 0 themselves."""
    sampler = rc.Ranked(alpha, beta=1.0, stratified=stratified)
    sampler.open(50)
    sampler.enter(np.arange(50))
    _, probability = sampler.draw(2, TheEnd(np.random.PCG64(0)))
    assert (probability > 0).all()
    assert np.isfinite(sampler.weight(probability, 50, 0)).all()
    places = np.arange(1.0, 51.0) ** -alpha
    last_that_counts = places[np.flatnonzero(np.diff(np.cumsum(places), prepend=0))[-1]]
    assert probability[-1] == pytest.approx(last_that_counts / places.sum(), abs=0)


def test_sorting_comes_after_so_many_updates() -> None:
    rng = np.random.default_rng(0)
    sampler = rc.Ranked(alpha=1.0, sort_every=1_000)
    sampler.open(200)
    sampler.enter(np.arange(200))
    priority = np.ones(200)
    exact = []
    for _ in range(100):
        slots = rng.permutation(200)[:20]
        priority[slots] = rng.random(20)
        sampler.update(slots, priority[slots])
        order = np.argsort(sampler.probability(np.arange(200)))[::-1]
        exact.append(bool((np.diff(priority[order]) <= 0).all()))
    assert exact[49], "1,000 updates have just been made"
    assert exact[99]
    assert not exact[48]
    assert not exact[50], "the count of updates began anew"


def test_independent_draws_are_not_stratified() -> None:
    memory, independent = (filled(np.arange(200.0), alpha=0, stratified=s) for s in (True, False))
    assert len(set(memory.sample(200).number.tolist())) == 200
    assert len(set(independent.sample(200).number.tolist())) < 150


def test_new_rows_enter_at_the_initial_priority_where_one_is_given() -> None:
    sampler = rc.Ranked(alpha=1.0, initial=2.0)
    sampler.open(4)
    sampler.enter(np.arange(3))
    sampler.update(np.arange(3), np.array([9.0, 1.0, 0.5]))
    sampler.enter(np.array([3]))
    # between 9, and 1 and 0.5: the second rank
    assert sampler.probability(np.array([3]))[0] == pytest.approx(1 / 2 / (25 / 12))


def test_weights_correct_with_the_present_number_of_rows() -> None:
    batch = filled(np.arange(9.0), beta=1.0, normalize=None).sample(50)
    np.testing.assert_allclose(batch.weight, 1 / (9 * batch.probability), rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{"alpha": -1}, {"beta": 3}, {"sort_every": 0}, {"initial": np.nan}]
)
def test_settings_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(rc.ConfigurationError, match=next(iter(options))):
        rc.Ranked(**options)
