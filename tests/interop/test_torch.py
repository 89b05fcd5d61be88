"""Batches as tensors: nothing copied on the CPU, one transfer for the small fields elsewhere."""

import sys

import numpy as np
import pytest
import torch

import recollect as rc
from recollect.interop import torch as interop


@pytest.fixture
def memory():
    schema = rc.Schema.steps(
        obs={"image": rc.Field((40, 40), np.uint8), "speed": (rc.Field((3,)), rc.Field((2,)))},
        action=rc.Field((), np.int64),
        flag=rc.Field((), np.bool_),
        half=rc.Field((5,), np.float16),
    )
    memory = rc.Memory(schema, 50, view=rc.Transition(gamma=0.9), seed=1)
    rng = np.random.default_rng(0)
    for step in range(20):
        obs, next_obs = (
            {
                "image": rng.integers(0, 255, (40, 40), np.uint8),
                "speed": (rng.random(3, np.float32), rng.random(2, np.float32)),
            }
            for _ in range(2)
        )
        memory.add(
            obs=obs,
            action=step,
            reward=float(step),
            next_obs=next_obs,
            terminated=step % 2 == 0,
            truncated=step % 2 == 1,
            flag=step % 3 == 0,
            half=np.full(5, step, np.float16),
        )
    return memory


def pairs(batch, tensors):
    """Every array of a batch with its tensor."""
    for name, value in batch.items():
        if name == "key":
            continue
        if isinstance(value, tuple):
            yield from zip(value, tensors[name], strict=True)
        elif hasattr(value, "items"):
            yield from pairs(value, tensors[name])
        else:
            yield value, tensors[name]


def test_on_the_cpu_tensors_share_the_arrays_memory(memory):
    batch = memory.sample(8)
    tensors = batch.torch()
    compared = list(pairs(batch, tensors))
    # obs and next_obs have three leaves each
    assert len(compared) == len(batch) - 1 - 2 + 6
    for array, tensor in compared:
        assert tensor.device.type == "cpu"
        assert tensor.data_ptr() == array.ctypes.data
        assert np.array_equal(tensor.numpy(), array)
    assert tensors.key is batch.key
    assert tensors.obs.speed[1].shape == (8, 2)
    assert tensors.flag.dtype == torch.bool
    assert tensors.half.dtype == torch.float16


def test_packed_transfer_gives_every_array_back(memory, monkeypatch):
    """The way to an accelerator, with the CPU standing in for one."""
    monkeypatch.setattr(interop, "LARGE", 2048)
    batch = memory.sample(9)
    arrays = []
    interop._collect(batch, arrays)
    moved = interop._transfer(arrays, torch.device("cpu"))
    small = [array for array in arrays if array.nbytes < interop.LARGE]
    assert 0 < len(small) < len(arrays)
    storages = {moved[id(array)].untyped_storage().data_ptr() for array in small}
    assert len(storages) == 1
    for array in arrays:
        tensor = moved[id(array)]
        assert np.array_equal(tensor.numpy(), array)
        assert tensor.numpy().dtype == array.dtype


def test_update_takes_tensors(memory):
    batch = memory.sample(4)
    values = torch.arange(20, dtype=torch.float16).reshape(4, 5).requires_grad_()
    assert memory.update(torch.from_numpy(batch.key), half=values) == 4
    written = dict(zip(batch.key.tolist(), values.detach().numpy(), strict=True))
    later = memory.sample(64)
    seen = 0
    for key, half in zip(later.key.tolist(), later.half, strict=True):
        if key in written:
            seen += 1
            assert np.array_equal(half, written[key])
    assert seen


def test_without_torch_the_error_names_the_extra(memory, monkeypatch):
    batch = memory.sample(2)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "recollect.interop.torch")
    monkeypatch.delattr("recollect.interop.torch", raising=False)
    with pytest.raises(rc.MissingExtraError, match=r"recollect\[torch\]") as caught:
        batch.torch()
    assert isinstance(caught.value, ImportError)
