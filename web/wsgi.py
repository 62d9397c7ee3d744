"""The application for any WSGI server: `web.wsgi:make_app()`. Sockets need gunicorn's gthread."""

from __future__ import annotations

from flask import Flask

from orchestrator.bootstrap import core as bootstrap
from orchestrator.settings import Settings
from web.app import Only, create_app
from web.server.configured import load_settings


def make_app(found: Settings | None = None, *, only: Only = "all") -> Flask:
    """Build the application, from the environment where no settings are given."""
    found = found or load_settings()
    # A socket reads the record once a second at most: it needs no connection of its own.
    size = max(found.database.pool_size, found.web.threads)
    core = bootstrap.build(found, pool_size=size, role="zq_api", measured=True, works=False)
    return create_app(core, only=only)
