"""`Finding`: something that is wrong with a file, and how it is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.cursors import Position
from recollect.saving.contents import Contents, impossible, placed
from recollect.saving.state import COUNTS, State

NAMED = 5
"""So many rows are named where more of them have the same fault."""

META = ("seeds", "counters", "readers")
"""What the header of every state has."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong."""

    path: Path
    """The file, or the folder of the files, in which it was found."""
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"

    @classmethod
    def of(cls, path: Path, error: Exception) -> Finding:
        """What an error says; most begin with the name of a file."""
        said = str(error.args[-1] if error.args else error)
        start, found, rest = said.partition(": ")
        if found and Path(start).is_relative_to(path.parent):
            return cls(Path(start), rest)
        return cls(path, said)


def some(numbers: NDArray[Any]) -> str:
    """ "3, 7 and 9", "1, 2, 3, 4, 5 and 20 more"."""
    shown = [str(number) for number in numbers[:NAMED].tolist()]
    if len(numbers) > NAMED:
        shown.append(f"{len(numbers) - NAMED} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]


def in_state(contents: Contents, path: Path, state: State) -> Iterator[Finding]:
    """Whether a state has what it must have, and makes sense by itself."""
    streams, rows = contents.streams, state.part("rows")
    yield from (Finding(path, f"it lacks {name}") for name in META if name not in state.meta)
    shape = (streams,) if streams else ()
    lacking = [
        name
        for name in (Position._fields if streams else COUNTS)
        if name not in rows or rows[name].shape != shape
    ]
    yield from (Finding(path, f"it lacks rows.{name}, {shape}") for name in lacking)
    if streams and not lacking:
        yield from in_position(contents, path, Position(*(rows[n] for n in Position._fields)))


def in_position(contents: Contents, path: Path, position: Position) -> Iterator[Finding]:
    """Whether streams can be where they are said to be."""
    for stream in range(contents.streams):
        if why := impossible(placed(position, stream), contents.room):
            yield Finding(path, f"stream {stream} {why}")


def twice(path: Path, keys: NDArray[np.int64]) -> Iterator[Finding]:
    """Whether two rows have the same key."""
    distinct, count = np.unique(keys, return_counts=True)
    if (count > 1).any():
        yield Finding(path, f"keys {some(distinct[count > 1])}: held more than once")
