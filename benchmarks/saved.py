"""Saving a memory and loading it again, beside the peers that do.

What is saved counts as saved once it has reached the disk: where a library leaves that to the
system, it is waited for here. Each save goes to a place where nothing is yet. What is loaded comes
from the system's cache. The floor is a file of as many bytes as our own takes, and nothing else.
"""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.libraries import OURS, opened
from benchmarks.results import Table
from benchmarks.timing import FEW_TURNS, TURNS, spread, timed
from benchmarks.workloads import FLOOR

Calls = tuple[Callable[[Path], object], Callable[[Path], object]]
"""Saving to a path, and loading from it."""


@dataclass(frozen=True)
class Rows:
    """What is saved and loaded again: a function of each library, of so many rows."""

    function: str
    title: str
    rows: int


VECTORS = Rows("saved_vectors", "200 k rows (HalfCheetah)", 200_000)
FRAMES = Rows("saved_frames", "30 k frames, four stacked when drawn (Atari)", 30_000)


def save(of: Rows, scale: float = 1.0, turns: int = TURNS, *, folder: Path) -> Table:
    """Seconds until a memory is on the disk; remarks tell its bytes.

    Args:
        folder: on that disk; it is left as it was found.
    """
    calls, missing, _ = _calls(of, scale, folder)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    sizes: dict[str, int] = {}
    path = folder / "memory.saved"
    for _ in _rounds(turns):
        for name, (save_to, _) in calls.items():
            os.sync()
            taken[name].append(timed(partial(settled, save_to, path)))
            sizes[name] = size_of(path)
            remove(path)
    times = {name: spread(values[1:]) for name, values in taken.items()}
    remarks = {name: f"{size / 1e6:,.1f} MB" for name, size in sizes.items()}
    title = f"saving {of.title}, until it is on the disk"
    return Table(
        of.function.replace("saved", "save"),
        title,
        times,
        "seconds",
        missing=missing,
        remarks=remarks,
    )


def load(of: Rows, scale: float = 1.0, turns: int = TURNS, *, folder: Path) -> Table:
    """Seconds until what was saved can be used again; remarks tell what comes back."""
    calls, missing, remarks = _calls(of, scale, folder)
    paths = {name: folder / f"{name}.saved" for name in calls}
    for name, (save_to, _) in calls.items():
        save_to(paths[name])
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in _rounds(turns):
        for name, (_, load_from) in calls.items():
            taken[name].append(timed(partial(load_from, paths[name])))
    for path in paths.values():
        remove(path)
    times = {name: spread(values[1:]) for name, values in taken.items()}
    return Table(
        of.function.replace("saved", "load"),
        f"loading {of.title}",
        times,
        "seconds",
        missing=missing,
        remarks=remarks,
    )


def settled(save_to: Callable[[Path], object], path: Path) -> None:
    """Saves, and waits until that has reached the disk."""
    save_to(path)
    for file in _files(path):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in _files(path))


def remove(path: Path) -> None:
    """Deletes a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _files(path: Path) -> Iterator[Path]:
    return (file for file in (path, *path.rglob("*")) if file.is_file())


def _rounds(turns: int) -> Iterator[int]:
    """A round that is not counted, since libraries load what they need, and some that are."""
    for turn in range(min(turns, FEW_TURNS) + 1):
        gc.collect()
        yield turn


def _calls(
    of: Rows, scale: float, folder: Path
) -> tuple[dict[str, Calls], dict[str, str], dict[str, str]]:
    """Calls, what is missing, and remarks, by library; the floor is one of them."""
    rows = max(int(of.rows * scale) // 1_000, 1) * 1_000
    offered, missing, remarks = opened(of.function)
    calls: dict[str, Calls] = {
        name: getattr(module, of.function)(rows) for name, module in offered.items()
    }
    ours = folder / "ours"
    calls[OURS][0](ours)
    plain = np.ones(size_of(ours), np.uint8)
    remove(ours)
    calls[FLOOR] = plain.tofile, lambda path: np.fromfile(path, np.uint8)
    return calls, missing, remarks
