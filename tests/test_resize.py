"""Growing and shrinking while running: rows, keys, priorities and order stay as they are."""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import islice
from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import STREAM_SHIFT, Look
from selfproving import endless_world, known_world, prove, schema, stacked, view

EXAMPLES = rc.Schema.examples(number=rc.Field((), np.int64), image=rc.Field((1100,), np.uint8))


def offer(memory: rc.Memory, first: int, count: int) -> np.ndarray:
    numbers = np.arange(first, first + count)
    images = np.repeat((numbers % 256).astype(np.uint8)[:, None], 1100, 1)
    return memory.extend(number=numbers, image=images)


def held(memory: rc.Memory) -> set[int]:
    batch = memory.sample(20 * len(memory))
    assert (batch.image == (batch.number % 256).astype(np.uint8)[:, None]).all()
    return set(batch.number.tolist())


def test_examples_stay_first_in_first_out_and_keep_their_keys_through_any_resizes() -> None:
    rng = np.random.default_rng(0)
    memory = rc.Memory(EXAMPLES, 5, seed=0)
    expected: deque[tuple[int, int]] = deque(maxlen=5)
    every: list[tuple[int, int]] = []
    count = 0
    for _ in range(150):
        if rng.random() < 0.4:
            capacity = int(rng.integers(1, 12))
            memory.resize(capacity)
            expected = deque(expected, maxlen=capacity)
            assert memory.capacity == capacity
        some = int(rng.integers(1, 5))
        keys = offer(memory, count, some)
        now = list(zip(keys.tolist(), range(count, count + some), strict=True))
        expected.extend(now)
        every += [pair for pair in now if pair[0] >= 0]
        count += some
        assert held(memory) == {number for _, number in expected}
        live = dict(expected)
        for key, _ in every[-30:]:
            assert memory.update(key, number=live.get(key, -1)) == (key in live)
    keys_given = [key for key, _ in every]
    assert len(set(keys_given)) == len(keys_given), "a key was given out twice"


def test_a_removed_examples_key_stays_stale_after_its_slot_came_back() -> None:
    memory = rc.Memory(EXAMPLES, 8, seed=0)
    first = offer(memory, 0, 8)
    memory.resize(2)
    memory.resize(8)
    later = offer(memory, 8, 8)
    assert not set(first.tolist()) & set(later.tolist())
    assert memory.update(first, number=np.zeros(8, np.int64)) == 0
    assert memory.update(later, number=np.arange(8)) == 8


def test_steps_prove_themselves_while_the_memory_grows_and_shrinks() -> None:
    looks = [Look(3, 0.9, 2), Look(None, 0.9)]
    worlds = [endless_world("dict", stream) for stream in range(3)]
    memory = rc.Memory(schema("dict"), 3 * 20, streams=3, view=view(looks[0]), seed=0)
    other = memory.reader(view=view(looks[1]))
    for turn, size in enumerate((20, 7, 60, 30, 31, 8, 90)):
        memory.resize(3 * size)
        steps = len(memory)
        for _ in range(40):
            keys = memory.add(**stacked([next(world) for world in worlds]))
        assert len(memory) > min(steps, 3 * size // 2)
        for reader, look in zip((memory, other), looks, strict=True):
            prove(reader.sample(200), "dict", look)
        assert memory.update(keys) == 3, turn


def test_without_a_capacity_nothing_is_forgotten() -> None:
    look = Look(2, 0.9)
    memory = rc.Memory(schema("flat"), None, streams=2, view=view(look), seed=0)
    small = memory.capacity
    keys = []
    for stream in range(2):
        world = known_world("flat", stream, 3_000)
        keys.append(memory.extend(stream=stream, **stacked(world[:2_000])))
        for step in world[2_000:]:
            keys.append(np.array([memory.add(stream=stream, **step)]))
    assert memory.capacity > small
    assert len(memory) == 6_000
    prove(memory.sample(2_000), "flat", look)
    assert memory.update(np.concatenate(keys)) == 6_000

    examples = rc.Memory(EXAMPLES, None, seed=0)
    for first in range(0, 5_000, 700):
        offer(examples, first, 700)
    assert len(examples) == 5_600
    assert held(examples) == set(range(5_600))


def test_priorities_order_and_draws_stay_with_their_rows() -> None:
    memory = rc.Memory(EXAMPLES, 6, sampler=rc.HighestPriority(), max_draws=3, seed=0)
    queue = memory.reader(sampler=rc.Oldest())
    keys = offer(memory, 0, 6)
    memory.update(keys, priority=[3.0, 1.0, 4.0, 1.5, 5.0, 9.0])
    assert memory.sample(2).number.tolist() == [5, 4]
    memory.resize(4)
    assert memory.sample(4).number.tolist() == [5, 4, 2, 3]
    assert queue.sample(1).number.tolist() == [2]
    memory.resize(40)
    # 5, 4 and 2 were drawn twice so far, 3 once: each may be drawn three times
    assert memory.sample(9).number.tolist() == [5, 4, 2, 3, 3]
    assert len(memory) == 0


def test_resizing_waits_for_threads_that_gather() -> None:
    look = Look(3, 0.9, 2)
    memory = rc.Memory(schema("image"), 400, view=view(look), seed=0)
    world = endless_world("image", 0)
    memory.extend(**stacked(list(islice(world, 380))))
    errors: list[BaseException] = []
    done = threading.Event()

    def learn() -> None:
        try:
            while not done.is_set():
                prove(memory.sample(64), "image", look)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=learn) for _ in range(2)]
    for thread in threads:
        thread.start()
    rng = np.random.default_rng(0)
    for _ in range(60):
        memory.resize(int(rng.integers(20, 600)))
        memory.extend(**stacked(list(islice(world, 10))))
    done.set()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]


@pytest.mark.parametrize("capacity", [0, -3, 2.5, True, None, "9", 5])
def test_a_capacity_that_cannot_be_is_refused(capacity: Any) -> None:
    memory = rc.Memory(schema("flat"), 60, streams=3, seed=0)
    before = memory.stats()
    with pytest.raises(rc.ConfigurationError, match="capacity"):
        memory.resize(capacity)
    assert memory.stats() == before


def test_keys_of_steps_name_stream_and_number_whatever_the_size() -> None:
    memory = rc.Memory(schema("flat"), 50, streams=2, seed=0)
    for step in known_world("flat", 1, 12):
        key = memory.add(stream=1, **step)
    memory.resize(200)
    assert key >> STREAM_SHIFT == 1
    assert memory.remove([key]) == 1
    assert memory.remove([key]) == 0


def test_who_waits_to_grow_finds_that_another_took_the_room() -> None:
    """Two threads add at once while a third gathers, for which arrays must not move."""
    entered, gate = threading.Event(), threading.Event()

    class Gated(rc.Example):
        def gather(self, *arguments: Any) -> Any:
            entered.set()
            assert gate.wait(20)
            return super().gather(*arguments)

    memory = rc.Memory(EXAMPLES, None, view=Gated(), seed=0)
    room = memory.capacity
    offer(memory, 0, room)
    sampler = threading.Thread(target=memory.sample, args=(4,))
    sampler.start()
    assert entered.wait(20)
    adders = [
        threading.Thread(target=offer, args=(memory, first * room, room)) for first in (1, 2, 3)
    ]
    for adder in adders:
        adder.start()
    while memory.shared.moving < 3:
        time.sleep(0.001)
    gate.set()
    for thread in (sampler, *adders):
        thread.join(20)
    assert len(memory) == 4 * room
    assert held(memory) == set(range(4 * room))
