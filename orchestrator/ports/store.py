"""The record: workflows, runs and their moves, and the fleet. Postgres answers, or memory in tests.

Every method raises `StoreUnavailable` when the record cannot be reached; then nothing was changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from orchestrator.models.quota import EVERYBODY, TenantFilter
from orchestrator.models.runs.event import Event
from orchestrator.models.runs.run import Run, RunState, Trigger
from orchestrator.models.runs.task import Claim, Task
from orchestrator.ports.audit import Audit
from orchestrator.ports.log_lines import LogFilter, LogPage
from orchestrator.ports.moves import Ending, LogLine, Mark, Moved, Owner, Release, Take
from orchestrator.ports.quotas import QuotaChecks, QuotaRecord
from orchestrator.ports.secrets import SecretRows, VariableRows
from orchestrator.ports.workflows import Keys, Workflows

__all__ = [
    "Beat",
    "Ending",
    "Fleet",
    "Held",
    "Keys",
    "LogLine",
    "Mark",
    "Moved",
    "Moves",
    "NewRun",
    "Owner",
    "Pulse",
    "Reads",
    "Release",
    "RunFilter",
    "Store",
    "Take",
    "UnitOfWork",
    "Workflows",
]


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
class RunFilter:
    """Which runs to list, newest first. `before` is the id after which the last page ended."""

    tenant_id: UUID
    workflow_id: UUID | None = None
    #: Only runs of these workflows, whatever else is asked; None: of all.
    among: frozenset[UUID] | None = None
    states: tuple[RunState, ...] = ()
    trigger: Trigger | None = None
    since: datetime | None = None
    until: datetime | None = None
    #: The run carries all of these.
    tags: tuple[str, ...] = ()
    before: UUID | None = None
    limit: int = 50


class UnitOfWork(Protocol):
    """One transaction: everything in it is stored, or nothing."""

    @property
    def workflows(self) -> Workflows:
        """Workflows and their versions."""

    @property
    def keys(self) -> Keys:
        """Idempotency keys."""

    @property
    def quotas(self) -> QuotaChecks:
        """What counts against a tenant's quotas."""

    def start(self, new: NewRun) -> Moved:
        """Store a run with its tasks and first events."""

    def rerun(self, new: NewRun, again: Sequence[int]) -> Moved:
        """Store a run of `new.origin_run_id`'s version and input in which only `again` runs.

        The other tasks are taken over as they ended, with their outputs; one kept in a file is
        said to be in the new run's file of that name. `again` must hold every
        dependant of its tasks, else a task would be taken over that depends on one that runs.
        IllegalMove while the origin has not ended. Roots that run again are left `ready`.
        """


class Moves(Protocol):
    """The moves of runs and tasks. Each call is one transaction that locks its run first.

    A call that finds nothing to do returns None; losing to somebody else is ordinary.
    """

    def start(self, new: NewRun) -> Moved | None:
        """Store a run with its tasks and first events, as `UnitOfWork.start` does, all at once.

        None unless `new.version` is the newest one of a workflow that may start runs.
        """

    def claim(
        self, run_id: UUID, wanted: Sequence[tuple[int, int]], *, claim_id: UUID, owner: Owner
    ) -> Moved | None:
        """Take queued (task_no, attempt) pairs for one owner: queued -> running.

        Repeated with the same claim it returns what that claim holds of them, so a caller that got
        no answer asks again.
        """

    def settle(
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

    def queue(self, run_id: UUID, task_nos: Sequence[int]) -> Moved | None:
        """Give ready and due tasks their next message."""

    def cancel(self, run_id: UUID, to: RunState) -> Moved | None:
        """Stop a run; it ends as `to` when no attempt is live. None for an unknown run."""

    def steer(self, run_id: UUID, was: RunState, to: RunState) -> Moved | None:
        """Pause or resume: move a run that is `was`. `Moved.was` tells what it really was.

        On resume every queued attempt is in `queued`: workers dropped their announcements.
        """

    def mark(self, run_id: UUID, mark: Mark, room: int) -> Moved | None:
        """Settle a task by hand and let dependants follow; whoever holds it has lost it.

        `Moved.was` tells what the task was. Without events nothing was changed: the run is neither
        running nor paused, or the task is not in MARKABLE. None for an unknown task.
        """

    def finish(self, run_id: UUID, output: Any, error: Mapping[str, Any] | None) -> Moved | None:
        """End a run whose tasks have all ended; None when it has ended already or cannot yet."""


class Reads(Protocol):
    """What people and services look at; never a lock, never a change."""

    def run(self, tenant_id: UUID, run_id: UUID) -> Run | None:
        """Return one run with its counts."""

    def runs(self, wanted: RunFilter) -> list[Run]:
        """Return a page of runs, newest first, without their input and output."""

    def tasks(
        self, run_id: UUID, *, after: int = -1, limit: int = 200, node_id: str | None = None
    ) -> list[Task]:
        """Return tasks in `task_no` order."""

    def events(self, run_id: UUID, *, after: int, limit: int) -> list[Event]:
        """Return events with `seq > after`, in order and without gaps."""

    def log_lines(self, wanted: LogFilter) -> LogPage:
        """Return log lines of all runs of a tenant, newest first."""

    def owners(self, run_ids: Sequence[UUID]) -> dict[UUID, tuple[UUID, UUID]]:
        """Return (tenant, workflow) of each of the runs that is there."""

    def attempts(self, run_id: UUID, task_no: int) -> list[Mapping[str, Any]]:
        """Return the past attempts of a task, oldest first."""

    def outputs(self, run_id: UUID, task_nos: Sequence[int]) -> dict[int, Any]:
        """Return the outputs of those of the tasks that succeeded."""

    def large_outputs(self, run_id: UUID) -> dict[int, str]:
        """Return the files of the run that outputs are kept in, by `task_no`."""

    def input(self, run_id: UUID) -> Any:
        """Return the input of a run; None for an unknown one."""

    def pinned(self, run_id: UUID) -> tuple[UUID, int] | None:
        """Return the (workflow, version) a run is pinned to; None for an unknown one."""

    def unfinished(self, run_id: UUID) -> tuple[UUID, int] | None:
        """Return what `pinned` does, for a run that has not ended; None for one that has."""

    def unstarted(self, run_id: UUID) -> int | None:
        """Return the number of tasks of a run none of which has been touched; else None.

        A run that took over tasks of another one has reported parts: its chord is not reopened.
        """

    def definition(self, workflow_id: UUID, version: int) -> Mapping[str, Any] | None:
        """Return a version's definition; it never changes, so keep it."""

    def ping(self) -> int:
        """Return the record's schema revision number; raises when it cannot be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A worker's sign of life, every few seconds."""

    id: UUID
    name: str
    host: str
    pid: int
    version: str
    queues: tuple[str, ...]
    slots: int
    children: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A running attempt and who holds it, for those who watch over owners."""

    claim: Claim
    owner: Owner
    #: Why it must stop: `lost`, `timeout`, `cancelled`, or `taken` when somebody has settled it by
    #: hand; None while all is well.
    verdict: str | None = None
    #: Seconds past its deadline, where that is the verdict.
    overdue_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What a beat brings back."""

    #: False when the fleet gave this worker up: it must stop its work and take a new identity.
    alive: bool
    held: tuple[Held, ...] = field(default=())


class Fleet(Protocol):
    """Workers, leases, timers and backlogs: what upkeep and supervisors ask. All times are the
    record's own clock."""

    def beat(self, beat: Beat) -> Pulse:
        """Store a sign of life; learn which of its attempts must stop."""

    def leave(self, worker_id: UUID) -> None:
        """Mark a worker as stopped; its attempts, if any are left, are lost at once."""

    def workers(self) -> list[Mapping[str, Any]]:
        """Return the workers that are not long gone, with `age_s` since their last beat."""

    def expire(self, lease_s: float) -> int:
        """Give up workers without a beat for `lease_s` (and `lease_s` of a running record)."""

    def ownerless(self, limit: int, lease_s: float = 10.0) -> list[Held]:
        """Return running attempts whose worker is lost or stopped, whose child is not among the
        living ones of a later beat, or that are far past their deadline."""

    def of_child(self, worker_id: UUID, pid: int) -> list[Held]:
        """Return the running attempts of one child."""

    def due(self, limit: int, of: TenantFilter = EVERYBODY) -> dict[UUID, list[int]]:
        """Return tasks of these tenants whose timer has come, by run."""

    def backlog(
        self, queue: str, limit: int, of: TenantFilter = EVERYBODY
    ) -> dict[UUID, list[int]]:
        """Return ready tasks of a queue, most urgent first, by run; only of these tenants."""

    def ready_queues(self) -> list[str]:
        """Return the queues that have ready tasks."""

    def waiting_queues(self) -> list[str]:
        """Return the queues that have announced attempts nobody has claimed yet."""

    def unclaimed(self, queues: Sequence[str], older_s: float, limit: int) -> list[Release]:
        """Return queued attempts nobody claimed although a worker of the queue had room, and count
        the announcement that the caller is about to repeat. The pause doubles each time."""

    def overdue_runs(self, limit: int) -> list[UUID]:
        """Return live runs past their own deadline."""

    def settled_runs(self, limit: int) -> list[tuple[UUID, UUID, int]]:
        """Return (run, workflow, version) of live runs without an open task."""

    def oldest_needed(self) -> UUID | None:
        """Return the oldest run that is live, or that a live one took tasks over from."""

    def next_due_s(self, lease_s: float | None = None) -> float | None:
        """Return the seconds until something is due; None when no run is live.

        With `lease_s`, the end of a worker's lease is due as well.
        """

    def tidy(self, now: datetime, keys_older_s: float) -> None:
        """Make the coming partitions; drop old idempotency keys and long-gone workers."""


class Store(Protocol):
    """The record's front door."""

    @property
    def moves(self) -> Moves:
        """The moves of runs and tasks."""

    @property
    def reads(self) -> Reads:
        """What people and services look at."""

    @property
    def fleet(self) -> Fleet:
        """Workers, leases, timers and backlogs."""

    @property
    def quotas(self) -> QuotaRecord:
        """What tenants may use, and what they do use."""

    @property
    def secrets(self) -> SecretRows:
        """Secrets, sealed."""

    @property
    def variables(self) -> VariableRows:
        """Plain values by name and environment."""

    @property
    def audit(self) -> Audit:
        """Who did what: the audit log."""

    def begin(self) -> AbstractContextManager[UnitOfWork]:
        """Open a transaction: it commits on a clean exit and rolls back on an error."""

    def listen(self, timeout_s: float, stop: int | None = None) -> bool:
        """Sleep until something becomes due sooner than was known (True), or the time is over.

        It may return early when `stop`, a file descriptor, becomes readable.
        """

    def close(self) -> None:
        """Give the connections back."""
