"""What is wrong with a memory's directory, be it at rest or in use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.errors import DamagedError, StorageError
from recollect.rings import STREAM_SHIFT
from recollect.saving import rowchecks
from recollect.saving.contents import DirectoryContents, Part
from recollect.saving.findings import Finding, in_position, in_state, some, twice
from recollect.saving.state import State
from recollect.stores.base import Slots
from recollect.stores.directory import ADDED, ALLOWED, CURSORS, REWRITTEN, ROWS, STATE, VERSION
from recollect.stores.files import named

Rows = dict[str, NDArray[Any]]


def in_directory(contents: DirectoryContents) -> Iterator[Finding]:
    """What is found in its files, one after the other; rows only where cursors can be right."""
    path = contents.directory.folder / STATE
    state: State | None = None
    try:
        state = contents.state()
        lacking = list(in_state(contents, path, state))
    except (DamagedError, StorageError) as error:
        lacking = [Finding.of(path, error)]
    yield from lacking
    sizes = [_size(path, size) for path, size in contents.sizes.items()]
    yield from (wrong for wrong in sizes if wrong is not None)
    if any(sizes):
        return
    try:
        arrays = contents.map()
        trusted = None if lacking else state
        faults = list(_cursors(contents, trusted))
        yield from faults
        if not contents.streams:
            yield from _examples(contents, arrays)
        elif not faults:
            if trusted is not None and contents.lost_power:
                contents.pass_over(trusted.part("rows"))
            yield from _steps(contents, _worth_a_look(contents, arrays))
    except (DamagedError, StorageError) as error:
        yield Finding.of(contents.folder / CURSORS, error)
    finally:
        contents.close()


def _size(path: Path, size: int) -> Finding | None:
    try:
        with named(path, "opening"), open(path, "rb") as file:
            found = os.fstat(file.fileno()).st_size
    except StorageError as error:
        return Finding.of(path, error)
    if found == size:
        return None
    short = "cut short" if found < size else "too long"
    return Finding(path, f"{short}: {found} bytes where {size} belong")


def _cursors(contents: DirectoryContents, state: State | None) -> Iterator[Finding]:
    """Whether the words make sense, and are not behind the state, which was written before."""
    path, line = contents.folder / CURSORS, contents.directory.line
    for word in (VERSION, REWRITTEN, ADDED, ALLOWED, ROWS):
        if line[word] < 0:
            yield Finding(path, f"word {word} of the first line is {line[word]}")
    now = contents.directory.cursors.read()
    yield from in_position(contents, path, now)
    if state is None:
        return
    known = state.part("rows")
    if contents.streams:
        for stream in np.flatnonzero(now.head < known["head"]).tolist():
            what = f"stream {stream} ends at row {now.head[stream]}, before row"
            yield Finding(path, f"{what} {known['head'][stream]}, which the state knows of")
    elif line[ADDED] < known["added"]:
        what = f"{line[ADDED]} examples were offered, the state knows of {known['added']}"
        yield Finding(path, what)


def _worth_a_look(contents: DirectoryContents, arrays: Rows) -> Rows:
    """The arrays of steps in which something can be checked."""
    names = {"narrow", "beside.priority"}
    for name, field in contents.schema.flat.items():
        if field.finite and name != "reward":
            names.add(f"field.{name}" if f"field.{name}" in arrays else "packed")
    return {name: array for name, array in arrays.items() if name in names}


def _steps(contents: DirectoryContents, arrays: Rows) -> Iterator[Finding]:
    path = contents.directory.folder / "narrow"
    for stream in range(contents.streams):
        values: list[Finding] = []
        parts = _looked_at(contents, contents.parts(stream, arrays), values)
        yield from (Finding(path, what) for what in rowchecks.episodes(parts))
        yield from values


def _looked_at(
    contents: DirectoryContents, parts: Iterator[Part], values: list[Finding]
) -> Iterator[Part]:
    """Passes parts on, after a look at what their rows hold."""
    folder = contents.directory.folder
    for part in parts:
        numbers = np.arange(part.first, part.first + len(part.mark))
        rows = f"stream {part.stream}: rows"
        closing = marks.closing(part.mark)
        for array, name, wrong in rowchecks.not_finite(contents.schema, part.rows, closing):
            what = f"{rows} {some(numbers[wrong])}: {name} is not finite"
            values.append(Finding(folder / array, what))
        keys = part.stream << STREAM_SHIFT | numbers
        wrong = rowchecks.priorities(part.rows["beside.priority"], keys)
        if wrong.any():
            what = f"{rows} {some(numbers[wrong])}: what is there is no priority"
            values.append(Finding(folder / "beside.priority", what))
        yield part


def _examples(contents: DirectoryContents, arrays: Rows) -> Iterator[Finding]:
    folder, schema = contents.directory.folder, contents.schema
    all_keys: list[NDArray[np.int64]] = []
    for slots, rows in contents.examples(arrays):
        keys = rows["beside.key"]
        all_keys.append(keys)
        unlike = rowchecks.unlike(schema, rows)
        after_power_cut = ", as after a power cut; opening the memory drops them"
        for path, wrong, what in (
            (
                folder,
                unlike,
                f"not as their checksums say{after_power_cut if contents.lost_power else ''}",
            ),
            (
                folder / "beside.key",
                rowchecks.identities(rows, slots) & ~unlike,
                "these keys were never given to them",
            ),
            (
                folder / "beside.priority",
                rowchecks.priorities(rows["beside.priority"], keys),
                "what is there is no priority",
            ),
            *_not_finite(contents, slots, rows),
        ):
            if wrong.any():
                yield Finding(path, f"examples in slots {some(slots[wrong])}: {what}")
    yield from twice(folder / "beside.key", np.concatenate(all_keys))


def _not_finite(
    contents: DirectoryContents, slots: Slots, rows: Rows
) -> Iterator[tuple[Path, NDArray[np.bool_], str]]:
    none_closing = np.zeros(len(slots), np.bool_)
    for array, name, wrong in rowchecks.not_finite(contents.schema, rows, none_closing):
        yield contents.directory.folder / array, wrong, f"{name} is not finite"
