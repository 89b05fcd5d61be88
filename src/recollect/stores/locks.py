"""`FileLock`: what only one process may have, held through a file.

The system lets go of it when the process ends, however it ends. Processes that were forked do not
hold it: they close their copies at once.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from pathlib import Path

from recollect.errors import ConfigurationError, LockedError
from recollect.stores.files import named

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]


class FileLock:
    """A lock between processes. Its owner's threads must not use it at the same time.

    Args:
        path: a file that says which process holds the lock.
        what: what to call it in an error.
        writable: whether the holder may be written into the file.
    """

    def __init__(self, path: Path, what: str = "", writable: bool = True) -> None:
        if fcntl is None:  # pragma: no cover - Windows
            raise ConfigurationError(
                "store: Directory needs a system with flock, as Linux or macOS"
            )
        self._path = path
        self._what = what
        self._descriptor = -1
        with named(path, "opening"):
            if writable:
                self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            else:
                self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        _open.add(self)

    def take(self) -> None:
        """Takes the lock, to be held until `close`.

        Raises:
            LockedError: another process holds it; the message says which.
        """
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            self.close()
            raise LockedError(
                f"{self._what} is held by process {holder or '(unknown)'}"
                f"{', this one' if holder == str(os.getpid()) else ''}"
            ) from None
        os.pwrite(self._descriptor, f"{os.getpid():<31}\n".encode(), 0)

    def wait(self) -> None:
        """Takes the lock, as soon as whoever has it lets it go."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def release(self) -> None:
        """Lets go of it."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    @property
    def closed(self) -> bool:
        """Whether this process cannot hold it any more."""
        return self._descriptor < 0

    def close(self) -> None:
        """Lets go of it for good."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            self.close()


_open: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _close_all() -> None:
    for lock in list(_open):
        with contextlib.suppress(OSError):
            lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
