"""What routes of workflows share: reading a definition and If-Match, answering with a workflow."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request

from orchestrator.models.definitions.saved import SavedWorkflow, Version, WorkflowStatus
from orchestrator.services.definitions.reading import taken_status
from web.schemas import strict_json
from web.schemas.workflows import WorkflowRow


def document(saved: SavedWorkflow, version: Version) -> dict[str, Any]:
    """Return a workflow as clients see it: the definition with what is stored around it."""
    row: dict[str, Any] = WorkflowRow().dump(saved)
    return {**row, **version.definition, "version": version.version}


def etag(version: int) -> dict[str, str]:
    """Return the header that names a version."""
    return {"ETag": f'"{version}"'}


def read() -> tuple[dict[str, Any], WorkflowStatus | None]:
    """Return the definition in the body, and the status it asks for."""
    return taken_status(strict_json.read_object(request))


def answered(saved: SavedWorkflow, version: Version, *, status: int = 200) -> Response:
    """Return a workflow with its ETag, and with its Location where it is new."""
    answer = jsonify(document(saved, version))
    answer.status_code = status
    answer.headers.update(etag(saved.version))
    if status == 201:
        answer.headers["Location"] = f"/api/v1/workflows/{saved.id}"
    return answer
