"""Batches as tensors: nothing copied on the CPU, one transfer for the small fields elsewhere; sent
ahead to a device; from a DataLoader."""

import contextlib
import pickle
import sys
import threading
import warnings
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

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


def steps_of(key):
    """Which step each was: every episode has one step and a closing row."""
    return ((key & 0xFFFF) // 2).tolist()


def test_a_loader_gives_tensors(memory):
    with memory.loader(8, device="cpu") as loader:
        for batch in islice(loader, 5):
            assert isinstance(batch.key, np.ndarray)
            assert batch.obs.image.shape == (8, 40, 40) and batch.obs.image.dtype == torch.uint8
            assert batch.action.tolist() == steps_of(batch.key)


class Gpu:
    """Stands in for CUDA: what is asked of it is written down, tensors stay on the CPU."""

    def __init__(self, monkeypatch):
        self.log = []
        self.streams = threading.local()
        self.made = 0
        cuda = SimpleNamespace(
            Stream=self.stream,
            stream=self.on,
            current_device=lambda: 3,
            current_stream=lambda device: SimpleNamespace(
                name=f"current of {device}",
                wait_event=lambda event: self.log.append(("wait", event)),
            ),
        )
        monkeypatch.setattr(interop.torch, "cuda", cuda)
        monkeypatch.setattr(
            torch.Tensor,
            "record_stream",
            lambda tensor, stream: self.log.append(("record", stream.name, tensor.data_ptr())),
        )
        transfer = interop._transfer

        def transferred(arrays, target, pinned=False):
            assert pinned
            self.log.append(("copy to", str(target), "on", getattr(self.streams, "now", None)))
            return transfer(arrays, torch.device("cpu"))

        monkeypatch.setattr(interop, "_transfer", transferred)

    def stream(self, device):
        self.made += 1
        name = f"side {self.made} of {device}"

        def record_event():
            self.log.append(("event", name))
            return f"event of {name}"

        return SimpleNamespace(name=name, record_event=record_event)

    @contextlib.contextmanager
    def on(self, stream):
        self.streams.now = stream.name
        yield
        self.streams.now = None


def test_copies_go_by_a_stream_of_their_own_and_the_callers_waits_for_them(memory, monkeypatch):
    monkeypatch.setattr(interop, "LARGE", 2048)
    gpu = Gpu(monkeypatch)
    courier = interop.Courier("cuda")
    batch = memory.sample(8)
    sent = []
    thread = threading.Thread(target=lambda: sent.append(courier.send(batch)))
    thread.start()
    thread.join()
    side = "side 1 of cuda:3"
    assert gpu.log == [("copy to", "cuda:3", "on", side), ("event", side)]
    gpu.log.clear()
    received = courier.receive(sent[0])
    assert gpu.log[0] == ("wait", f"event of {side}"), "before anything is handed out"
    recorded = {place for _, name, place in gpu.log[1:] if name == "current of cuda:3"}
    tensors = [tensor for _, tensor in pairs(batch, received)]
    assert recorded == {tensor.data_ptr() for tensor in tensors}
    for array, tensor in pairs(batch, received):
        assert np.array_equal(tensor.numpy(), array)


def test_a_loader_for_a_gpu_hands_out_every_batch_in_turn(memory, monkeypatch):
    gpu = Gpu(monkeypatch)
    with memory.loader(4, device="cuda:1", threads=2) as loader:
        for batch in islice(loader, 12):
            assert batch.action.tolist() == steps_of(batch.key)
    assert gpu.made == 1
    copies = [entry for entry in gpu.log if entry[0] == "copy to"]
    assert len(copies) >= 12
    assert {entry[1:] for entry in copies} == {("cuda:1", "on", "side 1 of cuda:1")}
    assert sum(entry[0] == "wait" for entry in gpu.log) == 12


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_sees_whole_batches_while_it_is_busy(memory):
    busy = torch.randn(2048, 2048, device="cuda")
    with memory.loader(64, device="cuda", threads=2) as loader:
        for batch in islice(loader, 50):
            for _ in range(5):
                busy = (busy @ busy).clamp(-1, 1)
            assert batch.action.device.type == "cuda"
            assert batch.action.tolist() == steps_of(batch.key)


def test_a_data_loader_keeps_batches_whole(memory):
    dataset = interop.dataset(memory, 8, batches=3, prefetch=1, deterministic=True)
    assert isinstance(dataset, IterableDataset)
    assert dataset.options == {"device": "cpu", "prefetch": 1, "deterministic": True}
    loader = DataLoader(dataset, batch_size=None)
    for _ in range(2):
        epoch = list(loader)
        assert len(epoch) == 3
        for batch in epoch:
            assert isinstance(batch, rc.Batch)
            assert batch.obs.image.shape == (8, 40, 40)
            assert batch.action.tolist() == steps_of(batch.key)
            flags = torch.zeros(8, dtype=torch.bool)
            assert memory.update(batch.key, flag=flags) == 8
    with pytest.raises(TypeError):
        len(loader)


def test_a_dataset_of_a_reader_without_end(memory):
    reader = memory.reader(view=rc.NStep(2, gamma=0.5))
    loader = DataLoader(interop.dataset(reader, 4), batch_size=None, collate_fn=lambda batch: batch)
    count = 0
    for batch in islice(loader, 20):
        assert isinstance(batch.key, np.ndarray)
        assert batch.steps.max() <= 2
        count += 1
    assert count == 20


@pytest.mark.parametrize("wrong", [{"batches": 0}, {"prefetch": -1}], ids=str)
def test_a_dataset_names_what_is_wrong_at_once(memory, wrong):
    with pytest.raises(rc.ConfigurationError, match=next(iter(wrong))):
        interop.dataset(memory, 4, **wrong)
    with pytest.raises(rc.ConfigurationError, match="batch_size"):
        interop.dataset(memory, 0)


def test_worker_processes_are_refused(memory):
    dataset = interop.dataset(memory, 4)
    with pytest.raises(rc.ConfigurationError, match="num_workers"):
        pickle.dumps(dataset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="fork")
        with pytest.raises(rc.ConfigurationError, match=r"num_workers.*threads"):
            next(iter(loader))
