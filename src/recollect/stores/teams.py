"""`in_parts`: work that needs no interpreter, divided among a few threads that all stores share."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import pairwise

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""That this process may use."""

MOST = min(4, CORES)
"""Threads at most, the caller's own among them: more would wait for memory, not for cores."""

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def in_parts(count: int, parts: int, work: Callable[[int, int], None]) -> None:
    """Calls `work(first, stop)` for so many parts of `range(count)`, the first of them right here.

    Returns when all are done, also where one of them raises, which is then raised here.
    """
    bounds = [count * part // parts for part in range(parts + 1)]
    others = [_begin(work, *ends) for ends in pairwise(bounds[1:])]
    try:
        work(0, bounds[1])
    finally:
        # they write into the caller's arrays, which are the caller's own again afterwards
        wait(others)
    for other in others:
        other.result()


def _begin(work: Callable[[int, int], None], first: int, stop: int) -> Future[None]:
    global _pool
    try:
        with _lock:
            if _pool is None:
                _pool = ThreadPoolExecutor(max(MOST - 1, 1), "recollect-decoding")
        return _pool.submit(work, first, stop)
    except RuntimeError:  # the interpreter is about to exit, and no thread is started any more
        done: Future[None] = Future()
        work(first, stop)
        done.set_result(None)
        return done


def _forget() -> None:
    """A forked process has none of its parent's threads."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
