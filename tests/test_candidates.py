"""Two-stage drawing: candidates, their scores, and what is kept of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import chi_square_tail

SCHEMA = rc.Schema.examples(number=rc.Field((), np.int64), pair=(rc.Field((2,)), rc.Field(())))
UNLIKELY = 1e-3


def filled(count: int = 10) -> rc.Memory:
    memory = rc.Memory(SCHEMA, count, seed=0)
    numbers = np.arange(count)
    pair = (np.repeat(numbers[:, None], 2, 1).astype(np.float32), numbers.astype(np.float32))
    memory.extend(number=numbers, pair=pair)
    return memory


def test_the_highest_candidates_are_kept_in_order() -> None:
    memory = filled()
    seen = []

    def score(batch: rc.Batch) -> Any:
        seen.append(batch.number)
        return -batch.number

    batch = memory.sample(4, candidates=30, score=score, choose="highest")
    np.testing.assert_array_equal(batch.number, np.sort(seen[0])[:4])
    np.testing.assert_array_equal(batch.pair[0][:, 1], batch.number)
    np.testing.assert_array_equal(batch.pair[1], batch.number)
    assert (batch.weight == 1).all()
    assert memory.update(batch.key, number=batch.number) == 4
    assert memory.stats()["sampled"] == 30


def test_the_proportional_choice_draws_what_its_probability_says() -> None:
    memory = filled()
    drawn = np.zeros(10)
    for _ in range(300):
        batch = memory.sample(8, candidates=400, score=lambda batch: batch.number)
        np.add.at(drawn, batch.number, 1)
        assert (batch.number > 0).all(), "a score of 0 was drawn"
    expected = drawn.sum() * np.arange(10) / 45
    assert chi_square_tail(drawn[1:], expected[1:]) > UNLIKELY


def test_weighted_means_of_the_chosen_estimate_those_of_the_candidates() -> None:
    memory = filled()
    chosen, probabilities = [], []
    for _ in range(2_000):
        batch = memory.sample(6, candidates=60, score=lambda batch: batch.number + 1.0)
        chosen.append(float((batch.weight * batch.number).mean()))
        share = (batch.number + 1.0) / 5.5
        probabilities.append((batch.probability / (0.1 * share)).mean())
    error = np.std(chosen) / len(chosen) ** 0.5
    assert np.mean(chosen) == pytest.approx(4.5, abs=4 * error)
    assert error < 0.05
    # a candidate's share among its own 60 is near its share among all
    assert np.mean(probabilities) == pytest.approx(1, abs=0.02)


def test_the_same_seed_chooses_the_same() -> None:
    draws = [
        filled().sample(5, candidates=20, score=lambda batch: batch.number + 1).number
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*draws)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"candidates": 20}, "go together"),
        ({"score": lambda batch: batch.number}, "go together"),
        ({"candidates": 3, "score": lambda batch: batch.number}, "at least n = 5"),
        ({"candidates": 2.5, "score": lambda batch: batch.number}, "whole"),
        ({"candidates": 9, "score": lambda batch: batch.number, "choose": "best"}, "choose"),
        ({"candidates": 9, "score": lambda batch: batch.number[:3]}, "9 numbers"),
        ({"candidates": 9, "score": lambda batch: batch.number * np.nan}, "finite"),
        ({"candidates": 9, "score": lambda batch: batch.number - 99}, "0 up"),
        ({"candidates": 9, "score": lambda batch: batch.number * 0}, "not all 0"),
    ],
)
def test_what_cannot_be_chosen_is_refused(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        filled().sample(5, **arguments)
