"""The rows of the memory store: one table each, mutable, under one lock.

JSON is kept as bytes, so that nobody's later change to a dict reaches what is stored.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from orchestrator.models.definitions.saved import SavedWorkflow, Version
from orchestrator.models.runs.event import Event, Kind
from orchestrator.models.runs.run import Run, RunState, Trigger
from orchestrator.models.runs.task import Claim, Task, TaskState
from orchestrator.ports.moves import Owner, Release
from orchestrator.ports.runtime import Clock

#: Runs in which something may still start.
STARTABLE = frozenset({RunState.QUEUED, RunState.RUNNING})


def pack(value: Any) -> bytes | None:
    """Return JSON bytes; None stays None, as SQL's NULL. TypeError for what JSON cannot carry."""
    return None if value is None else orjson.dumps(value)


def unpack(value: bytes | None) -> Any:
    """Return a fresh copy of what was packed."""
    return None if value is None else orjson.loads(value)


def later(at: datetime, seconds: float) -> datetime:
    """Return the moment `seconds` after `at`."""
    return at + timedelta(seconds=seconds)


@dataclass(slots=True, kw_only=True)
class TaskRow:
    """A row of `tasks`; the columns mean what they mean in Postgres."""

    task_no: int
    node_id: str
    type: str
    queue: str
    priority: int
    state: TaskState
    trigger_rule: str
    upstreams: int
    waits_for: int
    dependants: tuple[int, ...]
    handles: tuple[str | None, ...] | None
    max_attempts: int
    max_losses: int
    timeout_s: float
    attempt: int = 0
    map_index: int | None = None
    reason: str | None = None
    up_failed: int = 0
    up_skipped: int = 0
    losses: int = 0
    publishes: int = 0
    claim_id: UUID | None = None
    worker_id: UUID | None = None
    pid: int | None = None
    queued_at: datetime | None = None
    published_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline_at: datetime | None = None
    due_at: datetime | None = None
    resumed: bytes | None = None
    output: bytes | None = None
    error: bytes | None = None
    taken_from: UUID | None = None

    def edges(self) -> Iterator[tuple[int, str | None]]:
        """Yield (dependant, handles by comma or None) for each task that waits for this one."""
        handles = self.handles or (None,) * len(self.dependants)
        return zip(self.dependants, handles, strict=True)

    def enqueue(self, now: datetime) -> None:
        """Mark the present attempt as announced for the first time."""
        self.state, self.due_at, self.publishes = TaskState.QUEUED, None, 0
        self.queued_at = self.published_at = now

    def hold(self, claim_id: UUID, owner: Owner, now: datetime) -> None:
        """Give the present attempt to its owner; one that had waited keeps its first start."""
        self.state, self.claim_id = TaskState.RUNNING, claim_id
        self.worker_id, self.pid = owner.worker_id, owner.pid
        self.started_at = self.started_at or now
        self.deadline_at = later(now, self.timeout_s)
        self.error = self.due_at = None

    def release(self, run_id: UUID) -> Release:
        """Return the announcement of the present attempt."""
        return Release(
            run_id=run_id,
            task_no=self.task_no,
            attempt=self.attempt,
            queue=self.queue,
            priority=self.priority,
        )

    def read(self, run_id: UUID, worker: str | None) -> Task:
        """Return the model of this row."""
        return Task(
            **{name: getattr(self, name) for name in _TASK_COLUMNS},
            run_id=run_id,
            worker=worker,
            output=unpack(self.output),
            error=unpack(self.error),
        )

    def claim(self, run_id: UUID, claim_id: UUID) -> Claim:
        """Return the right to work on the present attempt."""
        return Claim(
            run_id=run_id,
            task_no=self.task_no,
            attempt=self.attempt,
            claim_id=claim_id,
            losses=self.losses,
            resumed=unpack(self.resumed),
            started_at=self.started_at,
        )


@dataclass(slots=True, kw_only=True)
class AttemptRow:
    """A row of `attempts`: a try that did not end its task well, or ended by loss."""

    task_no: int
    attempt: int
    state: str
    worker_id: UUID | None
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime
    error: bytes | None


@dataclass(slots=True, kw_only=True)
class RunRow:
    """A row of `runs` with its counters, tasks, attempts and events. `seq` is `len(events)`."""

    id: UUID
    tenant_id: UUID
    workflow_id: UUID
    version: int
    trigger: Trigger
    tags: tuple[str, ...]
    input: bytes | None
    leaves: tuple[int, ...] | None
    origin_run_id: UUID | None
    created_at: datetime
    deadline_at: datetime | None
    open: int
    state: RunState = RunState.QUEUED
    failed: int = 0
    output: bytes | None = None
    error: bytes | None = None
    cancel_to: RunState | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    output_tries: int = 0
    output_until: datetime | None = None
    tasks: dict[int, TaskRow] = field(default_factory=dict)
    attempts: list[AttemptRow] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def say(self, kind: Kind, at: datetime, **more: Any) -> Event:
        """Append the next event and return it."""
        event = Event(run_id=self.id, seq=len(self.events) + 1, kind=kind, at=at, **more)
        self.events.append(event)
        return event

    def say_task(self, task: TaskRow, at: datetime, data: Mapping[str, Any] | None = None) -> Event:
        """Append an event that tells a task's present state."""
        return self.say(
            Kind.TASK,
            at,
            node_id=task.node_id,
            map_index=task.map_index,
            state=str(task.state),
            attempt=task.attempt,
            data=data,
        )

    def held(self, claim_id: UUID) -> list[TaskRow]:
        """Return the running tasks of a claim, most urgent first."""
        found = [
            t
            for t in self.tasks.values()
            if t.state is TaskState.RUNNING and t.claim_id == claim_id
        ]
        return sorted(found, key=lambda t: (-t.priority, t.task_no))

    def read(self, workflow_name: str, *, large: bool) -> Run:
        """Return the model of this row; input and output only when `large`."""
        counts: dict[str, int] = {}
        for task in self.tasks.values():
            counts[str(task.state)] = counts.get(str(task.state), 0) + 1
        return Run(
            **{name: getattr(self, name) for name in _RUN_COLUMNS},
            workflow_name=workflow_name,
            input=unpack(self.input) if large else None,
            output=unpack(self.output) if large else None,
            error=unpack(self.error),
            counts=counts,
            seq=len(self.events),
        )


def _shared(row: type, model: type) -> tuple[str, ...]:
    """Return the columns that a model has as the row has them: all but packed ones."""
    own = {each.name for each in fields(row)} - {"input", "output", "error"}
    return tuple(each.name for each in fields(model) if each.name in own)


_RUN_COLUMNS = _shared(RunRow, Run)
_TASK_COLUMNS = _shared(TaskRow, Task)


@dataclass(slots=True, kw_only=True)
class WorkerRow:
    """A row of `workers`."""

    id: UUID
    name: str
    host: str
    pid: int
    version: str
    queues: tuple[str, ...]
    slots: int
    children: tuple[int, ...]
    state: str
    free_since: datetime | None
    started_at: datetime
    beat_at: datetime
    refusal: str | None = None


@dataclass(slots=True, kw_only=True)
class KeyRow:
    """A row of `idempotency_keys`."""

    digest: str
    resource_id: UUID
    created_at: datetime


@dataclass(slots=True, kw_only=True)
class VersionRow:
    """A row of `workflow_versions`."""

    tenant_id: UUID
    definition: bytes
    plan: bytes
    created_at: datetime

    def read(self, workflow_id: UUID, version: int) -> Version:
        """Return the model of this row."""
        return Version(
            workflow_id=workflow_id,
            version=version,
            definition=unpack(self.definition),
            created_at=self.created_at,
        )


class Tables:
    """Everything stored, the lock that guards it, its clock, and what wakes upkeep."""

    def __init__(self, clock: Clock) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.woken = threading.Event()
        #: Since when the record is up: no lease is older than that.
        self.since = clock.now()
        self.workflows: dict[UUID, SavedWorkflow] = {}
        self.versions: dict[tuple[UUID, int], VersionRow] = {}
        self.keys: dict[tuple[UUID, str], KeyRow] = {}
        self.runs: dict[UUID, RunRow] = {}
        self.workers: dict[UUID, WorkerRow] = {}
        #: Each tenant's own values.

    def live_runs(self) -> list[RunRow]:
        """Return the runs that have not ended, oldest first."""
        return sorted((r for r in self.runs.values() if not r.state.ended), key=lambda r: r.id)

    def live_tasks(self, *states: TaskState) -> Iterator[tuple[RunRow, TaskRow]]:
        """Yield the tasks of live runs that are in one of the states."""
        for run in self.live_runs():
            for task in run.tasks.values():
                if task.state in states:
                    yield run, task

    def worker_name(self, worker_id: UUID | None) -> str | None:
        """Return the name of a worker that is still known."""
        worker = self.workers.get(worker_id) if worker_id else None
        return worker.name if worker else None
