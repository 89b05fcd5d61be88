"""`MemoryLock`: the lock of a memory that other processes may be writing at the same time.

Whoever takes it for the first time in this process also keeps the others from moving on, and sees
how far they have come. Where this process owns every stream, nobody has to be kept from anything,
and it is a lock for threads alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from recollect.cursors import Outside
from recollect.examples import Examples
from recollect.streams import Streams


class MemoryLock:
    """Reentrant, between threads and between processes.

    Args:
        rows: told to look again, once the lock is held.
        outside: the others.
        looked: called after that.
    """

    def __init__(
        self, rows: Streams | Examples, outside: Outside, looked: Callable[[], None]
    ) -> None:
        self._threads = threading.RLock()
        self._rows = rows
        self._outside = outside
        self._looked = looked
        self._depth = 0
        self._kept_out = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not self._threads.acquire(blocking, timeout):
            return False
        self._depth += 1
        if self._depth == 1:
            self._begin()
        return True

    def release(self) -> None:
        if self._depth == 1:
            self._let_in()
        self._depth -= 1
        self._threads.release()

    # as `acquire` and `release`, with fewer calls: every `add` comes through here

    def __enter__(self) -> None:
        self._threads.acquire()
        self._depth += 1
        if self._depth == 1 and self._rows.others:
            self._begin()

    def __exit__(self, *error: Any) -> None:
        if self._kept_out and self._depth == 1:
            self._let_in()
        self._depth -= 1
        self._threads.release()

    def _begin(self) -> None:
        try:
            self._keep_out()
        except BaseException:
            self.release()
            raise

    def _keep_out(self) -> None:
        if self._rows.others and self._outside.enter():
            self._kept_out = True
            self._rows.refresh()
            self._looked()

    def _let_in(self) -> None:
        if self._kept_out:
            self._kept_out = False
            self._outside.leave()

    # what a condition asks of a lock that it lets go of while it waits

    def _is_owned(self) -> bool:
        return self._threads._is_owned()  # type: ignore[attr-defined, no-any-return]

    def _release_save(self) -> tuple[int, Any]:
        self._let_in()
        depth, self._depth = self._depth, 0
        return depth, self._threads._release_save()  # type: ignore[attr-defined]

    def _acquire_restore(self, state: tuple[int, Any]) -> None:
        depth, inner = state
        self._threads._acquire_restore(inner)  # type: ignore[attr-defined]
        self._depth = depth
        self._keep_out()
