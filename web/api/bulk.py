"""Routes that steer many runs: cancel or retry whatever a filter finds, a bounded number a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.models.access.permissions import Permission
from orchestrator.ports.reads import RunFilter
from orchestrator.services.runs.bulk import Batch, Bulk
from web.api.runs import filter_of, routes
from web.context import core, shared
from web.responses.idempotency import key_of
from web.schemas.fields import cursor
from web.schemas.steering import BulkBody, BulkResult, BulkRetryBody


@routes.at("/runs/cancel", "POST")
@routes.needs(Permission.RUNS_STEER, narrowed=True)
@routes.body(BulkBody)
@routes.gives(200, BulkResult)
def cancel_runs(body: dict[str, Any]) -> dict[str, Any]:
    """Cancel the live runs that a filter finds; `dry` only says which they are."""
    return _shown(_bulk().cancel(_wanted(body, Permission.RUNS_STEER), dry=body["dry"]))


@routes.at("/runs/retry", "POST")
@routes.needs(Permission.RUNS_START, narrowed=True)
@routes.keyed()
@routes.body(BulkRetryBody)
@routes.gives(200, BulkResult)
def retry_runs(body: dict[str, Any]) -> dict[str, Any]:
    """Run again, each as a new run, the ended runs that a filter finds.

    Without `state` it takes those that did not succeed. Retried runs still fit the filter: go on
    with `cursor`, and send an Idempotency-Key, so that a repetition starts nothing twice.
    """
    wanted = _wanted(body, Permission.RUNS_START)
    batch = _bulk().retry(wanted, version=body["version"], dry=body["dry"], key=key_of(body))
    for item in batch.items:
        if item.new_run_id is not None:
            shared().run_started()
    return _shown(batch)


def _wanted(body: Mapping[str, Any], permission: Permission) -> RunFilter:
    return filter_of(body, body["limit"], permission)


def _bulk() -> Bulk:
    return Bulk(core().store, core().steering, core().rerunning)


def _shown(batch: Batch) -> dict[str, Any]:
    items: list[Mapping[str, Any]] = [
        {
            "run_id": item.run_id,
            "state": str(item.state),
            "new_run_id": item.new_run_id,
            "error": item.error and {"code": item.error.code, "message": item.error.detail},
        }
        for item in batch.items
    ]
    more = batch.last is not None
    return {
        "items": items,
        "dry": batch.dry,
        "more": more,
        "next_cursor": cursor(batch.last) if batch.last else None,
    }
