"""How a run ends: its state, output and error follow from its tasks (`end_run_v2.sql`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchestrator.adapters.memory.tables import RunRow, pack, unpack
from orchestrator.models.runs.event import Event, Kind
from orchestrator.models.runs.run import RunState
from orchestrator.models.runs.task import FAILS, TaskState

#: Above this many bytes a run's output names its leaves' outputs instead of copying them.
MAX_OUTPUT_BYTES = 1 << 20

_RUN_TIMEOUT = {"code": "run_timeout", "message": "the run passed its own deadline"}


def end_run(
    run: RunRow, now: datetime, output: Any, error: Mapping[str, Any] | None
) -> Event | None:
    """End a run whose tasks have all ended; None when one is open or the run has ended already."""
    if run.open > 0 or run.finished_at is not None:
        return None
    state = _verdict(run, error)
    if state is RunState.SUCCEEDED and run.leaves is not None:
        output = _leaves_output(run, run.leaves)
    elif state is RunState.FAILED and error is None:
        error = _first_failure(run)
    elif state is RunState.TIMED_OUT:
        error = _RUN_TIMEOUT
    run.output, run.error = pack(output), pack(error)
    run.state, run.finished_at = state, now
    data = None if error is None else {"error": unpack(run.error)}
    return run.say(Kind.RUN, now, state=str(state), data=data)


def _verdict(run: RunRow, error: object) -> RunState:
    if run.state is RunState.CANCELLING:
        return run.cancel_to or RunState.CANCELLED
    return RunState.FAILED if run.failed or error is not None else RunState.SUCCEEDED


def _leaves_output(run: RunRow, leaves: tuple[int, ...]) -> dict[str, Any]:
    tasks = [t for no in leaves if (t := run.tasks[no]).state is TaskState.SUCCEEDED]
    if sum(len(t.output or b"") for t in tasks) <= MAX_OUTPUT_BYTES:
        return {t.node_id: unpack(t.output) for t in tasks}
    return {t.node_id: {"$ref": f"/api/v1/runs/{run.id}/tasks/{t.node_id}"} for t in tasks}


def _first_failure(run: RunRow) -> dict[str, Any] | None:
    failed = [t for t in run.tasks.values() if t.state in FAILS]
    if not failed:
        return None
    first = min(failed, key=lambda t: (t.finished_at or run.created_at, t.task_no))
    message = (unpack(first.error) or {}).get("message")
    return {
        "code": "task_failed",
        "node_id": first.node_id,
        "message": f"{first.node_id}: {first.state if message is None else message}",
    }
