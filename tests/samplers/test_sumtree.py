"""`SumTree` against plain arrays (CONFORMANCE.md, P2 and P3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.samplers.sumtree import SumTree, points

CAPACITIES = [1, 2, 3, 15, 16, 17, 100, 255, 256, 257, 1_000, 4_097]


def check(tree: SumTree, mass: np.ndarray, priority: np.ndarray) -> None:
    """The tree says of masses and priorities (-inf: no member) what these arrays do."""
    assert len(tree) == (priority > -np.inf).sum()
    assert tree.total == pytest.approx(mass.sum(), rel=1e-12)
    assert tree.largest == priority.max()
    members, priorities = tree.members()
    np.testing.assert_array_equal(members, np.flatnonzero(priority > -np.inf))
    np.testing.assert_array_equal(priorities, priority[members])
    np.testing.assert_array_equal(tree.mass(np.arange(len(mass))), mass)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(capacity=st.integers(1, 600), data=st.data())
def test_the_tree_agrees_with_plain_arrays(capacity: int, data: Any) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    tree = SumTree(capacity)
    mass, priority = np.zeros(capacity), np.full(capacity, -np.inf)
    for _ in range(data.draw(st.integers(1, 8))):
        member = priority > -np.inf
        kind = data.draw(st.sampled_from(["enter", "leave", "set"]))
        some = np.flatnonzero(~member if kind == "enter" else member)
        if not len(some):
            continue
        slots = rng.permutation(some)[: data.draw(st.integers(1, 50))]
        if kind == "set":
            slots = rng.choice(slots, 2 * len(slots))  # of duplicates the last counts
        values = rng.random(len(slots)) * (rng.random(len(slots)) < 0.8)
        if kind == "leave":
            tree.leave(slots)
            mass[slots], priority[slots] = 0, -np.inf
        else:
            (tree.enter if kind == "enter" else tree.set)(slots, values, 2 * values)
            for slot, value in zip(slots, values, strict=True):
                mass[slot], priority[slot] = 2 * value, value
        check(tree, mass, priority)
        if tree.total:
            wanted = points(64, tree.total, bool(rng.random() < 0.5), rng)
            found, masses = tree.find(wanted)
            np.testing.assert_array_equal(masses, mass[found])
            assert (mass[found] > 0).all(), "a slot without mass was found"
            # each point lies in what stands before its slot, and its own mass
            ends = np.cumsum(mass)
            assert (wanted >= ends[found] - mass[found] - 1e-9 * ends[-1]).all()
            assert (wanted <= ends[found] + 1e-9 * ends[-1]).all()


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_P3_every_leaf_is_reached_in_order_whatever_the_capacity(capacity: int) -> None:
    tree = SumTree(capacity)
    slots = np.arange(capacity)
    tree.enter(slots, slots + 1.0, np.ones(capacity))
    np.testing.assert_array_equal(tree.find(slots + 0.5)[0], slots)
    np.testing.assert_array_equal(tree.find(slots.astype(float))[0], slots)
    assert tree.total == capacity
    assert tree.largest == capacity


def test_P2_the_total_is_the_sum_of_the_leaves_after_a_million_updates() -> None:
    rng = np.random.default_rng(0)
    capacity = 10_007
    tree = SumTree(capacity)
    tree.enter(np.arange(capacity), np.ones(capacity), np.ones(capacity))
    mass = np.ones(capacity)
    for _ in range(250):
        slots = rng.integers(0, capacity, 4_000)
        # over twenty orders of magnitude, where added differences would leave nothing right
        values = 10.0 ** rng.uniform(-10, 10, 4_000)
        tree.set(slots, values, values)
        mass[slots] = values
    check(tree, mass, mass)
    tree.set(np.arange(capacity), np.full(capacity, 1e-9), np.full(capacity, 1e-9))
    assert tree.total == pytest.approx(capacity * 1e-9, rel=1e-12)


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_P2_no_mass_is_never_found_not_even_at_the_very_end(capacity: int) -> None:
    rng = np.random.default_rng(capacity)
    tree = SumTree(capacity)
    mass = rng.random(capacity) * (rng.random(capacity) < 0.3)
    mass[rng.integers(capacity)] = 0.1
    tree.enter(np.arange(capacity), mass, mass)
    total = tree.total
    edges = np.array([0.0, np.nextafter(total, 0), total, np.nextafter(total, np.inf), 2 * total])
    found, _ = tree.find(np.concatenate((edges, np.cumsum(mass), np.cumsum(mass) - mass)))
    assert (mass[found] > 0).all()
    assert found[0] == np.flatnonzero(mass)[0]
    assert (found[1:5] == np.flatnonzero(mass)[-1]).all()


def test_stratified_points_fall_one_into_each_part() -> None:
    rng = np.random.default_rng(0)
    stratified = points(100, 5.0, True, rng)
    np.testing.assert_array_equal(np.floor(stratified * 20), np.arange(100))
    assert len(np.unique(np.floor(points(100, 5.0, False, rng) * 20))) < 80
