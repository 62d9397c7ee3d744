"""The life of one task: its states, the moves between them, and how one attempt ends.

Pure: no clock, no database, no Celery. The SQL functions guard the same moves again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from orchestrator.errors import IllegalMove
from orchestrator.models.runs.event import moment, took_ms
from orchestrator.models.text import storable


class TaskState(StrEnum):
    """Where a task is. A task in an end state never moves again."""

    PENDING = "pending"  #: waits for upstream tasks
    READY = "ready"  #: may start; waits in Postgres for room in its queue
    QUEUED = "queued"  #: has an attempt number; a message may be on its way
    RUNNING = "running"  #: one worker's child holds the attempt's claim
    WAITING = "waiting"  #: parked until a time or an event; holds no slot
    RETRYING = "retrying"  #: an attempt failed or was lost; a timer leads to the next
    SUCCEEDED = "succeeded"
    FAILED = "failed"  #: no attempt is left
    SKIPPED = "skipped"  #: its trigger rule could not be met any more
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"  #: the last attempt ran past its deadline

    @property
    def ended(self) -> bool:
        """True in the five end states."""
        return not MOVES[self]


S = TaskState
#: The ends that somebody may give a task by hand, and the states it may be in then: its upstream
#: tasks have ended, it has not.
MARKS = frozenset({S.SUCCEEDED, S.FAILED, S.SKIPPED})
MARKABLE = frozenset({S.READY, S.QUEUED, S.RUNNING, S.WAITING, S.RETRYING})
#: Without a slot, until a timer leads on.
PARKED = frozenset({S.RETRYING, S.WAITING})
#: The ends that make a run fail.
FAILS = frozenset({S.FAILED, S.TIMED_OUT})
ENDS = frozenset({S.SUCCEEDED, S.FAILED, S.SKIPPED, S.CANCELLED, S.TIMED_OUT})

#: The whole state machine. Docs are drawn from it; Postgres guards the same moves again.
MOVES: Mapping[TaskState, frozenset[TaskState]] = {
    S.PENDING: frozenset({S.READY, S.QUEUED, S.RUNNING, S.SKIPPED, S.CANCELLED}),
    S.READY: frozenset({S.QUEUED, S.CANCELLED, *MARKS}),
    S.QUEUED: frozenset({S.RUNNING, S.CANCELLED, *MARKS}),
    S.RUNNING: frozenset({S.WAITING, S.RETRYING, *ENDS}),
    S.WAITING: frozenset({S.QUEUED, S.READY, S.CANCELLED, S.TIMED_OUT, *MARKS}),
    S.RETRYING: frozenset({S.READY, S.QUEUED, S.CANCELLED, *MARKS}),
    **{end: frozenset[TaskState]() for end in ENDS},
}


def check_move(was: TaskState, to: TaskState) -> None:
    """Raise IllegalMove unless a task may go from `was` to `to`."""
    if to not in MOVES[was]:
        raise IllegalMove(f"a task cannot go from {was} to {to}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskError:
    """Why an attempt failed: a stable code, one line for people, and where in the code."""

    code: str
    message: str
    traceback: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form; keys without a value are left out.

        NUL and halves of surrogate pairs become U+FFFD: no database keeps them, and an error that
        cannot be stored would leave its attempt without an end.
        """
        shape = {"code": self.code, "message": self.message, "traceback": self.traceback}
        return {k: storable(v) for k, v in shape.items() if v is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """The handler's work is done; `output` is plain JSON."""

    output: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The handler failed. `retryable=False` ends the task whatever its policy says."""

    error: TaskError
    retryable: bool = True
    timed_out: bool = False
    #: A floor for the delay before the next attempt, as a server's Retry-After asks for.
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """The handler decided that there is nothing to do."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Park the task for `seconds`; the same attempt then runs again with `memo` as `resumed`."""

    seconds: float
    memo: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The run is being cancelled, and the attempt was stopped for it."""


Outcome = Value | Failure | Skip | Wait | Cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to work on one attempt. Every later write names (attempt, claim_id) and loses
    without a trace when somebody else holds the attempt by then."""

    run_id: UUID
    task_no: int
    attempt: int
    claim_id: UUID
    losses: int = 0
    #: What the handler left when it waited, or None on the first call of the attempt.
    resumed: Mapping[str, Any] | None = None
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One node inside one run, as it is read back."""

    run_id: UUID
    task_no: int
    node_id: str
    map_index: int | None
    type: str
    state: TaskState
    reason: str | None
    attempt: int
    max_attempts: int
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    due_at: datetime | None
    worker: str | None
    output: Any
    error: Mapping[str, Any] | None
    waits_for: int

    @property
    def duration_ms(self) -> int | None:
        """Milliseconds from this attempt's start to its end; None while it has no end."""
        return took_ms(self.started_at, self.finished_at)

    @property
    def waiting_for(self) -> dict[str, Any] | None:
        """What it waits for: a number of upstream tasks, a time, room, or nothing."""
        if self.state is TaskState.PENDING:
            return {"upstream": self.waits_for}
        if self.state in PARKED:
            return {"until": moment(self.due_at)} if self.due_at else None
        return {"worker": True} if self.state in (TaskState.READY, TaskState.QUEUED) else None

    def document(self) -> dict[str, Any]:
        """Return the JSON document that clients see of it."""
        return {
            "run_id": str(self.run_id),
            "node_id": self.node_id,
            "map_index": self.map_index,
            "type": self.type,
            "state": str(self.state),
            "reason": self.reason,
            "attempt": self.attempt,
            "max_attempts": self.max_attempts,
            "queued_at": moment(self.queued_at),
            "started_at": moment(self.started_at),
            "finished_at": moment(self.finished_at),
            "duration_ms": self.duration_ms,
            "worker": self.worker,
            "output": self.output,
            "error": self.error,
            "waiting_for": self.waiting_for,
        }
