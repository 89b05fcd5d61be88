"""`Prioritized`: CONFORMANCE.md, P1 to P7, and R2."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import chi_square_tail
from selfproving import known_world, schema

UNLIKELY = 1e-3
SCHEMA = rc.Schema.examples(number=rc.Field((), np.int64))


def filled(priorities: Any, **settings: Any) -> rc.Memory:
    """A memory of examples with these priorities."""
    memory = rc.Memory(SCHEMA, len(priorities), sampler=rc.Prioritized(**settings), seed=0)
    keys = memory.extend(number=np.arange(len(priorities)))
    assert memory.update(keys, priority=priorities) == len(priorities)
    return memory


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_P1_P4_rows_are_drawn_in_proportion_to_their_powers(alpha: float, epsilon: float) -> None:
    priorities = np.arange(1.0, 21.0)
    memory = filled(priorities, alpha=alpha, epsilon=epsilon, stratified=False)
    expected = (priorities + epsilon) ** alpha
    expected /= expected.sum()
    counts = np.zeros(20)
    for _ in range(100):
        batch = memory.sample(500)
        np.testing.assert_allclose(batch.probability, expected[batch.number], rtol=1e-12)
        np.add.at(counts, batch.number, 1)
    assert chi_square_tail(counts, expected * counts.sum()) > UNLIKELY
    np.testing.assert_allclose(memory.sampler.probability(np.arange(20)), expected)


def test_P1_stratified_draws_are_as_probable_and_vary_less() -> None:
    priorities = np.arange(1.0, 21.0)
    memory = filled(priorities, alpha=1.0, epsilon=0.0)
    counts = np.zeros((400, 20))
    for row in counts:
        np.add.at(row, memory.sample(100).number, 1)
    expected = 100 * priorities / priorities.sum()
    np.testing.assert_allclose(counts.mean(axis=0), expected, atol=5 * (1 / 400) ** 0.5)
    assert (np.abs(counts - expected) < 2).all()


def test_independent_draws_are_not_stratified() -> None:
    """Of 200 equal rows one each where stratified; else a part of 1 - 1 / e of them."""
    assert len(set(filled(np.ones(200)).sample(200).number.tolist())) == 200
    assert len(set(filled(np.ones(200), stratified=False).sample(200).number.tolist())) < 150


def test_P2_with_epsilon_0_a_priority_of_0_is_never_drawn() -> None:
    memory = filled([0.0, 3.0, 0.0, 1.0, 0.0], alpha=0.5, epsilon=0.0)
    assert set(memory.sample(5_000).number.tolist()) == {1, 3}
    keys = memory.sample(200).key
    memory.update(keys, priority=np.zeros(200))
    with pytest.raises(rc.PriorityError, match="every eligible row has priority 0"):
        memory.sample(1)
    memory.update(keys[:1], priority=1.0)
    assert len(set(memory.sample(10).key.tolist())) == 1


def test_P2_with_epsilon_0_a_priority_of_0_is_never_drawn_though_alpha_is_0_too() -> None:
    """0 ** 0 is 1 to a computer: with alpha = 0 only rows that have a priority are alike."""
    memory = filled([0.0, 3.0, 0.0, 1.0], alpha=0.0, epsilon=0.0)
    np.testing.assert_array_equal(memory.sampler.probability(np.arange(4)), [0, 0.5, 0, 0.5])
    assert set(memory.sample(500).number.tolist()) == {1, 3}


def test_P5_weights_follow_the_present_number_of_rows() -> None:
    memory = rc.Memory(
        SCHEMA, 64, sampler=rc.Prioritized(alpha=1, beta=0.5, normalize=None, epsilon=0), seed=0
    )
    for count in (4, 32, 64, 64):
        keys = memory.extend(number=np.arange(count))
        memory.update(keys, priority=1.0 + np.arange(count))
        batch = memory.sample(200)
        expected = (len(memory) * batch.probability) ** -0.5
        np.testing.assert_allclose(batch.weight, expected, rtol=1e-6)
    memory.remove(keys[:60])
    batch = memory.sample(50)
    np.testing.assert_allclose(batch.weight, (4 * batch.probability) ** -0.5, rtol=1e-6)


def test_P5_batch_weights_are_at_most_1_by_the_batchs_own_largest() -> None:
    memory = filled(np.arange(1.0, 65.0), alpha=1, beta=rc.linear(0.0, 1.0, over=4), epsilon=0)
    for call in range(6):
        batch = memory.sample(8)
        beta = min(call / 4, 1)
        expected = (batch.probability / batch.probability.min()) ** -beta
        np.testing.assert_allclose(batch.weight, expected, rtol=1e-6)
        assert batch.weight.max() == 1
        assert batch.weight.dtype == np.float32


def test_P6_new_rows_enter_at_the_largest_live_priority() -> None:
    memory = rc.Memory(SCHEMA, 8, sampler=rc.Prioritized(alpha=1, epsilon=0), seed=0)

    def entry_of(number: int) -> float:
        """The priority at which a new row enters."""
        memory.add(number=number)
        assert memory.eligible
        state = memory.sampler.state()
        numbers = memory._rows.read(state["members"])[0]["number"].tolist()
        return float(state["priority"][numbers.index(number)])

    keys = memory.extend(number=np.arange(3))
    assert entry_of(3) == 1.0
    memory.update(keys, priority=[9.0, 5.0, 2.0])
    assert entry_of(4) == 9.0
    everybody = memory._rows.keys(memory.sampler.state()["members"])
    memory.update(everybody, priority=[4.0, 5.0, 2.0, 0.5, 0.0])
    assert entry_of(5) == 5.0, "the largest ever, 9, is no longer live"
    memory.remove([keys[1]])
    memory.update(memory._rows.keys(np.array([5])), priority=0.0)
    assert entry_of(6) == 4.0
    everybody = memory._rows.keys(memory.sampler.state()["members"])
    memory.update(everybody, priority=np.zeros(len(everybody)))
    assert entry_of(7) == 1.0


def test_new_rows_enter_at_the_initial_priority_where_one_is_given() -> None:
    memory = rc.Memory(SCHEMA, 4, sampler=rc.Prioritized(initial=3.0), seed=0)
    memory.update(memory.extend(number=[0, 1])[:1], priority=9.0)
    memory.extend(number=[2])
    memory.sample(1)
    assert memory.sampler.state()["priority"].tolist() == [9.0, 3.0, 3.0]


def test_P6_rows_leave_before_rows_enter() -> None:
    memory = rc.Memory(SCHEMA, 2, sampler=rc.Prioritized(alpha=1, epsilon=0), seed=0)
    keys = memory.extend(number=[0, 1])
    memory.update(keys, priority=[50.0, 3.0])
    memory.extend(number=[2])
    assert memory.sample(100).probability.max() == 0.5, "2 entered at the priority of 0, which left"


def test_P7_of_duplicate_keys_the_last_counts() -> None:
    memory = filled([1.0, 1.0], alpha=1, epsilon=0)
    key = int(memory.sample(1).key[0])
    assert memory.update([key, key, key], priority=[100.0, 0.0, 3.0]) == 3
    assert sorted(memory.sampler.state()["priority"].tolist()) == [1.0, 3.0]


def test_R2_stale_keys_change_nothing_and_are_counted() -> None:
    memory = rc.Memory(schema("flat"), 20, sampler=rc.Prioritized(alpha=1, epsilon=0), seed=0)
    keys = [memory.add(**step) for step in known_world("flat", 0, 60)]
    before = memory.sample(1) and memory.sampler.state()["priority"].tolist()
    assert memory.update(keys[:20], priority=np.full(20, 77.0)) == 0
    assert memory.sampler.state()["priority"].tolist() == before
    assert memory.stats()["stale_updates"] == 20


def test_streams_windows_and_priorities_go_together() -> None:
    memory = rc.Memory(
        schema("flat"),
        3 * 40,
        streams=3,
        view=rc.NStep(3, gamma=0.9),
        sampler=rc.Prioritized(alpha=1, epsilon=0),
        seed=0,
    )
    rng = np.random.default_rng(0)
    given: dict[int, float] = {}
    for turn in range(150):
        for stream in range(3):
            key = memory.add(stream=stream, **known_world("flat", stream, 1, first=turn)[0])
            value = float(rng.integers(1, 9))
            assert memory.update([key], priority=value) == 1
            given[int(key)] = value
    batch = memory.sample(4_000)
    state = memory.sampler.state()
    keys = memory._rows.keys(state["members"]).tolist()
    assert len(keys) == memory.eligible
    assert state["priority"].tolist() == [given[key] for key in keys]
    total = sum(given[key] for key in keys)
    expected = [given[key] / total for key in batch.key.tolist()]
    np.testing.assert_allclose(batch.probability, expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, -np.inf])
def test_priorities_that_are_none_are_refused_and_change_nothing(bad: float) -> None:
    memory = filled([1.0, 2.0])
    before = memory.sampler.state()["priority"].tolist()
    keys = memory.sample(2).key
    with pytest.raises(ValueError, match="from 0 up"):
        memory.update(keys, priority=[3.0, bad])
    with pytest.raises(rc.SchemaError, match="2 numbers"):
        memory.update(keys, priority=[3.0])
    assert memory.sampler.state()["priority"].tolist() == before


def test_a_priority_whose_power_would_overflow_is_refused() -> None:
    memory = filled([1.0, 2.0], alpha=3.0)
    before = memory.sampler.state()["priority"].tolist()
    with pytest.raises(rc.PriorityError, match="too large"):
        memory.update(memory.sample(1).key, priority=1e200)
    assert memory.sampler.state()["priority"].tolist() == before


@pytest.mark.parametrize(
    "settings",
    [
        {"alpha": -0.1},
        {"alpha": np.nan},
        {"alpha": "1"},
        {"beta": 1.1},
        {"beta": -1},
        {"beta": rc.linear(0.4, 1.2, over=3)},
        {"epsilon": -1e-9},
        {"epsilon": np.inf},
        {"initial": -1.0},
        {"initial": "min"},
        {"initial": 1e200, "alpha": 3.0},
        {"epsilon": 1e300, "alpha": 1.0},
        {"normalize": "memory"},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(rc.ConfigurationError, match=next(iter(settings))):
        rc.Prioritized(**settings)


def test_a_sampler_belongs_to_one_reader() -> None:
    sampler = rc.Prioritized()
    rc.Memory(SCHEMA, 2, sampler=sampler)
    with pytest.raises(rc.ConfigurationError, match="belongs"):
        rc.Memory(SCHEMA, 2, sampler=sampler)


def test_resizing_keeps_priorities_with_their_rows() -> None:
    memory = filled([1.0, 2.0, 3.0, 4.0], alpha=1, epsilon=0)
    for capacity in (9, 3, 30):
        memory.resize(capacity)
    batch = memory.sample(300)
    np.testing.assert_allclose(batch.probability, (batch.number + 1) / 9)
