"""Ctrl-C, for work that must not be torn: it waits until a step is done."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """While this context is open Ctrl-C is only noted, in `asked`; the second one interrupts.

    Where nothing can be torn, `waits` may be set to False for a while: the first interrupts then.
    In other threads than the main one, and where Ctrl-C means something of somebody's own already,
    everything stays as it is.
    """

    def __init__(self) -> None:
        self.asked = False
        self.waits = True
        self._former: Any = None

    def __enter__(self) -> Interrupts:
        ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if ours and threading.current_thread() is threading.main_thread():
            self._former = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._former is not None:
            signal.signal(signal.SIGINT, self._former)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked or not self.waits:
            raise KeyboardInterrupt
        self.asked = True
