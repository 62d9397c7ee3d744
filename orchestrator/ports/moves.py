"""The moves of runs and tasks: what each takes, what it did, and the port that makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from orchestrator.models.runs.event import Event, Kind
from orchestrator.models.runs.run import RunState, Trigger
from orchestrator.models.runs.task import Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to be stored. `room` roots become `queued` at once, the rest `ready`."""

    id: UUID
    tenant_id: UUID
    workflow_id: UUID
    version: int
    trigger: Trigger
    input: Any
    tags: tuple[str, ...] = ()
    origin_run_id: UUID | None = None
    room: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """An attempt that may be announced to the workers of its queue, again and again."""

    run_id: UUID
    task_no: int
    attempt: int
    queue: str
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line a handler wrote. `age_s` is how long ago: workers send durations, never times."""

    task_no: int
    level: str
    message: str
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the owner of a claim wants one attempt to end.

    `state` is a task's end state, or `retrying`/`waiting` (with `delay_s`), or `lost`: the row's
    own policy then makes it `retrying` or `failed`. For `waiting`, `output` is the memo of the
    next call.
    """

    task_no: int
    attempt: int
    state: str
    output: Any = None
    error: Mapping[str, Any] | None = None
    delay_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How somebody settles a task by hand: `succeeded` (with an output), `failed` or `skipped`."""

    task_no: int
    node_id: str
    state: str
    #: The name of whoever does it.
    by: str
    output: Any = None
    reason: str | None = None
    map_index: int | None = None

    def name(self, run_id: UUID) -> str:
        """Return what the audit log calls the task."""
        place = "" if self.map_index is None else f"[{self.map_index}]"
        return f"{run_id}/{self.node_id}{place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who holds a claim: one incarnation of a worker, and the child process that does the work."""

    worker_id: UUID
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """Going on in the same commit: the queued attempts of `next` are claimed, and up to `limit`
    tasks of these queues as they become ready."""

    owner: Owner
    queues: tuple[str, ...] = ()
    limit: int = 0
    next: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What one committed transition did, for those who are told after the commit."""

    run_id: UUID
    tenant_id: UUID
    workflow_id: UUID
    version: int
    events: tuple[Event, ...] = ()
    #: Attempts the caller still owned: what it wanted for them has happened.
    accepted: tuple[int, ...] = ()
    #: Tasks that have ended now, dependants that were skipped included: the chord's parts.
    settled: tuple[int, ...] = ()
    claimed: tuple[Claim, ...] = ()
    queued: tuple[Release, ...] = ()
    #: Tasks left `ready` for want of room in their queue.
    ready: int = 0
    #: Open tasks of the run, where the transition knows.
    open: int | None = None
    #: The run's number of tasks, when it starts.
    size: int | None = None
    #: The run's input, on a claim.
    input: Any = None
    #: Bytes of JSON and text that it has put into the record, for the tenant's quota.
    stored_bytes: int = 0
    #: What a run that was steered, or a task that was marked, was before.
    was: str | None = None

    @property
    def ended_run(self) -> bool:
        """True when the run's end was part of this transition: nothing is left to settle."""
        last = self.events[-1] if self.events else None
        return last is not None and last.kind is Kind.RUN and RunState(last.state or "").ended


class Moves(Protocol):
    """The moves of runs and tasks. Each call is one transaction that locks its run first.

    A call that finds nothing to do returns None; losing to somebody else is ordinary.
    """

    def store_run_of_newest(self, new: NewRun) -> Moved | None:
        """Store a run with its tasks and first events, as `UnitOfWork.store_run` does, all at once.

        None unless `new.version` is the newest one of a workflow that may start runs.
        """

    def claim_attempts(
        self, run_id: UUID, wanted: Sequence[tuple[int, int]], *, claim_id: UUID, owner: Owner
    ) -> Moved | None:
        """Take queued (task_no, attempt) pairs for one owner: queued -> running.

        Repeated with the same claim it returns what that claim holds of them, so a caller that got
        no answer asks again.
        """

    def settle_attempts(
        self,
        run_id: UUID,
        claim_id: UUID,
        endings: Sequence[Ending],
        *,
        logs: Sequence[LogLine] = (),
        take: Take | None = None,
        room: int = 0,
    ) -> Moved | None:
        """End attempts of one claim, record their log lines, and let dependants follow.

        `endings` name each task at most once. An attempt that somebody else owns by now is left
        out of `accepted` and changes nothing; with `take`, `claimed` then holds all that the claim
        holds, since it may be a repeat of a call that got no answer. With no endings it only
        records lines. Log events come first in `events`.
        """

    def queue_tasks(self, run_id: UUID, task_nos: Sequence[int]) -> Moved | None:
        """Give ready and due tasks their next message."""

    def cancel_run(self, run_id: UUID, to: RunState) -> Moved | None:
        """Stop a run; it ends as `to` when no attempt is live. None for an unknown run."""

    def steer_run(self, run_id: UUID, was: RunState, to: RunState) -> Moved | None:
        """Pause or resume: move a run that is `was`. `Moved.was` tells what it really was.

        On resume every queued attempt is in `queued`: workers dropped their announcements.
        """

    def mark_task(self, run_id: UUID, mark: Mark, room: int) -> Moved | None:
        """Settle a task by hand and let dependants follow; whoever holds it has lost it.

        `Moved.was` tells what the task was. Without events nothing was changed: the run is neither
        running nor paused, or the task is not in MARKABLE. None for an unknown task.
        """

    def take_output(self, run_id: UUID, lease_s: float) -> int | None:
        """Let the caller alone work a run's output out, for so long.

        None when the run is not at its end, or somebody does so just now; 0 when it will have
        none, since it fails or is cancelled; else the number of the try, from 1.
        """

    def leave_output(self, run_id: UUID, again_s: float) -> None:
        """Give back what `take_output` took, undone: no try of it; the next is after so long."""

    def end_run(self, run_id: UUID, output: Any, error: Mapping[str, Any] | None) -> Moved | None:
        """End a run whose tasks have all ended; None when it has ended already or cannot yet."""
