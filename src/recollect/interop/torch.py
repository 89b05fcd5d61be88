"""Batches as torch tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from recollect.batch import Batch, Fields, nest
from recollect.errors import MissingExtraError

try:
    import torch
except ImportError as error:
    raise MissingExtraError(
        'Batch.torch needs PyTorch, which is not installed: pip install "recollect[torch]"'
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
        tensors = {id(array): torch.from_numpy(array) for array in arrays}
    else:
        tensors = _transfer(arrays, target)
    return Batch({name: _replace(name, value, tensors) for name, value in batch.items()})


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


def _transfer(arrays: list[Any], target: torch.device) -> dict[int, torch.Tensor]:
    """The arrays on the device: small ones packed into one transfer, large ones each in its own."""
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
    tensors = {
        id(array): torch.from_numpy(array).to(target) for array in arrays if array.nbytes >= LARGE
    }
    for array, place in zip(small, places, strict=True):
        dtype = torch.from_numpy(array[:0]).dtype
        piece = moved[place : place + array.nbytes]
        tensors[id(array)] = piece.view(dtype).view(array.shape)
    return tensors
