"""`summary`: what a memory's folder holds, in plain values, also while others train on it.

Rows are looked at a few megabytes at a time, and only those arrays that are asked about; nothing is
loaded. What decides the next batches is as of the last flush or save.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect import marks
from recollect.errors import DamagedError, StorageError
from recollect.rings import STREAM_SHIFT
from recollect.saving import manifest
from recollect.saving.contents import (
    Contents,
    DirectoryContents,
    Part,
    SnapshotContents,
    contents,
)
from recollect.saving.state import State
from recollect.stores.directory import ADDED, STATE

PARTS = ("view", "sampler", "retention", "transforms", "limiter", "max_draws", "chain")

LOCKS = Path("/proc/locks")
"""Where Linux tells who holds which lock."""


def summary(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What is in a memory's folder, as JSON can hold it.

    Costs a look at the marks, rewards and priorities of all rows of a directory; of a snapshot, the
    reading of its files.

    Returns:
        path, kind, format, flushed; schema; what the memory is composed of; capacity, rows, steps,
        episodes, added; streams, one dictionary each; returns and lengths of the episodes held,
        ages and priorities: count, min, mean, max (None where there are none); counters; bytes.

    Raises:
        StorageError: no memory is there, or it cannot be read.
        DamagedError: something is damaged; `verify` tells more.
    """
    path = Path(folder)
    while True:
        found = contents(path)
        try:
            told = _summary(found)
        except (DamagedError, StorageError):
            if manifest.read(path) == found.manifest:
                raise
        except (KeyError, TypeError) as error:
            raise DamagedError(f"{folder}: damaged, it lacks something: {error!r}") from error
        else:
            if manifest.read(path) == found.manifest:
                return told
        finally:
            found.close()
        # it was resized or saved meanwhile, and what was read belongs to no moment


def _summary(found: DirectoryContents | SnapshotContents) -> dict[str, Any]:
    state = found.state()
    if isinstance(found, DirectoryContents):
        arrays, written = found.map(), found.directory.folder / STATE
        if found.streams and found.lost_power:
            found.pass_over(state.part("rows"))
    else:
        arrays = found.gathered(["narrow"] if found.streams else ["narrow", "beside.arrival"])
        written = found.folder / found.manifest["state"]
    settings = found.settings
    told = {
        "path": str(found.folder),
        "kind": found.manifest["kind"],
        "format": ".".join(map(str, found.manifest["version"])),
        "flushed": datetime.fromtimestamp(written.stat().st_mtime).astimezone().isoformat(),
        "schema": _schema(found),
        **{name: settings[name] for name in PARTS},
        "capacity": settings["capacity"],
        "grows": settings["grows"],
    }
    told |= _of_streams(found, arrays, state) if found.streams else _examples(found, arrays, state)
    if isinstance(found, DirectoryContents):
        told["learner"] = holder(found.folder / "learner")
    files = [path for path in found.folder.rglob("*") if path.is_file()]
    return told | {
        "counters": state.meta["counters"],
        "readers": len(state.meta["readers"]),
        "bytes": {
            "row": found.layout.row_bytes,
            "disk": sum(path.stat().st_size for path in files),
        },
    }


def _schema(found: Contents) -> dict[str, Any]:
    fields = [
        {
            "name": name,
            "shape": list(field.shape),
            "dtype": field.dtype.name,
            "bytes": field.nbytes,
            "finite": field.finite,
        }
        for name, field in found.schema.flat.items()
    ]
    return {"kind": found.schema.kind, "fields": fields}


def _of_streams(found: Contents, arrays: dict[str, NDArray[Any]], state: State) -> dict[str, Any]:
    wanted = {n: a for n, a in arrays.items() if n in ("narrow", "beside.priority")}
    streams: list[_Stream] = []
    for number in range(found.streams):
        stream = _Stream(number)
        for part in found.parts(number, wanted):
            stream.take(part)
        streams.append(stream)
    told = [stream.told() for stream in streams]
    if isinstance(found, DirectoryContents):
        for number, one in enumerate(told):
            one["writer"] = holder(found.folder / f"stream-{number}")
    steps = np.array([one["steps"] for one in told])
    total = int(steps.sum())
    ages = {"count": total, "min": 0, "mean": 0.0, "max": int(steps.max()) - 1}
    if total:
        ages["mean"] = float((steps * (steps - 1.0) / 2).sum() / total)
    if isinstance(found, DirectoryContents):
        priority = [value for stream in streams for value in stream.priority]
        priorities = _priorities(priority, total)
    else:
        priorities = _saved_priorities(state, total)
    return {
        "rows": sum(one["rows"] for one in told),
        "steps": total,
        "episodes": sum(one["episodes"] for one in told),
        "added": sum(one["added"] for one in told),
        "streams": told,
        "returns": _spread([value for stream in streams for value in stream.returns]),
        "lengths": _spread([value for stream in streams for value in stream.lengths]),
        "ages": ages if total else _spread([]),
        "priorities": priorities,
    }


class _Stream:
    """What is told of one stream, gathered from its parts."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._sum, self._whole = 0.0, False
        """Of the episode that goes on: its rewards so far, and whether its first step is held."""
        self._only_closing = False
        """Whether of the oldest episode nothing is left but its closing row."""
        self.returns: list[NDArray[np.float64]] = []
        """Of ended episodes that are wholly held, oldest first; none if rewards are no scalars."""
        self.lengths: list[NDArray[np.int64]] = []
        """Of ended episodes of which at least one step is held."""
        self.priority: list[NDArray[np.float64]] = []
        """That steps were given."""

    def take(self, part: Part) -> None:
        """Looks at the next rows."""
        self._place = part.now
        closing, offset = marks.closing(part.mark), marks.offsets(part.mark)
        if not part.joined:
            self._sum, self._whole = 0.0, bool((offset[:1] == 0).all())
            self._only_closing = bool(closing[:1].any())
        ends = np.flatnonzero(closing)
        only_closing = self._only_closing and not part.joined
        self.lengths.append(offset[ends][int(only_closing) :])
        reward = part.rows["narrow"]["reward"]
        if reward.ndim == 1 and len(reward):
            self._add_up(ends, np.where(closing, 0, reward))
        if "beside.priority" in part.rows:
            ledger = part.rows["beside.priority"]
            numbers = part.first + np.arange(len(closing))
            given = ledger["key"] == (self._number << STREAM_SHIFT | numbers) + 1
            self.priority.append(ledger["priority"][given & ~closing])

    def _add_up(self, ends: NDArray[np.intp], reward: NDArray[Any]) -> None:
        """The returns of the episodes with these closing rows (E,), whose own reward is 0."""
        first = np.concatenate(([0], ends + 1))
        sums = np.zeros(len(first))
        begun = first < len(reward)
        sums[begun] = np.add.reduceat(reward.astype(np.float64), first[begun])
        sums[0] += self._sum
        whole = np.ones(len(first), np.bool_)
        whole[0] = self._whole
        self.returns.append(sums[:-1][whole[:-1]])
        self._sum, self._whole = float(sums[-1]), bool(whole[-1])

    def told(self) -> dict[str, Any]:
        """As JSON can hold it."""
        place = self._place
        closings, held = place.ended - place.lost, place.head - place.tail
        returns = [values[-1].item() for values in self.returns if len(values)]
        lengths = [values[-1].item() for values in self.lengths if len(values)]
        return {
            "tail": place.tail,
            "head": place.head,
            "open": place.open,
            "rows": held + place.open,
            "steps": held - closings,
            "episodes": closings + place.open - self._only_closing,
            "added": place.head - place.ended,
            "chain_breaks": place.breaks,
            "dropped": place.dropped,
            "last_return": returns[-1] if returns else None,
            "last_length": lengths[-1] if lengths else None,
        }


def _examples(found: Contents, arrays: dict[str, NDArray[Any]], state: State) -> dict[str, Any]:
    names = ("narrow", "beside.key", "beside.arrival", "beside.priority")
    wanted = {name: array for name, array in arrays.items() if name in names}
    arrivals: list[NDArray[np.int64]] = []
    priority: list[NDArray[np.float64]] = []
    for _, rows in found.examples(wanted):
        arrivals.append(rows["beside.arrival"])
        if "beside.priority" in rows:
            ledger = rows["beside.priority"]
            priority.append(ledger["priority"][ledger["key"] == rows["beside.key"] + 1])
    known = state.part("rows")
    added = int(known["added"])
    if isinstance(found, DirectoryContents):
        added = max(added, int(found.directory.line[ADDED]))
    ages = [added - 1 - arrival for arrival in arrivals]
    held = sum(map(len, ages))
    return {
        "rows": held,
        "steps": held,
        "episodes": 0,
        "added": added,
        "dropped": int(known["refused"]),
        "ages": _spread(ages),
        "priorities": _priorities(priority, held)
        if isinstance(found, DirectoryContents)
        else _saved_priorities(state, held),
    }


def _spread(values: list[NDArray[Any]]) -> dict[str, Any]:
    """Count, min, mean and max of all these numbers."""
    every = np.concatenate(values) if values else np.zeros(0)
    if not len(every):
        return {"count": 0, "min": None, "mean": None, "max": None}
    low, high = every.min().item(), every.max().item()
    return {"count": len(every), "min": low, "mean": float(every.mean()), "max": high}


def _priorities(values: list[NDArray[np.float64]], rows: int) -> dict[str, Any]:
    told = _spread(values)
    zeros = sum(int(np.count_nonzero(some == 0)) for some in values)
    told["zero"] = zeros / told["count"] if told["count"] else None
    return told | {"of": rows}


def _saved_priorities(state: State, rows: int) -> dict[str, Any]:
    """Those that the first reader's sampler had, of the rows that were eligible."""
    saved = state.part("reader-0.sampler")
    return _priorities([saved[name] for name in ("priority", "weight") if name in saved], rows)


def holder(path: Path) -> dict[str, Any] | None:
    """Which process holds a lock: its id, and whether it still does; None if nobody ever did.

    The lock itself is left alone: whoever wants it at this moment must not be refused.
    """
    try:
        pid = int(path.read_text(encoding="ascii"))
        inode = path.stat().st_ino
    except (OSError, ValueError):
        return None
    return {"pid": pid, "holds": _holds(pid, inode)}


def _holds(pid: int, inode: int) -> bool:
    try:
        held = [line.split() for line in LOCKS.read_text(encoding="ascii").splitlines()]
    except OSError:  # pragma: no cover - not Linux
        return _is_alive(pid)
    # number, "FLOCK", "ADVISORY", "WRITE", process, device:device:inode, first, last byte
    return any(
        "FLOCK" in words and f"{pid}" in words and words[-3].endswith(f":{inode}") for words in held
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
