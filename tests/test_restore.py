"""Limits and transforms go on from a saved state as the saved ones do (CONFORMANCE.md, S1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recollect as rc
from recollect.draws import DrawLimit

Random = np.random.Generator


def changed(state: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**state, **changes}


@pytest.mark.parametrize("seed", range(10))
def test_S1_a_draw_limit_goes_on_as_the_saved_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    saved, restored = DrawLimit(20, 3), DrawLimit(20, 3)

    def draws(*limits: DrawLimit) -> None:
        slots = rng.integers(0, 20, 9)
        keys = slots + 20 * rng.integers(0, 2)  # now and then other rows are there
        answers = [limit.admit(slots, keys) for limit in limits]
        for admitted, exhausted in answers[1:]:
            np.testing.assert_array_equal(admitted, answers[0][0])
            np.testing.assert_array_equal(exhausted, answers[0][1])

    for _ in range(6):
        draws(saved)
    restored.restore(saved.state())
    for _ in range(15):
        draws(saved, restored)
    place = rng.permutation(30)[:20]
    saved.resize(30, place)
    restored.resize(30, place)
    for name, array in saved.state().items():
        np.testing.assert_array_equal(array, restored.state()[name], strict=True)
    state = saved.state()
    for bad in (
        changed(state, times=state["times"] + np.uint32(3)),
        changed(state, times=state["times"] * np.uint32(0)),
        changed(state, drawn=state["drawn"] + 30),
        changed(state, key=state["key"][1:]),
        {},
    ):
        with pytest.raises(rc.ConfigurationError, match="max_draws"):
            DrawLimit(30, 3).restore(bad)


@pytest.mark.parametrize("tolerance", [None, 30.0])
def test_S1_a_limiter_goes_on_as_the_saved_one(tolerance: float | None) -> None:
    settings: dict[str, Any] = {"min_size": 5, "tolerance": tolerance, "timeout": 0.0}
    rng = np.random.default_rng(0)

    def limited(limiter: rc.ReplayRatio, side: str, rows: int) -> bool:
        try:
            getattr(limiter, side)(rows)
        except rc.LimiterTimeoutError:
            return False
        return True

    seen: set[bool] = set()
    for _ in range(20):
        saved, restored = rc.ReplayRatio(2.5, **settings), rc.ReplayRatio(2.5, **settings)
        saved.open(2)
        restored.open(2)
        for _ in range(12):
            limited(saved, *call(rng))
        restored.restore(saved.state())
        assert restored.waited == saved.waited
        for _ in range(40):
            side, rows = call(rng)
            answer = limited(saved, side, rows)
            assert limited(restored, side, rows) == answer
            seen.add(answer)
        for name in ("added", "balance", "largest"):
            np.testing.assert_array_equal(saved.state()[name], restored.state()[name], strict=True)
    assert seen == {True, False}


def call(rng: Random) -> tuple[str, int]:
    return ("add", int(rng.integers(1, 5))) if rng.random() < 0.6 else ("sample", 8)


def test_a_limiters_state_that_does_not_fit_is_refused() -> None:
    limiter = rc.ReplayRatio(1.0, tolerance=8)
    state = limiter.state()
    for bad in (
        changed(state, balance=np.array(np.nan)),
        changed(state, added=np.array(-1)),
        changed(state, added=np.array([1, 1])),
        changed(state, largest=np.array([1, 1000])),
        changed(state, waited=np.array([0.0])),
        {},
    ):
        with pytest.raises(rc.ConfigurationError, match=r"ReplayRatio|limiter"):
            limiter.restore(bad)
    assert {n: v.tolist() for n, v in limiter.state().items()} == {
        n: v.tolist() for n, v in state.items()
    }


def test_a_transforms_state_that_does_not_fit_is_refused() -> None:
    schema = rc.Schema.steps(obs=rc.Field((2,)), action=rc.Field(()))

    def chain() -> rc.Chain:
        made = rc.Chain([rc.Scale(2), rc.Normalize(("obs", "reward"))])
        made.open(schema)
        return made

    saved = chain()
    rows = {"obs": np.ones((4, 2)), "reward": np.ones(4), "action": np.ones(4)}
    saved.observe(rows)
    state = saved.state()
    chain().restore(state)
    for bad in (
        {},
        {n: v for n, v in state.items() if "squares" not in n},
        changed(state, **{"1.obs.mean": np.zeros(3)}),
        changed(state, **{"1.obs.squares": np.full(2, -1.0)}),
        changed(state, **{"1.reward.mean": np.array(np.inf)}),
        changed(state, **{"0.more": np.zeros(3)}),
        changed(state, **{"2.more": np.zeros(3)}),
    ):
        with pytest.raises(rc.ConfigurationError, match="saved state does not fit"):
            chain().restore(bad)
