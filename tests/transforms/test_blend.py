"""`Blend`: the loss of a batch as an average of two losses."""

from __future__ import annotations

import numpy as np
import pytest

import recollect as rc
from recollect.transforms.blend import Blend
from transforms.batches import batch_of, numbers


@pytest.mark.parametrize("portion", [0, 0.25, 0.5, 0.9, 1])
@pytest.mark.parametrize("fresh", [1, 5, 9])
def test_the_mean_loss_is_the_average_of_both_losses(portion, fresh):
    rng = np.random.default_rng(0)
    source = rng.permutation(np.where(np.arange(10) < fresh, 2, np.arange(10) % 2))
    weight = rng.random(10).astype(np.float32)
    loss = rng.random(10)
    batch = rc.Batch({**batch_of(x=numbers(10), source=source), "weight": weight})
    made = Blend(portion, new=2)(batch)
    assert made.weight.dtype == np.float32
    new = source == 2
    each = weight * loss
    expected = portion * each[~new].mean() + (1 - portion) * each[new].mean()
    np.testing.assert_allclose((made.weight * loss).mean(), expected, rtol=1e-6)


def test_a_function_says_what_is_new():
    batch = batch_of(task=np.array([0, 1, 2, 2]))
    made = Blend(0.75, new=lambda batch: batch.task == 2)(batch)
    np.testing.assert_allclose(made.weight, [1.5, 1.5, 0.5, 0.5])
    made = Blend(0.75, new=lambda batch: batch.task == 2)(batch.torch())
    np.testing.assert_allclose(made.weight.numpy(), [1.5, 1.5, 0.5, 0.5])


def test_a_batch_that_is_all_new_or_all_replayed_stays_as_it_is():
    for source in (0, 1):
        batch = batch_of(x=numbers(3), source=np.full(3, source))
        np.testing.assert_array_equal(Blend(0.2)(batch).weight, np.ones(3))


def test_it_takes_what_mix_gives():
    schema = rc.Schema.examples(x=rc.Field(()))
    recent, old = rc.Memory(schema, 8, seed=0), rc.Memory(schema, 8, seed=1)
    for memory, value in ((recent, 1.0), (old, 0.0)):
        memory.extend(x=np.full(8, value, np.float32))
    batch = Blend(0.25)(rc.mix({recent: 0.125, old: 0.875}, seed=0).sample(8))
    np.testing.assert_allclose((batch.weight * batch.x).mean(), 0.75)
    np.testing.assert_allclose((batch.weight * (1 - batch.x)).mean(), 0.25)


def test_bad_input():
    for portion in (-0.1, 1.1, np.nan, "x", True):
        with pytest.raises(rc.ConfigurationError, match="Blend: portion: expected"):
            Blend(portion)
    for new in (-1, 1.5, True, "x", None):
        with pytest.raises(rc.ConfigurationError, match="Blend: new: expected"):
            Blend(0.5, new)
    batch = batch_of(x=numbers(3))
    with pytest.raises(rc.ConfigurationError, match="no field 'source'"):
        Blend(0.5)(batch)
    for made in (np.ones(2, np.bool_), np.ones(3), np.ones((3, 1), np.bool_)):
        with pytest.raises(rc.ConfigurationError, match=r"new: expected bool \(3,\), got"):
            Blend(0.5, lambda batch, made=made: made)(batch)
