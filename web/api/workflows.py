"""Routes of workflows: save, change, list, validate, archive, and start runs of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response, jsonify, request

from orchestrator.errors import InvalidDefinition, VersionMismatch
from orchestrator.models.problem import Problem
from orchestrator.models.run import RunState
from orchestrator.models.saved import SavedWorkflow, Version, WorkflowStatus
from orchestrator.ports.store import RunFilter
from orchestrator.services.definitions import read_definition
from web import strict_json
from web.context import core, tenant_id
from web.definition_doc import DefinitionBody, WorkflowDocument
from web.errors import as_dict
from web.fields import cursor
from web.headers import conditional
from web.idempotency import key_of
from web.openapi import Routes
from web.schemas import (
    ExecuteBody,
    HistoryQuery,
    RunPage,
    RunSchema,
    StartBody,
    ValidationResult,
    WaitQuery,
    WorkflowPage,
    WorkflowRow,
    WorkflowsQuery,
)
from web.starting import started

routes = Routes("workflows", __name__, description="Workflows, and starting runs of them.")


def document(saved: SavedWorkflow, version: Version) -> dict[str, Any]:
    """Return a workflow as clients see it: the definition with what is stored around it."""
    row: dict[str, Any] = WorkflowRow().dump(saved)
    return {**row, **version.definition, "version": version.version}


def _etag(version: int) -> dict[str, str]:
    return {"ETag": f'"{version}"'}


def _read() -> tuple[dict[str, Any], WorkflowStatus | None]:
    """Return the definition in the body, and the status it asks for."""
    body = strict_json.read_object(request)
    if "status" not in body:
        return body, None
    given = body.pop("status")
    known = [str(s) for s in WorkflowStatus]
    if given not in known:
        message = f"the status must be one of: {', '.join(known)}"
        raise InvalidDefinition([Problem("status", "bad_status", message)])
    return body, WorkflowStatus(given)


def _expected_version() -> int | None:
    """Return the version in If-Match, if there is one; any other tag fits nothing."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return None
    tags = request.if_match.as_set()
    if len(tags) == 1 and (tag := tags.pop()).isascii() and tag.isdigit() and len(tag) < 10:
        return int(tag)
    raise VersionMismatch("If-Match must carry the ETag of the workflow as you read it")


@routes.at("/workflows")
@routes.query(WorkflowsQuery)
@routes.gives(200, WorkflowPage)
def list_workflows(query: Mapping[str, Any]) -> dict[str, Any]:
    """List workflows, newest first, without archived ones."""
    limit = query["limit"]
    found = core().workflows.list(
        tenant_id(), before=query["cursor"], limit=limit + 1, query=query["q"]
    )
    more = cursor(found[limit - 1].id) if len(found) > limit else None
    return {"items": found[:limit], "next_cursor": more}


@routes.at("/workflows", "POST")
@routes.raw_body(DefinitionBody, "The definition.")
@routes.gives(201, WorkflowDocument)
def create_workflow() -> Response:
    """Save a new workflow. With an Idempotency-Key, a repetition returns the first one's result."""
    body, status = _read()
    key = key_of({**body, "status": status})
    saved, version = core().workflows.create(
        tenant_id(), body, status=status or WorkflowStatus.PUBLISHED, key=key
    )
    answer = jsonify(document(saved, version))
    answer.headers.update(_etag(saved.version))
    answer.headers["Location"] = f"/api/v1/workflows/{saved.id}"
    answer.status_code = 201
    return answer


@routes.at("/workflows/<uuid:workflow_id>")
@routes.gives(200, WorkflowDocument)
def get_workflow(workflow_id: UUID) -> Response:
    """Read a workflow; its ETag is its version."""
    saved, version = core().workflows.get(tenant_id(), workflow_id)
    answer = jsonify(document(saved, version))
    answer.headers.update(_etag(saved.version))
    answer.headers["Cache-Control"] = "private, no-cache"
    return conditional(answer)


@routes.at("/workflows/<uuid:workflow_id>", "PUT")
@routes.raw_body(DefinitionBody, "The whole definition.")
@routes.gives(200, WorkflowDocument)
def change_workflow(workflow_id: UUID) -> Response:
    """Save the next version. With If-Match, only where nobody changed it since you read it."""
    expected = _expected_version()
    body, status = _read()
    saved, version = core().workflows.change(
        tenant_id(), workflow_id, body, status=status, expected_version=expected
    )
    answer = jsonify(document(saved, version))
    answer.headers.update(_etag(saved.version))
    return answer


@routes.at("/workflows/<uuid:workflow_id>", "DELETE")
@routes.gives(204)
def archive_workflow(workflow_id: UUID) -> Response:
    """Archive a workflow: it is not listed any more and starts no runs; its history stays."""
    workflows = core().workflows
    saved, version = workflows.get(tenant_id(), workflow_id)
    if saved.status is not WorkflowStatus.ARCHIVED:
        workflows.change(
            tenant_id(),
            workflow_id,
            version.definition,
            status=WorkflowStatus.ARCHIVED,
            expected_version=_expected_version() or saved.version,
        )
    return Response(status=204)


@routes.at("/workflows/<uuid:workflow_id>/versions/<int(max=2147483647):number>")
@routes.gives(200, WorkflowDocument)
def get_version(workflow_id: UUID, number: int) -> Response:
    """Read one version of a workflow; it never changes."""
    saved, _ = core().workflows.get(tenant_id(), workflow_id)
    version = core().workflows.version(tenant_id(), workflow_id, number)
    answer = jsonify({**document(saved, version), "updated_at": version.created_at})
    answer.headers.update(_etag(version.version))
    answer.headers["Cache-Control"] = "private, no-cache"
    return conditional(answer)


@routes.at("/workflows/validate", "POST")
@routes.raw_body(DefinitionBody, "The definition.")
@routes.gives(200, ValidationResult)
def validate_workflow() -> dict[str, Any]:
    """Say everything that is wrong with a definition; nothing is stored."""
    try:
        body, _ = _read()
        read_definition(body)
    except InvalidDefinition as invalid:
        return {"valid": False, "problems": [as_dict(p) for p in invalid.problems]}
    return {"valid": True, "problems": []}


@routes.at("/workflows/<uuid:workflow_id>/runs", "POST")
@routes.query(WaitQuery)
@routes.body(StartBody, required=False)
@routes.gives(202, RunSchema)
def start_run(query: Mapping[str, Any], body: dict[str, Any], workflow_id: UUID) -> Response:
    """Start a run of the newest version. `?wait=30` answers when it has ended, or after 30 s."""
    run_id, new = core().engine.start(
        tenant_id(), workflow_id, input=body.get("input"), tags=body["tags"], key=key_of(body)
    )
    return started(run_id, new=new, wait_s=query["wait"])


@routes.at("/workflows/execute", "POST")
@routes.query(WaitQuery)
@routes.body(ExecuteBody)
@routes.gives(202, RunSchema)
def execute(query: Mapping[str, Any], body: dict[str, Any]) -> Response:
    """Start a run of a saved workflow, or of a definition that is kept for this run only."""
    engine, key = core().engine, key_of(body)
    more = {"input": body.get("input"), "tags": body["tags"], "key": key}
    if "workflow_id" in body:
        run_id, new = engine.start(tenant_id(), body["workflow_id"], **more)
    else:
        run_id, new = engine.execute(tenant_id(), body["definition"], **more)
    return started(run_id, new=new, wait_s=query["wait"])


@routes.at("/workflows/<uuid:workflow_id>/history")
@routes.query(HistoryQuery)
@routes.gives(200, RunPage)
def history(query: Mapping[str, Any], workflow_id: UUID) -> dict[str, Any]:
    """List the runs of a workflow, newest first."""
    core().workflows.get(tenant_id(), workflow_id)
    wanted = RunFilter(
        tenant_id=tenant_id(),
        workflow_id=workflow_id,
        states=tuple(RunState(s) for s in query["state"]),
        before=query["cursor"],
        limit=query["limit"] + 1,
    )
    return page_of_runs(wanted)


def page_of_runs(wanted: RunFilter) -> dict[str, Any]:
    """Return a page of runs for a filter that asks for one more than the page holds."""
    found, limit = core().store.reads.runs(wanted), wanted.limit - 1
    more = cursor(found[limit - 1].id) if len(found) > limit else None
    return {"items": found[:limit], "next_cursor": more}
