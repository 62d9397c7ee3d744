"""How a handler is asked to stop: an alarm at its deadline, or a note in its worker's folder."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

from orchestrator.models.runs.task import Claim
from workers.handlers import StopRequested
from workers.stop_notes import STOP_SIGNAL, note

#: A handler may swallow the first exception; the alarm rings again each second until it is out.
_AGAIN_S = 1.0


class StopSwitch:
    """Turns signals into StopRequested, but only while a handler is at work."""

    def __init__(self, folder: Path, pid: int) -> None:
        self._note = note(folder, pid)
        self._current: tuple[UUID, int, int] | None = None
        self._pool_s_own: Any = None

    def install(self) -> None:
        """Take the two signals; the main thread of a pool child calls it once."""
        signal.signal(STOP_SIGNAL, self._noted)
        signal.signal(signal.SIGALRM, self._rang)
        self._pool_s_own = signal.signal(signal.SIGTERM, self._terminated)

    @contextmanager
    def watching(self, claim: Claim, timeout_s: float) -> Iterator[None]:
        """Let StopRequested be raised inside the block: at the timeout, or when a note says so."""
        self._current = (claim.claim_id, claim.task_no, claim.attempt)
        signal.setitimer(signal.ITIMER_REAL, max(timeout_s, 0.001), _AGAIN_S)
        try:
            yield
        finally:
            self._current = None
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._note.unlink(missing_ok=True)

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        # A cold shutdown: the attempt is given up, not failed for having been interrupted.
        if self._current is not None:
            raise StopRequested("lost")
        if callable(self._pool_s_own):
            self._pool_s_own(number, frame)
        else:
            raise SystemExit(0)

    def _rang(self, _number: int, _frame: FrameType | None) -> None:
        if self._current is not None:
            raise StopRequested("timeout")

    def _noted(self, _number: int, _frame: FrameType | None) -> None:
        try:
            claim_id, task_no, attempt, reason = self._note.read_text().split()
        except (OSError, ValueError):
            return
        if (UUID(claim_id), int(task_no), int(attempt)) == self._current:
            raise StopRequested(reason)
        # Its attempt has been left, or is not under way yet: a kill would hit another one.
        self._note.unlink(missing_ok=True)
