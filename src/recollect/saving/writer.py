"""`StreamWriter`: one stream of a memory whose learner is another process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recollect.arguments import rows_given

if TYPE_CHECKING:
    from recollect.memory import Memory


class StreamWriter:
    """Adds to one stream of a memory in a directory, while other processes use the rest of it.

    Made by `recollect.open(path, stream=k)`. What `add` returned from is in the memory, whatever
    happens to this process; when it ends, another may take the stream.

    Args:
        memory: of this process, on the shared directory.
        stream: which one this process writes from now on.
        cut: closes an open episode first.
        timeout: seconds to wait for the learner's limiter; None: for ever.
    """

    def __init__(
        self, memory: Memory, stream: int, *, cut: bool = False, timeout: float | None = None
    ) -> None:
        self._memory = memory
        self._timeout = timeout
        self._stream = None if memory.streams is None else stream
        try:
            with memory.shared.lock:
                rows: Any = memory.shared.rows
                rows.claim(np.array([stream]))
            if cut:
                self.cut()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<stream {self._stream or 0} of {self._memory!r}>"

    def add(self, **fields: Any) -> int:
        """Adds one step, without an axis of streams; see `Memory.add`. Returns its key.

        Raises:
            LimiterTimeoutError: the learner's limiter let nobody add for too long.
        """
        self._await_room(1)
        return int(self._memory.add(stream=self._stream, **fields))

    def extend(self, **fields: Any) -> NDArray[np.int64]:
        """Adds T steps in time order; see `Memory.extend`. Returns their keys (T,)."""
        self._await_room(rows_given(fields))
        return self._memory.extend(stream=self._stream, **fields)

    def cut(self) -> int:
        """Closes an open episode as truncated. Returns how many there were, 0 or 1."""
        return self._memory.cut(self._stream)

    def flush(self) -> None:
        """Waits until what was added has reached the disk; see `Memory.flush` of the learner."""
        self._memory.flush()

    def stats(self) -> dict[str, float]:
        """Of the whole memory; see `Memory.stats`."""
        with self._memory.shared.lock:
            rows: Any = self._memory.shared.rows
            with rows.changing():
                rows.refresh()
                return self._memory.stats()

    def close(self) -> None:
        """Lets other processes have the stream."""
        self._memory.close()

    def _await_room(self, count: int) -> None:
        shared = self._memory.shared
        shared.check_open()
        if shared.home is not None:
            shared.home.await_room(count, self._timeout)

    def __enter__(self) -> StreamWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
