"""One execution of one workflow version: its states, its legal moves, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from orchestrator.errors import IllegalMove


class RunState(StrEnum):
    """Where a run is. A terminal run never moves: retry and rerun make a new run."""

    QUEUED = "queued"  #: stored; no task has been claimed yet
    RUNNING = "running"  #: from the first claim on
    PAUSED = "paused"  #: running attempts go on; nothing new starts
    CANCELLING = "cancelling"  #: nothing starts; ends when no attempt is live
    SUCCEEDED = "succeeded"  #: every task succeeded or was skipped
    FAILED = "failed"  #: some task failed or timed out
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"  #: the run's own deadline passed

    @property
    def ended(self) -> bool:
        """True in the four end states."""
        return not MOVES[self]


S = RunState
ENDS = frozenset({S.SUCCEEDED, S.FAILED, S.CANCELLED, S.TIMED_OUT})

#: The whole state machine of a run; Postgres guards the same moves again.
MOVES: Mapping[RunState, frozenset[RunState]] = {
    # A rerun that took over every task ends without a claim.
    S.QUEUED: frozenset({S.RUNNING, S.CANCELLING, S.SUCCEEDED, S.FAILED, S.CANCELLED, S.TIMED_OUT}),
    S.RUNNING: frozenset({S.PAUSED, S.CANCELLING, S.SUCCEEDED, S.FAILED, S.CANCELLED, S.TIMED_OUT}),
    S.PAUSED: frozenset({S.RUNNING, S.CANCELLING, S.SUCCEEDED, S.FAILED, S.CANCELLED, S.TIMED_OUT}),
    S.CANCELLING: frozenset({S.CANCELLED, S.TIMED_OUT, S.FAILED}),
    **{end: frozenset[RunState]() for end in ENDS},
}


class Trigger(StrEnum):
    """Why a run began."""

    MANUAL = "manual"  #: a person started it
    API = "api"  #: a program did, or nobody said who
    RETRY = "retry"  #: it runs another run's work again


#: What whoever starts a run may say of it.
ASKED_TRIGGERS = (Trigger.API, Trigger.MANUAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """What somebody asks for who starts a run."""

    input: Any = None
    #: None: the newest one.
    version: int | None = None
    trigger: Trigger = Trigger.API
    tags: Sequence[str] = ()
    #: An idempotency key, and the digest of the whole request.
    key: tuple[str, str] | None = None


def check_move(was: RunState, to: RunState) -> None:
    """Raise IllegalMove unless a run may go from `was` to `to`."""
    if to not in MOVES[was]:
        raise IllegalMove(f"a run that is {was} cannot become {to}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of one workflow version, as it is read back."""

    id: UUID
    tenant_id: UUID
    workflow_id: UUID
    workflow_name: str
    version: int
    state: RunState
    trigger: Trigger
    tags: tuple[str, ...]
    input: Any
    output: Any
    error: Mapping[str, Any] | None
    origin_run_id: UUID | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    counts: Mapping[str, int]
    seq: int

    @property
    def duration_ms(self) -> int | None:
        """Milliseconds from the first claim to the end; None while the run has no end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0, round((self.finished_at - self.started_at).total_seconds() * 1000))
