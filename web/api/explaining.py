"""Routes that explain a run: why it is where it is, and when each attempt took place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from marshmallow import Schema, fields

from orchestrator.models.access.permissions import Permission
from web.context import core, tenant_id
from web.openapi.document import Routes
from web.schemas.fields import at, cursor
from web.schemas.runs import TasksQuery

routes = Routes("explaining", __name__, description="Why a run waits, and where its time went.")


class ReasonSchema(Schema):
    """One thing that holds a run back."""

    code = fields.String(metadata={"description": "Stable: clients branch on it."})
    message = fields.String()
    node_id = fields.String(allow_none=True)
    map_index = fields.Integer(allow_none=True)
    state = fields.String(allow_none=True)
    since = at(nullable=True)


class WhySchema(Schema):
    """Why a run has not ended, causes first."""

    run_id = fields.UUID()
    state = fields.String()
    reasons = fields.List(fields.Nested(ReasonSchema))
    more = fields.Boolean(metadata={"description": "There are more than 200 reasons."})


class SpanSchema(Schema):
    """One attempt in time; what has not happened yet is null."""

    node_id = fields.String()
    map_index = fields.Integer(allow_none=True)
    attempt = fields.Integer()
    state = fields.String()
    queued_at = at(nullable=True)
    started_at = at(nullable=True)
    finished_at = at(nullable=True)
    worker = fields.String(allow_none=True)


class SpanPage(Schema):
    """Attempts, by task in the order of the plan."""

    items = fields.List(fields.Nested(SpanSchema))
    next_cursor = fields.String(allow_none=True)


@routes.at("/runs/<uuid:run_id>/why")
@routes.needs(Permission.RUNS_READ)
@routes.gives(200, WhySchema)
def why(run_id: UUID) -> dict[str, Any]:
    """Say why a run has not ended: what runs, what waits for what, and what to do about it."""
    run = core().engine.run(tenant_id(), run_id)
    reasons, more = core().explaining.why(run)
    return {"run_id": run.id, "state": str(run.state), "reasons": reasons, "more": more}


@routes.at("/runs/<uuid:run_id>/timeline")
@routes.needs(Permission.RUNS_READ)
@routes.query(TasksQuery)
@routes.gives(200, SpanPage)
def timeline(query: Mapping[str, Any], run_id: UUID) -> dict[str, Any]:
    """Say when each attempt was queued, started and finished; `limit` counts tasks."""
    run = core().engine.run(tenant_id(), run_id)
    last = query["cursor"]
    spans, next_no = core().explaining.timeline(
        run, after=-1 if last is None else last, limit=query["limit"]
    )
    return {"items": spans, "next_cursor": None if next_no is None else cursor(next_no)}
