"""The process-wide half of log capture: standard streams and root logger, and who gets their text.

Installed by the first capture and left in place; with no capture at work all goes where it went.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Literal, Protocol, TextIO

from orchestrator.services.secrets.masking import Masker

FLUSH_S = 0.25
_MAX_BACKOFF = 16


class Receiver(Protocol):
    """A capture, as seen from here."""

    #: The threads that were there before it.
    before: list[threading.Thread]

    @property
    def open(self) -> bool:
        """Whether its handler is at work."""

    @property
    def pending(self) -> bool:
        """Whether lines wait to be sent."""

    def write(self, level: str, text: str) -> None:
        """Take a piece of a stream."""

    def say(self, level: str, text: str) -> None:
        """Take whole lines."""

    def flush(self) -> bool:
        """Send what waits; False when it could not be stored."""

    def hide(self, masker: Masker) -> None:
        """Mask these values in what follows."""

    def forget(self) -> None:
        """Take nothing more."""


class _Stream:
    """Stands in for sys.stdout or sys.stderr: to the task's capture, or else to the original."""

    def __init__(self, original: TextIO, level: str) -> None:
        self.original = original
        self._level = level

    def write(self, text: str) -> int:
        """See `io.TextIOBase`."""
        capture = hub.current()
        if capture is None:
            return self.original.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        capture.write(self._level, text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """See `io.IOBase`."""
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        """False inside a task, or progress bars would draw."""
        return hub.current() is None and self.original.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


class _LogHandler(logging.Handler):
    """The root logger's way into the current capture; without one it does nothing."""

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the handler's lock: a StopRequested between taking and guarding it would leave
        # it locked for good, and a capture has its own.
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Take down a record, with its exception, as lines of its level."""
        capture = hub.current()
        if capture is None:
            # Only ours is there: then Python itself would print warnings to stderr.
            last = logging.lastResort if logging.getLogger().handlers == [self] else None
            if last and record.levelno >= last.level:
                last.emit(record)
            return
        try:
            capture.say(_level(record.levelno), self.format(record))
        except Exception:
            self.handleError(record)


def _level(number: int) -> str:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


class _Hub:
    """Knows the captures at work, and runs the one thread that sends their lines."""

    def __init__(self, pause_s: float = FLUSH_S) -> None:
        self._pause_s = pause_s
        self._handler = _LogHandler()
        self._active: dict[int, Receiver] = {}
        self._new()

    def _new(self) -> None:
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        # Its put() may be interrupted by a signal handler that logs, which an Event may not.
        self._bell: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def forget(self) -> None:
        """Start anew in a forked child: captures, their lines and the thread are the parent's."""
        for capture in self._active.values():
            capture.forget()
        self._active = {}
        current.set(None)
        self._new()

    def enter(self, capture: Receiver) -> None:
        """Let a capture take part; makes sure that streams and logging lead here.

        A root logger left at its default WARNING is lowered to INFO, or nobody would see the
        info lines of handlers; a level that somebody chose stays.
        """
        with self._lock:
            self._active[id(capture)] = capture
        if not isinstance(sys.stdout, _Stream):
            sys.stdout = _Stream(sys.stdout, "info")
        if not isinstance(sys.stderr, _Stream):
            sys.stderr = _Stream(sys.stderr, "warning")
        root = logging.getLogger()
        if self._handler not in root.handlers:
            root.addHandler(self._handler)
            if root.level in {logging.WARNING, logging.NOTSET}:
                root.setLevel(logging.INFO)

    def leave(self, capture: Receiver) -> None:
        """End a capture's part."""
        with self._lock:
            self._active.pop(id(capture), None)

    def current(self) -> Receiver | None:
        """Return the capture that the calling thread writes for.

        A thread without a context of its own belongs to the only capture there is, unless it
        was there first (the worker's own threads, or those an earlier task left behind).
        """
        capture = current.get()
        if capture is None and len(self._active) == 1:
            found = next(iter(self._active.copy().values()), None)
            if found is not None and threading.current_thread() not in found.before:
                capture = found
        return capture if capture is not None and capture.open else None

    def wake(self, *, urgent: bool) -> None:
        """Have lines sent in a moment, or now."""
        if self._thread is None:
            self._start()
        self._bell.put(urgent)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="zq-log-lines", daemon=True)
            for capture in self._active.values():
                capture.before.append(self._thread)
            self._thread.start()

    def _run(self) -> None:
        backoff, waiting = 1, False
        while True:
            urgent = False if waiting else self._bell.get()
            self._linger(self._pause_s * backoff, urgent)
            with self._lock:
                active = list(self._active.values())
            stored = [capture.flush() for capture in active]
            waiting = any(capture.pending for capture in active)
            backoff = 1 if all(stored) else min(2 * backoff, _MAX_BACKOFF)

    def _linger(self, pause_s: float, urgent: bool) -> None:
        until = time.monotonic() + pause_s
        while not urgent and (left := until - time.monotonic()) > 0:
            try:
                urgent = self._bell.get(timeout=left)
                # Somebody's first line does not wait for the failures of another capture.
                until = min(until, time.monotonic() + self._pause_s)
            except queue.Empty:
                return


def original(name: Literal["stdout", "stderr"]) -> TextIO:
    """Return the process's own stream, for what the worker itself has to say."""
    stream = getattr(sys, name)
    found: TextIO = stream.original if isinstance(stream, _Stream) else stream
    return found


current: ContextVar[Receiver | None] = ContextVar("capture", default=None)
hub = _Hub()
os.register_at_fork(after_in_child=hub.forget)
