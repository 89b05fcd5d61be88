"""Plain functions, chains, and replacing fields of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recollect as rc
from recollect.batch import Fields
from recollect.transforms.base import Chain, Function, Transform, replaced
from recollect.transforms.noise import Noise
from recollect.transforms.normalize import Normalize
from recollect.transforms.scale import Scale
from transforms.batches import batch_of, numbers


def nested() -> rc.Batch:
    return batch_of(
        obs={"a": numbers(3, 2), "b": (numbers(3), {"c.d": numbers(3)})}, reward=numbers(3)
    )


def test_replaced_changes_leaves_subtrees_and_adds_fields():
    batch = nested()
    new = np.zeros(3)
    made = replaced(batch, {"obs.b.1.c.d": new, "reward": new + 1, "further": {"x": new}})
    assert made.obs.b[1]["c.d"] is new
    assert made.obs.a is batch.obs.a and made.obs.b[0] is batch.obs.b[0]
    assert (made.reward == 1).all() and (batch.reward != 1).all()
    assert isinstance(made.further, Fields) and made.further.x is new
    assert list(made) == [*batch, "further"]
    made = replaced(batch, {"obs.b": {"e": new}})
    assert made.obs.b.e is new and made.obs.a is batch.obs.a
    assert isinstance(made.obs.b, Fields)
    for path in ("obs.x", "obs.a.x", "none.x"):
        with pytest.raises(rc.ConfigurationError, match=r"no field of the batch; known: obs\.a"):
            replaced(batch, {path: new})


def test_a_plain_function_is_a_transform():
    batch = nested()
    whole = Function(lambda batch: rc.Batch({**batch, "reward": batch.reward * 2}))
    some = Function(lambda batch: {"reward": batch.reward * 2, "obs.a": batch.obs.a + 1})
    np.testing.assert_array_equal(whole(batch).reward, batch.reward * 2)
    made = some(batch, np.random.default_rng(0))
    np.testing.assert_array_equal(made.reward, batch.reward * 2)
    np.testing.assert_array_equal(made.obs.a, batch.obs.a + 1)
    assert made.obs.b[0] is batch.obs.b[0]
    assert not some.random and not some.observes and some.state() == {}
    without = Function(lambda batch: rc.Batch({k: v for k, v in batch.items() if k != "reward"}))
    assert "reward" not in without(batch)


def test_a_function_that_returns_no_batch_is_named():
    def forgets(batch: rc.Batch) -> Any:
        batch.reward[:] = 0

    def loses(batch: rc.Batch) -> Any:
        return rc.Batch({"reward": batch.reward})

    with pytest.raises(rc.ConfigurationError, match=r"transform forgets: .* got NoneType"):
        Function(forgets)(nested())
    with pytest.raises(
        rc.ConfigurationError, match=r"loses: every batch needs weight, prob.*, key"
    ):
        Function(loses)(nested())


def test_a_chain_goes_in_order_and_shares_the_generator():
    batch = nested()
    rng = np.random.default_rng(5)
    expected = Noise(1, "obs.a")(Noise(1, "obs.a")(batch, rng), rng)
    made = Chain([Noise(1, "obs.a"), Noise(1, "obs.a")])(batch, np.random.default_rng(5))
    np.testing.assert_array_equal(made.obs.a, expected.obs.a)
    add = Function(lambda batch: {"reward": batch.reward + 1})
    made = Chain([Scale(2, fields="reward"), add])(batch)
    np.testing.assert_array_equal(made.reward, batch.reward * 2 + 1)
    made = Chain([add, Chain([Scale(2, fields="reward")])])(batch)
    np.testing.assert_array_equal(made.reward, (batch.reward + 1) * 2)
    assert Chain([])(batch) is batch and len(Chain([])) == 0
    assert "Scale" in repr(Chain([Scale(2)]))


def test_a_chain_is_random_or_observes_if_a_part_does():
    assert Chain([Scale(1), Noise(1)]).random and not Chain([Scale(1)]).random
    assert Chain([Scale(1), Normalize()]).observes and not Chain([Scale(1), Noise(1)]).observes


def test_a_chain_passes_on_what_is_learned():
    schema = rc.Schema.steps(obs=rc.Field((2,)), action=rc.Field(()))
    rows = {"obs": numbers(20, 2), "reward": numbers(20), "action": numbers(20)}

    def chain() -> Chain:
        made = Chain([Normalize("obs"), Scale(3), Normalize(("reward", "action"))])
        made.open(schema)
        return made

    one, other = chain(), chain()
    one.observe(rows)
    other.restore(one.state())
    batch = batch_of(**rows)
    for name in rows:
        np.testing.assert_array_equal(one(batch)[name], other(batch)[name])
        assert (one(batch)[name] != rows[name]).any()
    assert {name.split(".")[0] for name in one.state()} == {"0", "2"}


@pytest.mark.parametrize("wrong", [3, Scale(1), [3], [Scale], "abc", {Scale(1)}, None])
def test_a_chain_takes_a_list_of_what_can_be_called(wrong):
    with pytest.raises(rc.ConfigurationError, match="transforms: expected"):
        Chain(wrong)


def test_a_transform_of_ones_own():
    class Dropout(Transform):
        random = True

        def __call__(self, batch, rng=None):
            return replaced(batch, {"obs.a": batch.obs.a * (rng.random(batch.obs.a.shape) < 0.5)})

    chain = Chain([Dropout()])
    assert chain.random and not chain.observes
    made = chain(nested(), np.random.default_rng(0))
    assert 0 < (made.obs.a == 0).sum() < made.obs.a.size
