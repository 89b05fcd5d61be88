"""What every transform promises, each in both its paths."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import recollect as rc
from recollect.transforms.base import Chain, Transform
from recollect.transforms.blend import Blend
from recollect.transforms.clip import Clip
from recollect.transforms.crop import RandomCrop
from recollect.transforms.flip import Flip
from recollect.transforms.interpolate import Interpolate
from recollect.transforms.noise import Noise
from recollect.transforms.normalize import Normalize
from recollect.transforms.scale import Scale
from recollect.transforms.shift import RandomShift
from transforms.batches import batch_of, flat, numbers, pixels

SCHEMA = rc.Schema.steps(
    obs={"image": rc.Field((3, 8, 6), np.uint8), "speed": (rc.Field((2,)), rc.Field((), np.int32))},
    action=rc.Field((2,)),
)
IMAGE = "obs.image"


def stored(seed: int, *lead: int) -> dict[str, Any]:
    return {
        "image": pixels(*lead, 3, 8, 6, seed=seed),
        "speed": (numbers(*lead, 2, seed=seed), pixels(*lead, seed=seed).astype(np.int32)),
    }


def example(lead: tuple[int, ...] = (10,)) -> rc.Batch:
    return batch_of(
        obs=stored(1, *lead),
        next_obs=stored(2, *lead),
        action=numbers(*lead, 2),
        reward=numbers(*lead, seed=3),
        source=np.arange(lead[0]) % 3,
    )


def normalize(**settings: Any) -> Normalize:
    made = Normalize("obs", **settings)
    made.open(SCHEMA)
    rows = stored(4, 50)
    made.observe(
        {
            "obs.image": rows["image"],
            "obs.speed.0": rows["speed"][0],
            "obs.speed.1": rows["speed"][1],
        }
    )
    return made


ALL: dict[str, tuple[Any, tuple[str, ...], bool]] = {
    # what it is, which fields it changes, whether they keep their dtype
    "shift": (RandomShift(2, IMAGE), (IMAGE, f"next_{IMAGE}"), True),
    "shift-last": (RandomShift(2, IMAGE, channels_last=True), (IMAGE, f"next_{IMAGE}"), True),
    "crop": (RandomCrop((5, 4), IMAGE), (IMAGE, f"next_{IMAGE}"), True),
    "flip": (Flip(0.5, fields=IMAGE), (IMAGE, f"next_{IMAGE}"), True),
    "flip-down": (Flip(0.5, "vertical", IMAGE), (IMAGE, f"next_{IMAGE}"), True),
    "clip": (Clip(-0.5, 100.5), ("obs", "next_obs"), True),
    "noise": (Noise(0.1), ("obs", "next_obs"), False),
    "scale": (Scale(1 / 255, -0.5), ("obs", "next_obs"), False),
    "normalize": (normalize(clip=1.5), ("obs", "next_obs"), False),
    "mixup": (
        Interpolate(0.4, (IMAGE, "action", "reward")),
        (IMAGE, f"next_{IMAGE}", "action", "reward"),
        False,
    ),
    "neighbours": (
        Interpolate(1.0, ("obs.speed.0", "reward"), 3, near=("obs.speed", "action")),
        ("obs.speed.0", "next_obs.speed.0", "reward"),
        False,
    ),
    "blend": (Blend(0.3), ("weight",), True),
    "chain": (
        Chain([normalize(), RandomShift(2, IMAGE), Noise(0.1, IMAGE), Clip(-1, 1)]),
        ("obs", "next_obs"),
        False,
    ),
}


@pytest.fixture(params=ALL)
def case(request: pytest.FixtureRequest) -> tuple[Transform, tuple[str, ...], bool]:
    return ALL[request.param]


def test_it_changes_what_was_asked_for_and_nothing_that_it_was_given(case):
    transform, fields, keeps_dtype = case
    batch = example()
    before = {path: leaf.copy() for path, leaf in flat(batch).items()}
    made = transform(batch, np.random.default_rng(0))
    assert isinstance(made, rc.Batch)
    assert type(made.obs.speed) is tuple and made.obs.image is made["obs"]["image"]
    for path, leaf in flat(batch).items():
        np.testing.assert_array_equal(leaf, before[path])
        new = flat(made)[path]
        if any(path == field or path.startswith(f"{field}.") for field in fields):
            assert new.shape != leaf.shape or (new != leaf).any(), path
            assert not np.shares_memory(new, leaf)
            assert new.flags.c_contiguous and new.flags.writeable
            assert new.dtype == (leaf.dtype if keeps_dtype else np.float32), path
        else:
            assert new is leaf
    assert set(flat(made)) - set(before) <= {"share", "partner"}


def test_it_does_the_same_to_tensors(case):
    transform, _, _ = case
    for lead in ((10,), (4, 5)):
        if lead == (4, 5) and isinstance(transform, (Interpolate, Blend)):
            continue
        batch = example(lead)
        arrays = flat(transform(batch, np.random.default_rng(7)))
        given = batch.torch()
        before = {path: leaf.copy() for path, leaf in flat(given).items()}
        made = transform(given, np.random.default_rng(7))
        tensors = flat(made)
        assert isinstance(made.obs.image, torch.Tensor) and made.obs.image.is_contiguous()
        assert arrays.keys() == tensors.keys()
        for path in arrays:
            assert arrays[path].dtype == tensors[path].dtype, path
            np.testing.assert_array_equal(arrays[path], tensors[path])
        for path, leaf in flat(given).items():
            np.testing.assert_array_equal(leaf, before[path])


def test_the_generator_decides(case):
    transform, _, _ = case

    def run(seed: int | None) -> bytes:
        rng = None if seed is None else np.random.default_rng(seed)
        return b"".join(leaf.tobytes() for leaf in flat(transform(example(), rng)).values())

    assert run(1) == run(1)
    if transform.random:
        assert run(1) != run(2)
        with pytest.raises(rc.ConfigurationError, match=r"random: call it with a generator"):
            run(None)
    else:
        assert run(1) == run(2) == run(None)


def test_fields_that_do_not_exist_are_named_with_those_that_do():
    rng = np.random.default_rng(0)
    for transform in (
        RandomShift(fields="obs.picture"),
        RandomCrop(4, "obs.imag"),
        Flip(fields=("obs.image", "picture")),
        Clip(0, 1, "picture"),
        Noise(1, "picture"),
        Scale(2, fields="obs.speed.2"),
        Interpolate(1, "picture"),
        Interpolate(1, "reward", 2, near="picture"),
    ):
        with pytest.raises(
            rc.ConfigurationError, match=r"no field .*known: obs\.image, obs\.speed"
        ):
            transform(example(), rng)
    with pytest.raises(
        rc.ConfigurationError, match=r"not stored; known: obs\.image, obs\.speed\.0"
    ):
        Normalize("picture").open(SCHEMA)


def test_what_is_neither_array_nor_tensor_is_refused():
    batch = rc.Batch({**example(), "reward": [1.0] * 10})
    with pytest.raises(rc.ConfigurationError, match="Scale: reward: expected a NumPy array"):
        Scale(2, fields="reward")(batch)


@pytest.mark.parametrize("fields", [(), ("",), 3, None, [1], {"obs"}])
def test_fields_are_names(fields):
    with pytest.raises(rc.ConfigurationError, match="Noise: fields: expected names"):
        Noise(1, fields)


def test_arrays_are_transformed_without_torch():
    code = (
        "import sys, numpy as np\n"
        "from recollect.batch import Batch\n"
        "from recollect.transforms.base import Chain\n"
        "from recollect.transforms.noise import Noise\n"
        "from recollect.transforms.shift import RandomShift\n"
        "batch = Batch({'obs': np.zeros((2, 9, 9)), 'weight': 1, 'probability': 1, 'key': 1})\n"
        "Chain([RandomShift(), Noise(1)])(batch, np.random.default_rng(0))\n"
        "print(sorted({'torch', 'numba', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
