"""One execution of one workflow version: its states, its legal moves, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from orchestrator.errors import IllegalMove
from orchestrator.models.runs.event import moment, took_ms


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

#: Where somebody may settle one of its tasks by hand.
MARKABLE_RUNS = frozenset({S.RUNNING, S.PAUSED})

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
    input: Any = None
    output: Any = None
    error: Mapping[str, Any] | None = None
    origin_run_id: UUID | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    counts: Mapping[str, int]
    seq: int

    @property
    def duration_ms(self) -> int | None:
        """Milliseconds from the first claim to the end; None while the run has no end."""
        return took_ms(self.started_at, self.finished_at)

    def document(self, *, large: bool = True) -> dict[str, Any]:
        """Return the JSON document that clients see of it; input and output only when `large`."""
        document = {
            "id": str(self.id),
            "workflow_id": str(self.workflow_id),
            "workflow_name": self.workflow_name,
            "version": self.version,
            "state": str(self.state),
            "trigger": str(self.trigger),
            "tags": list(self.tags),
            "error": self.error,
            "origin_run_id": str(self.origin_run_id) if self.origin_run_id else None,
            "created_at": moment(self.created_at),
            "started_at": moment(self.started_at),
            "finished_at": moment(self.finished_at),
            "duration_ms": self.duration_ms,
            "counts": dict(self.counts),
            "seq": self.seq,
        }
        return document | {"input": self.input, "output": self.output} if large else document
