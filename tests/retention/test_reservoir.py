"""P9: `Reservoir` holds every arrival with the same chance. All seeds are fixed."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

import recollect as rc
from oracle import chi_square_tail
from recollect.retention.reservoir import Reservoir
from shelf import SCHEMA, Shelf, even_sample_tail

UNLIKELY = 1e-3
MIXED = [5, 1, 2, 17, 1, 1, 9, 4]  # 40 arrivals


def offered(capacity: int, sizes: list[int], seed: int) -> Shelf:
    shelf = Shelf(Reservoir(), capacity, seed)
    for size in sizes:
        shelf.offer([0] * size)
    return shelf


def subsets(samples: list[list[int]], n: int, size: int) -> float:
    """The tail of the samples against an even choice among all subsets of 0 to n - 1."""
    each = dict.fromkeys(combinations(range(n), size), 0)
    for sample in samples:
        each[tuple(sample)] += 1
    return chi_square_tail(
        np.array(list(each.values())), np.full(len(each), len(samples) / len(each))
    )


@pytest.mark.parametrize("sizes", [MIXED, [40], [1] * 40, [7, 33], [5] * 8], ids=str)
def test_P9_every_arrival_has_the_same_chance_to_be_held(sizes: list[int]) -> None:
    trials, capacity = 2_000, 7
    counts = np.zeros(40, np.int64)
    for seed in range(trials):
        counts[offered(capacity, sizes, seed).numbers()] += 1
    assert counts.sum() == trials * capacity
    assert even_sample_tail(counts, capacity, trials) > UNLIKELY
    # the ends, where an error of one would be
    chance = capacity / 40
    deviation = (trials * chance * (1 - chance)) ** 0.5
    for arrival in (0, 6, 7, 39):
        assert abs(counts[arrival] - trials * chance) < 4 * deviation, arrival


@pytest.mark.parametrize("sizes", [[5], [1] * 5, [2, 3], [3, 2], [1, 4]], ids=str)
def test_P9_every_subset_is_equally_likely(sizes: list[int]) -> None:
    samples = [offered(2, sizes, seed).numbers() for seed in range(4_000)]
    assert subsets(samples, 5, 2) > UNLIKELY


def test_P9_from_one_state_the_streams_that_follow_are_even_too() -> None:
    """Copied in mid-stream, state and all, and gone on with under other generators."""
    counts = np.zeros(40, np.int64)
    trials, capacity = 2_000, 7
    for seed in range(trials):
        first = offered(capacity, MIXED[:4], seed)
        second = first.copy()
        for size in MIXED[4:]:
            assert first.offer([0] * size) == second.offer([0] * size)
        counts[second.numbers()] += 1
    assert even_sample_tail(counts, capacity, trials) > UNLIKELY


def test_P9_in_a_memory() -> None:
    trials, capacity = 1_000, 7
    counts = np.zeros(40, np.int64)
    for seed in range(trials):
        memory = rc.Memory(SCHEMA, capacity, retention=Reservoir(), seed=seed)
        held = {}
        for size in MIXED:
            first = int(memory.stats()["added"])
            keys = memory.extend(label=np.arange(first, first + size)).tolist()
            held |= {key & 0xFFFFFFFF: first + i for i, key in enumerate(keys) if key >= 0}
        counts[list(held.values())] += 1
    assert even_sample_tail(counts, capacity, trials) > UNLIKELY


@pytest.mark.parametrize("sizes", [MIXED, [40]], ids=str)
def test_a_batch_ends_like_its_examples_one_by_one(sizes: list[int]) -> None:
    for seed in range(100):
        batched = offered(6, sizes, seed)
        one_by_one = offered(6, [1] * 40, seed)
        assert batched.held == one_by_one.held


def test_an_example_pushed_out_by_its_own_offer_was_not_kept() -> None:
    pushed_out = 0
    for seed in range(50):
        together, alone = Shelf(Reservoir(), 3, seed), Shelf(Reservoir(), 3, seed)
        slots, accepted = together.offer([0] * 12), alone.offer_one_by_one([0] * 12)
        last = {slot: i for i, slot in enumerate(accepted) if slot >= 0}
        assert slots == [slot if last.get(slot) == i else -1 for i, slot in enumerate(accepted)]
        pushed_out += sum(one >= 0 for one in accepted) - 3
    assert pushed_out > 100


def test_P9_shrinking_leaves_every_subset_equally_likely_and_so_does_what_follows() -> None:
    small, later = [], []
    for seed in range(4_000):
        shelf = offered(4, [5], seed)
        shelf.resize(2)
        small.append(shelf.numbers())
        shelf.offer([0])
        later.append(shelf.numbers())
    assert subsets(small, 5, 2) > UNLIKELY
    assert subsets(later, 6, 2) > UNLIKELY


@pytest.mark.parametrize("how", ["remove", "grow"])
def test_free_slots_are_filled_first_and_then_the_chances_are_those_of_the_arrival(
    how: str,
) -> None:
    trials = 4_000
    answers = np.zeros(5, np.int64)
    for seed in range(trials):
        if how == "remove":
            shelf = offered(4, [8], seed)
            shelf.remove([1, 3])
        else:
            shelf = offered(2, [8], seed)
            shelf.resize(4)
        assert min(shelf.offer([0])) >= 0
        assert min(shelf.offer([0])) >= 0
        assert sorted(shelf.held) == [0, 1, 2, 3]
        answers[shelf.offer([0])[0]] += 1
    # arrival number 11 to 4 slots; the last place counts those not kept
    expected = np.array([1, 1, 1, 1, 7]) * trials / 11
    assert chi_square_tail(answers, expected) > UNLIKELY


@pytest.mark.parametrize("sizes", [[5], [1] * 5, [2, 3]], ids=str)
def test_P9_an_emptied_reservoir_begins_anew(sizes: list[int]) -> None:
    samples = []
    for seed in range(3_000):
        shelf = offered(2, [30], seed)
        shelf.remove(sorted(shelf.held))
        for size in sizes:
            shelf.offer([0] * size)
        samples.append([number - 30 for number in shelf.numbers()])
    assert subsets(samples, 5, 2) > UNLIKELY


def test_P9_different_seeds_hold_different_examples() -> None:
    assert len({tuple(offered(5, [1_000], seed).numbers()) for seed in range(50)}) == 50
