"""`Weighted`: P in proportion to w ** (1 / temperature), without overflow at any temperature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import chi_square_tail

SCHEMA = rc.Schema.examples(number=rc.Field((), np.int64))
UNLIKELY = 1e-3


def filled(weights: Any, **settings: Any) -> rc.Memory:
    memory = rc.Memory(SCHEMA, len(weights), sampler=rc.Weighted(**settings), seed=0)
    memory.update(memory.extend(number=np.arange(len(weights))), priority=weights)
    return memory


def stated(weights: np.ndarray, temperature: float, lowest_first: bool) -> np.ndarray:
    """The distribution, by logarithms."""
    log = np.log(weights) / temperature * (-1 if lowest_first else 1)
    mass = np.exp(log - log.max())
    return mass / mass.sum()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("lowest_first", [False, True])
def test_P1_rows_are_drawn_as_stated(temperature: float, lowest_first: bool) -> None:
    weights = np.arange(1.0, 13.0)
    memory = filled(weights, temperature=temperature, lowest_first=lowest_first, stratified=False)
    expected = stated(weights, temperature, lowest_first)
    counts = np.zeros(12)
    for _ in range(60):
        batch = memory.sample(1_000)
        np.testing.assert_allclose(batch.probability, expected[batch.number])
        np.add.at(counts, batch.number, 1)
        assert (batch.weight == 1).all()
    assert chi_square_tail(counts, expected * counts.sum()) > UNLIKELY


def test_temperature_1_is_the_share_of_the_weight() -> None:
    memory = filled([1.0, 3.0, 6.0])
    assert sorted(set(memory.sample(200).probability.round(12).tolist())) == [0.1, 0.3, 0.6]


@pytest.mark.parametrize("lowest_first", [False, True])
def test_the_lowest_temperature_takes_every_weight_that_a_float_can_be(lowest_first: bool) -> None:
    sampler = rc.Weighted(temperature=1e-100, lowest_first=lowest_first)
    sampler.open(4)
    sampler.enter(np.arange(4))
    limits = np.finfo(np.float64)
    weights = np.array([1.0, limits.max, limits.tiny, limits.smallest_subnormal])
    for slot in (0, 1, 2, 3, 1, 0):
        sampler.update(np.array([slot]), weights[[slot]])
        assert sampler.probability(np.arange(4)).sum() == pytest.approx(1)
    best = 3 if lowest_first else 1
    np.testing.assert_array_equal(sampler.probability(np.arange(4)), np.arange(4) == best)


@pytest.mark.parametrize("temperature", [1e-3, 1e-2, 1.0, 1e3])
@pytest.mark.parametrize("lowest_first", [False, True])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_extreme_weights_at_extreme_temperatures(
    temperature: float, lowest_first: bool, scale: float
) -> None:
    rng = np.random.default_rng(0)
    weights = scale * rng.uniform(0.5, 2.0, 40)
    weights[7] = scale * 1e-25
    memory = filled(np.full(40, 1.0), temperature=temperature, lowest_first=lowest_first)
    keys = memory.extend(number=np.arange(40))
    live = np.ones(40, bool)
    for order in (rng.permutation(40), rng.permutation(40)):
        for part in np.array_split(order, 5):
            memory.update(keys[part], priority=weights[part])
    # the most probable leave one after the other
    for _ in range(30):
        expected = np.zeros(40)
        expected[live] = stated(weights[live], temperature, lowest_first)
        batch = memory.sample(50)
        np.testing.assert_allclose(
            batch.probability, expected[batch.number], rtol=1e-6 / min(temperature, 1), atol=1e-150
        )
        gone = int(np.argmax(expected))
        memory.remove([keys[gone]])
        live[gone] = False


def test_towards_0_only_the_best_is_drawn() -> None:
    assert set(filled([1.0, 1.5, 1.2], temperature=1e-3).sample(500).number.tolist()) == {1}
    lowest = filled([1.0, 1.5, 1.2], temperature=1e-3, lowest_first=True)
    assert set(lowest.sample(500).number.tolist()) == {0}


def test_a_weight_of_0_is_never_drawn() -> None:
    memory = filled([0.0, 1e-300, 0.0, 5.0], temperature=2.0)
    assert set(memory.sample(2_000).number.tolist()) <= {1, 3}
    every = memory._rows.keys(memory.sampler.state()["members"])
    memory.update(every, priority=np.zeros(4))
    with pytest.raises(rc.PriorityError, match="weight 0"):
        memory.sample(1)
    memory.update(every[2:3], priority=1e-9)
    assert set(memory.sample(20).number.tolist()) == {2}


def test_independent_draws_are_not_stratified() -> None:
    assert len(set(filled(np.ones(200)).sample(200).number.tolist())) == 200
    assert len(set(filled(np.ones(200), stratified=False).sample(200).number.tolist())) < 150


def test_P7_of_duplicate_keys_the_last_counts() -> None:
    memory = filled([1.0, 1.0])
    key = int(memory.sample(1).key[0])
    assert memory.update([key, key, key], priority=[100.0, 0.0, 3.0]) == 3
    assert sorted(memory.sampler.state()["weight"].tolist()) == [1.0, 3.0]
    np.testing.assert_allclose(np.sort(memory.sampler.probability(np.arange(2))), [0.25, 0.75])


def test_resizing_keeps_weights_with_their_rows() -> None:
    sampler = rc.Weighted()
    sampler.open(3)
    sampler.enter(np.arange(3))
    sampler.update(np.arange(3), np.array([1.0, 3.0, 4.0]))
    sampler.resize(5, np.array([4, 0, 2]))
    assert len(sampler) == 3
    np.testing.assert_allclose(sampler.probability(np.array([4, 0, 2])), [0.125, 0.375, 0.5])
    assert sampler.state()["members"].tolist() == [0, 2, 4]


def test_new_rows_have_the_initial_weight() -> None:
    memory = filled([3.0], initial=1.0)
    memory.resize(2)
    memory.add(number=1)
    batch = memory.sample(400)
    np.testing.assert_allclose(batch.probability, np.where(batch.number == 0, 0.75, 0.25))


def test_a_correction_is_made_where_it_is_asked_for() -> None:
    batch = filled([1.0, 3.0], beta=1.0, normalize=None).sample(100)
    np.testing.assert_allclose(batch.weight, 1 / (2 * batch.probability), rtol=1e-6)


def test_lowest_first_refuses_a_weight_of_0_and_changes_nothing() -> None:
    memory = filled([2.0, 3.0], lowest_first=True)
    before = memory.sampler.state()["weight"].tolist()
    with pytest.raises(rc.PriorityError, match="more than 0"):
        memory.update(memory.sample(2).key, priority=[1.0, 0.0])
    assert memory.sampler.state()["weight"].tolist() == before


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0},
        {"temperature": -1.0},
        {"temperature": np.inf},
        {"temperature": 1e-310},
        {"beta": 2.0},
        {"initial": -1.0},
        {"initial": 0.0, "lowest_first": True},
        {"normalize": "all"},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(rc.ConfigurationError, match=next(iter(settings))):
        rc.Weighted(**settings)
