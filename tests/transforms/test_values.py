"""`Scale`, `Clip` and `Noise`."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import recollect as rc
from recollect.transforms.clip import Clip
from recollect.transforms.noise import Noise
from recollect.transforms.scale import Scale
from transforms.batches import batch_of, numbers, pixels


def test_scale_multiplies_and_adds():
    batch = batch_of(obs=pixels(4, 3), next_obs=pixels(4, 3, seed=1), reward=numbers(4))
    made = Scale(1 / 255, -0.5, ("obs", "reward"))(batch)
    for name in ("obs", "next_obs", "reward"):
        expected = [value / 255 - 0.5 for value in batch[name].ravel().tolist()]
        np.testing.assert_allclose(made[name].ravel(), expected, rtol=1e-6, atol=1e-7)
    assert Scale(2)(batch).reward is batch.reward
    np.testing.assert_array_equal(Scale(2)(batch).obs, batch.obs * np.float32(2))


@pytest.mark.parametrize(
    "dtype", [np.bool_, np.uint8, np.int64, np.float16, np.float32, np.float64]
)
def test_results_are_float32_unless_the_field_is_finer(dtype):
    batch = batch_of(obs=pixels(4, 3).astype(dtype))
    for transform in (Scale(0.5), Noise(0.1)):
        made = transform(batch, np.random.default_rng(0)).obs
        assert made.dtype == (np.float64 if dtype == np.float64 else np.float32)
    np.testing.assert_array_equal(Scale(0.5)(batch).obs, batch.obs.astype(np.float64) * 0.5)
    half = batch_of(obs=numbers(4).astype(np.complex64))
    for transform in (Scale(0.5), Noise(0.1), Clip(0, 1)):
        with pytest.raises(
            rc.ConfigurationError, match="obs: expected real numbers, got complex64"
        ):
            transform(half, np.random.default_rng(0))


def test_noise_is_gaussian_and_independent():
    shape = (200, 100)
    batch = batch_of(obs=np.full(shape, 3, np.float32), next_obs=np.full(shape, 3, np.float32))
    made = Noise(0.5)(batch, np.random.default_rng(0))
    noise = np.stack([made.obs, made.next_obs]) - 3
    count = noise[0].size
    for one in noise:
        assert abs(one.mean()) < 4 * 0.5 / count**0.5
        assert abs(one.std() - 0.5) < 4 * 0.5 / (2 * count) ** 0.5
        # within one, two and three standard deviations
        for bound in (1, 2, 3):
            share = math.erf(bound / 2**0.5)
            deviation = (share * (1 - share) / count) ** 0.5
            assert abs((np.abs(one) < bound * 0.5).mean() - share) < 4 * deviation
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 4 / count**0.5
    assert abs(np.corrcoef(noise[0][0::2].ravel(), noise[0][1::2].ravel())[0, 1]) < 6 / count**0.5


def test_clip_keeps_values_within_bounds_and_the_dtype():
    values = np.array([-np.inf, -3, -1, 0.2, 1, 7, np.inf, np.nan], np.float32)
    batch = batch_of(reward=values, obs=numbers(8))
    clipped = Clip(-1, 1, "reward")(batch)
    np.testing.assert_array_equal(clipped.reward, [-1, -1, -1, np.float32(0.2), 1, 1, 1, np.nan])
    assert clipped.obs is batch.obs
    low = Clip(-1, None, "reward")(batch).reward
    np.testing.assert_array_equal(low, [-1, -1, -1, np.float32(0.2), 1, 7, np.inf, np.nan])
    high = Clip(None, 1e300, "reward")(batch).reward
    np.testing.assert_array_equal(high, values)


def test_clip_of_whole_numbers_goes_to_whole_numbers_within():
    batch = batch_of(obs=np.array([0, 1, 2, 200, 255], np.uint8))
    for made in (Clip(0.5, 200.9)(batch).obs, Clip(0.5, 200.9)(batch.torch()).obs.numpy()):
        assert made.dtype == np.uint8 and made.tolist() == [1, 1, 2, 200, 200]
    assert Clip(-1e30, 1e30)(batch).obs.tolist() == batch.obs.tolist()
    assert Clip(None, 1)(batch).obs.tolist() == [0, 1, 1, 1, 1]
    large = batch_of(obs=np.array([2**63 - 1, -(2**63)], np.int64))
    assert Clip(None, None)(large).obs.tolist() == large.obs.tolist()
    for low, high in ((0.2, 0.8), (300, 400), (-9, -1)):
        with pytest.raises(rc.ConfigurationError, match="obs: expected values of uint8 from"):
            Clip(low, high)(batch)
    with pytest.raises(rc.ConfigurationError, match="real numbers, got bool"):
        Clip(0, 1)(batch_of(obs=np.ones(3, np.bool_)))


def test_small_floats_of_torch():
    values = torch.tensor([1.0, 2.0, 300.0])
    for dtype in (torch.bfloat16, torch.float16):
        batch = rc.Batch({"obs": values.to(dtype)})
        assert Clip(-1e30, 2)(batch).obs.dtype == dtype
        assert Clip(-1e30, 2)(batch).obs.tolist() == [1, 2, 2]
        assert Scale(2)(batch).obs.dtype == torch.float32


@pytest.mark.parametrize(
    "make",
    [
        *(lambda s=s: Noise(s) for s in (0, -1, np.nan, np.inf, "1", True, None)),
        *(lambda f=f: Scale(f) for f in (np.nan, np.inf, "1", None, True)),
        lambda: Scale(1, np.nan),
        lambda: Clip(np.nan, 1),
        lambda: Clip(0, "1"),
        lambda: Clip(1, 0),
    ],
)
def test_settings_out_of_range(make):
    with pytest.raises(rc.ConfigurationError, match=r"^(Noise|Scale|Clip): .*expected"):
        make()
