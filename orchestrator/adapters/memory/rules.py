"""The pure rules of a settle: what an ended task means to a dependant, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.adapters.memory.tables import TaskRow, unpack
from orchestrator.models.runs.task import TaskState
from orchestrator.ports.moves import Ending

_FAILED = frozenset({TaskState.FAILED, TaskState.TIMED_OUT, TaskState.CANCELLED})


def rule_met(task: TaskRow) -> bool:
    """True when a task whose upstreams have all ended may start. An unknown rule is never met."""
    failed, skipped, upstreams = task.up_failed, task.up_skipped, task.upstreams
    return {
        "all_success": failed == 0 and skipped == 0,
        "all_done": True,
        "all_failed": failed == upstreams,
        "none_failed": failed == 0,
        "none_failed_min_one_success": failed == 0 and skipped < upstreams,
        "none_skipped": skipped == 0,
    }.get(task.trigger_rule, False)


def meaning(task: TaskRow, handles: str | None) -> str:
    """Return what an ended task means over one edge: `ok`, `failed` or `skipped`."""
    if task.state in _FAILED:
        return "failed"
    if task.state is TaskState.SKIPPED:
        return "failed" if task.reason == "upstream_failed" else "skipped"
    return "ok" if handles is None or _taken(task, handles.split(",")) else "skipped"


def _taken(task: TaskRow, handles: list[str]) -> bool:
    output = unpack(task.output)
    if not isinstance(output, dict) or "taken" not in output:
        return True
    taken = output["taken"]
    if isinstance(taken, str):
        return taken in handles
    names = taken if isinstance(taken, list | dict) else ()
    return any(handle in names for handle in handles)


def skip_reason(task: TaskRow) -> str:
    """Return why a task whose rule is not met was skipped."""
    if task.up_failed:
        return "upstream_failed"
    return "upstream_skipped" if task.up_skipped else "rule_not_met"


def end_reason(ending: Ending, to: TaskState) -> str | None:
    """Return the reason that an attempt's end leaves on its task."""
    if ending.state == "lost":
        return "worker_lost"
    if to is TaskState.SKIPPED:
        message = (ending.error or {}).get("message")
        # A handler's own word must not read as the record's.
        return "skipped" if message in (None, "upstream_failed") else str(message)
    return None


def end_data(
    ending: Ending, to: TaskState, error: Mapping[str, Any] | None, duration_ms: int
) -> Mapping[str, Any]:
    """Return the data of the event that tells an attempt's end; a traceback stays on the row."""
    parked = to in {TaskState.RETRYING, TaskState.WAITING}
    reason = end_reason(ending, to)
    if to is TaskState.SKIPPED and (ending.error or {}).get("message") is None:
        reason = None
    data = {
        "error": {k: v for k, v in error.items() if k != "traceback"} if error else None,
        "reason": reason,
        "delay_s": ending.delay_s if parked else None,
        "duration_ms": duration_ms,
    }
    stripped: Mapping[str, Any] = _without_nulls(data)
    return stripped


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value
