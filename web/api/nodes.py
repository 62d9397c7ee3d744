"""The catalogue of node types, as an editor needs it."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from flask import Response

from orchestrator.models.node import CATALOGUE, NodeType
from web.headers import conditional
from web.json_provider import dump
from web.openapi import Routes
from web.schemas import NodeTypeList

routes = Routes("nodes", __name__, description="What nodes can do.")


def _shown(kind: NodeType) -> dict[str, Any]:
    return {
        "type": kind.name,
        "title": kind.title,
        "description": kind.description,
        "config_schema": kind.config_schema,
        "output_schema": kind.output_schema,
        "example": kind.example,
    }


@routes.at("/nodes/types")
@routes.gives(200, NodeTypeList)
def list_types() -> Response:
    """List the node types, each with a JSON Schema good enough for a form."""
    body = dump({"items": [_shown(kind) for kind in CATALOGUE.values()], "next_cursor": None})
    answer = Response(body, content_type="application/json")
    answer.set_etag(sha256(body).hexdigest()[:32])
    answer.headers["Cache-Control"] = "private, max-age=60"
    return conditional(answer)
