"""The Flask application: built from a core, one per process, nothing of it at import time."""

from __future__ import annotations

import threading
from typing import Literal

from flask import Flask

from orchestrator.bootstrap import Core
from web import errors, guard, headers, metrics, openapi, stream
from web.api import health, nodes, runs, workflows
from web.context import Shared, keep
from web.json_provider import OrjsonProvider
from web.socket_line import SERVER_OPTIONS

#: Which routes an application has: all, or only sockets, health and metrics.
Only = Literal["all", "sockets"]


def create_app(core: Core, *, only: Only = "all") -> Flask:
    """Build the application. SettingsError without an admin key.

    The order counts: a request is named, then admitted, and only then looked at.
    """
    web = core.settings.web
    app = Flask("web", static_folder=None)
    app.json = OrjsonProvider(app)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = web.max_body_bytes
    app.config["SOCK_SERVER_OPTIONS"] = SERVER_OPTIONS
    headers.install(app)
    errors.install(app)
    run_started, watching = metrics.install(app)
    origins = frozenset(o.strip().rstrip("/") for o in web.origins.split(",") if o.strip())
    guard.install(app, admin_key=core.settings.auth.admin_key, origins=origins)
    headers.refuse_nul(app)
    openapi.refuse_unknown_query(app)
    keep(
        app.extensions,
        Shared(
            core=core,
            sockets=threading.BoundedSemaphore(web.sockets),
            # Half of the request threads always stay free for those who do not wait.
            waiters=threading.BoundedSemaphore(max(1, web.threads // 2)),
            run_started=run_started,
            watching=watching,
        ),
    )
    app.register_blueprint(stream.routes, url_prefix="/api/v1")
    if only == "sockets":
        app.register_blueprint(health.routes)
        return app
    api = openapi.make_api(app)
    api.register_blueprint(health.routes)
    for part in (workflows, runs, nodes):
        api.register_blueprint(part.routes, url_prefix="/api/v1")
    openapi.describe_others(app, api)
    return app
