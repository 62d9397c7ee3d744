"""Routes of workflows: save, change, list, validate, archive, and start runs of them.

Versions and their differences are in `versions`, files in `exchange`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response

from orchestrator.errors import InvalidDefinition
from orchestrator.models.access.permissions import Permission
from orchestrator.models.definitions.saved import WorkflowStatus
from orchestrator.models.runs.run import RunState, StartRequest, Trigger
from orchestrator.ports.reads import RunFilter
from orchestrator.services.definitions.reading import read_definition
from web.access.bodies import takes_definitions
from web.access.narrowing import among, demand, demand_everywhere
from web.api.paging import page
from web.context import core, tenant_id
from web.openapi.document import Routes
from web.responses.errors import as_dict
from web.responses.etags import conditional, expected_versions
from web.responses.idempotency import key_of
from web.responses.starting import begun
from web.responses.workflows import answered, read
from web.schemas.definitions import DefinitionBody, DefinitionDraft, WorkflowDocument
from web.schemas.fields import cursor
from web.schemas.runs import ExecuteBody, HistoryQuery, RunPage, RunSchema, StartBody, WaitQuery
from web.schemas.workflows import ValidationResult, WorkflowPage, WorkflowsQuery

routes = Routes("workflows", __name__, description="Workflows, and starting runs of them.")
_ONE = "/workflows/<uuid:workflow_id>"


@routes.at("/workflows")
@routes.needs(Permission.WORKFLOWS_READ, narrowed=True)
@routes.query(WorkflowsQuery)
@routes.gives(200, WorkflowPage)
def list_workflows(query: Mapping[str, Any]) -> dict[str, Any]:
    """List workflows, newest first; archived ones only where `status` asks for them.

    `name` finds those of exactly this name: one at most that is not archived.
    """
    limit = query["limit"]
    found = core().workflows.list(
        tenant_id(),
        before=query["cursor"],
        limit=limit + 1,
        query=query["q"],
        among=among(Permission.WORKFLOWS_READ),
        name=query["name"],
        statuses=[WorkflowStatus(s) for s in query["status"]],
    )
    return page(found, limit, lambda each: cursor(each.id))


@routes.at("/workflows", "POST")
@routes.needs(Permission.WORKFLOWS_WRITE)
@routes.keyed()
@routes.raw_body(DefinitionBody, "The definition.")
@routes.gives(201, WorkflowDocument)
def create_workflow() -> Response:
    """Save a new workflow. With an Idempotency-Key, a repetition returns the first one's result."""
    body, status = read()
    key = key_of({**body, "status": status})
    saved, version = core().workflows.create(
        tenant_id(), body, status=status or WorkflowStatus.PUBLISHED, key=key
    )
    return answered(saved, version, status=201)


@routes.at(_ONE)
@routes.needs(Permission.WORKFLOWS_READ)
@routes.tagged()
@routes.gives(200, WorkflowDocument)
def get_workflow(workflow_id: UUID) -> Response:
    """Read a workflow; its ETag is its version."""
    answer = answered(*core().workflows.get(tenant_id(), workflow_id))
    answer.headers["Cache-Control"] = "private, no-cache"
    return conditional(answer)


@routes.at(_ONE, "PUT")
@routes.needs(Permission.WORKFLOWS_WRITE)
@routes.matched()
@routes.raw_body(DefinitionBody, "The whole definition.")
@routes.gives(200, WorkflowDocument)
def change_workflow(workflow_id: UUID) -> Response:
    """Save the next version. With If-Match, only where nobody changed it since you read it."""
    body, status = read()
    return answered(
        *core().workflows.change(
            tenant_id(), workflow_id, body, status=status, expected_versions=expected_versions()
        )
    )


@routes.at(_ONE, "DELETE")
@routes.needs(Permission.WORKFLOWS_WRITE)
@routes.matched()
@routes.gives(204)
def delete_workflow(workflow_id: UUID) -> Response:
    """Archive a workflow: it is not listed any more and starts no runs; its history stays."""
    core().workflows.set_status(
        tenant_id(), workflow_id, WorkflowStatus.ARCHIVED, expected_versions=expected_versions()
    )
    return Response(status=204)


@routes.at("/workflows/validate", "POST")
@routes.needs(Permission.WORKFLOWS_READ)
@routes.raw_body(DefinitionDraft, "The definition, right or wrong.")
@routes.gives(200, ValidationResult)
def validate_workflow() -> dict[str, Any]:
    """Say everything that is wrong with a definition; nothing is stored."""
    try:
        body, _ = read()
        read_definition(body)
    except InvalidDefinition as invalid:
        return {"valid": False, "problems": [as_dict(p) for p in invalid.problems]}
    return {"valid": True, "problems": []}


@routes.at(f"{_ONE}/runs", "POST")
@routes.needs(Permission.RUNS_START)
@routes.keyed()
@routes.query(WaitQuery)
@routes.body(StartBody, required=False)
@routes.gives(202, RunSchema)
def start_run(query: Mapping[str, Any], body: dict[str, Any], workflow_id: UUID) -> Response:
    """Start a run of the newest version. `?wait=30` answers when it has ended, or after 30 s."""
    done = core().engine.start(tenant_id(), workflow_id, _asked(body))
    return begun(done, wait_s=query["wait"])


@routes.at("/workflows/execute", "POST")
@routes.needs(Permission.RUNS_START, narrowed=True)
@routes.keyed()
@routes.query(WaitQuery)
@routes.body(ExecuteBody)
@takes_definitions
@routes.gives(202, RunSchema)
def execute(query: Mapping[str, Any], body: dict[str, Any]) -> Response:
    """Start a run of a saved workflow, or of a definition that is kept for this run only.

    A definition is written here as well as started: it needs `workflows:write` too.
    """
    if "workflow_id" in body:
        demand(Permission.RUNS_START, body["workflow_id"])
    else:
        demand_everywhere(Permission.RUNS_START)
        demand_everywhere(Permission.WORKFLOWS_WRITE)
    engine, asked = core().engine, _asked(body)
    if "workflow_id" in body:
        done = engine.start(tenant_id(), body["workflow_id"], asked)
    else:
        done = engine.execute(tenant_id(), body["definition"], asked)
    return begun(done, wait_s=query["wait"])


def _asked(body: Mapping[str, Any]) -> StartRequest:
    return StartRequest(
        input=body.get("input"),
        tags=body["tags"],
        trigger=Trigger(body.get("trigger", Trigger.API)),
        key=key_of(body),
    )


@routes.at(f"{_ONE}/history")
@routes.needs(Permission.RUNS_READ)
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
    return page(found, limit, lambda each: cursor(each.id))
