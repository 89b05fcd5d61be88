"""Batches as torch tensors; sending them to a device ahead; a memory as a torch dataset."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple, NoReturn

import numpy as np

from recollect.arguments import whole
from recollect.batch import Batch, Fields, nest
from recollect.errors import ConfigurationError, MissingExtraError
from recollect.loader import Loader
from recollect.memory import Memory
from recollect.reader import Reader

try:
    import torch
    from torch.utils.data import IterableDataset, get_worker_info
except ImportError as error:
    raise MissingExtraError(
        'tensors need PyTorch, which is not installed: pip install "recollect[torch]"'
    ) from error

LARGE = 1 << 18
"""Arrays of so many bytes travel to a device by themselves: packing them would cost more."""

ALIGNMENT = 16
"""Where each array begins in the packed bytes, so that any dtype can be viewed there."""


def to_torch(batch: Batch, device: torch.device | str | int | None = None) -> Batch:
    """`batch` with a tensor for every array but `key`; see `Batch.torch`."""
    target = torch.device("cpu" if device is None else device)
    arrays: list[Any] = []
    _collect(batch, arrays)
    if target.type == "cpu":
        return _with_tensors(batch, {id(array): torch.from_numpy(array) for array in arrays})
    return _with_tensors(batch, _transfer(arrays, target))


class Sent(NamedTuple):
    """A batch on its way to a device."""

    batch: Batch
    tensors: list[torch.Tensor]
    arrived: Any
    """An event on the stream that copies; None: it is there."""


class Courier:
    """Sends batches to a device from background threads, and hands them out in another.

    To a CUDA device they are copied from pinned memory on a stream of its own, beside whatever the
    device computes meanwhile. Made in the thread whose current CUDA device "cuda" means.
    """

    def __init__(self, device: torch.device | str | int) -> None:
        self.device = torch.device(device)
        self._stream: Any = None
        if self.device.type == "cuda":
            if self.device.index is None:
                # other threads have a current device of their own
                self.device = torch.device("cuda", torch.cuda.current_device())
            self._stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    def send(self, batch: Batch) -> Sent:
        """Begins to copy."""
        if self._stream is None:
            return Sent(to_torch(batch, self.device), [], None)
        arrays: list[Any] = []
        _collect(batch, arrays)
        with torch.cuda.stream(self._stream):
            # pinned memory may be let go at once: torch uses it again only when the copy is done
            tensors = _transfer(arrays, self.device, pinned=True)
            arrived = self._stream.record_event()
        return Sent(_with_tensors(batch, tensors), list(tensors.values()), arrived)

    def receive(self, sent: Sent) -> Batch:
        """The batch, for the caller's current stream; the host does not wait for the copy."""
        if sent.arrived is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(sent.arrived)
            for tensor in sent.tensors:
                # it belongs to the stream that copied; its memory is not free before this one is
                # done with it
                tensor.record_stream(current)
        return sent.batch


class Batches(IterableDataset[Batch]):
    """Batches of a memory, for a DataLoader that leaves them as they are; made by `dataset`.

    Each iteration is a loader of its own, which ends with it.
    """

    def __init__(
        self, source: Memory | Reader, batch_size: int, batches: int | None, options: dict[str, Any]
    ) -> None:
        self.source = source
        self.batch_size = batch_size
        self.batches = None if batches is None else whole("batches", batches)
        self.options = {"device": "cpu"} | options
        # so that what is wrong is said now
        self._loader()

    def __iter__(self) -> Iterator[Batch]:
        if get_worker_info() is not None:
            _refuse_workers()
        return self._batches()

    def __reduce__(self) -> NoReturn:
        _refuse_workers()

    def _batches(self) -> Iterator[Batch]:
        with self._loader() as loader:
            yield from islice(loader, self.batches)

    def _loader(self) -> Loader:
        return self.source.loader(self.batch_size, **self.options)


def dataset(
    source: Memory | Reader, batch_size: int, *, batches: int | None = None, **options: Any
) -> Batches:
    """A memory as a `torch.utils.data.IterableDataset` of whole batches.

        loader = DataLoader(dataset(memory, 256), batch_size=None)

    `batch_size=None` is DataLoader's way to leave batches whole. It makes a tensor of `key` too,
    which `update` takes as well. Threads prepare the batches, as with `memory.loader`. A worker
    process would draw from a copy of the memory: every worker the same batches, blind to what is
    added and to new priorities. So `num_workers` must be 0, and anything else is refused.

    Args:
        source: a memory or a reader.
        batches: after how many an iteration ends; None: never.
        options: `prefetch`, `threads`, `deterministic` and `device` of `Loader`; the device is the
            CPU unless given.

    Raises:
        ConfigurationError: a number that is no positive whole one; and, when DataLoader begins,
            `num_workers` above 0.
    """
    return Batches(source, batch_size, batches, options)


def _refuse_workers() -> NoReturn:
    raise ConfigurationError(
        "dataset: num_workers: expected 0; a worker process would draw from a copy of the memory "
        "that sees nothing of what is added or updated. Threads prepare batches ahead: "
        "dataset(memory, batch_size, prefetch=4, threads=2)"
    )


def _collect(value: Any, arrays: list[Any]) -> None:
    """All arrays below `value` but a batch's key."""
    if isinstance(value, Fields):
        for name, child in value.items():
            if not (isinstance(value, Batch) and name == "key"):
                _collect(child, arrays)
    elif isinstance(value, tuple):
        for child in value:
            _collect(child, arrays)
    else:
        arrays.append(value)


def _with_tensors(batch: Batch, tensors: dict[int, torch.Tensor]) -> Batch:
    return Batch({name: _replace(name, value, tensors) for name, value in batch.items()})


def _replace(name: str, value: Any, tensors: dict[int, torch.Tensor]) -> Any:
    if name == "key":
        return value
    return nest(_rebuilt(value, tensors))


def _rebuilt(value: Any, tensors: dict[int, torch.Tensor]) -> Any:
    if isinstance(value, Fields):
        return {name: _rebuilt(child, tensors) for name, child in value.items()}
    if isinstance(value, tuple):
        return tuple(_rebuilt(child, tensors) for child in value)
    return tensors[id(value)]


def _transfer(
    arrays: list[Any], target: torch.device, pinned: bool = False
) -> dict[int, torch.Tensor]:
    """The arrays on the device: small ones packed into one transfer, large ones each in its own.

    Args:
        pinned: whether large ones go by pinned memory too, so that the host need not wait.
    """
    small = [array for array in arrays if array.nbytes < LARGE]
    places, size = [], 0
    for array in small:
        places.append(size)
        size += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    packed = torch.empty(size, dtype=torch.uint8, pin_memory=target.type == "cuda")
    host = packed.numpy()
    for array, place in zip(small, places, strict=True):
        host[place : place + array.nbytes] = array.reshape(-1).view(np.uint8)
    moved = packed.to(target, non_blocking=True)
    tensors = {}
    for array in arrays:
        if array.nbytes >= LARGE:
            tensor = torch.from_numpy(array)
            if pinned:
                tensor = tensor.pin_memory()
            tensors[id(array)] = tensor.to(target, non_blocking=pinned)
    for array, place in zip(small, places, strict=True):
        dtype = torch.from_numpy(array[:0]).dtype
        piece = moved[place : place + array.nbytes]
        tensors[id(array)] = piece.view(dtype).view(array.shape)
    return tensors
