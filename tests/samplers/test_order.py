"""`Oldest` and `Newest` against a list; a memory as a queue that empties as it is replayed."""

from __future__ import annotations

import threading
from itertools import cycle, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recollect as rc
from recollect.samplers.age import Newest, Oldest
from samplers.lives import live

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("kind", [Oldest, Newest])
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_it_draws_in_order_and_round_again(kind: type[Oldest | Newest], data: st.DataObject):
    sampler = kind()
    assert len(sampler) == 0
    for moment in live(data, sampler):
        assert sampler.state()["members"].tolist() == moment.members
        if not moment.members:
            continue
        n = data.draw(st.integers(1, 25))
        slots, probability = sampler.draw(n, RNG)
        order = moment.members if kind is Oldest else moment.members[::-1]
        assert slots.tolist() == list(islice(cycle(order), n))
        assert slots.dtype == np.intp
        assert np.isnan(probability).all() and probability.shape == (n,)
        assert np.isnan(sampler.probability(slots)).all()
        assert (sampler.weight(probability, len(sampler), 0) == 1).all()


@pytest.mark.parametrize("kind", [Oldest, Newest])
def test_it_belongs_to_one_reader_and_takes_no_priorities(kind: type[Oldest | Newest]):
    sampler = kind()
    sampler.open(3)
    with pytest.raises(rc.ConfigurationError, match=rf"this {kind.__name__}\(\) belongs"):
        sampler.open(3)
    with pytest.raises(rc.PriorityError, match=kind.__name__):
        sampler.update(np.array([0]), np.array([1.0]))


def numbers(capacity: int, **more: object) -> rc.Memory:
    return rc.Memory(rc.Schema.examples(x=rc.Field((), np.int64)), capacity, **more)


def test_a_memory_is_replayed_in_order_or_backwards():
    memory = numbers(5, sampler=Oldest())
    backwards = memory.reader(sampler=Newest())
    memory.extend(x=np.arange(7))
    assert memory.sample(7).x.tolist() == [2, 3, 4, 5, 6, 2, 3]
    assert backwards.sample(3).x.tolist() == [6, 5, 4]
    memory.remove(memory.sample(2).key[1:])
    assert memory.sample(4).x.tolist() == [2, 4, 5, 6]


def test_with_max_draws_a_memory_is_a_queue_that_empties():
    memory = numbers(50, sampler=Oldest(), max_draws=1)
    memory.extend(x=np.arange(30))
    assert memory.sample(20).x.tolist() == list(range(20))
    memory.extend(x=np.arange(30, 35))
    assert memory.sample(20).x.tolist() == list(range(20, 35))
    with pytest.raises(rc.EmptyMemoryError):
        memory.sample(1)


def test_threads_that_empty_a_queue_get_every_row_exactly_once_and_in_order():
    memory = numbers(64, sampler=Oldest(), max_draws=1)
    room = threading.Semaphore(64)
    count, taken = 600, [[] for _ in range(4)]
    written = threading.Event()
    failures: list[BaseException] = []

    def take(mine: list[int]) -> None:
        try:
            while True:
                done = written.is_set()
                try:
                    batch = memory.sample(5)
                except rc.EmptyMemoryError:
                    if done:
                        return
                    continue
                mine += batch.x.tolist()
                room.release(len(batch.x))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=take, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for i in range(count):
        assert room.acquire(timeout=60)
        memory.add(x=i)
    written.set()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert sorted(x for mine in taken for x in mine) == list(range(count))
    for mine in taken:
        assert mine == sorted(mine)
