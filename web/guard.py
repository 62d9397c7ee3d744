"""Who may come in: one check before every request, by endpoint and never by the text of the path.

Roles and tickets for browsers are not here; the only credential so far is the admin key.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from urllib.parse import urlsplit

from flask import Flask, g, request
from werkzeug.exceptions import Forbidden

from orchestrator.errors import SettingsError, Unauthorized
from orchestrator.models.ids import DEFAULT_TENANT
from web.context import Principal

#: Endpoint functions that answer without a credential. All others, and unknown paths, demand one.
#: The pages of the API's documents hold nothing of an installation, and a browser that opens one
#: has no way to send a key.
PUBLIC = frozenset({"health.healthz", "health.readyz", "health.version", "docs.page", "docs.style"})


def install(app: Flask, *, admin_key: str, origins: frozenset[str]) -> None:
    """Guard every route of the application. SettingsError without a key: open is no default."""
    check_key(admin_key)
    expected = sha256(admin_key.encode()).digest()

    @app.before_request
    def admit() -> None:
        if request.endpoint in PUBLIC:
            return
        g.principal = _principal(expected)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            _check_origin(origins)


def check_key(admin_key: str) -> None:
    """Raise SettingsError where there is no admin key."""
    if not admin_key:
        raise SettingsError(
            "there is no admin key: set ZQ_AUTH__ADMIN_KEY (or ..._FILE), or run `zq up` once"
        )


def _principal(expected: bytes) -> Principal:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    given = sha256(key.strip().encode("utf-8", "replace")).digest()
    # Compared in any case, so that the time tells nothing about the scheme either.
    fits = hmac.compare_digest(given, expected)
    if not fits or scheme.lower() != "bearer":
        raise Unauthorized("send a valid key as `Authorization: Bearer <key>`")
    return Principal(name="admin", tenant_id=DEFAULT_TENANT)


def _check_origin(origins: frozenset[str]) -> None:
    """Browsers send Origin with a socket and CORS does not cover it; other clients send none."""
    origin = request.headers.get("Origin")
    if origin is None or origin in origins:
        return
    if urlsplit(origin).netloc != request.host or urlsplit(origin).scheme not in {"http", "https"}:
        raise Forbidden(
            f"the Origin {origin[:200]!r} may not open sockets; add it to ZQ_WEB__ORIGINS"
        )
