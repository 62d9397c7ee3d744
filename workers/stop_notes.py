"""The notes by which a supervisor tells a child which attempt must stop, and why.

A signal carries no words, so the note names the attempt; a child that has moved on to another one
finds that the note is not for it.
"""

from __future__ import annotations

import signal
from pathlib import Path

from orchestrator.models.runs.task import Claim

STOP_SIGNAL = signal.SIGUSR2


def note(folder: Path, pid: int) -> Path:
    """Return where the note for a child is left."""
    return folder / f"stop-{pid}"


def leave_note(folder: Path, pid: int, claim: Claim, reason: str, *, alone: bool = True) -> None:
    """Name the attempt that must stop, and why; the caller then sends STOP_SIGNAL.

    Not `alone`: the process works on others too, and looks for a note of each. OSError when the
    folder takes no more.
    """
    path = _place(folder, pid, claim, alone=alone)
    draft = path.with_suffix(".new")
    draft.write_text(f"{claim.claim_id} {claim.task_no} {claim.attempt} {reason}")
    draft.replace(path)


def is_noted(folder: Path, pid: int, claim: Claim, *, alone: bool = True) -> bool:
    """True while the note of this attempt is there: whoever leaves the handler takes it away."""
    try:
        words = _place(folder, pid, claim, alone=alone).read_text().split()
    except OSError:
        return False
    return words[:3] == [str(claim.claim_id), str(claim.task_no), str(claim.attempt)]


def _place(folder: Path, pid: int, claim: Claim, *, alone: bool) -> Path:
    path = note(folder, pid)
    return path if alone else path.with_name(f"{path.name}-{claim.claim_id}-{claim.task_no}")
