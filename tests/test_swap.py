"""`swap`: give some, take as many; the image pool of GAN training."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import recollect as rc

SCHEMA = rc.Schema.examples(
    number=rc.Field((), np.int64), image={"a": rc.Field((300,), np.float32)}
)


def images(numbers: np.ndarray) -> dict[str, Any]:
    pixels = np.repeat(numbers[:, None], 300, 1).astype(np.float32)
    return {"number": numbers, "image": {"a": pixels}}


def test_a_pool_that_is_not_full_keeps_what_it_is_given_and_hands_it_back() -> None:
    pool = rc.Memory(SCHEMA, 5, seed=0)
    given = images(np.arange(4))
    taken = pool.swap(**given)
    np.testing.assert_array_equal(taken.number, np.arange(4))
    np.testing.assert_array_equal(taken.image.a, given["image"]["a"])
    assert (taken.key == -1).all()
    assert len(pool) == 4
    assert not np.shares_memory(taken.number, given["number"])


@pytest.mark.parametrize("batch_size", [1, 3])
def test_swapped_images_are_two_pool_sizes_old_on_average(batch_size: int) -> None:
    size, rounds = 20, 30_000 // batch_size
    pool = rc.Memory(SCHEMA, size, seed=0)
    ages, straight = [], 0
    seen: list[int] = []
    for turn in range(rounds):
        numbers = np.arange(turn * batch_size, (turn + 1) * batch_size)
        taken = pool.swap(**images(numbers))
        np.testing.assert_array_equal(taken.image.a[:, 7], taken.number)
        if turn * batch_size >= size + batch_size:
            old = taken.key >= 0
            straight += int((~old).sum())
            np.testing.assert_array_equal(taken.number[~old], numbers[~old])
            ages += (numbers - taken.number)[old].tolist()
            seen += taken.number[old].tolist()
        assert len(pool) == min((turn + 1) * batch_size, size)
    assert len(set(seen)) == len(seen), "an image was handed out twice"
    offered = len(ages) + straight
    # one in two is swapped, each of the others then has a chance of 1 / (2 * size) a query
    assert straight / offered == pytest.approx(0.5, abs=4 * (0.25 / offered) ** 0.5)
    assert np.mean(ages) == pytest.approx(2 * size, abs=4 * 2 * size / len(ages) ** 0.5)


@pytest.mark.parametrize("probability", [0, 1])
def test_the_probability_of_a_swap_is_the_users(probability: float) -> None:
    pool = rc.Memory(SCHEMA, 8, seed=0)
    pool.swap(**images(np.arange(8)))
    taken = pool.swap(probability=probability, **images(np.arange(100, 150)))
    assert ((taken.key >= 0) == bool(probability)).all()
    assert pool.stats()["added"] == 58
    assert len(pool) == 8


def test_threads_that_swap_lose_nothing_and_get_nothing_twice() -> None:
    pool = rc.Memory(SCHEMA, 30, seed=0)
    pool.swap(**images(np.arange(30)))
    got: list[list[int]] = [[], []]

    def swap(thread: int) -> None:
        for turn in range(400):
            numbers = np.arange(2) + 1_000 * (thread + 1) + 2 * turn
            got[thread] += pool.swap(probability=0.7, **images(numbers)).number.tolist()

    threads = [threading.Thread(target=swap, args=(thread,)) for thread in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    remaining = {number for _ in range(20) for number in pool.sample(64).number.tolist()}
    everything = got[0] + got[1] + list(remaining)
    expected = {*range(30), *(1_000 + np.arange(800)), *(2_000 + np.arange(800))}
    assert len(everything) == len(expected)
    assert set(everything) == {int(number) for number in expected}


def test_what_cannot_be_swapped_is_refused() -> None:
    pool = rc.Memory(SCHEMA, 4, seed=0)
    with pytest.raises(rc.ConfigurationError, match="probability"):
        pool.swap(probability=1.5, **images(np.arange(2)))
    with pytest.raises(rc.SchemaError, match="number"):
        pool.swap(number=np.zeros((2, 2), np.int64), image={"a": np.zeros((2, 300), np.float32)})
    steps = rc.Memory(rc.Schema.steps(obs=rc.Field((1,)), action=rc.Field(())), 4)
    with pytest.raises(rc.ConfigurationError, match="episodes"):
        steps.swap(obs=np.zeros((1, 1)))
    assert len(pool) == 0
