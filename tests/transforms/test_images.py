"""`RandomShift`, `RandomCrop` and `Flip` against loops, and how they choose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import chi_square_tail
from recollect.transforms.crop import RandomCrop
from recollect.transforms.flip import Flip
from recollect.transforms.shift import RandomShift
from transforms.batches import batch_of, pixels

UNLIKELY = 1e-3
LAYOUTS = [((), False), ((2,), False), ((3, 2), False), ((), True), ((2,), True)]
"""The axes between the example and its image, and whether channels come last."""


def images(between: tuple[int, ...], last: bool, height: int = 7, width: int = 5) -> np.ndarray:
    return pixels(12, *between, height, width, *([3] if last else []))


def pixel(image: Any, y: int, x: int, last: bool) -> Any:
    """All pixels at one place of an example's images."""
    return image[..., y, x, :] if last else image[..., y, x]


def shifted(image: Any, dy: int, dx: int, last: bool) -> Any:
    made = np.empty_like(image)
    height, width = image.shape[-3:-1] if last else image.shape[-2:]
    for y in range(height):
        for x in range(width):
            there = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
            pixel(made, y, x, last)[...] = pixel(image, *there, last)
    return made


@pytest.mark.parametrize(("between", "last"), LAYOUTS)
@pytest.mark.parametrize("pad", [1, 3])
def test_each_example_is_shifted_as_a_whole(between, last, pad):
    before = images(between, last)
    shift = RandomShift(pad, channels_last=last)
    made = shift(batch_of(obs=before), np.random.default_rng(0)).obs
    assert made.shape == before.shape and made.dtype == np.uint8
    way = range(-pad, pad + 1)
    found = set()
    for old, new in zip(before, made, strict=True):
        fits = [(y, x) for y in way for x in way if (shifted(old, y, x, last) == new).all()]
        assert len(fits) == 1
        found.add(fits[0])
    assert len(found) > 3


def place_of(made: np.ndarray) -> np.ndarray:
    """Where the pixels of an image that counts its pixels came from, as y and x."""
    return np.stack(np.divmod(made, 100), axis=-1)


def counted(count: int, height: int, width: int) -> np.ndarray:
    one = 100 * np.arange(height)[:, None] + np.arange(width)
    return np.broadcast_to(one, (count, height, width)).copy()


def test_every_shift_is_equally_likely_and_obs_and_next_obs_independent():
    count, pad = 40_000, 1
    before = counted(count, 3, 3)
    batch = batch_of(obs=before, next_obs=before.copy())
    made = RandomShift(pad)(batch, np.random.default_rng(1))
    # the middle pixel comes from where the image was moved from
    here, there = place_of(made.obs[:, 1, 1]), place_of(made.next_obs[:, 1, 1])
    both = np.concatenate([here, there], axis=1) @ [27, 9, 3, 1]
    assert chi_square_tail(np.bincount(both, minlength=81), np.full(81, count / 81)) > UNLIKELY
    made = RandomShift(pad, together=True)(batch, np.random.default_rng(1))
    np.testing.assert_array_equal(made.obs, made.next_obs)


@pytest.mark.parametrize(("between", "last"), LAYOUTS)
def test_each_example_is_cropped_as_a_whole(between, last):
    before = images(between, last)
    made = RandomCrop((4, 2), channels_last=last)(
        batch_of(obs=before), np.random.default_rng(0)
    ).obs
    assert made.shape == (12, *between, 4, 2, *([3] if last else []))
    found = set()
    for old, new in zip(before, made, strict=True):
        fits = []
        for y in range(7 - 4 + 1):
            for x in range(5 - 2 + 1):
                window = (..., slice(y, y + 4), slice(x, x + 2), *([slice(None)] if last else []))
                if (old[window] == new).all():
                    fits.append((y, x))
        assert len(fits) == 1
        found.add(fits[0])
    assert len(found) > 3


def test_every_crop_is_equally_likely_and_obs_and_next_obs_independent():
    count = 40_000
    before = counted(count, 4, 5)
    batch = batch_of(obs=before, next_obs=before.copy())
    made = RandomCrop((3, 3))(batch, np.random.default_rng(2))
    here, there = place_of(made.obs[:, 0, 0]), place_of(made.next_obs[:, 0, 0])
    both = np.concatenate([here, there], axis=1) @ [18, 6, 3, 1]
    assert chi_square_tail(np.bincount(both, minlength=36), np.full(36, count / 36)) > UNLIKELY
    made = RandomCrop(3, together=True)(batch, np.random.default_rng(2))
    np.testing.assert_array_equal(made.obs, made.next_obs)


def test_a_crop_of_the_whole_image_is_the_image():
    before = images((2,), False)
    made = RandomCrop((7, 5))(batch_of(obs=before), np.random.default_rng(0)).obs
    np.testing.assert_array_equal(made, before)
    assert not np.shares_memory(made, before)


@pytest.mark.parametrize(("between", "last"), LAYOUTS)
@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_examples_are_flipped_as_a_whole_or_not_at_all(between, last, direction):
    before = images(between, last)
    flip = Flip(0.5, direction, channels_last=last)
    made = flip(batch_of(obs=before), np.random.default_rng(0)).obs
    axis = (-2 if last else -1) if direction == "horizontal" else (-3 if last else -2)
    flipped = [(new == np.flip(old, axis)).all() for old, new in zip(before, made, strict=True)]
    same = [(new == old).all() for old, new in zip(before, made, strict=True)]
    assert [a != b for a, b in zip(flipped, same, strict=True)] == [True] * 12
    assert 0 < sum(flipped) < 12


def test_flips_are_as_likely_as_they_should_be():
    count = 20_000
    before = counted(count, 1, 2)
    batch = batch_of(obs=before, next_obs=before.copy())
    made = Flip(0.3)(batch, np.random.default_rng(3))
    both = 2 * (made.obs[:, 0, 0] == 1) + (made.next_obs[:, 0, 0] == 1)
    expected = count * np.array([0.49, 0.21, 0.21, 0.09])
    assert chi_square_tail(np.bincount(both, minlength=4), expected) > UNLIKELY
    made = Flip(0.3, together=True)(batch, np.random.default_rng(3))
    np.testing.assert_array_equal(made.obs, made.next_obs)
    for probability, flipped in ((0, False), (1, True)):
        made = Flip(probability)(batch, np.random.default_rng(3))
        assert ((made.obs[:, 0, 0] == 1) == flipped).all()


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float32, np.float64])
def test_images_of_any_dtype_keep_it(dtype):
    before = images((2,), False).astype(dtype)
    for transform in (RandomShift(2), RandomCrop(3), Flip()):
        assert transform(batch_of(obs=before), np.random.default_rng(0)).obs.dtype == dtype


def test_what_is_no_image_is_refused():
    rng = np.random.default_rng(0)
    flat, plain = batch_of(obs=pixels(4, 9)), batch_of(obs=pixels(4, 9, 9))
    for transform in (RandomShift(), RandomCrop(2), Flip()):
        with pytest.raises(
            rc.ConfigurationError, match=r"obs: expected images .*H, W\), got shape \(4, 9\)"
        ):
            transform(flat, rng)
    with pytest.raises(rc.ConfigurationError, match=r"H, W, C\), got shape \(4, 9, 9\)"):
        RandomShift(channels_last=True)(plain, rng)
    for size in ((9, 10), (10, 9)):
        least = " x ".join(map(str, size))
        with pytest.raises(rc.ConfigurationError, match=f"images of at least {least}, got 9 x 9"):
            RandomCrop(size)(plain, rng)


@pytest.mark.parametrize(
    "make",
    [
        *(lambda pad=pad: RandomShift(pad) for pad in (0, -1, 1.5, True, "4")),
        *(lambda size=s: RandomCrop(size) for s in (0, (3, 0), (1, 2, 3), 2.5, None, (True, 2))),
        *(lambda p=p: Flip(p) for p in (-0.1, 1.1, np.nan, "x", True)),
        lambda: Flip(direction="both"),
        lambda: Flip(channels_last=1),
        lambda: RandomShift(together=None),
    ],
)
def test_settings_out_of_range(make):
    with pytest.raises(rc.ConfigurationError, match=r"^(RandomShift|RandomCrop|Flip): \w+: expect"):
        make()
