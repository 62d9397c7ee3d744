"""Routes of runs: look at them, their tasks, events, logs and artifacts; steer one.

Steering many at once is in `bulk`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response, jsonify

from orchestrator.models.access.permissions import Permission
from orchestrator.models.runs.run import Run, RunState, Trigger
from orchestrator.models.runs.task import Task, TaskState
from orchestrator.ports.reads import RunFilter
from orchestrator.services.runs.rerunning import RerunCheck, RerunRequest
from web.access.narrowing import among
from web.api.paging import page
from web.api.workflows import page_of_runs
from web.context import core, tenant_id
from web.openapi.document import Routes
from web.responses.etags import tagged
from web.responses.events import frames_after, lines_after
from web.responses.headers import attachment
from web.responses.idempotency import key_of
from web.responses.starting import started
from web.schemas.fields import cursor
from web.schemas.runs import (
    ArtifactList,
    AttemptList,
    EventsQuery,
    FramePage,
    LogsQuery,
    RunPage,
    RunSchema,
    RunsQuery,
    TaskPage,
    TaskQuery,
    TaskSchema,
    TasksQuery,
)
from web.schemas.steering import MarkBody, RetriedRun, RetryBody, RetryCheck, RetryQuery

routes = Routes("runs", __name__, description="Runs: their tasks, events, logs and artifacts.")
_BYTES = "application/octet-stream"
_RUN = "/runs/<uuid:run_id>"


def _run(run_id: UUID) -> Run:
    return core().engine.run(tenant_id(), run_id)


def _task(run_id: UUID, node_id: str, map_index: int | None) -> Task:
    _run(run_id)
    return core().steering.task(run_id, node_id, map_index)


@routes.at("/runs")
@routes.needs(Permission.RUNS_READ, narrowed=True)
@routes.query(RunsQuery)
@routes.gives(200, RunPage)
def list_runs(query: Mapping[str, Any]) -> dict[str, Any]:
    """List runs, newest first."""
    return page_of_runs(filter_of(query, query["limit"] + 1, Permission.RUNS_READ))


def filter_of(given: Mapping[str, Any], limit: int, permission: Permission) -> RunFilter:
    """Return the filter that a query or a body asks for, among the runs one may do this with."""
    return RunFilter(
        tenant_id=tenant_id(),
        workflow_id=given["workflow_id"],
        among=among(permission),
        states=tuple(RunState(s) for s in given["state"]),
        trigger=Trigger(given["trigger"]) if given["trigger"] else None,
        since=given["since"],
        until=given["until"],
        tags=tuple(given["tags"]),
        before=given["cursor"],
        limit=limit,
    )


@routes.at(_RUN)
@routes.needs(Permission.RUNS_READ)
@routes.tagged()
@routes.gives(200, RunSchema)
def get_run(run_id: UUID) -> Response:
    """Read a run."""
    return tagged(jsonify(_run(run_id).document()))


@routes.at(f"{_RUN}/cancel", "POST")
@routes.needs(Permission.RUNS_STEER)
@routes.gives(202, RunSchema)
def cancel_run(run_id: UUID) -> Run:
    """Stop a run: nothing starts any more, running handlers are told to stop."""
    return core().steering.cancel(tenant_id(), run_id)


@routes.at(f"{_RUN}/pause", "POST")
@routes.needs(Permission.RUNS_STEER)
@routes.gives(202, RunSchema)
def pause_run(run_id: UUID) -> Run:
    """Let nothing new start; running attempts go on. 409 unless the run is running."""
    return core().steering.pause(tenant_id(), run_id)


@routes.at(f"{_RUN}/resume", "POST")
@routes.needs(Permission.RUNS_STEER)
@routes.gives(202, RunSchema)
def resume_run(run_id: UUID) -> Run:
    """Go on with a paused run. 409 unless it is paused."""
    return core().steering.resume(tenant_id(), run_id)


@routes.at(f"{_RUN}/retry", "POST")
@routes.needs(Permission.RUNS_START)
@routes.query(RetryQuery)
@routes.keyed()
@routes.body(RetryBody, required=False)
@routes.also(200, RetryCheck)
@routes.gives(202, RetriedRun)
def retry_run(query: Mapping[str, Any], body: dict[str, Any], run_id: UUID) -> Response:
    """Run an ended run again as a new one: what did not succeed, and with `from` that node too.

    Everything else is taken over with its outputs. 409 while the run has not ended. With another
    `version` or `input`, what that changes runs again too; `dry_run=true` only says, node by node.
    """
    asked = RerunRequest(
        from_node=body["from_node"], version=body["version"], input=body["input"], key=key_of(body)
    )
    if query["dry_run"]:
        return jsonify(_checked(core().rerunning.check(tenant_id(), run_id, asked)))
    made = core().rerunning.rerun(tenant_id(), run_id, asked)
    return started(
        made.run_id,
        new=made.new,
        wait_s=query["wait"],
        newer_version=made.check.newer_version,
        taken_over=len(made.check.kept),
    )


def _checked(check: RerunCheck) -> dict[str, Any]:
    nodes = [
        {
            "node_id": each.node_id,
            "verdict": "taken over" if each.taken_over else "runs again",
            "reason": each.reason,
        }
        for each in check.nodes
    ]
    return {
        "version": check.version,
        "newer_version": check.newer_version,
        "taken_over": len(check.kept),
        "nodes": nodes,
    }


@routes.at(f"{_RUN}/tasks")
@routes.needs(Permission.RUNS_READ)
@routes.query(TasksQuery)
@routes.gives(200, TaskPage)
def list_tasks(query: Mapping[str, Any], run_id: UUID) -> dict[str, Any]:
    """List the tasks of a run, in the order of the plan."""
    _run(run_id)
    limit, last = query["limit"], query["cursor"]
    found = core().store.reads.tasks(run_id, after=-1 if last is None else last, limit=limit + 1)
    return page(found, limit, lambda each: cursor(each.task_no))


@routes.at(f"{_RUN}/tasks/<string:node_id>")
@routes.needs(Permission.RUNS_READ)
@routes.query(TaskQuery)
@routes.tagged()
@routes.gives(200, TaskSchema)
def get_task(query: Mapping[str, Any], run_id: UUID, node_id: str) -> Response:
    """Read the task of a node."""
    return tagged(jsonify(_task(run_id, node_id, query["map_index"]).document()))


@routes.at(f"{_RUN}/tasks/<string:node_id>/attempts")
@routes.needs(Permission.RUNS_READ)
@routes.query(TaskQuery)
@routes.gives(200, AttemptList)
def list_attempts(query: Mapping[str, Any], run_id: UUID, node_id: str) -> dict[str, Any]:
    """List all attempts of a task, oldest first; the last is the current one."""
    task = _task(run_id, node_id, query["map_index"])
    attempts = list(core().store.reads.attempts(run_id, task.task_no))
    if task.attempt and task.attempt not in {a["attempt"] for a in attempts}:
        names = ("attempt", "state", "queued_at", "started_at", "finished_at", "worker", "error")
        attempts.append({name: getattr(task, name) for name in names})
    return {"items": attempts, "next_cursor": None}


@routes.at(f"{_RUN}/tasks/<string:node_id>/mark", "POST")
@routes.needs(Permission.RUNS_STEER)
@routes.query(TaskQuery)
@routes.body(MarkBody)
@routes.gives(200, TaskSchema)
def mark_task(query: Mapping[str, Any], body: dict[str, Any], run_id: UUID, node_id: str) -> Task:
    """Settle a task by hand; what depends on it follows, as if it had ended so by itself.

    An attempt under way is taken from its worker, which is told to stop. 409 unless the run is
    running or paused and the task is ready, queued, running, waiting or retrying.
    """
    return core().steering.mark(
        tenant_id(),
        run_id,
        node_id,
        TaskState(body["state"]),
        map_index=query["map_index"],
        output=body.get("output"),
        reason=body["reason"],
    )


@routes.at(f"{_RUN}/events")
@routes.needs(Permission.RUNS_READ)
@routes.query(EventsQuery)
@routes.gives(200, FramePage)
def list_events(query: Mapping[str, Any], run_id: UUID) -> Response:
    """Return the frames of the socket, moves and log lines in one `seq` order.

    Without `logs:read`, a log line has `"withheld": true` in place of its level and message.
    `next_cursor` is the next `after`; it is null when the run has ended and nothing is left.
    """
    return jsonify(frames_after(_run(run_id), query["after"], query["limit"]))


@routes.at(f"{_RUN}/logs")
@routes.needs(Permission.LOGS_READ)
@routes.query(LogsQuery)
@routes.gives(200, FramePage)
def list_logs(query: Mapping[str, Any], run_id: UUID) -> Response:
    """Return log lines only; `next_cursor` is the next `after`, also where this page is empty."""
    page = lines_after(
        _run(run_id),
        query["after"],
        query["limit"],
        level=query["level"],
        node_id=query["node"],
        text=query["q"],
    )
    return jsonify(page)


@routes.at(f"{_RUN}/artifacts")
@routes.needs(Permission.ARTIFACTS_READ)
@routes.gives(200, ArtifactList)
def list_artifacts(run_id: UUID) -> dict[str, Any]:
    """List the files that a run left behind."""
    _run(run_id)
    return {"items": core().artifacts.list(run_id), "next_cursor": None}


@routes.at(f"{_RUN}/artifacts/<string:name>")
@routes.needs(Permission.ARTIFACTS_READ)
@routes.tagged()
@routes.gives(200, {"type": "string", "format": "binary"}, content_type="*/*")
def get_artifact(run_id: UUID, name: str) -> Response:
    """Download a file. It is always an attachment: a browser must not run what a node wrote."""
    _run(run_id)
    artifact, data = core().artifacts.get(run_id, name)
    plain = artifact.content_type.isascii() and artifact.content_type.isprintable()
    answer = Response(data, content_type=artifact.content_type if plain else _BYTES)
    answer.headers["Content-Disposition"] = attachment(artifact.name)
    answer.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return tagged(answer)
