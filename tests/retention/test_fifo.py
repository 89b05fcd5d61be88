"""`Fifo` beside a list of the newest."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.retention.fifo import Fifo
from shelf import Shelf

offer = st.tuples(st.just("offer"), st.integers(0, 12))
resize = st.tuples(st.just("resize"), st.integers(1, 9))


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(capacity=st.integers(1, 9), life=st.lists(st.one_of(offer, offer, resize), max_size=12))
def test_the_newest_are_held_whatever_the_capacity_becomes(
    capacity: int, life: list[tuple[str, int]]
) -> None:
    shelf = Shelf(Fifo(), capacity)
    newest: list[int] = []
    offered = 0
    for what, count in life:
        if what == "offer":
            shelf.offer([0] * count)
            newest += range(offered, offered + count)
            offered += count
        else:
            shelf.resize(count)
            capacity = count
        newest = newest[-capacity:]
        assert shelf.numbers() == newest


@pytest.mark.parametrize("sizes", [[7], [1] * 7, [3, 4], [2, 5]])
def test_R1_of_more_than_fit_the_newest_are_kept_in_order(sizes: list[int]) -> None:
    shelf = Shelf(Fifo(), 3)
    for size in sizes:
        slots = shelf.offer([0] * size)
        assert [slot >= 0 for slot in slots] == [size - i <= 3 for i in range(size)]
    assert [shelf.held[slot] for slot in shelf.oldest_first()] == [4, 5, 6]


def test_what_was_removed_is_filled_first_after_a_resize() -> None:
    shelf = Shelf(Fifo(), 4)
    shelf.offer([0] * 6)
    shelf.remove([slot for slot, number in shelf.held.items() if number in (3, 5)])
    shelf.resize(5)
    shelf.offer([0] * 3)
    assert shelf.numbers() == [2, 4, 6, 7, 8]
    shelf.offer([0])
    assert shelf.numbers() == [4, 6, 7, 8, 9]
