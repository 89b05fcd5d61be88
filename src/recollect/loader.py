"""`Loader`: batches prepared ahead on background threads.

The one hard thing is to end. A loop may break off, fail, be interrupted, forget its loader or leave
the interpreter, while a thread waits for work, for the limiter, or for nothing at all. So the
threads hold what they share (`_Work`) and never the loader itself: when the loader goes, they are
told, without a lock, since that may happen anywhere. The last to leave clears up.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from recollect.arguments import whole
from recollect.batch import Batch
from recollect.errors import (
    ClosedError,
    ConfigurationError,
    EmptyMemoryError,
    LimiterTimeoutError,
    RecollectError,
)

PATIENCE = 5.0
"""Seconds that the interpreter, when it leaves, waits for a thread that is making a batch."""


class Draws(Protocol):
    """What a loader asks of a reader."""

    def draw(
        self, n: int, gives_up: Callable[[], bool] | None = None, ahead: bool = False
    ) -> Any: ...
    def finish(self, drawn: Any) -> Batch: ...
    def forget(self, drawn: Any) -> None: ...
    def take_back(self, asked: int) -> None: ...
    def forget_threads(self) -> None: ...


class Loader:
    """An endless iterator over batches that are prepared ahead; made by `memory.loader`.

        for batch in memory.loader(256, device="cuda"):
            ...
            memory.update(batch.key, priority=error)

    Each `next` takes one batch and sees to it that `prefetch` more are on their way, so work begins
    with the first `next`. A batch is drawn up to `prefetch` batches before it is taken: it knows
    nothing of what was added, removed or given a priority since. It has no length.

    An error on a thread is raised by the `next` whose batch it cost, as `sample` would have raised
    it, and the next one goes on. If nothing was eligible when a batch was to be drawn ahead, or the
    limiter did not let it, `next` tries once more itself.

    It closes when it is left as a context manager, when `close` is called, when nobody refers to it
    any more (a `for` loop that ends by break, return or error lets go of it), and when the
    interpreter exits. Batches that were prepared and not taken are forgotten; the limiter counts
    them as not replayed. May be used from several threads; each batch goes to one of them.

    Args:
        batch_size: examples in each batch.
        device: None gives NumPy arrays. "cpu" gives tensors, which cost nothing more; "cuda" gives
            tensors on the GPU, copied from pinned memory on a stream of its own, while the GPU goes
            on with what it does; other devices as `Batch.torch`.
        prefetch: batches on their way while one is in use.
        threads: more than one helps where batches are large: copying holds no lock. Each wants a
            batch to work on, so `prefetch` should be no smaller.
        deterministic: same seed and same calls give the same batches, whatever the threads' timing:
            exactly those of `sample`, called `prefetch + 1` times by the first `next` and once by
            each later one. Drawing then happens in `next`, and a call that changes rows (`add`,
            `update` of extras, `remove`, ...) waits until what was drawn is gathered: transforms
            must make none. Those with a random state of their own need `threads=1`.

    Raises:
        ConfigurationError: a number that is no positive whole one.
        MissingExtraError: a device, and torch is not installed.
    """

    def __init__(
        self,
        reader: Draws,
        batch_size: int,
        device: Any = None,
        prefetch: int = 2,
        threads: int = 1,
        deterministic: bool = False,
    ) -> None:
        batch_size = whole("batch_size", batch_size)
        prefetch = whole("prefetch", prefetch)
        # no more batches than these are ever on their way at once
        threads = min(whole("threads", threads), prefetch + 1)
        if not isinstance(deterministic, bool):
            raise ConfigurationError(
                f"deterministic: expected True or False, got {deterministic!r}"
            )
        courier = None
        if device is not None:
            from recollect.interop.torch import Courier

            courier = Courier(device)
        self._work = _Work(reader, batch_size, courier, prefetch, threads, deterministic)
        weakref.finalize(self, self._work.stop)

    def __repr__(self) -> str:
        work = self._work
        return f"<Loader of batches of {work.batch_size}{', closed' if work.closed else ''}>"

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> Batch:
        """The next batch; waits until it is there.

        Raises:
            ClosedError: this loader or its memory was closed.
            EmptyMemoryError: nothing is eligible.
            LimiterTimeoutError: the limiter let nobody sample for too long.
        """
        return self._work.take()

    def close(self) -> None:
        """Ends the threads, and waits until they have left; may be called again."""
        self._work.stop()
        self._work.join()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Task(Future[Any]):
    """One batch to be made."""

    drawn: Any = None
    """What it is made of, if that was drawn already."""


class _Work:
    """What a loader and its threads share; it is there until the last of them has left."""

    def __init__(
        self,
        reader: Draws,
        batch_size: int,
        courier: Any,
        prefetch: int,
        threads: int,
        deterministic: bool,
    ) -> None:
        self.reader = reader
        self.batch_size = batch_size
        self.closed = False
        self._courier = courier
        self._prefetch = prefetch
        self._deterministic = deterministic
        self._pending: deque[_Task] = deque()
        # whoever holds this decides the order of draws and of batches
        self._taking = threading.Lock()
        # None in the queue stays there, and tells one thread after the other to leave
        self._queue: SimpleQueue[_Task | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, name="recollect-loader", daemon=True)
            for _ in range(threads)
        ]
        self._leaving = threading.Lock()
        self._serving = 0

    def take(self) -> Batch:
        """The batch whose turn it is, in the caller's thread."""
        self._check_open()
        with self._taking:
            try:
                self._order()
                made = self._first()
            except (CancelledError, IndexError, LimiterTimeoutError):
                self._check_open()
                raise
        batch: Batch = made if self._courier is None else self._courier.receive(made)
        return batch

    def _first(self) -> Any:
        """The first batch that could be made, of those on their way, or one made now."""
        try:
            while self._pending:
                # waits; who is interrupted meanwhile finds the task here again
                self._pending[0].exception()
                task = self._pending.popleft()
                error = task.exception()
                if error is None:
                    return task.result()
                if isinstance(error, LimiterTimeoutError):
                    break
                # a task after one that found nothing may have drawn before it
                if not isinstance(error, EmptyMemoryError):
                    raise error
            self._check_open()
            return self._make(None)
        finally:
            # an error refers to this frame by its traceback
            task = error = None  # type: ignore[assignment]

    def stop(self) -> None:
        """Tells the threads to leave. Takes no lock: garbage may be collected anywhere."""
        self.closed = True
        self._queue.put(None)

    def join(self, timeout: float | None = None) -> None:
        for thread in self._threads:
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(timeout)

    def orphan(self) -> None:
        """Ends in a forked process, in which the threads do not exist."""
        self.closed = True
        self.reader.forget_threads()

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError("this loader is closed")

    def _order(self) -> None:
        """Sees to it that one batch can be taken, and so many more are on their way."""
        while len(self._pending) <= self._prefetch:
            task = _Task()
            if self._deterministic:
                try:
                    task.drawn = self.reader.draw(self.batch_size, self._may_not_wait, ahead=True)
                except RecollectError:
                    # what cannot be drawn ahead is tried again when its turn has come
                    if self._pending:
                        break
                    raise
            self._pending.append(task)
            self._queue.put(task)
            if self.closed:
                self._cancel_all()
                self._check_open()
        for thread in self._threads:
            if thread.ident is None:
                _working.add(self)
                thread.start()

    def _may_not_wait(self) -> bool:
        """Whether a draw in the caller's thread is one ahead, and no reason to wait."""
        return self.closed or len(self._pending) > 0

    def _is_closed(self) -> bool:
        return self.closed

    def _serve(self) -> None:
        """One thread's life."""
        with self._leaving:
            self._serving += 1
        while (task := self._queue.get()) is not None:
            self._do(task)
            # while it waits for the next one it must not hold this one's batch
            del task
        self._queue.put(None)
        with self._leaving:
            self._serving -= 1
            if not self._serving:
                self._clear_up()

    def _do(self, task: _Task) -> None:
        if self.closed:
            self._cancel(task)
        if not task.set_running_or_notify_cancel():
            return
        try:
            made = self._make(task.drawn)
        except BaseException as error:
            task.set_exception(error)
            # the error refers to this frame by its traceback
            del task
        else:
            task.set_result(made)

    def _make(self, drawn: Any) -> Any:
        if drawn is None:
            drawn = self.reader.draw(self.batch_size, gives_up=self._is_closed)
        batch = self.reader.finish(drawn)
        return batch if self._courier is None else self._courier.send(batch)

    def _cancel_all(self) -> None:
        """Cancels what was put into the queue when the threads may have left already."""
        try:
            while True:
                task = self._queue.get_nowait()
                if task is not None:
                    self._cancel(task)
        except Empty:
            self._queue.put(None)

    def _cancel(self, task: _Task) -> None:
        if task.cancel() and task.drawn is not None:
            self.reader.forget(task.drawn)

    def _clear_up(self) -> None:
        """The last thread's last deed: what was made and nobody took was not replayed."""
        while self._pending:
            task = self._pending.popleft()
            if task.done() and not task.cancelled() and task.exception() is None:
                self.reader.take_back(self.batch_size)


_working: weakref.WeakSet[_Work] = weakref.WeakSet()


def _leave() -> None:
    """Lets no thread be in the middle of a batch when the interpreter goes."""
    begun = time.monotonic()
    for work in list(_working):
        work.stop()
    for work in list(_working):
        work.join(max(PATIENCE - (time.monotonic() - begun), 0))


def _orphan() -> None:
    for work in list(_working):
        work.orphan()


atexit.register(_leave)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_orphan)
