"""`Mixture`: exact shares, exact probabilities, and every part told of everything."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recollect as rc
from oracle import chi_square_tail
from recollect.samplers.age import Newest, Oldest
from recollect.samplers.mixture import Mixture
from recollect.samplers.prioritized import Prioritized
from recollect.samplers.queues import HighestPriority, LowestPriority
from recollect.samplers.recent import Recent
from recollect.samplers.shuffled import Shuffled
from recollect.samplers.uniform import Uniform
from recollect.samplers.weighted import Weighted
from samplers.lives import live

UNLIKELY = 1e-3


class Corrected(Uniform):
    """Uniform, with an exponent for importance weights."""

    def __init__(self, beta: Any, normalize: Any = "batch") -> None:
        super().__init__()
        self.beta = beta
        self.normalize = normalize


def filled(sampler: Mixture, count: int) -> Mixture:
    sampler.open(count)
    sampler.enter(np.arange(count))
    return sampler


def numbers(capacity: int, **more: Any) -> rc.Memory:
    return rc.Memory(rc.Schema.examples(x=rc.Field((), np.int64)), capacity, **more)


def stated(sampler: Mixture, n: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each row was drawn, and the probability that was stated of it, always the same."""
    rng = np.random.default_rng(0)
    counts, probability = np.zeros(len(sampler)), np.full(len(sampler), np.nan)
    for _ in range(draws):
        slots, given = sampler.draw(n, rng)
        assert slots.shape == given.shape == (n,)
        assert slots.dtype == np.intp
        np.add.at(counts, slots, 1)
        known = ~np.isnan(probability[slots])
        np.testing.assert_allclose(given[known], probability[slots][known], rtol=1e-12)
        probability[slots] = given
    return counts, probability


def test_combined_experience_replay_is_one_line():
    sampler = Mixture({Newest(): 1 / 32, Uniform(): 31 / 32})
    memory = numbers(100, sampler=sampler, seed=0)
    for x in range(150):
        memory.add(x=x)
        held = min(x + 1, 100)
        batch = memory.sample(32)
        assert batch.x[0] == x
        due = np.where(batch.x == x, 1 / 32, 0) + 31 / 32 / held
        np.testing.assert_allclose(batch.probability, due, rtol=1e-12)
        assert (batch.weight == 1).all()


PARTS = {
    "random": lambda: {Uniform(): 0.5, Recent(window=3): 0.3, Recent(decay=0.5): 0.2},
    "shuffled": lambda: {Shuffled(): 0.5, Recent(window=3): 0.5},
    "newest": lambda: {Newest(): 0.25, Uniform(): 0.75},
    "both ends": lambda: {Oldest(): 0.15, Uniform(): 0.55, Newest(): 0.3},
    "priorities": lambda: {Uniform(): 0.4, HighestPriority(): 0.6},
    "one": lambda: {Recent(decay=0.7): 1},
}


@pytest.mark.parametrize("n", [1, 3, 8, 20])
@pytest.mark.parametrize("name", PARTS)
def test_P1_rows_are_drawn_as_often_as_stated(name: str, n: int):
    """Also where shares are no whole numbers, and where an order goes round the members."""
    sampler = filled(Mixture(PARTS[name]()), 7)
    counts, probability = stated(sampler, n, 12_000 // n)
    assert math.isclose(probability.sum(), 1, rel_tol=1e-12)
    assert chi_square_tail(counts, probability * counts.sum()) > UNLIKELY


def test_probabilities_by_hand():
    sampler = filled(Mixture({Newest(): 0.25, Recent(window=2): 0.25, Uniform(): 0.5}), 5)
    _, probability = stated(sampler, 4, 300)
    np.testing.assert_allclose(probability, [0.1, 0.1, 0.1, 0.225, 0.475])
    # of 6 rows the newest part draws one for certain and one more in every second batch
    _, probability = stated(sampler, 6, 300)
    newest, next_newest = 1 / 6 + 0.125 + 0.1, 0.5 / 6 + 0.125 + 0.1
    np.testing.assert_allclose(probability, [0.1, 0.1, 0.1, next_newest, newest])
    # the order goes round: 0, 1, 2, 0
    sampler = filled(Mixture({Oldest(): 0.5, Uniform(): 0.5}), 3)
    _, probability = stated(sampler, 8, 100)
    np.testing.assert_allclose(probability, np.array([2, 1, 1]) / 8 + 0.5 / 3)


@pytest.mark.parametrize("n", [1, 5, 10, 32])
def test_every_part_gives_its_share(n: int):
    fractions = [0.07, 0.21, 0.32, 0.4]
    parts = [Recent(window=1) for _ in fractions]
    sampler = Mixture(dict(zip(parts, fractions, strict=True)))
    sampler.open(8)
    for slot, part in enumerate(parts):
        part.enter(np.array([slot]))  # each part has a member of its own, by which to tell it
    rng, batches = np.random.default_rng(1), 4000
    drawn = np.zeros((batches, 4))
    for batch in drawn:
        slots, _ = sampler.draw(n, rng)
        assert (np.diff(slots) >= 0).all()
        batch += np.bincount(slots, minlength=4)
    for share, fraction in zip(drawn.T, fractions, strict=True):
        low = math.floor(n * fraction + 1e-9)
        assert set(share) <= {low, low + 1}
        chance = n * fraction - low
        if chance < 1e-9:
            assert (share == low).all()
        else:
            more = (share > low).sum()
            due = np.array([1 - chance, chance]) * batches
            assert chi_square_tail(np.array([batches - more, more]), due) > UNLIKELY


@pytest.mark.parametrize("parts", [10, 32, 49, 100])
def test_one_row_for_each_of_many_equal_parts(parts: int):
    sampler = filled(Mixture({Newest(): 1 / parts for _ in range(parts)}), 3)
    state = np.random.default_rng(0)
    slots, probability = sampler.draw(parts, state)
    assert (slots == 2).all()
    np.testing.assert_allclose(probability, 1)
    # nothing was left to chance
    assert state.random() == np.random.default_rng(0).random()


def test_the_probability_of_rows_that_others_drew():
    sampler = filled(Mixture({Recent(window=2): 0.25, Uniform(): 0.75}), 4)
    np.testing.assert_allclose(sampler.probability(np.array([3, 0, 2])), [0.3125, 0.1875, 0.3125])
    ordered = filled(Mixture({Newest(): 0.25, Uniform(): 0.75}), 4)
    assert np.isnan(ordered.probability(np.arange(4))).all()


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_every_part_knows_all_members(data: st.DataObject):
    rng = np.random.default_rng(0)
    highest = HighestPriority()
    sampler = Mixture({Uniform(): 0.2, Newest(): 0.3, Shuffled(): 0.1, highest: 0.4})
    for moment in live(data, sampler):
        state = sampler.state()
        for number in range(4):
            assert sorted(state[f"{number}.members"].tolist()) == sorted(moment.members)
        assert state["1.members"].tolist() == moment.members
        if not moment.members:
            continue
        best = data.draw(st.sampled_from(moment.members))
        sampler.update(np.array([best]), np.array([highest.state()["priority"].max() + 1]))
        n = data.draw(st.integers(1, 15))
        slots, probability = sampler.draw(n, rng)
        assert len(slots) == n
        assert set(slots.tolist()) <= set(moment.members)
        assert (probability > 0).all() and (probability <= 1 + 1e-12).all()
        if n >= 5:
            assert moment.members[-1] in slots and best in slots


def test_weights_correct_the_mixture_as_a_whole():
    probability = np.array([0.5, 0.125, 0.25])
    for sampler in (
        Mixture({Newest(): 0.5, Uniform(): 0.5}, beta=0.5),
        Mixture({Newest(): 0.5, Corrected(0.5): 0.5}),
        Mixture({Corrected(0.5): 0.25, Newest(): 0.25, Corrected(0.5): 0.5}),
        Mixture({Corrected(0.1): 0.25, Newest(): 0.25, Corrected(0.9): 0.5}, beta=0.5),
        Mixture({Newest(): 0.25, Corrected(0.5): 0.25, Corrected(0.0, None): 0.5}),
        Mixture({Newest(): 1}, beta=rc.linear(0.0, 1.0, over=20)),
    ):
        weight = sampler.weight(probability, 8, 10)
        assert weight.dtype == np.float32
        np.testing.assert_allclose(weight, [0.5, 1, 0.5**0.5], rtol=1e-6)
    for plain in (
        Mixture({Newest(): 0.5, Uniform(): 0.5}, beta=1.0, normalize=None),
        Mixture({Newest(): 0.5, Corrected(1.0, None): 0.5}),
    ):
        np.testing.assert_allclose(plain.weight(probability, 8, 0), [0.25, 1, 0.5], rtol=1e-6)
    without = Mixture({Newest(): 0.5, Uniform(): 0.5})
    assert (without.weight(probability, 8, 0) == 1).all()


def test_weights_make_the_mean_of_a_batch_the_mean_over_all_rows():
    """With beta = 1 and no normalisation, sum(weight * x) / n expects the plain mean of x."""
    parts = {Newest(): 0.125, Uniform(): 0.5, Recent(decay=0.9): 0.375}
    memory = numbers(20, sampler=Mixture(parts, beta=1.0, normalize=None), seed=5)
    memory.extend(x=np.arange(20))
    means = [float((b.weight * b.x).mean()) for b in (memory.sample(6) for _ in range(3000))]
    error = np.std(means) / len(means) ** 0.5
    assert error < 0.1
    assert abs(np.mean(means) - 9.5) < 4 * error


def test_priorities_go_to_every_part_that_takes_them():
    memory = numbers(8, sampler=Mixture({HighestPriority(): 0.5, LowestPriority(): 0.5}))
    keys = memory.extend(x=np.arange(4))
    assert memory.update(keys, priority=[3, 1, 9, 5]) == 4
    assert memory.sample(4).x.tolist() == [2, 3, 1, 0]
    none = numbers(8, sampler=Mixture({Newest(): 0.5, Uniform(): 0.5}))
    with pytest.raises(rc.PriorityError, match="no"):
        none.update(none.extend(x=np.arange(2)), priority=[1, 2])
    with pytest.raises(rc.PriorityError, match="no part of Mixture"):
        none.sampler.update(np.array([0]), np.array([1.0]))


class Fussy(HighestPriority):
    """Refuses what it finds too large."""

    def check(self, priority: Any) -> None:
        if (priority > 100).any():
            raise rc.PriorityError("Fussy: expected priorities up to 100")

    def update(self, slots: Any, priority: Any) -> None:
        self.check(priority)
        super().update(slots, priority)


@pytest.mark.parametrize("first", [True, False])
def test_a_priority_that_one_part_refuses_changes_none(first: bool):
    parts = [HighestPriority(), LowestPriority(), Fussy(), Uniform()]
    sampler = Mixture(dict.fromkeys(parts if first else parts[::-1], 0.25))
    memory = numbers(8, sampler=sampler)
    keys = memory.extend(x=np.arange(4))
    memory.update(keys, priority=[3, 1, 9, 5])
    before = sampler.state()
    with pytest.raises(rc.PriorityError, match="Fussy"):
        memory.update(keys, priority=[1, 2, 101, 4])
    for name, value in sampler.state().items():
        np.testing.assert_array_equal(value, before[name])


def test_prioritized_parts_correct_the_whole_mixture_and_refuse_together():
    sampler = Mixture(
        {Prioritized(alpha=1.0, beta=1.0, epsilon=0.0, normalize=None): 0.75, Newest(): 0.25}
    )
    memory = numbers(8, sampler=sampler, seed=0)
    keys = memory.extend(x=np.arange(4))
    memory.update(keys, priority=[1, 2, 3, 4])
    batch = memory.sample(4)
    due = 0.75 * np.array([0.1, 0.2, 0.3, 0.4]) + 0.25 * np.array([0, 0, 0, 1])
    np.testing.assert_allclose(batch.probability, due[batch.x], rtol=1e-6)
    np.testing.assert_allclose(batch.weight, 1 / (4 * due[batch.x]), rtol=1e-6)
    both = Mixture({Prioritized(): 0.5, Weighted(lowest_first=True): 0.5})
    assert both.beta == 0.4
    memory = numbers(8, sampler=both)
    memory.extend(x=np.arange(4))
    keys = memory.sample(2).key
    before = both.state()
    with pytest.raises(rc.PriorityError, match="more than 0"):
        memory.update(keys, priority=[3, 0])
    for name, value in both.state().items():
        np.testing.assert_array_equal(value, before[name])


def test_the_same_seed_repeats():
    batches = []
    for _ in range(2):
        sampler = Mixture({Shuffled(): 0.3, Uniform(): 0.7})
        memory = numbers(50, sampler=sampler, seed=9)
        memory.extend(x=np.arange(50))
        batches.append([memory.sample(7).x.tolist() for _ in range(5)])
    assert batches[0] == batches[1]


def test_with_max_draws_a_mixture_gives_every_row_once():
    memory = numbers(30, sampler=Mixture({Newest(): 0.5, Uniform(): 0.5}), max_draws=1, seed=0)
    memory.extend(x=np.arange(30))
    drawn = [x for n in (1, 8, 100) for x in memory.sample(n).x.tolist()]
    assert sorted(drawn) == list(range(30))


@pytest.mark.parametrize(
    "parts",
    [
        {},
        [],
        None,
        {Uniform(): 0.5},
        {Uniform(): 0.5, Newest(): 0.5 + 1e-6},
        {Uniform(): 1.5, Newest(): -0.5},
        {Uniform(): 1.0, Newest(): 0.0},
        {Uniform(): math.nan, Newest(): 1.0},
        {Uniform(): True},
        {Uniform(): "1"},
        {"uniform": 1.0},
        {Mixture({Uniform(): 1.0}): 0.5, Newest(): 0.5},
        {Corrected(0.4): 0.5, Corrected(0.6): 0.5},
        {Corrected(0.4): 0.5, Corrected(0.4, None): 0.5},
    ],
    ids=str,
)
def test_bad_parts_are_refused(parts: Any):
    with pytest.raises(rc.ConfigurationError, match=r"Mixture: .*expected"):
        Mixture(parts)


@pytest.mark.parametrize("bad", [-0.1, 1.5, math.inf, math.nan, True, "1"])
def test_a_bad_beta_or_normalisation_is_refused(bad: Any):
    with pytest.raises(rc.ConfigurationError, match="beta: expected"):
        Mixture({Uniform(): 1}, beta=bad)
    with pytest.raises(rc.ConfigurationError, match="normalize: expected"):
        Mixture({Uniform(): 1}, beta=1.0, normalize=bad)


def test_parts_belong_to_one_reader():
    part = Uniform()
    memory = numbers(4, sampler=Mixture({part: 0.5, Newest(): 0.5}))
    assert repr(memory.sampler) == "Mixture({Uniform(): 0.5, Newest(): 0.5})"
    fresh = Newest()
    with pytest.raises(rc.ConfigurationError, match=r"this Uniform\(\) belongs to a reader"):
        numbers(4, sampler=Mixture({fresh: 0.5, part: 0.5}))
    numbers(4, sampler=fresh)  # was not opened before the other refused
    with pytest.raises(rc.ConfigurationError, match="belongs to a reader"):
        memory.reader(sampler=memory.sampler)
