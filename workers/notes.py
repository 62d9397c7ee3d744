"""The notes by which a supervisor tells a child which attempt must stop, and why.

A signal carries no words, so the note names the attempt; a child that has moved on to another one
finds that the note is not for it.
"""

from __future__ import annotations

import signal
from pathlib import Path

from orchestrator.models.task import Claim

STOP_SIGNAL = signal.SIGUSR2


def note(desk: Path, pid: int) -> Path:
    """Return where the note for a child is left."""
    return desk / f"stop-{pid}"


def leave_note(desk: Path, pid: int, claim: Claim, reason: str, *, alone: bool = True) -> None:
    """Name the attempt that must stop, and why; the caller then sends STOP_SIGNAL.

    Not `alone`: the process works on others too, and looks for a note of each. OSError when the
    desk takes no more.
    """
    path = note(desk, pid)
    if not alone:
        path = path.with_name(f"{path.name}-{claim.claim_id}-{claim.task_no}")
    draft = path.with_suffix(".new")
    draft.write_text(f"{claim.claim_id} {claim.task_no} {claim.attempt} {reason}")
    draft.replace(path)
