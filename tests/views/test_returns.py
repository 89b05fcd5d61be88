"""n-step returns, beside sums that are made step by step."""

from __future__ import annotations

import numpy as np
import pytest

from recollect import marks
from recollect.views.returns import Returns

DTYPES = [
    *(np.float16, np.float32, np.float64, np.longdouble, np.complex64, np.complex128),
    *(np.bool_, np.int8, np.uint16, np.int64),
]


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rewards_of_any_dtype_are_summed_up_to_the_end(dtype, shape):
    rng = np.random.default_rng(0)
    length, batch, gamma = 5, 200, 0.75
    reward = rng.integers(0, 2 if dtype is np.bool_ else 50, (length, batch, *shape)).astype(dtype)
    flags = [0, 0, 0, marks.TERMINATED, marks.TRUNCATED, marks.TERMINATED | marks.TRUNCATED]
    mark = rng.choice(flags, (length, batch)).astype(np.uint32)
    mark |= rng.integers(0, 1000, mark.shape).astype(np.uint32) << np.uint32(marks.OFFSET_SHIFT)
    found = Returns(np.dtype(dtype)).of(reward, mark, gamma)
    assert found["reward"].dtype == np.result_type(dtype, np.float32)
    assert found["reward"].shape == (batch, *shape)
    for place in range(batch):
        steps, total = 0, np.zeros(shape, np.complex128)
        while True:
            total += gamma**steps * reward[steps, place].astype(np.complex128)
            last = int(mark[steps, place])
            steps += 1
            if last & marks.ENDED or steps == length:
                break
        np.testing.assert_allclose(found["reward"][place], total, rtol=1e-6)
        assert found["steps"][place] == steps
        assert found["terminated"][place] == bool(last & marks.TERMINATED)
        assert found["truncated"][place] == bool(last & marks.TRUNCATED)
        expected = 0.0 if last & marks.TERMINATED else gamma**steps
        assert found["discount"][place] == np.float32(expected)


def test_what_lies_behind_the_end_may_be_anything():
    reward = np.array([[1.0], [2.0], [np.nan], [np.inf]])
    mark = np.array([[0], [marks.TRUNCATED], [0], [0]], np.uint32)
    found = Returns(reward.dtype).of(reward, mark, 0.5)
    assert (found["reward"][0], found["steps"][0], found["discount"][0]) == (2.0, 2, 0.25)


def test_gamma_and_length_may_change_from_one_batch_to_the_next():
    returns = Returns(np.dtype(np.float32))
    for gamma, length in [(0.5, 3), (0.9, 3), (0.9, 2), (0.9, 64), (0.0, 3), (1.0, 1)]:
        found = returns.of(
            np.ones((length, 4), np.float32), np.zeros((length, 4), np.uint32), gamma
        )
        expected = sum(gamma**step for step in range(length))
        np.testing.assert_allclose(found["reward"], expected, rtol=1e-6)
        np.testing.assert_allclose(found["discount"], gamma**length, rtol=1e-6)
