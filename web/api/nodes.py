"""The catalogue of node types as an editor needs it, and trying out: a node, an expression."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from flask import Response

from orchestrator.errors import (
    ExpressionError,
    IllegalMove,
    InvalidDefinition,
    NotFound,
    Problem,
    RateLimited,
    ServiceUnavailable,
    did_you_mean,
)
from orchestrator.models.access.permissions import Permission
from orchestrator.models.definitions.node import CATALOGUE, NodeType
from orchestrator.models.expressions import expression
from orchestrator.models.runs.run import Run, StartRequest
from web.access.trying import demand_for_test, preview_scope
from web.context import Shared, core, principal, shared, tenant_id
from web.openapi.document import Routes
from web.responses.etags import tagged
from web.responses.events import lines_after
from web.responses.idempotency import key_of
from web.responses.json_provider import dump
from web.responses.starting import wait_for_end
from web.schemas.nodes import NodeTestBody, NodeTestResult, NodeTypeList, PreviewBody, PreviewResult

routes = Routes("nodes", __name__, description="What nodes can do.")
#: What a preview may cost, of the 2,000,000 steps that a node may: this is the API's own time.
PREVIEW_STEPS = 200_000
PREVIEW_S = 0.5
_POSITION = re.compile(r"\bcharacter ([0-9]{1,6})\b")


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
@routes.needs(Permission.NODES_READ)
@routes.tagged()
@routes.gives(200, NodeTypeList)
def list_types() -> Response:
    """List the node types, each with a JSON Schema good enough for a form."""
    body = dump({"items": [_shown(kind) for kind in CATALOGUE.values()], "next_cursor": None})
    return tagged(Response(body, content_type="application/json"), "private, max-age=60")


@routes.at("/nodes/types/<string:kind>/test", "POST")
@routes.needs(Permission.NODES_TEST)
@routes.keyed()
@routes.body(NodeTestBody)
@routes.gives(200, NodeTestResult)
def test_type(body: dict[str, Any], kind: str) -> dict[str, Any]:
    """Run one node with this config, on a worker, as a run of its own; wait for its end.

    One attempt only. A run that has not ended after `timeout_s` seconds is cancelled. A config
    that reads secrets needs `secrets:write` too.
    """
    if kind not in CATALOGUE:
        raise NotFound(f"there is no node type {kind[:64]!r}{did_you_mean(kind, list(CATALOGUE))}")
    demand_for_test(kind, body["config"])
    web = shared()
    if not web.waiters.take(principal()):
        raise ServiceUnavailable("too many requests wait for runs just now; try again in a moment")
    try:
        return _tested(web, kind, body)
    finally:
        web.waiters.give_back(principal())


def _tested(web: Shared, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    limit_s = body["timeout_s"]
    data = {
        "config": body["config"],
        "timeout_s": limit_s,
        "retry": {"max_attempts": 1},
    }
    definition = {
        "name": f"test of {kind}",
        "nodes": [{"id": "test", "type": kind, "data": data}],
        "edges": [],
    }
    try:
        run_id, new = core().engine.execute(
            tenant_id(),
            definition,
            StartRequest(input=body["input"], tags=["node-test"], key=key_of(body)),
        )
    except InvalidDefinition as invalid:
        raise InvalidDefinition([_of_config(p) for p in invalid.problems]) from None
    if new:
        web.run_started()
    run = wait_for_end(web, core().engine.run(tenant_id(), run_id), limit_s)
    if not run.state.ended:
        with suppress(IllegalMove):
            core().steering.cancel(tenant_id(), run_id)
        run = core().engine.run(tenant_id(), run_id)
    return _result(run, limit_s)


def _result(run: Run, limit_s: int) -> dict[str, Any]:
    (task,) = core().store.reads.tasks(run.id)
    late = {"code": "not_finished", "message": f"no end within {limit_s} s; it was cancelled"}
    unfinished = task.error is None and run.state not in ("succeeded", "failed")
    return {
        "run_id": run.id,
        "state": str(run.state),
        "output": task.output,
        "error": late if unfinished else task.error,
        "logs": lines_after(run, 0, 200)["items"],
        "duration_ms": task.duration_ms,
    }


def _of_config(problem: Problem) -> Problem:
    """Name the field of this request, not that of the definition around it."""
    inner = problem.path.removeprefix("nodes[0].data.").removeprefix("nodes[0].")
    return Problem(inner, problem.code, problem.message)


@routes.at("/expressions/preview", "POST")
@routes.needs(Permission.NODES_READ)
@routes.body(PreviewBody)
@routes.gives(200, PreviewResult)
def preview(body: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluate an expression or fill a text, as a node would but with a tenth of its allowance.

    It takes half a second at most; a second one by the same user or key meanwhile is told 429.
    Every secret reads as `***`; variables are read where the scope gives none.
    """
    web = shared()
    if not web.previews.take(principal()):
        busy = "your preview before this one is not done yet; send one at a time"
        raise RateLimited(busy, retry_after_s=1)
    try:
        return _previewed(body)
    finally:
        web.previews.give_back(principal())


def _previewed(body: Mapping[str, Any]) -> dict[str, Any]:
    scope = {**preview_scope(body), "now": body["now"] or core().clock.now()}
    until = monotonic() + PREVIEW_S
    try:
        if "expression" in body:
            value = expression.evaluate(body["expression"], scope, PREVIEW_STEPS, until)
        else:
            parts = max(1, body["template"].count("{{"))
            value = expression.fill(body["template"], scope, PREVIEW_STEPS // parts, until)
    except ExpressionError as error:
        found = _POSITION.search(error.detail)
        position = int(found[1]) if found else None
        problem = {"code": error.code, "message": error.detail, "position": position}
        return {"valid": False, "value": None, "problem": problem}
    return {"valid": True, "value": value, "problem": None}
