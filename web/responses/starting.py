"""The answer to a request that started a run, at once or when the run has ended."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any
from uuid import UUID

from flask import Response, jsonify

from orchestrator.errors import StoreUnavailable
from orchestrator.models.runs.run import Run
from orchestrator.services.runs.starting import Started
from web.context import Shared, principal, shared, tenant_id

#: A notification may get lost: the record is looked at this often, seconds.
_LOOK_S = 1.0


def started(
    run_id: UUID, *, new: bool, wait_s: int, run: Run | None = None, **more: Any
) -> Response:
    """Return 202 with the run and `more` fields, and where to find it.

    `run` is the run as it was stored, where that is known: it need not be read then. `wait_s` is a
    wish: with too many waiting already, or Postgres away, it answers at once.
    """
    web = shared()
    if new:
        web.run_started()
    if run is None:
        run = web.core.engine.run(tenant_id(), run_id)
    elif wait_s:
        with suppress(StoreUnavailable):
            run = web.core.engine.run(tenant_id(), run_id)
    if wait_s and not run.state.ended and web.waiters.take(principal()):
        try:
            run = wait_for_end(web, run, wait_s)
        finally:
            web.waiters.give_back(principal())
    answer = jsonify({**run.document(), **more})
    answer.status_code = 202
    answer.headers["Location"] = f"/api/v1/runs/{run.id}"
    return answer


def begun(done: Started, *, wait_s: int) -> Response:
    """Return what `started` does, for a run of a workflow or of a definition."""
    return started(done.run_id, new=done.moved is not None, wait_s=wait_s, run=done.run)


def wait_for_end(web: Shared, run: Run, wait_s: float) -> Run:
    """Return the run when it has ended, or as it is after `wait_s` seconds.

    The caller holds one of `web.waiters`, so that those who wait never take every thread.
    """
    deadline = time.monotonic() + wait_s
    with web.core.channel.subscribe(run.id) as heard, suppress(StoreUnavailable):
        while True:
            run = web.core.engine.run(run.tenant_id, run.id)
            frames: list[dict[str, Any]] | None = []
            while frames is not None and not any(f.get("kind") == "run" for f in frames):
                left_s = deadline - time.monotonic()
                if run.state.ended or left_s <= 0 or web.stopping.is_set():
                    return run
                frames = heard.get(min(left_s, _LOOK_S))
    return run
