"""P10: `Balanced` beside the algorithm of its paper, told in dictionaries. All seeds are fixed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recollect as rc
from oracle import chi_square_tail
from recollect.retention.balanced import Balanced
from shelf import SCHEMA, Shelf, even_sample_tail, same_state

UNLIKELY = 1e-3
LABELS = st.integers(0, 4)
random_lives = settings(max_examples=150, derandomize=True, deadline=None, database=None)

offers = st.tuples(st.just("offer"), st.lists(LABELS, max_size=12))
removals = st.tuples(st.just("remove"), st.sets(st.integers(0, 11), max_size=6))
resizes = st.tuples(st.just("resize"), st.integers(5, 12))
lives = st.lists(st.one_of(offers, offers, removals, resizes), max_size=12)


def largest(sizes: dict[int, int]) -> set[int]:
    return {label for label, size in sizes.items() if size == max(sizes.values())}


@random_lives
@given(capacity=st.integers(5, 12), labels=st.lists(LABELS, max_size=80), seed=st.integers(0, 9))
def test_a_stream_is_treated_as_the_paper_says(capacity: int, labels: list[int], seed: int) -> None:
    """Chrysakis & Moens 2020, algorithm 1. Full: the largest now, or ever since all was filled."""
    shelf = Shelf(Balanced(), capacity, seed)
    full: set[int] = set()
    for label in labels:
        before, sizes = dict(shelf.held), shelf.sizes()
        (slot,) = shelf.offer([label])
        if len(before) < capacity:
            assert slot not in before
            assert slot >= 0
        else:
            full |= largest(sizes)
            if label in full:
                assert slot == -1 or shelf.label[before[slot]] == label
            else:
                assert shelf.label[before[slot]] in largest(sizes)


@random_lives
@given(capacity=st.integers(5, 12), life=lives, seed=st.integers(0, 9))
def test_P10_nobody_is_emptied_by_another_and_who_holds_less_holds_all_that_came(
    capacity: int, life: list[tuple[str, Any]], seed: int
) -> None:
    shelf = Shelf(Balanced(), capacity, seed)
    untouched = True
    for what, value in life:
        known = set(shelf.sizes())
        if what == "offer":
            shelf.offer(value)
            assert set(shelf.sizes()) == known | set(value)
        elif what == "resize":
            shelf.resize(value)
            untouched = False
        else:
            shelf.remove(sorted(value & shelf.held.keys()))
            untouched = False
        sizes, arrived = shelf.sizes(), Counter(shelf.label)
        if untouched and len(shelf.held) == shelf.capacity:
            lost = [size for label, size in sizes.items() if size < arrived[label]]
            assert min(lost, default=capacity) >= max(sizes.values()) - 1


@random_lives
@given(capacity=st.integers(5, 12), life=lives, seed=st.integers(0, 9))
def test_a_batch_ends_like_its_examples_one_by_one(
    capacity: int, life: list[tuple[str, Any]], seed: int
) -> None:
    batched, one_by_one = (Shelf(Balanced(), capacity, seed) for _ in range(2))
    for what, value in life:
        if what == "offer":
            slots, accepted = batched.offer(value), one_by_one.offer_one_by_one(value)
            last = {slot: i for i, slot in enumerate(accepted) if slot >= 0}
            assert slots == [slot if last.get(slot) == i else -1 for i, slot in enumerate(accepted)]
        else:
            for shelf in (batched, one_by_one):
                if what == "resize":
                    shelf.resize(value)
                else:
                    shelf.remove(sorted(value & shelf.held.keys()))
        assert batched.held == one_by_one.held
        assert same_state(batched.rule, one_by_one.rule)


@pytest.mark.parametrize("size", [1, 5, 50])
def test_P10_shares_adapt_as_values_appear_and_a_rare_one_stays(size: int) -> None:
    memory = rc.Memory(SCHEMA, 41, retention=Balanced(), seed=3)
    memory.extend(label=np.array([99, 99]))
    held: dict[int, int] = {}
    for label in range(7):
        for _ in range(0, 200, size):
            keys = memory.extend(label=np.full(size, label))
            held |= {key & 0xFFFFFFFF: label for key in keys.tolist() if key >= 0}
        sizes = Counter(held.values())
        drawn = Counter(memory.sample(3_000).label.tolist())
        assert drawn.keys() == {99, *range(label + 1)}
        assert memory.stats()["steps"] == 41
        assert sum(sizes.values()) == 39
        assert max(sizes.values()) - min(sizes.values()) <= 1
        assert max(sizes.values()) == -(-39 // (label + 1))


@pytest.mark.parametrize("order", ["in turn", "one after the other", "shuffled"])
@pytest.mark.parametrize("size", [1, 7])
def test_within_a_value_every_arrival_has_the_same_chance(order: str, size: int) -> None:
    """Seven slots for three values: one too many, which must not let the newest in for ever."""
    trials, arrivals = 800, 20
    labels = np.tile([0, 1, 2], arrivals)
    if order == "one after the other":
        labels = np.sort(labels)
    elif order == "shuffled":
        labels = np.random.default_rng(5).permutation(labels)
    counts = np.zeros(len(labels), np.int64)
    for seed in range(trials):
        shelf = Shelf(Balanced(), 7, seed)
        for first in range(0, len(labels), size):
            shelf.offer(labels[first : first + size])
        assert sorted(shelf.sizes().values()) == [2, 2, 3]
        counts[shelf.numbers()] += 1
    for label in range(3):
        mine = counts[labels == label]
        assert chi_square_tail(mine, np.full(arrivals, mine.mean())) > UNLIKELY, label


def test_with_equal_shares_every_arrival_of_each_value_has_its_share() -> None:
    trials = 2_000
    labels = np.random.default_rng(6).permutation([0] * 25 + [1] * 10 + [2] * 4)
    counts = np.zeros(len(labels), np.int64)
    for seed in range(trials):
        shelf = Shelf(Balanced(), 6, seed)
        shelf.offer(labels)
        assert shelf.sizes() == {0: 2, 1: 2, 2: 2}
        counts[shelf.numbers()] += 1
    for label in range(3):
        assert even_sample_tail(counts[labels == label], 2, trials) > UNLIKELY, label


def answers(shelf: Shelf, label: int, trials: int) -> np.ndarray:
    """How often each slot is given to one more example; the last place counts "not kept"."""
    counts = np.zeros(shelf.capacity + 1, np.int64)
    for seed in range(trials):
        trial = shelf.copy()
        trial.rng = np.random.default_rng(seed)
        counts[trial.offer([label])[0]] += 1
    return counts


def test_one_of_a_largest_value_enters_with_probability_held_by_arrived() -> None:
    shelf = Shelf(Balanced(), 6, seed=1)
    shelf.offer([0] * 9 + [1] * 3)
    mine = [slot for slot, number in shelf.held.items() if shelf.label[number] == 0]
    assert len(mine) == 3
    counts = answers(shelf, 0, 2_000)
    assert counts.sum() == counts[mine].sum() + counts[-1]
    expected = np.array([1, 1, 1, 7]) * 2_000 / 10
    assert chi_square_tail(counts[[*mine, -1]], expected) > UNLIKELY


@pytest.mark.parametrize("capacity", [4, 6, 9])
def test_what_arrived_is_remembered_through_a_resize(capacity: int) -> None:
    shelf = Shelf(Balanced(), 6, seed=1)
    shelf.offer([0] * 20)
    shelf.resize(capacity)
    shelf.offer([0] * 4)
    counts = answers(shelf, 0, 2_000)
    expected = np.append(np.ones(capacity), 25 - capacity) * 2_000 / 25
    assert chi_square_tail(counts, expected) > UNLIKELY


def test_one_of_a_smaller_value_replaces_any_example_of_the_largest_values() -> None:
    shelf = Shelf(Balanced(), 8, seed=1)
    shelf.offer([0] * 3 + [1] * 2 + [2] * 3)
    theirs = [slot for slot, number in shelf.held.items() if shelf.label[number] != 1]
    for label in (1, 7):
        counts = answers(shelf, label, 1_800)
        assert counts[theirs].sum() == 1_800
        assert chi_square_tail(counts[theirs], np.full(6, 300.0)) > UNLIKELY


def test_a_value_that_lost_examples_by_removal_grows_again() -> None:
    shelf = Shelf(Balanced(), 12, seed=2)
    shelf.offer([0, 1, 2] * 30)
    shelf.remove([slot for slot, number in shelf.held.items() if shelf.label[number] == 0][:3])
    shelf.offer([1] * 40)
    assert shelf.sizes()[0] == 1
    shelf.offer([0] * 3)
    assert sorted(shelf.sizes().items()) == [(0, 4), (1, 4), (2, 4)]


@random_lives
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    wanted=st.integers(1, 60),
    seed=st.integers(0, 3),
)
def test_shrinking_takes_from_those_that_hold_most(
    sizes: list[int], wanted: int, seed: int
) -> None:
    shelf = Shelf(Balanced(), sum(sizes), seed)
    shelf.offer(np.repeat(np.arange(len(sizes)), sizes))
    shelf.resize(wanted)
    left = sorted(sizes)
    while sum(left) > wanted:
        left[-1] -= 1
        left.sort()
    assert sorted(shelf.sizes().values()) == [size for size in left if size]


def test_shrinking_takes_any_example_of_a_value() -> None:
    trials = 2_000
    counts = np.zeros(12, np.int64)
    for seed in range(trials):
        shelf = Shelf(Balanced(), 12, seed)
        shelf.offer([0] * 6 + [1] * 6)
        shelf.resize(5)
        counts[shelf.numbers()] += 1
    # either value keeps two or three
    assert counts.sum() == 5 * trials
    assert chi_square_tail(counts, np.full(12, counts.mean())) > UNLIKELY


FIELDS = rc.Schema.examples(
    image=rc.Field((2, 2), np.uint8),
    score=rc.Field((), np.float32),
    seen=rc.Field((), np.bool_),
    info={"user": rc.Field((), np.uint64)},
)


@pytest.mark.parametrize("by", ["label", "image", "score", "info", "", None, 3], ids=repr)
def test_a_field_that_has_no_values_to_balance_is_refused(by: Any) -> None:
    with pytest.raises(rc.ConfigurationError, match=r"seen, info\.user"):
        rc.Memory(FIELDS, 10, retention=Balanced(by))
    plain = rc.Schema.examples(x=rc.Field((3,), np.float32))
    with pytest.raises(rc.ConfigurationError, match="has none"):
        rc.Memory(plain, 10, retention=Balanced(by))


@pytest.mark.parametrize(("by", "values"), [("seen", [0, 1]), ("info.user", [2**64 - 1, 5])])
def test_flags_nested_fields_and_the_largest_numbers_are_balanced(
    by: str, values: list[int]
) -> None:
    memory = rc.Memory(FIELDS, 10, retention=(rule := Balanced(by)), seed=0)
    for value, count in zip(values, (50, 20), strict=True):
        row = {"seen": 0, "info.user": 0} | {by: value}
        memory.extend(
            image=np.zeros((count, 2, 2), np.uint8),
            score=np.zeros(count, np.float32),
            seen=np.full(count, row["seen"], np.bool_),
            info={"user": np.full(count, row["info.user"], np.uint64)},
        )
    state = rule.state()
    assert dict(
        zip(state["values"].tolist(), state["sizes"].tolist(), strict=True)
    ) == dict.fromkeys(values, 5)


@pytest.mark.parametrize("offer", [[9, 3, 0], [3, 1, 9, 2], [8, 9]], ids=str)
@pytest.mark.parametrize(
    "held", [[0, 1, 2], [0, 1, 2, 3], [0, 0, 1, 2, 3], [3, 2, 1, 0] * 5], ids=str
)
def test_a_value_that_cannot_be_held_is_refused_and_nothing_changes(
    offer: list[int], held: list[int]
) -> None:
    shelf = Shelf(Balanced(), 4)
    shelf.offer(held)
    before = shelf.copy()
    with pytest.raises(rc.SchemaError, match=r"label: .* such as [389], .* 4 slots"):
        shelf.offer(offer)
    assert same_state(shelf.rule, before.rule)
    assert len(shelf.label) == len(held)
    assert shelf.offer([0, 1, 2, 3] * 9) == before.offer([0, 1, 2, 3] * 9)


def test_a_value_that_is_gone_leaves_its_room_to_another() -> None:
    memory = rc.Memory(SCHEMA, 3, retention=Balanced(), seed=0)
    keys = memory.extend(label=np.array([0, 1, 2]))
    with pytest.raises(rc.SchemaError, match="label"):
        memory.add(label=3)
    assert len(memory) == 3
    memory.remove(keys[1:2])
    assert memory.add(label=3) >= 0
    assert set(memory.sample(100).label.tolist()) == {0, 2, 3}


def test_a_memory_that_grows_as_needed_holds_any_number_of_values() -> None:
    memory = rc.Memory(SCHEMA, None, retention=Balanced(), seed=0)
    memory.extend(label=np.arange(3_000))
    assert len(memory) == 3_000
