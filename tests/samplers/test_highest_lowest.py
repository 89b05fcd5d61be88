"""`HighestPriority` and `LowestPriority` against a sorted list; P6 and P7 of the conformance."""

from __future__ import annotations

from itertools import cycle, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recollect as rc
from recollect.samplers.queues import HighestPriority, LowestPriority
from samplers.lives import live

RNG = np.random.default_rng(0)
KINDS = [HighestPriority, LowestPriority]
Kind = type[HighestPriority | LowestPriority]
# few different values, so that there are ties
PRIORITIES = st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.5, 3.0])


def by_age(sampler: HighestPriority | LowestPriority) -> tuple[list[int], list[float]]:
    """The members, oldest first, and their priorities."""
    state = sampler.state()
    order = np.argsort(state["age"])
    return state["members"][order].tolist(), state["priority"][order].tolist()


@pytest.mark.parametrize("initial", ["max", 0.0, 0.7])
@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_it_draws_by_priority_then_by_age(kind: Kind, initial: object, data: st.DataObject):
    sampler = kind(initial)
    priority: dict[int, float] = {}
    for moment in live(data, sampler):
        if moment.entered:
            largest = max(priority.values(), default=0.0) or 1.0
            first = largest if initial == "max" else initial
            priority.update(dict.fromkeys(moment.entered, first))
        for slot in moment.left:
            del priority[slot]
        if moment.moved:
            priority = {moment.moved[slot]: value for slot, value in priority.items()}
        if not moment.members:
            continue
        expected = [priority[slot] for slot in moment.members]
        assert by_age(sampler) == (moment.members, expected)

        slots = data.draw(st.lists(st.sampled_from(moment.members), max_size=6))
        values = data.draw(st.lists(PRIORITIES, min_size=len(slots), max_size=len(slots)))
        sampler.update(np.array(slots, np.int64), np.array(values, np.float64))
        priority.update(zip(slots, values, strict=True))

        sign = -1 if kind is HighestPriority else 1
        order = sorted(moment.members, key=lambda slot: sign * priority[slot])
        n = data.draw(st.integers(1, 25))
        drawn, probability = sampler.draw(n, RNG)
        assert drawn.tolist() == list(islice(cycle(order), n))
        assert np.isnan(probability).all() and probability.shape == (n,)
        assert np.isnan(sampler.probability(drawn)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_many_members_with_random_priorities_come_in_sorted_order(kind: Kind):
    rng = np.random.default_rng(1)
    sampler = kind()
    sampler.open(5000)
    sampler.enter(rng.permutation(5000))
    priority = rng.integers(0, 300, 5000).astype(np.float64)
    sampler.update(np.arange(5000), priority)
    sampler.leave(np.arange(0, 5000, 3))
    ages = np.array(by_age(sampler)[0])
    sign = -1 if kind is HighestPriority else 1
    expected = ages[np.argsort(sign * priority[ages], kind="stable")]
    for n in (1, 2, 256, len(expected)):
        np.testing.assert_array_equal(sampler.draw(n, RNG)[0], expected[:n])


@pytest.mark.parametrize("kind", KINDS)
def test_P6_a_new_row_enters_at_the_largest_live_priority(kind: Kind):
    sampler = kind()
    sampler.open(6)
    sampler.enter(np.array([0, 1]))
    sampler.update(np.array([0, 1]), np.array([5.0, 2.0]))
    sampler.enter(np.array([2]))
    sampler.update(np.array([0, 2]), np.array([0.5, 0.25]))
    sampler.enter(np.array([3]))
    sampler.leave(np.array([1, 3]))
    sampler.enter(np.array([4]))
    assert by_age(sampler)[1] == [0.5, 0.25, 0.5]
    sampler.update(np.array([0, 2, 4]), np.zeros(3))
    sampler.enter(np.array([5]))
    assert by_age(sampler)[1] == [0, 0, 0, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_P7_of_duplicate_keys_the_last_counts(kind: Kind):
    memory = rc.Memory(rc.Schema.examples(x=rc.Field((), np.int64)), 9, sampler=kind())
    keys = memory.extend(x=np.arange(3))
    assert memory.update(keys[[0, 1, 2, 0, 0]], priority=[9, 2, 3, 0, 2.5]) == 5
    order = [2, 0, 1] if kind is HighestPriority else [1, 0, 2]
    assert memory.sample(4).x.tolist() == [*order, order[0]]
    assert (memory.sample(4).weight == 1).all()
    memory.remove(keys[:1])
    assert memory.update(keys, priority=[7, 7, 7]) == 2
    assert memory.sample(3).x.tolist() == [1, 2, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_priority_queue_empties_in_order(kind: Kind):
    schema = rc.Schema.examples(x=rc.Field((), np.int64))
    memory = rc.Memory(schema, 40, sampler=kind(), max_draws=1)
    priority = np.random.default_rng(2).permutation(40)
    memory.update(memory.extend(x=priority), priority=priority)
    drawn = [x for n in (1, 7, 32) for x in memory.sample(n).x.tolist()]
    assert drawn == sorted(range(40), reverse=kind is HighestPriority)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("initial", [-1, np.nan, np.inf, "min", None, True, [1.0]])
def test_a_bad_initial_priority_is_refused(kind: Kind, initial: object):
    with pytest.raises(rc.ConfigurationError, match="initial: expected"):
        kind(initial)


@pytest.mark.parametrize("kind", KINDS)
def test_it_belongs_to_one_reader_and_tells_its_settings(kind: Kind):
    sampler = kind(initial=2.5)
    assert repr(sampler) == f"{kind.__name__}(initial=2.5)"
    assert len(sampler) == 0
    sampler.open(3)
    with pytest.raises(rc.ConfigurationError, match="belongs to a reader"):
        sampler.open(3)
