"""The application for any WSGI server: `web.wsgi:make_app()`. Sockets need gunicorn's gthread."""

from __future__ import annotations

from dataclasses import replace

from flask import Flask

from orchestrator import bootstrap, settings, start_check
from orchestrator.models.secret_keys import SecretKeys
from orchestrator.settings import Settings
from web.app import Only, create_app
from web.guard import check_key


def load_settings() -> Settings:
    """Read the settings and find what they leave open: running servers, and the kept admin key.

    SettingsError when something is still missing, or would leave the door open.
    """
    found = settings.load()
    kept = found.home / "admin.key"
    if not found.auth.admin_key and kept.is_file():
        key = kept.read_text(encoding="utf-8").strip()
        found = replace(found, auth=replace(found.auth, admin_key=key))
    check_key(found.auth.admin_key)
    start_check.refuse_unsafe(found)
    found = bootstrap.resolve(found)
    # Here, before there are processes: each would fail by itself, with all it has to say.
    SecretKeys(found.auth.secret_key, found.auth.secret_keys_old)
    return found


def make_app(found: Settings | None = None, *, only: Only = "all") -> Flask:
    """Build the application, from the environment where no settings are given."""
    found = found or load_settings()
    # A socket reads the record once a second at most: it needs no connection of its own.
    size = max(found.database.pool_size, found.web.threads)
    return create_app(bootstrap.build(found, pool_size=size, role="zq_api"), only=only)
