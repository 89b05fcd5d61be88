"""`Normalize` against moments computed from all rows at once."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recollect as rc
from recollect.transforms import normalize as module
from recollect.transforms.normalize import Normalize
from transforms.batches import batch_of, numbers, pixels

SCHEMA = rc.Schema.steps(
    obs={"image": rc.Field((4, 3), np.uint8), "speed": rc.Field((2,))},
    action=rc.Field((), np.int64),
    note=rc.Field((), np.complex64),
)


def opened(*fields: str, **settings: Any) -> Normalize:
    made = Normalize(fields, **settings)
    made.open(SCHEMA)
    return made


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(0, 7), min_size=1, max_size=20),
    offset=st.sampled_from([0.0, 1e4]),
    chunk=st.sampled_from([1, 5, 1 << 20]),
)
def test_moments_are_those_of_all_rows_however_they_came(sizes, offset, chunk):
    total = sum(sizes)
    speed = (numbers(total, 2) + np.float32(offset)).astype(np.float32)
    image = pixels(total, 4, 3)
    whole = module.CHUNK
    module.CHUNK = chunk
    try:
        normalize = opened("obs", "reward")
        first = 0
        for size in sizes:
            rows = slice(first, first + size)
            if size == 1:
                # as `add` of a single step brings them
                normalize.observe(
                    {"obs.image": image[first], "obs.speed": speed[first], "reward": float(first)}
                )
            else:
                reward = np.arange(total, dtype=np.float32)[rows]
                given = {"obs.image": image[rows], "obs.speed": speed[rows], "reward": reward}
                normalize.observe(given)
            first += size
    finally:
        module.CHUNK = whole
    expected = {"obs.speed": speed, "obs.image": image, "reward": np.arange(total)}
    for name, rows in expected.items():
        count, mean, variance = normalize.moments(name)
        assert count == total
        if total:
            np.testing.assert_allclose(mean, rows.mean(axis=0, dtype=np.float64), atol=1e-9)
            exact = rows.astype(np.float64).var(axis=0)
            np.testing.assert_allclose(variance, exact, rtol=1e-9, atol=1e-9)


def test_nothing_cancels_over_many_rows():
    normalize = opened("obs.speed")
    base = np.float64(1e6)
    for sign in (1, -1) * 2_000:
        normalize.observe({"obs.speed": np.array([base + sign, sign * 1e-3])})
    _, mean, variance = normalize.moments("obs.speed")
    np.testing.assert_allclose(mean, [base, 0], atol=1e-9)
    np.testing.assert_allclose(variance, [1, 1e-6], rtol=1e-9)


def test_values_are_normalised_by_the_moments_of_what_was_added():
    normalize = opened("obs", "reward", epsilon=1e-6)
    seen = {"obs.image": pixels(30, 4, 3), "obs.speed": numbers(30, 2) * 5 + 7}
    seen["reward"] = numbers(30, seed=8)
    normalize.observe(seen)
    # stacked images, as a view gathers them, share the moments of one
    obs = {"image": pixels(6, 2, 4, 3, seed=1), "speed": numbers(6, 2, seed=2)}
    later = {"image": pixels(6, 2, 4, 3, seed=3), "speed": numbers(6, 2, seed=4)}
    batch = batch_of(obs=obs, next_obs=later, reward=numbers(6))
    made = normalize(batch)

    def expected(name: str, values: np.ndarray) -> np.ndarray:
        rows = seen[name].astype(np.float64)
        return (values - rows.mean(axis=0)) / np.sqrt(rows.var(axis=0) + 1e-6)

    for new, old in ((made.obs, obs), (made.next_obs, later)):
        for name in ("image", "speed"):
            close = expected(f"obs.{name}", old[name])
            np.testing.assert_allclose(new[name], close, rtol=1e-4, atol=1e-5)
            assert new[name].dtype == np.float32
    np.testing.assert_allclose(made.reward, expected("reward", batch.reward), rtol=1e-4, atol=1e-5)


def test_rewards_can_keep_their_sign_and_results_be_bounded():
    rewards = np.array([1.0, 2, 3, 100], np.float32)
    batch = batch_of(reward=rewards)
    normalize = opened("reward", center=False)
    normalize.observe({"reward": rewards})
    np.testing.assert_allclose(normalize(batch).reward, rewards / rewards.std(), rtol=1e-6)
    bounded = opened("reward", clip=1)
    bounded.observe({"reward": rewards})
    assert bounded(batch).reward.max() == 1
    assert np.abs(bounded(batch).reward).min() < 1


def test_rows_that_are_not_finite_are_left_out():
    normalize = opened("obs.speed", "reward")
    speed = np.array([[1, 2], [np.nan, 0], [3, 6], [np.inf, 1]], np.float32)
    normalize.observe({"obs.speed": speed, "reward": np.array([1, 2, np.nan, 4], np.float32)})
    normalize.observe({"obs.speed": np.array([np.nan, 9], np.float32), "reward": np.inf})
    count, mean, variance = normalize.moments("obs.speed")
    assert count == 2 and mean.tolist() == [2, 4] and variance.tolist() == [1, 4]
    assert normalize.moments("reward")[0] == 3


def test_what_never_changes_becomes_zero_and_what_is_not_known_stays():
    normalize = opened("reward")
    batch = batch_of(reward=np.full(3, 0.1, np.float32))
    np.testing.assert_array_equal(normalize(batch).reward, batch.reward)
    normalize.observe({"reward": np.full(100, 0.1, np.float32)})
    np.testing.assert_array_equal(normalize(batch).reward, np.zeros(3))


def test_state_decides_everything_and_moments_are_copies():
    one, other = opened("obs", "reward"), opened("obs", "reward")
    rows = {"obs.image": pixels(9, 4, 3), "obs.speed": numbers(9, 2), "reward": numbers(9)}
    one.observe(rows)
    state = one.state()
    other.restore(state)
    for array in (*state.values(), *one.moments("obs.speed")[1:]):
        array += 1
    for normalize in (one, other):
        normalize.observe(rows)
    for name in ("obs.image", "obs.speed", "reward"):
        mine, theirs = one.moments(name), other.moments(name)
        assert mine[0] == theirs[0] == 18
        np.testing.assert_array_equal(mine[1], theirs[1])
        np.testing.assert_array_equal(mine[2], theirs[2])
        np.testing.assert_allclose(mine[1], rows[name].mean(axis=0, dtype=np.float64))


def test_batches_meanwhile_see_moments_that_belong_together():
    normalize = opened("obs.speed")
    batch = batch_of(obs={"speed": np.full((1, 2), 11, np.float32)})
    # mean 10 and variance 1 after every call, so that 11 is always 1
    rows = {"obs.speed": np.array([[9, 9], [11, 11]], np.float32)}
    normalize.observe(rows)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            normalize.observe(rows)

    writer = threading.Thread(target=write)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    writer.start()
    try:
        for _ in range(1_000):
            np.testing.assert_allclose(normalize(batch).obs.speed, 1, rtol=1e-6)
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        writer.join()


def test_bad_input():
    with pytest.raises(rc.ConfigurationError, match=r"'speed' is not stored; known: obs\.image"):
        opened("obs", "speed")
    with pytest.raises(rc.ConfigurationError, match="note: expected real numbers, got complex64"):
        opened("note")
    normalize = opened("obs.image")
    with pytest.raises(rc.ConfigurationError, match="belongs to a reader; make another"):
        normalize.open(SCHEMA)
    for shape in ((6, 3, 3), (4, 3)):
        with pytest.raises(
            rc.ConfigurationError, match=r"obs\.image: expected \(B, \.\.\., 4, 3\)"
        ):
            normalize(batch_of(obs={"image": pixels(*shape)}))
    with pytest.raises(rc.ConfigurationError, match="reward: nothing is known of it"):
        Normalize("reward")(batch_of(reward=numbers(3)))
    for wrong in (
        dict(epsilon=0),
        dict(epsilon=-1),
        dict(epsilon="x"),
        dict(clip=0),
        dict(clip=-1),
        dict(clip=np.inf),
        dict(center=1),
    ):
        with pytest.raises(rc.ConfigurationError, match=r"Normalize: .*expected"):
            Normalize(**wrong)
