"""Transforms of a memory's batches: what they see, when, and with which randomness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import Look
from selfproving import known_world, schema, stacked, view

EXAMPLES = rc.Schema.examples(x=rc.Field((3,), np.float32), label=rc.Field((), np.int64))


def test_transforms_are_applied_in_order_and_a_function_is_one() -> None:
    memory = rc.Memory(
        EXAMPLES,
        10,
        transforms=[
            rc.Scale(2.0, fields=("x",)),
            lambda batch: {"x": batch.x + 1, "twice": batch.label * 2},
        ],
        seed=0,
    )
    memory.extend(x=np.arange(30, dtype=np.float32).reshape(10, 3), label=np.arange(10))
    batch = memory.sample(50)
    np.testing.assert_array_equal(batch.x[:, 0], 6 * batch.label + 1)
    np.testing.assert_array_equal(batch.twice, 2 * batch.label)
    assert memory.update(batch.key, label=batch.label) == 50
    plain = memory.reader()
    np.testing.assert_array_equal(plain.sample(20).x[:, 0] % 3, 0)


def test_the_memorys_seed_decides_random_transforms() -> None:
    draws = []
    for seed in (0, 0, 1):
        memory = rc.Memory(EXAMPLES, 10, transforms=[rc.Noise(1.0, fields=("x",))], seed=seed)
        memory.extend(x=np.zeros((10, 3), np.float32), label=np.arange(10))
        draws.append([memory.sample(8).x for _ in range(3)])
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    assert not np.array_equal(draws[0][0], draws[0][1])


@pytest.mark.parametrize("streams", [None, 1, 3])
def test_normalize_learns_from_every_step_however_it_was_added(streams: int | None) -> None:
    memory = rc.Memory(
        schema("flat", score=rc.Field((), np.float32, finite="drop")),
        60 * (streams or 1),
        streams=streams,
        view=view(Look(2, 0.9)),
        transforms=[rc.Normalize(("obs", "score"))],
        seed=0,
    )
    seen: list[dict[str, Any]] = []
    rng = np.random.default_rng(0)

    def steps(stream: int, count: int, first: int) -> list[dict[str, Any]]:
        made = []
        for step in known_world("flat", stream, count, first):
            value = np.float32(np.nan if rng.random() < 0.2 else rng.normal(5, 3))
            made.append(step | {"score": value})
        seen.extend(step for step in made if np.isfinite(step["score"]))
        return made

    at = 0
    for turn in range(40):
        if streams is None:
            for step in steps(0, 1, at):
                memory.add(**step)
        else:
            memory.add(**stacked([step for s in range(streams) for step in steps(s, 1, at)]))
        at += 1
        if turn % 10 == 9:
            which = {} if streams is None else {"stream": 0}
            if streams is None or streams == 1:
                memory.extend(**which, **stacked(steps(0, 25, at)))
                at += 25
    normalize = memory._first.transform.parts[0]
    for path in ("obs", "score"):
        every = np.array([step[path] for step in seen], np.float64)
        count, mean, variance = normalize.moments(path)
        assert count == len(seen)
        np.testing.assert_allclose(mean, every.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(variance, every.var(axis=0), rtol=1e-6)
    batch = memory.sample(30)
    assert batch.obs.dtype == np.float32
    late = rc.Normalize(("obs",))
    memory.reader(transforms=[late])
    assert late.moments("obs")[0] == len(memory), "a later reader learns from what is held"


def test_examples_are_shown_too() -> None:
    memory = rc.Memory(
        EXAMPLES, 5, retention=rc.Reservoir(), transforms=[rc.Normalize(("x",))], seed=0
    )
    values = np.random.default_rng(0).normal(3, 2, (40, 3)).astype(np.float32)
    memory.extend(x=values[:30], label=np.zeros(30, np.int64))
    for row in values[30:]:
        memory.add(x=row, label=0)
    count, mean, _ = memory._first.transform.parts[0].moments("x")
    assert count == 40
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-5)


def test_frames_are_shifted_alike_and_the_store_stays_as_it_is() -> None:
    look = Look(None, 0.9, 4)
    fields = rc.Schema.steps(obs=rc.Field((32, 36), np.uint8), action=rc.Field((), np.int64))
    memory = rc.Memory(fields, 200, view=view(look), transforms=[rc.RandomShift(4)], seed=0)
    memory.extend(**stacked(known_world("image", 0, 120)))
    before = memory.shared.store.read(np.arange(200))[0]["obs"].copy()
    batch = memory.sample(64)
    assert batch.obs.shape == (64, 4, 32, 36)
    plain = memory.reader(view=view(look))
    assert not np.array_equal(batch.obs, plain.sample(64).obs)
    np.testing.assert_array_equal(before, memory.shared.store.read(np.arange(200))[0]["obs"])


def test_what_is_no_transform_is_refused() -> None:
    for transforms in ([3], [rc.Normalize], rc.Scale(2.0), ["x"]):
        with pytest.raises(rc.ConfigurationError, match="transforms"):
            rc.Memory(EXAMPLES, 5, transforms=transforms)
    with pytest.raises(rc.ConfigurationError, match="nothing"):
        rc.Memory(EXAMPLES, 5, transforms=[rc.Normalize(("nothing",))])
