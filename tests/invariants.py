"""The promises of a run, checked on what any store reads back; the SQL twin is in `integration/`.

Each check yields a sentence for what is broken; nothing is broken when none does. What a rerun took
over from its origin (its events say so) was decided there, and is not judged again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from orchestrator.models.runs.event import Event, Kind
from orchestrator.models.runs.run import ENDS as RUN_ENDS
from orchestrator.models.runs.run import MOVES as RUN_MOVES
from orchestrator.models.runs.run import Run, RunState
from orchestrator.models.runs.task import ENDS as TASK_ENDS
from orchestrator.models.runs.task import MOVES as TASK_MOVES
from orchestrator.models.runs.task import Task, TaskState
from orchestrator.ports.reads import Reads

_BAD = {TaskState.FAILED, TaskState.TIMED_OUT, TaskState.CANCELLED}
_STARTS = {"queued", "running"}


def _marked(event: Event) -> bool:
    """True where somebody said how a task ended: its rule was met, though nothing may have run."""
    return "marked_by" in (event.data or {})


def broken_in(reads: Reads, tenant_id: UUID, run_id: UUID, plan: Mapping[str, Any]) -> list[str]:
    """Return what is broken in one run, as sentences."""
    run = reads.run(tenant_id, run_id)
    assert run is not None, f"run {run_id} is not there"
    tasks = reads.tasks(run_id, limit=100_000)
    events = reads.events(run_id, after=0, limit=1_000_000)
    taken_over = {e.node_id for e in events if "origin_run_id" in (e.data or {})}
    return [
        f"run {run_id}: {problem}"
        for problem in (
            *_numbering(run, events),
            *_run_moves(run, events),
            *_verdict(run, tasks),
            *_task_moves(tasks, events, taken_over),
            *_attempts(reads, [t for t in tasks if t.node_id not in taken_over]),
            *_joins(tasks, events, plan, taken_over),
        )
    ]


def _numbering(run: Run, events: list[Event]) -> Iterator[str]:
    if [e.seq for e in events] != list(range(1, run.seq + 1)):
        yield f"seq is {run.seq} but the events are {[e.seq for e in events]}"
    moments = [e.at for e in events if e.kind is not Kind.LOG]
    if moments != sorted(moments):
        yield "seq order is not time order"


def _run_moves(run: Run, events: list[Event]) -> Iterator[str]:
    states = [RunState(e.state or "") for e in events if e.kind is Kind.RUN]
    for was, to in itertools.pairwise(states):
        if to not in RUN_MOVES[was]:
            yield f"the run went from {was} to {to}"
    ends = [s for s in states if s in RUN_ENDS]
    if ends != ([run.state] if run.state.ended else []):
        yield f"it is {run.state} but its events end as {ends}"
    if run.state.ended and events[-1].kind is not Kind.RUN:
        yield "something was recorded after its end"
    if (run.finished_at is not None) != run.state.ended:
        yield f"it is {run.state} with finished_at {run.finished_at}"
    stopped: str | None = None
    for event in events:
        if event.kind is Kind.RUN:
            stopped = event.state if event.state in {"paused", "cancelling"} else None
        elif stopped and event.state in _STARTS:
            yield f"{event.node_id} became {event.state} while the run was {stopped}"


def _verdict(run: Run, tasks: list[Task]) -> Iterator[str]:
    states = {t.state for t in tasks}
    counted = {str(s): sum(t.state is s for t in tasks) for s in states}
    if dict(run.counts) != counted:
        yield f"its counts are {run.counts} but its tasks {counted}"
    if run.state.ended and not states <= TASK_ENDS:
        yield "it has ended with an open task"
    if run.state is RunState.SUCCEEDED and states & _BAD:
        yield f"it succeeded with tasks that are {states & _BAD}"
    failed = states & {TaskState.FAILED, TaskState.TIMED_OUT} or run.error is not None
    if run.state is RunState.FAILED and not failed:
        yield "it failed and nothing says why"
    live = states - TASK_ENDS - {TaskState.PENDING}
    if run.state in {RunState.QUEUED, RunState.RUNNING} and not live and not states <= TASK_ENDS:
        yield "its tasks wait for each other and nothing is alive"


def _task_moves(
    tasks: list[Task], events: list[Event], taken_over: set[str | None]
) -> Iterator[str]:
    told: dict[tuple[str | None, int | None], list[TaskState]] = {}
    for event in events:
        if event.kind is Kind.TASK:
            told.setdefault((event.node_id, event.map_index), []).append(
                TaskState(event.state or "")
            )
    for task in tasks:
        states = [TaskState.PENDING, *told.get((task.node_id, task.map_index), ())]
        for was, to in itertools.pairwise(states):
            if not _legal(was, to) and task.node_id not in taken_over:
                yield f"{task.node_id} went from {was} to {to}"
        shown = TaskState.PENDING if len(states) == 1 else states[-1]
        if task.state is not shown and not (task.state is TaskState.READY and shown.ended is False):
            yield f"{task.node_id} is {task.state} but its last event says {shown}"
        if (task.finished_at is not None) != task.state.ended:
            yield f"{task.node_id} is {task.state} with finished_at {task.finished_at}"
        if (task.due_at is not None) != (task.state in {TaskState.RETRYING, TaskState.WAITING}):
            yield f"{task.node_id} is {task.state} with due_at {task.due_at}"


def _legal(was: TaskState, to: TaskState) -> bool:
    # `ready` is no event: it may stand between any two that have it as their link.
    through_ready = TaskState.READY in TASK_MOVES[was] and to in TASK_MOVES[TaskState.READY]
    return to in TASK_MOVES[was] or through_ready


def _attempts(reads: Reads, tasks: list[Task]) -> Iterator[str]:
    for task in tasks:
        past = [row["attempt"] for row in reads.attempts(task.run_id, task.task_no)]
        due = list(range(1, task.attempt + 1))
        if past not in (due, due[:-1]):
            yield f"{task.node_id} is at attempt {task.attempt} and keeps {past}"
        held = task.state in {TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.QUEUED}
        if held and past != due[:-1]:
            yield f"{task.node_id} is {task.state} and its attempt {task.attempt} is past too"


def _joins(
    tasks: list[Task], events: list[Event], plan: Mapping[str, Any], taken_over: set[str | None]
) -> Iterator[str]:
    by_no = {t.task_no: t for t in tasks}
    ended_at = _first(events, lambda e: TaskState(e.state or "").ended)
    started_at = _first(events, lambda e: e.state in _STARTS or _marked(e))
    for no, node_id, *_, rule, _upstreams, _dependants, _handles, _a, _l, _t in plan["rows"]:
        task = by_no[no]
        sources = [(by_no[r[0]], handle) for r in plan["rows"] for handle in _handles_to(r, no)]
        waits_for = sum(not source.state.ended for source, _ in sources)
        if task.state is not TaskState.CANCELLED and task.waits_for != waits_for:
            yield f"{node_id} waits for {task.waits_for} of {waits_for} open tasks"
        decided_at = started_at.get(node_id)
        if task.state is TaskState.SKIPPED and decided_at is None:
            decided_at = ended_at[node_id]
        if decided_at is None or not sources or node_id in taken_over:
            continue
        if any(ended_at.get(s.node_id, decided_at) >= decided_at for s, _ in sources):
            yield f"{node_id} was decided before its upstreams had ended"
            continue
        means = [_means(source, handles) for source, handles in sources]
        if rule_holds(rule, means) is (node_id not in started_at):
            yield f"{node_id} was {'skipped' if node_id not in started_at else 'started'}: {means}"


def _first(events: list[Event], wanted: Any) -> dict[str | None, int]:
    found: dict[str | None, int] = {}
    for event in events:
        if event.kind is Kind.TASK and wanted(event):
            found.setdefault(event.node_id, event.seq)
    return found


def _handles_to(row: list[Any], dependant: int) -> Iterator[str | None]:
    """Yield the handle of each edge to a dependant."""
    handles: list[str | None] = row[8] or [None] * len(row[7])
    return (handle for no, handle in zip(row[7], handles, strict=True) if no == dependant)


def _means(task: Task, handles: str | None) -> str:
    if task.state in _BAD or (task.state, task.reason) == (TaskState.SKIPPED, "upstream_failed"):
        return "failed"
    if task.state is TaskState.SKIPPED:
        return "skipped"
    if handles is None or not isinstance(task.output, dict) or "taken" not in task.output:
        return "ok"
    taken = task.output["taken"]
    names = [taken] if isinstance(taken, str) else taken if isinstance(taken, list | dict) else []
    return "ok" if any(handle in names for handle in handles.split(",")) else "skipped"


def rule_holds(rule: str, means: list[str]) -> bool:
    """Return whether a trigger rule is met by what its settled upstreams mean."""
    failed, skipped, count = means.count("failed"), means.count("skipped"), len(means)
    match rule:
        case "all_success":
            return failed == skipped == 0
        case "all_done":
            return True
        case "all_failed":
            return failed == count
        case "none_failed":
            return failed == 0
        case "none_failed_min_one_success":
            return failed == 0 and skipped < count
        case "none_skipped":
            return skipped == 0
    raise AssertionError(f"no such rule: {rule}")
