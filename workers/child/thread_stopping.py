"""How a handler in a pool of threads is asked to stop: an exception raised in its thread.

Python raises it between two of its own instructions, so a handler that waits in C code hears of it
when that returns; the `http` handler keeps its deadline by itself. A thread cannot be killed.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from orchestrator.models.runs.task import Claim
from workers.handlers import StopRequested

log = logging.getLogger(__name__)

_LOOK_S = 0.25
#: A handler may swallow the first exception; it is raised again until the handler is out.
_AGAIN_S = 1.0

Key = tuple[UUID, int, int]


class _TimeIsOver(StopRequested):
    def __init__(self) -> None:
        super().__init__("timeout")


class _Cancelled(StopRequested):
    def __init__(self) -> None:
        super().__init__("cancelled")


class _Lost(StopRequested):
    def __init__(self) -> None:
        super().__init__("lost")


#: Python makes the exception itself, in the other thread, so there is a class for each reason.
_REASONS = {"timeout": _TimeIsOver, "cancelled": _Cancelled, "lost": _Lost}


@dataclass(slots=True)
class _Working:
    thread: int
    deadline: float
    asked_at: float = 0.0


class ThreadStops:
    """Answers what `StopSwitch` does, for threads: one thread looks after all of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._working: dict[Key, _Working] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, claim: Claim, timeout_s: float) -> Iterator[None]:
        """Let StopRequested be raised inside the block: at the timeout, or when a note says so."""
        key = claim.claim_id, claim.task_no, claim.attempt
        mine = _Working(threading.get_ident(), time.monotonic() + timeout_s)
        with self._lock:
            self._working[key] = mine
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="zq-stops", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._working[key]
                if mine.asked_at:
                    # Asked too late: it must not strike in somebody else's work.
                    _raise_in(mine.thread, None)

    def _run(self) -> None:
        while True:
            time.sleep(_LOOK_S)
            try:
                self._look()
            except Exception:
                log.exception("could not look for handlers that must stop")

    def _look(self) -> None:
        now = time.monotonic()
        noted = self._notes()
        with self._lock:
            for key, one in self._working.items():
                reason = noted.get(key) or ("timeout" if now >= one.deadline else None)
                if reason is not None and now - one.asked_at >= _AGAIN_S:
                    one.asked_at = now
                    _raise_in(one.thread, _REASONS[reason])

    def _notes(self) -> dict[Key, str]:
        found: dict[Key, str] = {}
        for path in self._folder.glob("stop-*"):
            if path.suffix == ".new":
                continue
            try:
                claim_id, task_no, attempt, reason = path.read_text().split()
            except (OSError, ValueError):
                continue
            key = UUID(claim_id), int(task_no), int(attempt)
            if key in self._working:
                found[key] = reason
            else:
                path.unlink(missing_ok=True)
        return found


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(error) if error else None
    )
