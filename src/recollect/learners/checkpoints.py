"""Checkpoints: a memory and its learner, saved together, so that a run can go on.

    FOLDER/
      memory/          a snapshot of the memory (`Memory.save`)
      learner-12000    all else, as of the moment at which 12,000 steps had been added

The one hard thing is that both must be of one moment, whenever the process is killed. The learner
is written first, beside the one before, and the memory's snapshot is put in place at once; a memory
knows how many steps were ever added to it, and that number names the learner that belongs to it.
What belongs to no memory is deleted by the next checkpoint.
"""

from __future__ import annotations

import contextlib
import io
import pickle
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import recollect as rc
from recollect.errors import DamagedError, StorageError
from recollect.stores.directory import MANIFEST
from recollect.stores.files import container, named, read_container, replace

ARRAY = "numpy.ndarray"
"""The key of a dictionary that stands for an array; PyTorch reads no NumPy without trusting it."""


class Checkpoint(NamedTuple):
    """A run as it was at one moment."""

    memory: rc.Memory
    state: dict[str, Any]
    """Of the learner: what it gave to `save`."""


class Checkpoints:
    """The checkpoints of one run; the latest is kept.

    Args:
        folder: where; made when it is needed.
        every: steps between two of them; 0 for none at all.
        before: called before each one, as to let logs catch up.
    """

    def __init__(
        self, folder: Path, every: int = 0, before: Callable[[], None] = lambda: None
    ) -> None:
        self.folder = folder
        self.every = every
        self._before = before

    @property
    def memory(self) -> Path:
        """Where the snapshot is."""
        return self.folder / "memory"

    def save(self, memory: rc.Memory, state: dict[str, Any]) -> None:
        """Replaces the checkpoint, by one that is whole and lasting, or not at all.

        Costs the writing of all that the learner is, and of the rows that are new since the
        checkpoint before, with a few bytes for every row.

        Args:
            state: of the learner: dictionaries, lists and tuples of tensors, arrays, numbers,
                strings and bytes.

        Raises:
            StorageError: the disk is full, or the folder cannot be written; the checkpoint before
                is still there.
        """
        self._before()
        # by `replace`, since torch's own error on a full disk does not say so
        content = io.BytesIO()
        torch.save(_packed(state), content)
        learner = self._learner(memory)
        with named(self.folder, "making this folder"):
            self.folder.mkdir(parents=True, exist_ok=True)
        replace(learner, container({}, {"state": np.frombuffer(content.getbuffer(), np.uint8)}))
        memory.save(self.memory)
        for path in self._learners():
            if path != learner:
                with contextlib.suppress(OSError):
                    path.unlink()

    def load(self) -> Checkpoint:
        """The checkpoint that is there; the memory is loaded into RAM.

        Raises:
            StorageError: there is none, or it cannot be read.
            DamagedError: it is damaged, or lacks a part.
        """
        if not (self.memory / MANIFEST).is_file():
            raise StorageError(f"{self.folder}: there is no checkpoint, or none that is whole")
        memory = rc.open(self.memory)
        learner = self._learner(memory)
        if not learner.is_file():
            raise DamagedError(f"{learner}: the learner that belongs to the memory is missing")
        _, arrays = read_container(learner)
        try:
            content = io.BytesIO(arrays["state"].tobytes())
            state = torch.load(content, map_location="cpu", weights_only=True)
        except (KeyError, RuntimeError, pickle.UnpicklingError) as error:
            raise DamagedError(f"{learner}: this PyTorch cannot read it: {error}") from error
        return Checkpoint(memory, _unpacked(state))

    def remove(self) -> None:
        """Deletes what there is; files that are nobody's stay.

        Raises:
            OSError: it cannot be deleted.
        """
        # the manifest first: half a checkpoint is none
        snapshot = [*self.memory.glob(f"{MANIFEST}*"), *self.memory.glob("state-*")]
        for path in (*snapshot, *self.memory.glob("rows-*"), *self._learners()):
            path.unlink(missing_ok=True)
        for folder in (self.memory, self.folder):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _learner(self, memory: rc.Memory) -> Path:
        # not by `stats`, which lets rows enter: draws would depend on when a checkpoint was made
        return self.folder / f"learner-{memory.shared.rows.added}"

    def _learners(self) -> list[Path]:
        return list(self.folder.glob("learner-*"))


def _packed(value: Any) -> Any:
    """The value with tensors for arrays, as PyTorch reads it without running any code."""
    if isinstance(value, np.ndarray):
        return {ARRAY: torch.from_numpy(np.array(value, order="C"))}
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is dict:
        return {name: _packed(part) for name, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_packed, value))
    if type(value) is deque:
        return list(map(_packed, value))
    if value is None or type(value) in (bool, int, float, str, bytes, torch.Tensor, OrderedDict):
        return value
    raise TypeError(f"a checkpoint cannot hold {value!r}, a {type(value).__name__}")


def _unpacked(value: Any) -> Any:
    if type(value) is dict:
        if value.keys() == {ARRAY}:
            return value[ARRAY].numpy()
        return {name: _unpacked(part) for name, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_unpacked, value))
    return value
