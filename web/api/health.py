"""Is this process alive, can it work, and which release is it."""

from __future__ import annotations

from importlib.resources import files

from flask import Response, jsonify

from orchestrator import __version__
from orchestrator.errors import ServiceUnavailable
from web.context import core, shared
from web.openapi.document import Routes
from web.responses.errors import problem
from web.schemas.health import AliveSchema, ReadySchema, VersionSchema

routes = Routes("health", __name__, description="Alive, ready, and which release.")


def newest_revision() -> int:
    """Return the number of the newest migration that this release brings."""
    names = (entry.name for entry in files("migrations.versions").iterdir())
    return max(int(name[:4]) for name in names if name[:4].isdigit())


@routes.at("/healthz")
@routes.gives(200, AliveSchema)
@routes.public()
def healthz() -> Response:
    """Answer 200 as long as the process can answer at all."""
    return jsonify({"status": "alive"})


@routes.at("/readyz")
@routes.gives(200, ReadySchema)
@routes.public()
def readyz() -> Response:
    """Answer 200 when Postgres is there with this release's schema; Redis is only reported.

    Without Redis everything is still accepted and watched, so that a load balancer that turned
    requests away would make a small trouble large.
    """
    if shared().stopping.is_set():
        return problem(503, "stopping", "this process is stopping", headers={"Retry-After": "2"})
    head = newest_revision()
    try:
        found = core().store.reads.ping()
    except ServiceUnavailable as away:
        return problem(503, away.code, away.detail, headers={"Retry-After": "2"})
    # A newer schema still carries what this release calls: it may serve while others are upgraded.
    if found < head:
        detail = f"the schema is at revision {found}, this release needs {head}: run `zq migrate`"
        return problem(503, "wrong_schema", detail, headers={"Retry-After": "10"})
    redis = core().channel.ping()
    status = "ready" if redis else "degraded"
    return jsonify({"status": status, "postgres": True, "redis": redis, "revision": found})


@routes.at("/version")
@routes.gives(200, VersionSchema)
@routes.public()
def version() -> Response:
    """Return the release and the API's version."""
    return jsonify({"version": __version__, "api": "v1"})
