"""What an ended task means to those that wait for it, and what follows: the rules of a settle.

Pure, on plain values. The SQL functions of a settle state the same rules again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.models.definitions.node import TriggerRule
from orchestrator.models.runs.task import FAILS, PARKED, TaskState

_UPSTREAM_FAILED = "upstream_failed"

#: Each rule as a question about (upstreams, failed ones, skipped ones).
_RULES: Mapping[str, Callable[[int, int, int], bool]] = {
    TriggerRule.ALL_SUCCESS: lambda _, failed, skipped: failed == 0 and skipped == 0,
    TriggerRule.ALL_DONE: lambda *_: True,
    TriggerRule.ALL_FAILED: lambda upstreams, failed, _: failed == upstreams,
    TriggerRule.NONE_FAILED: lambda _, failed, __: failed == 0,
    TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS: lambda upstreams, failed, skipped: (
        failed == 0 and skipped < upstreams
    ),
    TriggerRule.NONE_SKIPPED: lambda _, __, skipped: skipped == 0,
}


def rule_met(rule: str, upstreams: int, failed: int, skipped: int) -> bool:
    """True when a task whose upstreams have all ended may start. An unknown rule is never met."""
    holds = _RULES.get(rule)
    return holds is not None and holds(upstreams, failed, skipped)


def meaning(
    state: TaskState, reason: str | None, handles: str | None = None, output: Any = None
) -> str:
    """Return what an ended task means over one edge: `ok`, `failed` or `skipped`.

    `handles` are the edge's, by comma; only where there are some does the output count.
    """
    if state in FAILS or state is TaskState.CANCELLED:
        return "failed"
    if state is TaskState.SKIPPED:
        return "failed" if reason == _UPSTREAM_FAILED else "skipped"
    return "ok" if handles is None or _taken(output, handles.split(",")) else "skipped"


def _taken(output: Any, handles: list[str]) -> bool:
    if not isinstance(output, dict) or "taken" not in output:
        return True
    taken = output["taken"]
    if isinstance(taken, str):
        return taken in handles
    names = taken if isinstance(taken, list | dict) else ()
    return any(handle in names for handle in handles)


def skip_reason(failed: int, skipped: int) -> str:
    """Return why a task was skipped whose rule these upstreams do not meet."""
    if failed:
        return _UPSTREAM_FAILED
    return "upstream_skipped" if skipped else "rule_not_met"


def said_reason(said: str | None) -> str:
    """Return the reason of a skip that a handler or a person asked for."""
    # Their own word must not read as the record's.
    return "skipped" if said in (None, _UPSTREAM_FAILED) else str(said)


def end_reason(asked: str, to: TaskState, error: Mapping[str, Any] | None) -> str | None:
    """Return the reason that an attempt's end leaves on its task; `asked` is the ending's state."""
    if asked == "lost":
        return "worker_lost"
    return said_reason((error or {}).get("message")) if to is TaskState.SKIPPED else None


def end_data(
    asked: str,
    to: TaskState,
    error: Mapping[str, Any] | None,
    delay_s: float | None,
    duration_ms: int,
) -> Mapping[str, Any]:
    """Return the data of the event that tells an attempt's end; a traceback stays on the row."""
    silent = to is TaskState.SKIPPED and (error or {}).get("message") is None
    data = {
        "error": {k: v for k, v in error.items() if k != "traceback"} if error else None,
        "reason": None if silent else end_reason(asked, to, error),
        "delay_s": delay_s if to in PARKED else None,
        "duration_ms": duration_ms,
    }
    stripped: Mapping[str, Any] = _without_nulls(data)
    return stripped


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value
