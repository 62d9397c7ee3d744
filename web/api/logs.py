"""Routes of log lines across runs, newest first. The live ones are `log_stream`'s."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response, jsonify

from orchestrator.models.access.permissions import Permission
from orchestrator.ports.log_lines import LogFilter
from orchestrator.services.runs.log_search import from_level, search
from web.access.narrowing import among
from web.context import core, tenant_id
from web.openapi.document import Routes
from web.schemas.fields import line_cursor
from web.schemas.logs import LinePage, LogHistoryQuery, LogQueryBody

routes = Routes("logs", __name__, description="Log lines across runs.")


@routes.at("/logs/history")
@routes.needs(Permission.LOGS_READ, narrowed=True)
@routes.query(LogHistoryQuery)
@routes.gives(200, LinePage)
def history(query: Mapping[str, Any]) -> Response:
    """Search the log lines of all runs, newest first.

    Go on with `next_cursor`, also where a page is short: a request looks at 100,000 lines at most,
    and begins no further look after 20 ms.
    """
    return _found(query, (query["run_id"],) if query["run_id"] else ())


@routes.at("/logs/query", "POST")
@routes.needs(Permission.LOGS_READ, narrowed=True)
@routes.body(LogQueryBody)
@routes.gives(200, LinePage)
def query_logs(body: Mapping[str, Any]) -> Response:
    """Search as `GET /logs/history` does, also in several runs; nothing is stored."""
    runs = [*body["run_ids"], *([body["run_id"]] if body["run_id"] else [])]
    return _found(body, tuple(dict.fromkeys(runs)))


def _found(given: Mapping[str, Any], run_ids: tuple[UUID, ...]) -> Response:
    wanted = LogFilter(
        tenant_id=tenant_id(),
        run_ids=run_ids,
        workflow_id=given["workflow_id"],
        among=among(Permission.LOGS_READ),
        node_id=given["node"],
        levels=from_level(given["level"]),
        text=given["q"],
        since=given["since"],
        until=given["until"],
        before=given["cursor"],
        limit=given["limit"],
    )
    page = search(core().store.reads, wanted)
    more = line_cursor(page.place) if page.place else None
    return jsonify({"items": [line.frame() for line in page.lines], "next_cursor": more})
