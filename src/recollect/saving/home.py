"""`Home`: what a memory's directory knows besides the rows, and how a memory comes back from it.

A memory that was closed, or flushed and not changed since, comes back exactly as it was. One that
was killed has every row and every priority that was written; its generators, and what else its
samplers knew, are as of the last flush. After a power cut everything is as of the last flush: what
was written later may have reached the disk in parts, so it is dropped.

Whether the power was cut is told by the identity of the machine's run, which is kept beside the
cursors. Where the system has none, the worse is taken for granted.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recollect.cursors import RESERVED
from recollect.errors import (
    ConfigurationError,
    DamagedError,
    LimiterTimeoutError,
    PriorityError,
    ReadOnlyError,
    StorageError,
)
from recollect.examples import Examples
from recollect.limits import LOOK_AGAIN
from recollect.saving import manifest
from recollect.saving.state import State, capture, restore, restore_after_crash
from recollect.settings import differences
from recollect.shared import Shared
from recollect.stores.directory import (
    ALLOWED,
    BOOT,
    REWRITTEN,
    ROWS,
    STATE,
    VERSION,
    Directory,
)
from recollect.stores.files import container, read_container, replace
from recollect.streams import Streams

COMPARED = ("schema", "streams", "capacity", "retention")
"""Settings with which a memory was made, and with which alone it goes on."""


class Home:
    """The directory of one memory, from when it is opened until it is closed.

    Args:
        directory: not opened yet; its learner's place is taken.
        settings: of the memory that is wanted; in one that grows, the capacity changes.

    Raises:
        LockedError: another process is the memory's learner.
        StorageError: the folder cannot be made, read or written, or holds something else.
        DamagedError: the manifest is damaged, or of another version.
        ConfigurationError: the memory that is there was made with other settings.
    """

    def __init__(self, directory: Directory, settings: dict[str, Any]) -> None:
        self._directory = directory
        self._settings = settings
        self._flushing = threading.Lock()
        self._process = os.getpid()
        self._looks_in = directory.mode == "read"
        if directory.mode == "own":
            directory.take()
        self._lasts = directory.mode != "own" or directory.exists
        """Whether the manifest is there, by which the memory can be found."""
        if self._lasts:
            self._compare(manifest.read(directory.path))
        is_steps = settings["schema"]["kind"] == "steps"
        directory.words((settings["streams"] or 1) if is_steps else 0)
        self._line = directory.line

    @property
    def capacity(self) -> int:
        """Rows or examples; of a memory that grows, as many as it has grown to."""
        capacity: int = self._settings["capacity"]
        return capacity

    def enter(self, shared: Shared) -> None:
        """Brings back what is there, or makes a new memory lasting.

        Raises:
            DamagedError: a file is damaged or cut short.
            LockedError: after a power cut, another process has a stream.
        """
        shared.rewritten = self._line[REWRITTEN : REWRITTEN + 1]
        if self._lasts:
            with shared.lock:
                self._go_on(shared)
            if self._directory.mode == "own":
                self._line[ROWS] = self._directory.generation
                if shared.limiter is None:
                    self._line[ALLOWED] = 0
                shared.share_limiter()
                self._write_manifest()
                self._directory.forget_old_rows()
        else:
            self._line[BOOT], self._line[ROWS] = boot(), self._directory.generation
            # whoever finds the manifest must find the limiter at work
            shared.share_limiter()
            if not self._directory.filling:
                self.flush(shared)

    def _compare(self, found: Mapping[str, Any]) -> None:
        path = self._directory.path
        if found["kind"] != "directory":
            raise StorageError(f"{path}: a snapshot is here: recollect.open(path) loads it")
        settings, there = self._settings, found["settings"]
        self._directory.generation = found["rows"]
        self._directory.spare = settings["spare"] = there["spare"]
        if settings["grows"] and there["grows"]:
            settings["capacity"] = there["capacity"]
        for name in COMPARED:
            for where in differences(settings[name], there[name], name):
                raise ConfigurationError(
                    f"{path}: {where}: this memory was made with {_at(there, where)!r}, got "
                    f"{_at(settings, where)!r}; recollect.open(path) goes on with what is there"
                )

    def _go_on(self, shared: Shared) -> None:
        """Brings a memory back, as far as it can be trusted. The lock is held."""
        if self._directory.mode == "write":
            shared.rows.refresh()
            return
        state = State(*read_container(self._directory.folder / STATE))
        own = self._directory.mode == "own"
        lost_power = self._line[BOOT] != boot()
        rows = shared.rows
        if lost_power and not own and self._is_in_doubt(rows, state):
            raise StorageError(
                f"{self._directory.path}: rows may be damaged, since the machine was stopped; "
                "recollect.open(path) drops them, and then it can be looked at"
            )
        if lost_power and own:
            self._roll_back(rows, state)
            self._line[BOOT] = boot()
        if isinstance(rows, Examples):
            saved = state.part("rows")
            rows.latest, rows.refused = int(saved["latest"]), int(saved["refused"])
            if own:
                rows.recover(int(saved["added"]) if lost_power else None)
            else:
                rows.refresh()
        else:
            rows.refresh()
            with self._named("narrow"):
                rows.check()
        if self._unchanged(shared, state):
            restore(shared, state, rows=False)
        else:
            self._recover(shared, state)

    def check_writable(self) -> None:
        if self._directory.mode != "own":
            raise ReadOnlyError(f"{self._directory.path}: only its learner may change this memory")

    def check_current(self) -> None:
        if self._looks_in and self._directory.outdated:
            raise StorageError(
                f"{self._directory.path}: its learner has resized it; open it again to look into it"
            )

    def allow(self, offered: int) -> None:
        if os.getpid() == self._process:
            self._line[ALLOWED] = offered + 1

    def await_room(self, count: int, timeout: float | None) -> None:
        """Waits until the learner's limiter lets a step more be added, and then all of these.

        Raises:
            LimiterTimeoutError: the learner did not sample enough meanwhile.
        """
        begun = time.monotonic()
        while word := int(self._line[ALLOWED]):
            allowed, offered = word - 1, self._directory.cursors.offered()
            if offered < allowed:
                return
            if timeout is not None and time.monotonic() - begun > timeout:
                raise LimiterTimeoutError(
                    f"add: waited {timeout} s to add {count} rows, but the learner of "
                    f"{self._directory.path} does not sample ({offered} added, {allowed} allowed)"
                )
            time.sleep(LOOK_AGAIN)

    def note_change(self) -> None:
        self._line[VERSION] += 1

    def resized(self, shared: Shared) -> None:
        self._settings["capacity"] = shared.rows.capacity
        try:
            # new rows and their state are one with the manifest that names their folder
            self._write_state(self._captured(shared))
            self._write_manifest()
            self._line[ROWS] = self._directory.generation
        except BaseException:
            shared.closed = True  # what would be added now, nobody could find again
            self._directory.close()
            raise
        self._directory.settle()
        self._directory.forget_old_rows()

    def flush(self, shared: Shared) -> None:
        if self._directory.mode != "own":
            self._directory.sync()
            return
        with self._flushing, shared.staying():
            with shared.lock:
                state = self._captured(shared)
            self._directory.sync()
            self._write_state(state)
            if not self._lasts:
                self._write_manifest()

    def close(self, shared: Shared) -> None:
        if os.getpid() != self._process:
            return  # a copy of the process that has all this
        try:
            if self._directory.mode == "own":
                self.flush(shared)
                self._directory.settle()
        finally:
            # nobody waits for, or holds, what is let go of
            with shared.lock:
                self._directory.close()

    def remember_all(self, shared: Shared) -> None:
        """Keeps all priorities, of a memory that was put here from elsewhere."""
        rows, retention = shared.rows, shared.retention
        if isinstance(rows, Examples) and retention.takes_priorities:
            state = retention.state()
            slots, priority = state["members"], state["priority"]
        elif shared.first is not None:
            slots, priority = shared.first.priorities()
        self.remember(slots, rows.keys(slots), priority)

    def remember(self, slots: Any, keys: Any, priority: Any) -> None:
        """Keeps the priorities that rows (M,) were given."""
        ledger = self._directory.beside("priority")
        ledger["priority"][slots] = priority
        ledger["key"][slots] = keys + 1
        self.note_change()

    def _write_manifest(self) -> None:
        content = {"kind": "directory", "settings": self._settings}
        manifest.write(self._directory.path, {**content, "rows": self._directory.generation})
        self._lasts = True

    def _captured(self, shared: Shared) -> State:
        """The state now, and by which version of what is in the files. The lock is held."""
        state = capture(shared, rows=False)
        return State({**state.meta, "version": int(self._line[VERSION])}, state.arrays)

    def _write_state(self, state: State) -> None:
        replace(self._directory.folder / STATE, container(*state))

    @contextlib.contextmanager
    def _named(self, array: str) -> Iterator[None]:
        """Says which file it is that is damaged."""
        try:
            yield
        except (DamagedError, PriorityError) as error:
            raise DamagedError(f"{self._directory.folder / array}: damaged: {error}") from error

    def _unchanged(self, shared: Shared, state: State) -> bool:
        """Whether nothing happened since the state was written."""
        if int(state.meta["version"]) != int(self._line[VERSION]):
            return False
        rows = shared.rows
        if isinstance(rows, Examples):
            counts = {"added": rows.added, "held": rows.used}
            return all(int(state.arrays[f"rows.{name}"]) == n for name, n in counts.items())
        return self._stand_still(state)

    def _stand_still(self, state: State) -> bool:
        """Whether the cursors are where they were when the state was written."""
        now = self._directory.cursors.read()._asdict()
        return all((state.arrays[f"rows.{name}"] == words).all() for name, words in now.items())

    def _reach(self, rows: Streams, saved: Mapping[str, Any]) -> Any:
        """(count,), the oldest rows that were held and that the ring cannot have overwritten."""
        safe = self._directory.cursors.words[:, RESERVED] - rows.size
        return np.minimum(np.maximum(saved["tail"], safe), saved["head"])

    def _is_in_doubt(self, rows: Streams | Examples, state: State) -> bool:
        """Whether a power cut may have left parts of what was written after the state."""
        saved = state.part("rows")
        if isinstance(rows, Examples):
            held = rows.in_use()
            return len(held) != saved["held"] or not rows.whole_of(held, int(saved["added"])).all()
        return not self._stand_still(state) or (self._reach(rows, saved) != saved["tail"]).any()

    def _roll_back(self, rows: Streams | Examples, state: State) -> None:
        """Forgets what was written after the state, and what that may have overwritten."""
        if isinstance(rows, Examples) or not self._is_in_doubt(rows, state):
            return
        saved, cursors = state.part("rows"), self._directory.cursors
        head, tail = saved["head"], self._reach(rows, saved)
        lost = saved["ended"] - rows.count_closings(tail, head)
        streams = np.arange(rows.count)
        cursors.publish_tail(streams, tail, lost)
        cursors.publish_head(streams, head, saved["open"] & (tail < head), saved["ended"])
        cursors.publish_counts(streams, saved["breaks"], saved["dropped"])
        rows.claim(streams)
        self.note_change()

    def _recover(self, shared: Shared, state: State) -> None:
        """Takes rows and priorities as they were found, and the rest from the state."""
        restore_after_crash(shared, state)
        rows, ledger = shared.rows, self._directory.beside("priority")
        slots = rows.held()
        keys = rows.keys(slots)
        priority = ledger["priority"][slots]
        given = (ledger["key"][slots] == keys + 1) & np.isfinite(priority) & (priority >= 0)
        if isinstance(rows, Examples):
            if rows.added != state.arrays["rows.added"]:
                # the same choices again would fall on what was let in by them
                rows.rng = np.random.default_rng([*rows.rng.integers(2**32, size=4), rows.added])
            # what nobody gave a priority yet came in at the largest
            filled = np.where(given, priority, priority[given].max(initial=1.0))
            known = filled if given.any() else None
            earlier = state.part("retention")
            shared.retention.recover(slots, rows.added, rows.whole, known, earlier)
        if shared.first is not None and given.any():
            with self._named("beside.priority"):
                shared.first.reprioritize(keys[given], priority[given])


def _at(settings: Any, path: str) -> Any:
    """What stands at a dotted path of a description."""
    for name in path.split("."):
        settings = settings.get(name) if isinstance(settings, dict) else settings[int(name)]
    return settings


def boot() -> int:
    """Which run of this machine this is; different after each start of it."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:  # pragma: no cover - not Linux
        text = uuid.uuid4().hex
    return zlib.crc32(text.encode()) + 1
