"""A task that somebody settles by hand, in memory: the same rules as `mark_v2.sql`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from orchestrator.adapters.memory.ending import end_run
from orchestrator.adapters.memory.settle import Settlement
from orchestrator.adapters.memory.tables import RunRow, TaskRow, pack
from orchestrator.models.runs.rules import said_reason
from orchestrator.models.runs.run import MARKABLE_RUNS
from orchestrator.models.runs.task import MARKABLE, TaskState, check_move
from orchestrator.ports.moves import Mark

_PAST = frozenset({TaskState.READY, TaskState.RETRYING})


def may_mark(run: RunRow, task: TaskRow) -> bool:
    """True where a task may be settled by hand."""
    return run.state in MARKABLE_RUNS and task.state in MARKABLE


def carry_out(run: RunRow, task: TaskRow, mark: Mark, now: datetime, room: int) -> Settlement:
    """Settle the task and let its dependants follow; the caller holds the lock."""
    to = TaskState(mark.state)
    check_move(task.state, to)
    output, claim_id = pack(mark.output), uuid4()
    task.taken_from = task.claim_id if task.state is TaskState.RUNNING else None
    if task.state in _PAST:
        # The attempt that is past keeps its own end: the mark is the next one.
        task.attempt += 1
        task.queued_at = task.started_at = task.worker_id = task.pid = None
    error = _error(mark) if to is TaskState.FAILED else None
    took_s = (now - task.started_at).total_seconds() if task.started_at else None
    task.state, task.claim_id, task.finished_at = to, claim_id, now
    task.output = output if to is TaskState.SUCCEEDED else None
    task.error = pack(error)
    task.reason = said_reason(mark.reason) if to is TaskState.SKIPPED else None
    task.resumed = task.deadline_at = task.due_at = None
    data = {
        "marked_by": mark.by,
        "reason": mark.reason,
        "error": error,
        "duration_ms": None if took_s is None else int(took_s * 1000 + 0.5),
    }
    done = Settlement(run, claim_id, now, None, room)
    done.events.append(run.say_task(task, now, {k: v for k, v in data.items() if v is not None}))
    done.accepted.append(task.task_no)
    done.settled.append(task.task_no)
    run.failed += to is TaskState.FAILED
    done.spread([task])
    last = end_run(run, now, None, None) if run.leaves is not None else None
    done.events += [last] if last else []
    return done


def _error(mark: Mark) -> Mapping[str, Any]:
    return {"code": "marked_failed", "message": mark.reason or "marked as failed by hand"}
