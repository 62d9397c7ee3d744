"""Why a run is where it is, in sentences a person can act on; and when each attempt took place.

Reads only. The causes come first: a task that merely waits for another one comes after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from orchestrator.models.definitions.plan import Plan
from orchestrator.models.runs.event import rfc3339
from orchestrator.models.runs.run import Run, RunState
from orchestrator.models.runs.task import Task, TaskState
from orchestrator.ports.store import Store
from orchestrator.services.runs.engine import WorkflowEngine

#: Upstream tasks that one sentence names.
_NAMED = 5
_LAST = (TaskState.PENDING,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that holds a run back. `code` is stable: clients branch on it."""

    code: str
    message: str
    node_id: str | None = None
    map_index: int | None = None
    state: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One attempt in time. What has not happened yet is None."""

    node_id: str
    map_index: int | None
    attempt: int
    state: str
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None


class Explaining:
    """Looks at a run for people."""

    def __init__(self, store: Store, engine: WorkflowEngine) -> None:
        self._store = store
        self._engine = engine

    def why(self, run: Run, limit: int = 200) -> tuple[list[Reason], bool]:
        """Return why a run has not ended, causes first, and whether there is more to say."""
        if run.state.ended:
            return [_ended(run)], False
        plan = self._engine.plan(run.workflow_id, run.version)
        tasks = self._store.reads.tasks(run.id, limit=len(plan.nodes))
        fleet = self._store.fleet.workers()
        workers = [w for w in fleet if w["state"] in {"active", "refused"}]
        open_tasks = [t for t in tasks if not t.state.ended]
        open_tasks.sort(key=lambda t: (t.state in _LAST, t.task_no))
        reasons = _of_run(run, open_tasks)
        reasons += [_of_task(task, plan, tasks, workers) for task in open_tasks]
        reasons = self._within_quota(run, reasons)
        return reasons[:limit], len(reasons) > limit

    def _within_quota(self, run: Run, reasons: list[Reason]) -> list[Reason]:
        """Say of tasks that wait for the tenant's quota that they do: their queue has room."""
        quota = self._engine.quotas.concurrent(run.tenant_id)
        if not quota or not any(reason.code == "window" for reason in reasons):
            return reasons
        held = self._engine.quotas.held(run.tenant_id)
        message = (
            f"the tenant holds {held} of its {quota} concurrent tasks; it is announced when one"
            " of them ends"
        )
        return [
            replace(reason, code="quota", message=message) if reason.code == "window" else reason
            for reason in reasons
        ]

    def timeline(self, run: Run, *, after: int, limit: int) -> tuple[list[Span], int | None]:
        """Return the attempts of a page of tasks in time, and the last task number if more come."""
        tasks = self._store.reads.tasks(run.id, after=after, limit=limit + 1)
        spans: list[Span] = []
        for task in tasks[:limit]:
            spans += self._spans(task)
        return spans, tasks[limit - 1].task_no if len(tasks) > limit else None

    def _spans(self, task: Task) -> list[Span]:
        past: Sequence[Mapping[str, Any]] = ()
        if task.attempt > 1 or task.reason == "worker_lost" or task.state is TaskState.RETRYING:
            past = self._store.reads.attempts(task.run_id, task.task_no)
        names = ("attempt", "state", "queued_at", "started_at", "finished_at", "worker")
        spans = [
            Span(
                node_id=task.node_id,
                map_index=task.map_index,
                **{name: attempt[name] for name in names},
            )
            for attempt in past
        ]
        if task.attempt and task.attempt not in {span.attempt for span in spans}:
            spans.append(
                Span(
                    node_id=task.node_id,
                    map_index=task.map_index,
                    **{name: getattr(task, name) for name in names},
                )
            )
        return spans


def _ended(run: Run) -> Reason:
    said = f": {run.error['message']}" if run.error and "message" in run.error else ""
    return Reason(
        code="ended", state=str(run.state), since=run.finished_at,
        message=f"the run has {str(run.state).replace('_', ' ')}{said}",
    )  # fmt: skip


def _of_run(run: Run, tasks: Sequence[Task]) -> list[Reason]:
    running = sum(t.state is TaskState.RUNNING for t in tasks)
    if run.state is RunState.PAUSED:
        message = f"the run is paused; {running} tasks still run; resume it to go on"
        return [Reason(code="run_paused", state=str(run.state), message=message)]
    if run.state is RunState.CANCELLING:
        message = f"the run is being cancelled; it ends when its {running} running tasks have"
        return [Reason(code="run_cancelling", state=str(run.state), message=message)]
    return []


def _of_task(
    task: Task, plan: Plan, tasks: Sequence[Task], workers: Sequence[Mapping[str, Any]]
) -> Reason:
    code, message, since = _said(task, plan, tasks, workers)
    return Reason(
        code=code, message=message, node_id=task.node_id, map_index=task.map_index,
        state=str(task.state), since=since,
    )  # fmt: skip


def _said(
    task: Task, plan: Plan, tasks: Sequence[Task], workers: Sequence[Mapping[str, Any]]
) -> tuple[str, str, datetime | None]:
    due = rfc3339(task.due_at) if task.due_at else "its timer"
    match task.state:
        case TaskState.RUNNING:
            where = f" on {task.worker}" if task.worker else ""
            return "running", f"attempt {task.attempt} runs{where}", task.started_at
        case TaskState.WAITING:
            return "timer", f"it waits until {due}", task.started_at
        case TaskState.RETRYING:
            error = (task.error or {}).get("message") or task.reason or "it failed"
            return "retry", f"attempt {task.attempt}: {error}; the next one is due {due}", None
        case TaskState.QUEUED:
            return *_queue(plan.node_of(task).node.queue, workers), task.queued_at
        case TaskState.READY:
            queue = plan.node_of(task).node.queue
            return "window", f"queue {queue!r} is full; it is announced when there is room", None
    names = {t.task_no: t.node_id for t in tasks if not t.state.ended}
    waits = [names[no] for no in plan.node_of(task).upstream if no in names]
    more = f" and {len(waits) - _NAMED} more" if len(waits) > _NAMED else ""
    return "upstream", f"it waits for {', '.join(waits[:_NAMED])}{more}", None


def _queue(queue: str, workers: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    of_queue = [w for w in workers if queue in w["queues"]]
    mine = [w for w in of_queue if w["state"] == "active"]
    if not mine and of_queue:
        last = of_queue[-1]
        return "no_worker", (
            f"no worker consumes queue {queue!r}: the one on {last['host']} does not start:"
            f" {last['refusal']}"
        )
    if not mine:
        return "no_worker", (
            f"no worker consumes queue {queue!r}: start one with ZQ_WORKER__QUEUES={queue}"
        )
    if all(w["busy"] >= w["slots"] for w in mine):
        return "workers_busy", f"every slot of the {len(mine)} workers of queue {queue!r} is taken"
    return "announced", f"it is announced on queue {queue!r}; a worker with a free slot takes it"
