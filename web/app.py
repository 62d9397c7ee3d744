"""The Flask application: built from a core, one per process, nothing of it at import time."""

from __future__ import annotations

from typing import Literal

from flask import Flask

from orchestrator.bootstrap.core import Core
from web.access import bodies, cors, guard, limits, own_context, proxies
from web.access.shares import Shares
from web.api import (
    api_keys,
    audit,
    auth,
    bulk,
    exchange,
    explaining,
    grants,
    health,
    logs,
    nodes,
    oauth,
    quotas,
    roles,
    runs,
    secrets,
    tenants,
    users,
    variables,
    versions,
    workflows,
)
from web.context import Shared, keep
from web.openapi import document as openapi
from web.openapi import page
from web.responses import compression, deprecation, errors, headers, metrics
from web.responses.json_provider import OrjsonProvider
from web.sockets import admission, log_stream, run_stream
from web.sockets.sender import SERVER_OPTIONS

#: Modules that add routes to a blueprint of another one, and are imported for that.
_ADDING = (log_stream, run_stream, bulk, exchange, versions)
#: In the order in which the API's document shows them.
_PARTS = (
    workflows, runs, explaining, nodes, logs, auth, oauth, users, api_keys, roles, grants, tenants,
    secrets, variables, quotas, audit,
)  # fmt: skip
#: Which routes an application has: all, or only sockets, health and metrics.
Only = Literal["all", "sockets"]


def create_app(core: Core, *, only: Only = "all") -> Flask:
    """Build the application. SettingsError without an admin key, or for a bad origin.

    The order counts: a request is named, then known, counted and admitted, and only then looked
    at; an answer is compressed, then dressed.
    """
    web = core.settings.web
    app = Flask("web", static_folder=None)
    app.json = OrjsonProvider(app)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.config["SOCK_SERVER_OPTIONS"] = SERVER_OPTIONS
    headers.install(app)
    bodies.install(app, core.settings)
    errors.install(app)
    run_started, watching, limited = metrics.install(app, core.store_seconds)
    compression.install(app)
    deprecation.install(app)
    origins = cors.read(web.origins)
    cors.install(app, origins)
    believed = proxies.Forwarded(app.wsgi_app, proxies.read(web.trusted_proxies))
    app.wsgi_app = own_context.OwnContext(believed)  # type: ignore[method-assign]
    guard.install(app, admin_key=core.settings.auth.admin_key)
    limits.install(app, core, limited)
    guard.check_permissions(app, origins=origins)
    headers.refuse_nul(app)
    openapi.refuse_unknown_query(app)
    keep(
        app.extensions,
        Shared(
            core=core,
            sockets=Shares(web.sockets),
            # Half of the request threads always stay free for those who do not wait.
            waiters=Shares(max(1, web.threads // 2)),
            run_started=run_started,
            watching=watching,
        ),
    )
    app.register_blueprint(admission.routes, url_prefix="/api/v1")
    if only == "sockets":
        app.register_blueprint(health.routes)
        return app
    api = openapi.make_api(app)
    api.register_blueprint(health.routes)
    for part in _PARTS:
        api.register_blueprint(part.routes, url_prefix="/api/v1")
    page.install(app, api.spec.to_dict)
    openapi.describe_others(app, api)
    return app
