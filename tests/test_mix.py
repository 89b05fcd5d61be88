"""`mix`: one batch from several memories."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recollect as rc
from recollect.shares import split

SCHEMA = rc.Schema.examples(number=rc.Field((), np.int64), more={"a": rc.Field((2,))})


def filled(first: int, count: int, **settings: Any) -> rc.Memory:
    memory = rc.Memory(SCHEMA, count, seed=first, **settings)
    numbers = np.arange(first, first + count)
    memory.extend(number=numbers, more={"a": np.repeat(numbers[:, None], 2, 1).astype(np.float32)})
    return memory


@pytest.mark.parametrize(
    "fractions", [(0.5, 0.5), (1 / 32, 31 / 32), (0.3, 0.3, 0.4), (1,), (0.7, 0.2, 0.05, 0.05)]
)
@pytest.mark.parametrize("n", [1, 2, 3, 32, 100])
def test_shares_are_what_they_should_be_and_on_average_exactly(
    fractions: tuple[float, ...], n: int
) -> None:
    rng = np.random.default_rng(0)
    exact = n * np.array(fractions)
    counts = np.array([split(n, np.array(fractions), rng) for _ in range(3_000)])
    assert (counts.sum(axis=1) == n).all()
    assert (np.abs(counts - exact) < 1).all()
    np.testing.assert_allclose(counts.mean(axis=0), exact, atol=4 * 0.5 / 3_000**0.5)
    whole = np.abs(exact - np.round(exact)) < 1e-9
    assert (counts[:, whole] == np.round(exact[whole])).all()


def test_a_batch_holds_each_parts_share_and_says_whose_it_is() -> None:
    online, offline = filled(0, 10), filled(100, 40)
    both = rc.mix({online: 0.75, offline: 0.25}, seed=0)
    batch = both.sample(64)
    np.testing.assert_array_equal(batch.source, np.repeat([0, 1], [48, 16]))
    np.testing.assert_array_equal(batch.number >= 100, batch.source == 1)
    np.testing.assert_array_equal(batch.more.a[:, 1], batch.number)
    np.testing.assert_allclose(batch.probability, np.repeat([0.75 / 10, 0.25 / 40], [48, 16]))
    assert "mix({<Memory" in repr(both)


def test_updates_reach_the_memory_that_the_keys_are_from() -> None:
    first = filled(0, 4, sampler=rc.HighestPriority())
    second = filled(0, 4, sampler=rc.HighestPriority())
    both = rc.mix({first: 0.5, second: 0.5}, seed=0)
    batch = both.sample(8)
    priority = np.where(batch.source == 0, batch.number, 10 - batch.number)
    assert both.update(batch.key, priority=priority, source=batch.source) == 8
    assert first.sample(4).number.tolist() == [3, 2, 1, 0]
    assert second.sample(4).number.tolist() == [0, 1, 2, 3]
    second.clear()
    assert both.update(batch.key, number=batch.number, source=batch.source) == 4


def test_what_does_not_go_together_is_refused() -> None:
    some = filled(0, 4)
    for fractions in ({some: 0.5}, {}, {some: -1.0}, {some: True}, {some: "1"}, {"x": 1.0}, [some]):
        with pytest.raises(rc.ConfigurationError, match="mix"):
            rc.mix(fractions)
    both = rc.mix({some: 0.5, filled(9, 9).reader(): 0.5}, seed=0)
    batch = both.sample(4)
    for source in (batch.source[:2], batch.source + 5, batch.source * 0.5):
        with pytest.raises(rc.SchemaError, match="source"):
            both.update(batch.key, number=batch.number, source=source)
    with pytest.raises(rc.ConfigurationError, match="whole"):
        both.sample(0)
    other = rc.Memory(rc.Schema.examples(number=rc.Field((), np.int64)), 4)
    other.add(number=1)
    with pytest.raises(rc.SchemaError, match="different fields"):
        rc.mix({some: 0.5, other: 0.5}).sample(4)
    with pytest.raises(rc.EmptyMemoryError):
        rc.mix({some: 0.5, rc.Memory(SCHEMA, 4): 0.5}).sample(4)
