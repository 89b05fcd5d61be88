"""CONFORMANCE.md, Closed forms: where Q-learning with prioritized replay comes to rest.

One state; 900 rows end with reward 0 and 100 with reward 10. Rows are drawn with P ~ |10 - Q|^alpha
or |Q|^alpha and their errors weighted with P^-beta, so what is expected of an update is
the sum of |error|^(alpha (1 - beta)) error over all rows. It is zero at

    Q = 10 / (1 + 9 ** (1 / (1 + alpha (1 - beta)))).
"""

from __future__ import annotations

import numpy as np
import pytest

import recollect as rc
from recollect.samplers.prioritized import Prioritized

REWARDS = np.repeat(np.array([0, 10], np.float32), (900, 100))


def resting_point(sampler: Prioritized, batch_size: int, updates: int, seed: int = 0) -> float:
    """The mean of Q over the later three quarters of so many updates, with falling step size."""
    schema = rc.Schema.steps(obs=rc.Field((), np.int64), action=rc.Field((), np.int64))
    view = rc.Transition(gamma=1.0)
    memory = rc.Memory(schema, 2 * len(REWARDS), view=view, sampler=sampler, seed=seed)
    nothing = np.zeros(len(REWARDS), np.int64)
    keys = memory.extend(
        obs=nothing,
        action=nothing,
        reward=REWARDS,
        next_obs=nothing,
        terminated=nothing == 0,
        truncated=nothing > 0,
    )
    q, total = 5.0, 0.0
    # Q moves so little from one update to the next that now and then is often enough
    refresh = max(1, 16 // batch_size)
    for i in range(updates):
        if i % refresh == 0:
            memory.update(keys, priority=np.abs(REWARDS - q))
        batch = memory.sample(batch_size)
        assert not batch.discount.any()
        q += (100 + i * batch_size / 16) ** -0.6 * float(np.mean(batch.weight * (batch.reward - q)))
        total += q * (i >= updates // 4)
    return total / (updates - updates // 4)


def closed_form(alpha: float, beta: float) -> float:
    return 10 / (1 + 9 ** (1 / (1 + alpha * (1 - beta))))


@pytest.mark.parametrize(
    ("alpha", "beta", "expected"),
    [(1.0, 0.0, 2.500), (0.6, 0.0, 2.021), (0.6, 0.4, 1.658), (0.6, 1.0, 1.000)],
)
@pytest.mark.parametrize("stratified", [True, False])
def test_the_fixed_point_of_prioritized_replay(alpha, beta, expected, stratified):
    assert closed_form(alpha, beta) == pytest.approx(expected, abs=5e-4)
    sampler = Prioritized(alpha, beta, epsilon=0.0, stratified=stratified, normalize=None)
    assert resting_point(sampler, 64, 4000) == pytest.approx(expected, abs=0.025)


def test_a_schedule_moves_the_fixed_point():
    sampler = Prioritized(0.6, rc.linear(0.0, 1.0, over=500), epsilon=0.0, normalize=None)
    assert resting_point(sampler, 64, 4000) == pytest.approx(1.0, abs=0.025)


@pytest.mark.parametrize(("normalize", "beta"), [(None, 0.4), ("batch", 0.0)])
def test_dividing_by_the_largest_weight_of_a_batch_of_one_undoes_the_weights(normalize, beta):
    sampler = Prioritized(0.6, 0.4, epsilon=0.0, normalize=normalize)
    assert resting_point(sampler, 1, 12_000) == pytest.approx(closed_form(0.6, beta), abs=0.06)
