"""Tells a main loop to stop, from a signal handler too.

`threading.Event` may not be set there: its lock may be held by the very code that the handler has
interrupted, and the process then waits for itself for ever.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterable
from types import FrameType


class StopSignal:
    """Set once, never cleared; every `wait` ends at once when it is set."""

    def __init__(self) -> None:
        self._set = False
        self._reading, self._writing = os.pipe()
        for end in (self._reading, self._writing):
            os.set_blocking(end, False)

    def __del__(self) -> None:
        """Give its pipe back."""
        for end in (self._reading, self._writing):
            with contextlib.suppress(OSError):
                os.close(end)

    def set(self) -> None:
        """Ask for the stop: from any thread, or from a signal handler."""
        self._set = True
        # A full pipe wakes as well as one byte does.
        with contextlib.suppress(BlockingIOError):
            os.write(self._writing, b"\0")

    def is_set(self) -> bool:
        """Whether the stop was asked for."""
        return self._set

    def wait(self, timeout_s: float) -> bool:
        """Sleep until the stop is asked for, or the time is over; return whether it was."""
        if not self._set:
            select.select([self._reading], [], [], timeout_s)
        return self._set

    def fileno(self) -> int:
        """Return what becomes readable when the stop is asked for."""
        return self._reading

    def on(self, numbers: Iterable[signal.Signals]) -> None:
        """Let these signals set it. Main thread only."""
        for number in numbers:
            signal.signal(number, self._heard)

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        self.set()
