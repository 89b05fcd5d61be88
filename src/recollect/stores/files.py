"""Files that are whole or not there: written beside their name, checked when they are read.

A container holds named arrays and a JSON header, in a form that is easily read without us:

    8 bytes   b"RECOLLCT"
    4 + 4     little-endian: length of the header in bytes, CRC-32 of the header
    header    JSON, ASCII: {"meta": ..., "arrays": [{"name", "dtype", "shape", "offset", "crc"}]}
    zeros     up to a multiple of 64 bytes from the file's start
    arrays    in C order, each at its offset from here, a multiple of 64, zeros between them

A dtype is what `numpy.dtype` takes: "<f4", or {"names", "formats", "offsets", "itemsize"}. Every
byte is covered by a checksum or is zero.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from recollect.errors import DamagedError, StorageError

MAGIC = b"RECOLLCT"
ALIGNMENT = 64

AT_ONCE = 1 << 20
"""Bytes written in one call: Linux takes up to seven times as long for 16 MB as for 16 of one."""

MOST_UNSYNCED = 4
"""Files that are written and yet to be synced: enough to keep the disk busy."""


@contextlib.contextmanager
def named(path: Path, doing: str) -> Iterator[None]:
    """Errors of the system as `StorageError`, with what was being done to which file."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        reason = error.strerror or str(error)
        hint = "; free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise StorageError(error.errno, f"{path}: {doing}: {reason}{hint}") from error


def replace(path: Path, parts: Iterable[Any]) -> None:
    """Makes a file of these bytes, at once and lasting: until it is whole the old one stays."""
    temporary = path.with_name(path.name + ".new")
    with named(path, "writing"):
        try:
            with open(temporary, "wb") as file:
                _put(file, parts)
                sync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)


def write(path: Path, parts: Iterable[Any]) -> None:
    """Writes a new file that lasts, though its name may not until its folder is synced."""
    with named(path, "writing"), open(path, "wb") as file:
        _put(file, parts)
        sync(file.fileno())


class Writing:
    """Writes new files, one after the other, each synced while the next ones are written.

    When it is left as a context manager all of them last, though their names may not until their
    folder is synced; or one of the errors is raised.
    """

    def __init__(self) -> None:
        self._syncing = ThreadPoolExecutor(1, "recollect-sync")
        self._pending: deque[Future[None]] = deque()

    def write(self, path: Path, parts: Iterable[Any]) -> None:
        """Writes one; may raise the error of an earlier one."""
        if len(self._pending) == MOST_UNSYNCED:
            self._pending.popleft().result()
        with named(path, "writing"), contextlib.ExitStack() as stack:
            file = stack.enter_context(open(path, "wb"))
            _put(file, parts)
            stack.pop_all()  # who syncs it closes it
        try:
            self._pending.append(self._syncing.submit(self._sync, path, file))
        except RuntimeError:  # the interpreter is about to exit, and no thread is started any more
            self._sync(path, file)

    def _sync(self, path: Path, file: BinaryIO) -> None:
        with named(path, "writing"), file:
            sync(file.fileno())

    def __enter__(self) -> Writing:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._syncing.shutdown()
        if error is None:
            for synced in self._pending:
                synced.result()


def sync(descriptor: int) -> None:
    """Waits until a file's bytes have reached the disk."""
    os.fsync(descriptor)


def sync_folder(path: Path) -> None:
    """Waits until the names in a folder have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def container(meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Iterator[Any]:
    """The bytes of a container, piece by piece."""
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    entries: list[dict[str, Any]] = []
    position = 0
    for name, array in whole.items():
        position += -position % ALIGNMENT
        entries.append(
            {
                "name": name,
                "dtype": _description(array.dtype),
                "shape": array.shape,
                "offset": position,
                "crc": zlib.crc32(_bytes(array)),
            }
        )
        position += array.nbytes
    header = json.dumps({"meta": meta, "arrays": entries}).encode("ascii")
    yield MAGIC + _numbers(len(header), zlib.crc32(header)) + header
    start = len(MAGIC) + 8 + len(header)
    yield bytes(-start % ALIGNMENT)
    position = 0
    for entry, array in zip(entries, whole.values(), strict=True):
        yield bytes(entry["offset"] - position)
        yield _bytes(array)
        position = entry["offset"] + array.nbytes


def read_container(path: Path) -> tuple[Any, dict[str, NDArray[Any]]]:
    """Header and arrays of a container; the arrays are new, and nothing is in memory twice.

    Raises:
        StorageError: there is no such file, or it cannot be read.
        DamagedError: it is not what was written.
    """
    with named(path, "reading"), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = len(MAGIC) + 8
        head = file.read(start)
        if head[: len(MAGIC)] != MAGIC or len(head) < start:
            raise DamagedError(f"{path}: this is no file of recollect, or its beginning is damaged")
        length, crc = np.frombuffer(head, "<u4", 2, len(MAGIC)).tolist()
        start += length
        if size < start:
            raise DamagedError(f"{path}: cut short: {size} bytes, its header alone takes more")
        header = file.read(length)
        if zlib.crc32(header) != crc:
            raise DamagedError(f"{path}: its header is damaged")
        content = json.loads(header)  # its checksum is right: it is what was written
        covered, start = start, start + -start % ALIGNMENT
        arrays: dict[str, NDArray[Any]] = {}
        for entry in content["arrays"]:
            dtype = _dtype(entry["dtype"])
            begin = start + entry["offset"]
            stop = begin + dtype.itemsize * math.prod(entry["shape"])
            if size < stop:
                raise DamagedError(f"{path}: cut short: {size} bytes where {stop} belong")
            array = np.empty(entry["shape"], dtype)
            into: Any = array.reshape(-1).view(np.uint8)
            between = file.read(begin - covered)
            file.readinto(into)
            if zlib.crc32(into) != entry["crc"] or between.strip(b"\0"):
                raise DamagedError(f"{path}: {entry['name']} is damaged")
            arrays[entry["name"]] = array.astype(dtype.newbyteorder("="), copy=False)
            covered = stop
        end = max(covered, start)
        if size < end or file.read(end - covered).strip(b"\0") or size > end:
            raise DamagedError(f"{path}: its end is damaged: {size} bytes where {end} belong")
    return content["meta"], arrays


def _put(file: BinaryIO, parts: Iterable[Any]) -> None:
    """Hands all of these bytes to the system."""
    for part in parts:
        piece = memoryview(part)
        for first in range(0, len(piece), AT_ONCE):
            file.write(piece[first : first + AT_ONCE])
    file.flush()


def _description(dtype: np.dtype[Any]) -> Any:
    """A dtype as plain values, little-endian."""
    if dtype.names is None or dtype.fields is None:
        return dtype.newbyteorder("<").str
    fields = [dtype.fields[name] for name in dtype.names]
    return {
        "names": list(dtype.names),
        "formats": [[_description(field[0].base), field[0].shape] for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": dtype.itemsize,
    }


def _dtype(description: Any) -> np.dtype[Any]:
    if isinstance(description, str):
        return np.dtype(description)
    formats = [(_dtype(base), tuple(shape)) for base, shape in description["formats"]]
    whole: Any = {**description, "formats": formats}
    made: np.dtype[Any] = np.dtype(whole)
    return made


def _numbers(*values: int) -> bytes:
    return np.array(values, "<u4").tobytes()


def _bytes(array: NDArray[Any]) -> memoryview:
    """An array's bytes, little-endian, without a copy where they are so already."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False, order="C")
    return memoryview(little.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
