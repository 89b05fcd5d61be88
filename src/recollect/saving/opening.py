"""`open`: a memory from its folder, be it a directory or a snapshot."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from recollect.errors import ConfigurationError, RecollectError, StorageError
from recollect.limits import ReplayRatio
from recollect.memory import Memory
from recollect.retention.base import Retention
from recollect.samplers.base import Sampler
from recollect.saving import manifest
from recollect.saving.home import boot
from recollect.saving.snapshot import Snapshot, copy_rows
from recollect.saving.state import capture, restore
from recollect.saving.writer import StreamWriter
from recollect.settings import build, describe
from recollect.stores.arrays import Arrays
from recollect.stores.base import Store
from recollect.stores.directory import Directory
from recollect.stores.ram import Ram
from recollect.views.base import View

PARTS = ("view", "sampler", "retention", "transforms", "limiter")
"""What a memory is composed of, each part belonging to one alone."""


@overload
def open_memory(
    path: str | os.PathLike[str],
    *,
    stream: int,
    timeout: float = ...,
    episodes: Literal["continue", "cut"] = ...,
) -> StreamWriter: ...
@overload
def open_memory(
    path: str | os.PathLike[str],
    *,
    mode: Literal["a", "r"] = ...,
    store: Store | None = ...,
    view: View | None = ...,
    sampler: Sampler | None = ...,
    retention: Retention | None = ...,
    transforms: Sequence[Any] | None = ...,
    limiter: ReplayRatio | None = ...,
    episodes: Literal["continue", "cut"] = ...,
) -> Memory: ...
def open_memory(
    path: str | os.PathLike[str],
    *,
    mode: Literal["a", "r"] = "a",
    stream: int | None = None,
    store: Store | None = None,
    view: View | None = None,
    sampler: Sampler | None = None,
    retention: Retention | None = None,
    transforms: Sequence[Any] | None = None,
    limiter: ReplayRatio | None = None,
    episodes: Literal["continue", "cut"] = "continue",
    timeout: float = 30.0,
) -> Memory | StreamWriter:
    """Goes on with a memory that is in a folder: a directory, or a snapshot of `Memory.save`.

    What was closed, flushed or saved draws the very next batch that it would have drawn. After a
    kill every step that was added is there, and every priority; after a power cut all is as of the
    last flush.

    Args:
        mode: "a" goes on; "r" looks into a directory, also while other processes write it, and
            changes nothing there.
        stream: lets this process write this stream alone of a directory whose learner is another
            process; a `StreamWriter` then.
        store: where the rows are put. Default: a directory stays where it is, and a snapshot is
            loaded into `Ram()`; `Ram()` for a directory loads a copy of it.
        view, sampler, retention, transforms, limiter: in place of those that it was made with; what
            holds a function, which a file cannot hold, must be given again.
        episodes: whether open episodes go on, or are cut (closed as truncated), as where the
            environments were reset.
        timeout: with `stream`, seconds to wait for the learner to make the memory, or to open it
            after a power cut.

    Raises:
        StorageError: no memory is there, or it cannot be read.
        DamagedError: a file is damaged, cut short, or of another version.
        LockedError: another process is the memory's learner, or writes the stream.
        ConfigurationError: something must be given again, or does not fit.
    """
    folder = Path(path)
    if mode not in ("a", "r"):
        raise ConfigurationError(f'mode: expected "a" or "r", got {mode!r}')
    if episodes not in ("continue", "cut"):
        raise ConfigurationError(f'episodes: expected "continue" or "cut", got {episodes!r}')
    parts = {
        "view": view,
        "sampler": sampler,
        "retention": retention,
        "transforms": transforms,
        "limiter": limiter,
    }
    given = {name: part for name, part in parts.items() if part is not None}
    if stream is not None:
        for name in [*given, *(["store"] if store is not None else [])]:
            raise ConfigurationError(f"{name}: a stream is only written, it has none")
        if mode == "r":
            raise ConfigurationError('mode: a stream is written, mode="r" only looks')
        return _stream(folder, stream, timeout, episodes == "cut")
    found = manifest.read(folder)
    if found["kind"] == "snapshot":
        if mode == "r":
            raise ConfigurationError(f'{folder}: a snapshot is loaded, mode="r" is for directories')
        memory = _loaded(folder, found, _arguments(found["settings"], given), store)
    elif store is None or (isinstance(store, Directory) and store.path == folder):
        memory = _in_place(folder, found, given, mode)
    else:
        memory = _copied(folder, found, _arguments(found["settings"], given), store)
    if episodes == "cut" and mode == "a" and memory.schema.kind == "steps":
        memory.cut()
    return memory


def _in_place(
    folder: Path, found: Mapping[str, Any], given: Mapping[str, Any], mode: Literal["a", "r"]
) -> Memory:
    """A directory, to go on with or to look into."""
    while True:
        directory = Directory(folder)
        directory.mode = "own" if mode == "a" else "read"
        try:
            return Memory(store=directory, **_arguments(found["settings"], given))
        except RecollectError as error:
            # its learner may have resized it, and removed the rows that were about to be opened
            before, found = found, manifest.read(folder)
            if mode == "a" or found == before:
                raise
            if given:  # parts that were opened cannot be opened again
                raise StorageError(
                    f"{folder}: its learner has resized it meanwhile; open it again"
                ) from error


def _stream(folder: Path, stream: int, timeout: float, cut: bool) -> StreamWriter:
    found = _awaited(folder, timeout)
    arguments = _arguments(found["settings"], {}, plain=True)
    count = arguments["streams"] or 1
    if arguments["schema"].kind != "steps":
        raise ConfigurationError(f"{folder}: a memory of examples has no streams")
    if (
        isinstance(stream, bool)
        or not isinstance(stream, (int, np.integer))
        or not 0 <= stream < count
    ):
        raise ConfigurationError(f"stream: expected one of 0 to {count - 1}, got {stream!r}")
    if found["settings"]["grows"]:
        raise ConfigurationError(
            f"{folder}: a memory that grows has one writer only; make it with a capacity"
        )
    directory = Directory(folder)
    directory.mode = "write"
    memory = Memory(store=directory, **arguments)
    limiter = found["settings"]["limiter"]
    waits = None if limiter is None else build(limiter, "limiter").timeout
    return StreamWriter(memory, int(stream), cut=cut, timeout=waits)


def _awaited(folder: Path, timeout: float) -> dict[str, Any]:
    """The manifest of a directory whose learner has begun."""
    end = time.monotonic() + timeout
    while True:
        try:
            found = manifest.read(folder)
        except StorageError:
            if time.monotonic() > end:
                raise
        else:
            if found["kind"] != "directory":
                raise StorageError(f"{folder}: a snapshot is here, nobody can write into it")
            if Directory.run_of(folder) == boot():
                return found
            if time.monotonic() > end:
                raise StorageError(
                    f"{folder}: its learner has not opened it since this machine was started"
                )
        time.sleep(0.02)


def _arguments(
    settings: Mapping[str, Any], given: Mapping[str, Any], plain: bool = False
) -> dict[str, Any]:
    """What `Memory` takes, from its settings and what was given again."""
    arguments: dict[str, Any] = {
        "schema": build(settings["schema"], "schema"),
        "capacity": None if settings["grows"] else settings["capacity"],
        "streams": settings["streams"],
        "max_draws": settings["max_draws"],
        "chain": settings["chain"],
    }
    if plain:
        return arguments
    for name in PARTS:
        description = settings[name]
        if name in given:
            arguments[name] = given[name]
        elif description is not None:
            arguments[name] = build(description, name)
    return arguments


def _loaded(
    folder: Path, found: Mapping[str, Any], arguments: dict[str, Any], store: Store | None
) -> Memory:
    """A memory in `store`, with all that a snapshot holds."""
    snapshot = Snapshot(folder, found)
    with _moving_in(found["settings"], arguments, Ram() if store is None else store) as memory:
        memory.shared.add_saver(snapshot.load(memory.shared))
        restore(memory.shared, snapshot.state())
    return memory


def _copied(
    folder: Path, found: Mapping[str, Any], arguments: dict[str, Any], store: Store
) -> Memory:
    """A memory in `store`, with all that a directory holds now."""
    directory = Directory(folder)
    directory.mode = "read"
    # parts belong to one memory each
    twins = {name: _twin(part, name) for name, part in arguments.items()}
    with (
        Memory(store=directory, **twins) as origin,
        _moving_in(found["settings"], arguments, store) as memory,
        origin.shared.lock,
    ):
        copy_rows(origin.shared, memory.shared)
        restore(memory.shared, capture(origin.shared))
    return memory


@contextmanager
def _moving_in(
    settings: Mapping[str, Any], arguments: dict[str, Any], store: Store
) -> Iterator[Memory]:
    """A new memory in `store`, its lock held, that is filled by the time this is left."""
    memory = _made(settings, arguments, store)
    try:
        with memory.shared.lock:
            yield memory
            memory.shared.moved_in()
        memory.flush()
    except BaseException:
        memory.close()
        raise


def _twin(part: Any, name: str) -> Any:
    """Another one with the same settings."""
    if name not in PARTS or part is None:
        return part
    try:
        return build(describe(part), name)
    except ConfigurationError:  # it holds what cannot be described
        return copy.deepcopy(part)


def _made(settings: Mapping[str, Any], arguments: dict[str, Any], store: Store) -> Memory:
    """A new memory in `store`, with slots as in the one that it comes from."""
    if not isinstance(store, Arrays):
        raise ConfigurationError(f"store: expected a store such as Ram(), got {store!r}")
    store.spare = settings["spare"]
    if isinstance(store, Directory):
        if store.exists:
            raise StorageError(f"{store.path}: a memory is here already")
        store.filling = True
    memory = Memory(store=store, **{**arguments, "capacity": settings["capacity"]})
    if settings["grows"]:
        memory.keep_growing()
    return memory
