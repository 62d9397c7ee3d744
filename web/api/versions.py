"""Routes of a workflow's versions: list, read, compare, roll back; activate and archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from flask import Response, jsonify

from orchestrator.errors import ServiceUnavailable, ZQError
from orchestrator.models.access.permissions import Permission
from orchestrator.models.definitions.saved import WorkflowStatus
from web.access.narrowing import demand
from web.api.paging import page
from web.api.workflows import routes
from web.context import core, tenant_id
from web.responses.etags import expected_versions, tagged
from web.responses.workflows import answered, document
from web.schemas.definitions import WorkflowDocument
from web.schemas.fields import cursor
from web.schemas.workflows import (
    ActivateBody,
    ActivatedList,
    DiffQuery,
    DiffSchema,
    RollbackBody,
    VersionPage,
    VersionsQuery,
)

_ONE = "/workflows/<uuid:workflow_id>"


@routes.at(f"{_ONE}/versions")
@routes.needs(Permission.WORKFLOWS_READ)
@routes.query(VersionsQuery)
@routes.gives(200, VersionPage)
def list_versions(query: Mapping[str, Any], workflow_id: UUID) -> dict[str, Any]:
    """List the versions of a workflow, newest first."""
    limit = query["limit"]
    found = core().workflows.versions(
        tenant_id(), workflow_id, before=query["cursor"], limit=limit + 1
    )
    return page(found, limit, lambda each: cursor(each.version))


@routes.at(f"{_ONE}/versions/<int(max=2147483647):number>")
@routes.needs(Permission.WORKFLOWS_READ)
@routes.tagged()
@routes.gives(200, WorkflowDocument)
def get_version(workflow_id: UUID, number: int) -> Response:
    """Read one version of a workflow: it never changes, but for the workflow's present status."""
    saved, _ = core().workflows.get(tenant_id(), workflow_id)
    version = core().workflows.version(tenant_id(), workflow_id, number)
    return tagged(jsonify({**document(saved, version), "updated_at": version.created_at}))


@routes.at(f"{_ONE}/diff")
@routes.needs(Permission.WORKFLOWS_READ)
@routes.query(DiffQuery)
@routes.tagged()
@routes.gives(200, DiffSchema)
def diff_versions(query: Mapping[str, Any], workflow_id: UUID) -> Response:
    """Compare two versions: each change with its path and both values, and the YAML as a diff."""
    older, newer, found = core().workflows.diff(
        tenant_id(), workflow_id, query["older"], query["newer"]
    )
    return tagged(jsonify({"from": older, "to": newer, **asdict(found)}))


@routes.at(f"{_ONE}/rollback", "POST")
@routes.needs(Permission.WORKFLOWS_WRITE)
@routes.matched()
@routes.body(RollbackBody)
@routes.gives(200, WorkflowDocument)
def roll_back(body: Mapping[str, Any], workflow_id: UUID) -> Response:
    """Save an earlier version again as the newest. Where nothing differs, no version is made."""
    return answered(
        *core().workflows.roll_back(
            tenant_id(), workflow_id, body["version"], expected_versions=expected_versions()
        )
    )


@routes.at(f"{_ONE}/activate", "POST")
@routes.needs(Permission.WORKFLOWS_WRITE)
@routes.matched()
@routes.gives(200, WorkflowDocument)
def activate_workflow(workflow_id: UUID) -> Response:
    """Publish a workflow, also one that was archived: it is listed and starts runs again."""
    return _set(workflow_id, WorkflowStatus.PUBLISHED)


@routes.at(f"{_ONE}/archive", "POST")
@routes.needs(Permission.WORKFLOWS_WRITE)
@routes.matched()
@routes.gives(200, WorkflowDocument)
def archive_workflow(workflow_id: UUID) -> Response:
    """Archive a workflow: it is not listed any more and starts no runs; its history stays."""
    return _set(workflow_id, WorkflowStatus.ARCHIVED)


def _set(workflow_id: UUID, status: WorkflowStatus) -> Response:
    return answered(
        *core().workflows.set_status(
            tenant_id(), workflow_id, status, expected_versions=expected_versions()
        )
    )


@routes.at("/workflows/activate", "POST")
@routes.needs(Permission.WORKFLOWS_WRITE, narrowed=True)
@routes.body(ActivateBody)
@routes.gives(200, ActivatedList)
def activate_workflows(body: Mapping[str, Any]) -> dict[str, Any]:
    """Publish many workflows; one that cannot be is reported, and the others go on."""
    ids = dict.fromkeys(body["workflow_ids"])
    return {"items": [_activated(workflow_id) for workflow_id in ids], "next_cursor": None}


def _activated(workflow_id: UUID) -> dict[str, Any]:
    shown: dict[str, Any] = {"workflow_id": workflow_id, "status": None, "version": None}
    try:
        demand(Permission.WORKFLOWS_WRITE, workflow_id)
        saved, _ = core().workflows.set_status(tenant_id(), workflow_id, WorkflowStatus.PUBLISHED)
    except ServiceUnavailable:
        raise
    except ZQError as error:
        return {**shown, "error": {"code": error.code, "message": error.detail}}
    return {**shown, "status": saved.status, "version": saved.version, "error": None}
