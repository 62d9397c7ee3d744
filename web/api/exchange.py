"""Routes of workflows as files: export as YAML or JSON, import either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response, request

from orchestrator.models.access.permissions import Permission
from orchestrator.models.definitions.saved import WorkflowStatus
from orchestrator.services.definitions.reading import from_yaml, taken_status, to_yaml
from web.api.workflows import routes
from web.context import core, tenant_id
from web.responses.etags import conditional, expected_versions
from web.responses.headers import attachment
from web.responses.idempotency import key_of
from web.responses.json_provider import dump
from web.responses.workflows import answered, etag, read
from web.schemas import strict_json
from web.schemas.definitions import DefinitionBody, WorkflowDocument
from web.schemas.workflows import ExportQuery, ImportQuery

YAML = "application/yaml"
#: What people's tools call YAML.
_YAML_TYPES = frozenset({YAML, "application/x-yaml", "text/yaml", "text/x-yaml"})
#: YAML is any value to whoever reads the API document by machine.
_ANYTHING: dict[str, Any] = {}


@routes.at("/workflows/<uuid:workflow_id>/export")
@routes.needs(Permission.WORKFLOWS_READ)
@routes.query(ExportQuery)
@routes.tagged()
@routes.gives(200, _ANYTHING, content_type=YAML)
@routes.documents(responses={200: {"content": {"application/json": {"schema": DefinitionBody}}}})
def export_workflow(query: Mapping[str, Any], workflow_id: UUID) -> Response:
    """Download the definition as a file that `POST /workflows/import` and `zq apply` take."""
    saved, version = core().workflows.get(tenant_id(), workflow_id)
    definition = dict(version.definition)
    if saved.status is not WorkflowStatus.PUBLISHED:
        definition["status"] = saved.status
    if query["format"] == "yaml":
        answer = Response(to_yaml(definition), content_type=f"{YAML}; charset=utf-8")
    else:
        answer = Response(dump(definition), content_type="application/json")
    answer.headers["Content-Disposition"] = attachment(f"{saved.name}.{query['format']}")
    tag = etag(saved.version)["ETag"].strip('"')
    answer.set_etag(tag if query["format"] == "json" else f"{tag}-yaml")
    answer.headers["Cache-Control"] = "private, no-cache"
    return conditional(answer)


@routes.at("/workflows/import", "POST")
@routes.needs(Permission.WORKFLOWS_WRITE)
@routes.query(ImportQuery)
@routes.keyed()
@routes.matched()
@routes.raw_body(DefinitionBody, "The definition, as JSON or as YAML with `needs`.")
@routes.documents(requestBody={"content": {YAML: {"schema": _ANYTHING}}})
@routes.gives(201, WorkflowDocument)
@routes.also(200, WorkflowDocument, description="A workflow of this name was there.")
def import_workflow(query: Mapping[str, Any]) -> Response:
    """Save a workflow from a file: a new one, or with `?update=true` the next version by name.

    Where only an archived one has the name, the newest of these is published again.
    """
    workflows = core().workflows
    body, status = _read()
    expected = expected_versions()
    if query["update"]:
        there = workflows.of_name(tenant_id(), str(body.get("name", "")))
        if there is not None:
            if there.status is WorkflowStatus.ARCHIVED:
                status = status or WorkflowStatus.PUBLISHED
            return answered(
                *workflows.change(
                    tenant_id(), there.id, body, status=status, expected_versions=expected
                )
            )
    key = key_of({**body, "status": status})
    saved, version = workflows.create(
        tenant_id(), body, status=status or WorkflowStatus.PUBLISHED, key=key
    )
    return answered(saved, version, status=201)


def _read() -> tuple[dict[str, Any], WorkflowStatus | None]:
    if request.mimetype not in _YAML_TYPES:
        return read()
    return taken_status(from_yaml(strict_json.read_text(request, _YAML_TYPES)))
