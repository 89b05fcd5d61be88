"""`Shuffled`: each row once per epoch, in an unforeseeable order; P1 of the conformance."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recollect as rc
from oracle import chi_square_tail
from recollect.samplers.shuffled import Shuffled
from samplers.lives import live

UNLIKELY = 1e-3


def resumed(state: dict[str, np.ndarray]) -> Shuffled:
    """A sampler that goes on from a saved state."""
    sampler = Shuffled()
    sampler.open(int(state["capacity"]))
    sampler.restore(state)
    return sampler


def test_the_last_of_a_deck_leaves_together_with_one_that_was_dealt() -> None:
    """Its place must not be taken for that of the member that moved into the other's."""
    for leaving in permutations(range(3), 2):
        for seed in range(12):
            sampler = Shuffled()
            sampler.open(3)
            sampler.enter(np.arange(3))
            rng = np.random.default_rng(seed)
            sampler.draw(seed % 3, rng)
            sampler.leave(np.array(leaving))
            (left,) = {0, 1, 2} - set(leaving)
            sampler.enter(np.array(leaving[:1]))
            sampler.leave(np.array([left]))
            assert sampler.draw(2, rng)[0].tolist() == [leaving[0]] * 2


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_each_member_is_drawn_once_per_epoch(data: st.DataObject):
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    sampler = Shuffled()
    left: set[int] = set()  # what is left of this epoch
    for moment in live(data, sampler):
        left |= set(moment.entered)
        left -= set(moment.left)
        if moment.moved:
            left = {moment.moved[slot] for slot in left}
        left = left or set(moment.members)
        if not moment.members:
            continue
        state = sampler.state()
        assert set(state["members"].tolist()) == set(moment.members)
        assert set(state["members"][state["drawn"] :].tolist()) == left
        slots, probability = sampler.draw(data.draw(st.integers(1, 25)), rng)
        for slot in slots.tolist():
            assert slot in left
            left.remove(slot)
            left = left or set(moment.members)
        assert (probability == 1 / len(moment.members)).all()
        assert (sampler.probability(slots) == probability).all()


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_saved_state_decides_the_next_draws(data: st.DataObject):
    sampler, rng = Shuffled(), np.random.default_rng(0)
    for moment in live(data, sampler):
        if not moment.members:
            continue
        sampler.draw(data.draw(st.integers(1, 5)), rng)
        other = resumed(sampler.state())
        mine, _ = sampler.draw(12, np.random.default_rng(5))
        theirs, _ = other.draw(12, np.random.default_rng(5))
        np.testing.assert_array_equal(mine, theirs)


def test_P1_every_order_of_an_epoch_is_equally_likely():
    rng, sampler = np.random.default_rng(1), Shuffled()
    sampler.open(5)
    sampler.enter(np.array([4, 0, 2]))
    orders = [tuple(order) for order in sampler.draw(3 * 12_000, rng)[0].reshape(-1, 3).tolist()]
    pairs: dict[tuple[int, ...], int] = {}
    for one, following in zip(orders[::2], orders[1::2], strict=True):
        pairs[one + following] = pairs.get(one + following, 0) + 1
    # an epoch says nothing about the next
    assert set(pairs) == {a + b for a in permutations((0, 2, 4)) for b in permutations((0, 2, 4))}
    assert chi_square_tail(np.array(list(pairs.values())), np.full(36, 6000 / 36)) > UNLIKELY


def test_P1_who_enters_or_leaves_during_an_epoch_changes_nothing_for_the_rest():
    rng = np.random.default_rng(2)
    following = np.zeros(6)
    for _ in range(6000):
        sampler = Shuffled()
        sampler.open(6)
        sampler.enter(np.arange(5))
        drawn = sampler.draw(2, rng)[0]
        sampler.leave(drawn[:1])
        sampler.enter(np.array([5]))
        following[sampler.draw(1, rng)[0]] += 1
    # 5 is one of 4 left; each of 0 to 4 is left in 3 of 5 lives
    expected = np.append(np.full(5, 6000 * 3 / 5 / 4), 6000 / 4)
    assert chi_square_tail(following, expected) > UNLIKELY


def test_a_memory_is_read_epoch_by_epoch():
    memory = rc.Memory(rc.Schema.examples(x=rc.Field((), np.int64)), 10, sampler=Shuffled(), seed=3)
    memory.extend(x=np.arange(10))
    epochs = np.concatenate([memory.sample(4).x for _ in range(10)]).reshape(4, 10)
    assert (np.sort(epochs) == np.arange(10)).all()
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4
    batch = memory.sample(3)
    assert (batch.probability == 0.1).all() and (batch.weight == 1).all()
    with pytest.raises(rc.PriorityError, match="Shuffled"):
        memory.update(batch.key, priority=np.ones(3))


def test_it_belongs_to_one_reader():
    sampler = Shuffled()
    assert len(sampler) == 0
    sampler.open(3)
    with pytest.raises(rc.ConfigurationError, match=r"this Shuffled\(\) belongs to a reader"):
        sampler.open(3)
