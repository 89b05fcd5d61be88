"""Which rank a part of the sum falls on, beside a search through all sums."""

from __future__ import annotations

import numpy as np
import pytest

from recollect.samplers.ranks import SPARSE, Ranks


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.7, 1.0, 3.0, 40.0])
@pytest.mark.parametrize("capacity", [1, 2, SPARSE - 1, SPARSE, 2 * SPARSE + 1, 1000, 50_000])
def test_found_as_by_a_search_through_all_sums(capacity, alpha):
    ranks, rng = Ranks(capacity, alpha), np.random.default_rng(capacity)
    sums = np.cumsum(np.arange(1.0, capacity + 1) ** -alpha)
    for count in {1, capacity // 3 + 1, capacity}:
        total = ranks.total(count)
        assert total == sums[count - 1]
        some = sums[:count][:: max(count // 500, 1)]
        # at random, and where one share ends and the next begins
        points = np.concatenate((rng.random(2000) * total, [0.0], some, np.nextafter(some, 0)))
        points = np.minimum(points, np.nextafter(total, 0))
        np.testing.assert_array_equal(
            ranks.find(points), sums[:count].searchsorted(points, "right")
        )


def test_where_parts_of_the_sum_begin_rounding_does_no_harm():
    ranks = Ranks(5000, 0.7)
    part = ranks.total(5000) / (5000 // SPARSE)
    edges = np.arange(5000 // SPARSE) * part
    points = np.concatenate((edges, np.nextafter(edges, 0), np.nextafter(edges, np.inf)))
    points = np.clip(points, 0, np.nextafter(ranks.total(5000), 0))
    sums = np.cumsum(np.arange(1.0, 5001) ** -0.7)
    np.testing.assert_array_equal(ranks.find(points), sums.searchsorted(points, "right"))
