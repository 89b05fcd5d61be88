"""`Interpolate`: mixup, and mixtures of neighbouring transitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import chi_square_tail
from recollect.transforms.interpolate import Interpolate
from transforms.batches import batch_of, numbers, pixels

UNLIKELY = 1e-3


def transitions(count: int = 40, seed: int = 0, **more: Any) -> rc.Batch:
    return batch_of(
        obs={"a": numbers(count, 2, seed=seed), "b": numbers(count, seed=seed + 1) * 100},
        action=numbers(count, 3, seed=seed + 2),
        reward=numbers(count, seed=seed + 3),
        next_obs={"a": numbers(count, 2, seed=seed + 4), "b": numbers(count, seed=seed + 5)},
        **more,
    )


def mixed(values: np.ndarray, share: np.ndarray, partner: np.ndarray) -> np.ndarray:
    made = np.empty(values.shape)
    for row in range(len(values)):
        weight = float(share[row])
        made[row] = weight * values[row].astype(float) + (1 - weight) * values[partner[row]]
    return made


@pytest.mark.parametrize("neighbours", [None, 3])
def test_every_field_is_mixed_by_the_same_share(neighbours):
    batch = transitions()
    mix = Interpolate(0.6, ("obs", "action", "reward"), neighbours)
    made = mix(batch, np.random.default_rng(0))
    pairs = [(made[name], batch[name]) for name in ("action", "reward")]
    pairs += [(made[o][n], batch[o][n]) for o in ("obs", "next_obs") for n in ("a", "b")]
    for new, old in pairs:
        expected = mixed(old, made.share, made.partner)
        np.testing.assert_allclose(new, expected, rtol=1e-5, atol=1e-5)
    assert made.share.dtype == np.float32 and made.partner.dtype == np.int64
    assert made.key is batch.key and made.weight is batch.weight


def test_images_are_mixed_and_labels_are_not():
    batch = batch_of(image=pixels(20, 3, 4), label=np.arange(20))
    made = Interpolate(1.0, "image")(batch, np.random.default_rng(0))
    assert made.image.dtype == np.float32 and made.label is batch.label
    expected = mixed(batch.image, made.share, made.partner)
    np.testing.assert_allclose(made.image, expected, rtol=1e-5, atol=1e-4)
    for dtype in (np.int64, np.bool_, np.complex64):
        with pytest.raises(rc.ConfigurationError, match="label: expected floats, or images"):
            Interpolate(1, ("image", "label"))(
                batch_of(image=pixels(3), label=np.ones(3, dtype)), np.random.default_rng(0)
            )


def test_shares_are_beta_and_partners_a_permutation():
    count = 40_000
    batch = batch_of(x=np.arange(count, dtype=np.float64))
    made = Interpolate(2.0, "x")(batch, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(made.partner), np.arange(count))
    edges = np.linspace(0, 1, 11)
    # the distribution function of Beta(2, 2)
    exact = np.diff(3 * edges**2 - 2 * edges**3) * count
    others = made.partner != np.arange(count)
    assert others.sum() > count - 20
    assert chi_square_tail(np.histogram(made.share, edges)[0], exact) > UNLIKELY
    small = Interpolate(0.1, "x")(batch, np.random.default_rng(1)).share
    assert abs(small.mean() - 0.5) < 0.01
    # the variance of Beta(a, a) is 1 / (4 (2 a + 1))
    assert abs(small.var() - 1 / 4.8) < 0.005


def test_every_partner_is_equally_likely():
    batch = batch_of(x=np.arange(4.0))
    rng, counts = np.random.default_rng(2), np.zeros((4, 4))
    for _ in range(4_000):
        counts[np.arange(4), Interpolate(1, "x")(batch, rng).partner] += 1
    for row in counts:
        assert chi_square_tail(row, np.full(4, 1_000)) > UNLIKELY


def nearest(batch: rc.Batch, k: int) -> list[set[int]]:
    """By loops: the k nearest of each row among rows of other keys and the same end."""
    columns = [batch.obs.a, batch.obs.b[:, None], batch.action]
    features = np.concatenate(columns, axis=1).astype(np.float64)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    found = []
    for row in range(len(features)):
        others = [
            (float(((features[row] - features[other]) ** 2).sum()), other)
            for other in range(len(features))
            if batch.key[other] != batch.key[row]
            and batch.terminated[other] == batch.terminated[row]
            and batch.discount[other] == batch.discount[row]
        ]
        found.append({other for _, other in sorted(others)[:k]})
    return found


def test_partners_are_neighbours_each_equally_likely():
    rng = np.random.default_rng(3)
    batch = transitions(
        12,
        terminated=np.array([True, *[False] * 7, True, True, False, False]),
        discount=np.array([0, *[0.9] * 6, 0.81, 0, 0, 0.9, 0.9], np.float32),
    )
    batch = rc.Batch({**batch, "key": np.array([0, 1, 2, 3, 4, 5, 5, 7, 8, 9, 10, 1])})
    near = nearest(batch, 3)
    assert near[7] == set()  # no other has its discount
    counts = np.zeros((12, 12), int)
    for _ in range(3_000):
        made = Interpolate(1.0, ("obs", "action", "reward"), 3)(batch, rng)
        counts[np.arange(12), made.partner] += 1
        assert made.partner[7] == 7 and made.share[7] == 1
    assert (made.obs.a[7] == batch.obs.a[7]).all()
    for row, partners in enumerate(near):
        if partners:
            assert set(np.flatnonzero(counts[row]).tolist()) == partners
            drawn = counts[row][sorted(partners)]
            assert chi_square_tail(drawn, np.full(len(drawn), 3_000 / len(drawn))) > UNLIKELY


def test_targets_that_cannot_be_averaged_are_kept_apart():
    rng = np.random.default_rng(4)
    ends = rng.random(200) < 0.5
    steps = rng.integers(1, 3, 200)
    lasting = np.where(ends, 0, 0.9**steps).astype(np.float32)
    mask = rng.random((200, 2)) < 0.8
    for more in ({"terminated": ends}, {"discount": lasting}, {"mask": mask}):
        batch = batch_of(x=numbers(200), **more)
        made = Interpolate(1.0, "x")(batch, rng)
        (values,) = more.values()
        np.testing.assert_array_equal(values[made.partner], values)
        alone = made.partner == np.arange(200)
        assert 0 < alone.sum() < 200
        assert (made.share[alone] == 1).all() and (made.share[~alone] < 1).all()
        np.testing.assert_array_equal(made.x[alone], batch.x[alone])


def test_a_batch_of_one_and_a_field_that_never_differs():
    for neighbours in (None, 5):
        one = Interpolate(1.0, ("obs", "reward"), neighbours)
        batch = transitions(1)
        made = one(batch, np.random.default_rng(0))
        np.testing.assert_array_equal(made.reward, batch.reward)
        assert made.share.tolist() == [1] and made.partner.tolist() == [0]
    same = batch_of(obs=np.ones((5, 2), np.float32), action=numbers(5))
    made = Interpolate(1.0, "action", 1)(same, np.random.default_rng(0))
    for row, partner in enumerate(made.partner):
        distance = np.abs(same.action - same.action[row])
        distance[row] = np.inf
        assert partner == distance.argmin()


def test_bad_input():
    for alpha in (0, -1, np.nan, np.inf, "1", True):
        with pytest.raises(rc.ConfigurationError, match="Interpolate: alpha: expected"):
            Interpolate(alpha, "x")
    for neighbours in (0, -1, 1.5, True, "2"):
        with pytest.raises(rc.ConfigurationError, match="Interpolate: neighbours: expected"):
            Interpolate(1, "x", neighbours)
    with pytest.raises(rc.ConfigurationError, match="Interpolate: near: expected"):
        Interpolate(1, "x", 2, near=())
    batch = batch_of(x=numbers(4), share=numbers(4))
    with pytest.raises(rc.ConfigurationError, match="has a field 'share' already"):
        Interpolate(1, "x")(batch, np.random.default_rng(0))
