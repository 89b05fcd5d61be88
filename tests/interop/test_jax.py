"""Batches as JAX arrays."""

import sys

import jax
import numpy as np
import pytest

import recollect as rc


@pytest.fixture
def batch():
    schema = rc.Schema.steps(
        obs={"image": rc.Field((4, 4), np.uint8), "pair": (rc.Field((3,)), rc.Field(()))},
        action=rc.Field((), np.int64),
    )
    memory = rc.Memory(schema, 50, view=rc.Transition(gamma=0.9), seed=1)
    rng = np.random.default_rng(0)
    for step in range(20):
        image = rng.integers(0, 255, (4, 4), np.uint8)
        obs = {"image": image, "pair": (rng.random(3, np.float32), 1.0)}
        memory.add(obs=obs, action=step, reward=1.5, next_obs=obs, terminated=True, truncated=False)
    return memory.sample(6)


def test_every_field_but_the_key_is_a_jax_array(batch):
    arrays = batch.jax()
    assert set(arrays) == set(batch)
    assert arrays.key is batch.key
    for ours, theirs in [
        (batch.obs.image, arrays.obs.image),
        (batch.obs.pair[0], arrays.next_obs.pair[0]),
        (batch.reward, arrays.reward),
        (batch.discount, arrays.discount),
        (batch.terminated, arrays.terminated),
    ]:
        assert isinstance(theirs, jax.Array)
        assert theirs.dtype == ours.dtype
        assert np.array_equal(theirs, ours)


def test_without_jax_the_error_names_the_extra(batch, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "recollect.interop.jax", raising=False)
    monkeypatch.delattr("recollect.interop.jax", raising=False)
    with pytest.raises(rc.MissingExtraError, match=r"recollect\[jax\]"):
        batch.jax()
