"""The usual priorities, against their formulas written out."""

import numpy as np
import pytest
import torch

import recollect as rc
from recollect import priorities

DELTA = np.array([-3.0, 0.0, 0.5, 2.0])


def test_each_formula() -> None:
    np.testing.assert_array_equal(priorities.td_error(DELTA), [3, 0, 0.5, 2])
    np.testing.assert_allclose(priorities.lap(DELTA), [3**0.4, 1, 1, 2**0.4])
    np.testing.assert_allclose(priorities.lap(DELTA, 1.0, 0.1), [3, 0.1, 0.5, 2])
    sequences = np.array([[1.0, -2.0, 6.0], [4.0, 0.0, 100.0]])
    mask = np.array([[1, 1, 1], [1, 1, 0]])
    np.testing.assert_allclose(
        priorities.r2d2(sequences, mask), [0.9 * 6 + 0.1 * 3, 0.9 * 4 + 0.1 * 2]
    )
    np.testing.assert_allclose(priorities.r2d2(sequences, eta=0.5)[1], 50 + 52 / 3)
    np.testing.assert_allclose(
        priorities.curious([0, 2, 50], [0.0, -1.0, 3.0]),
        [1e4 + 0.01**0.7, 4900 + 1.01**0.7, 1e4 * 0.7**50 + 3.01**0.7],
    )


def test_tensors_with_gradients_are_taken() -> None:
    delta = torch.tensor(DELTA, dtype=torch.float32, requires_grad=True) * 1.0
    for function in (priorities.td_error, priorities.lap):
        result = function(delta)
        assert isinstance(result, np.ndarray)
        assert result.dtype == np.float64
    assert priorities.r2d2(delta[None]).shape == (1,)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(rc.ConfigurationError, match=r"\(B, T\)"):
        priorities.r2d2(DELTA)
    with pytest.raises(rc.ConfigurationError, match="eta"):
        priorities.r2d2(DELTA[None], eta=2)
    for mask in (np.ones((1, 3)), np.zeros((1, 4))):
        with pytest.raises(rc.ConfigurationError, match="mask"):
            priorities.r2d2(DELTA[None], mask)
    with pytest.raises(rc.ConfigurationError, match="visits"):
        priorities.curious([1, 2], DELTA)
    with pytest.raises(rc.ConfigurationError, match="visits"):
        priorities.curious([-1.0] * 4, DELTA)
