"""Which page a browser's request comes from: other pages neither change anything nor open sockets.

Two checks for whoever is known by a cookie: the browser's own word (Origin, else Referer), and a
token that only a page of ours can have read. Requests with a key or a token of their own need none.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request

from orchestrator.errors import Forbidden
from orchestrator.models.access.permissions import Principal
from web.context import core

HEADER = "X-CSRF-Token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def check(principal: Principal) -> None:
    """Refuse an unsafe request of a cookie that does not come from a page of this server."""
    check_origin()
    token = request.headers.get(HEADER, "")
    if principal.session_id is None or not core().access.csrf_fits(principal.session_id, token):
        raise Forbidden(f"send `csrf_token` of the sign-in, or of /auth/me, as {HEADER}")


def check_origin() -> None:
    """Refuse a request that does not say that it comes from a page of this server."""
    said = request.headers.get("Origin") or request.headers.get("Referer")
    if said is None or not is_own(said):
        raise Forbidden("a request with a cookie must carry this server's own Origin or Referer")


def check_any_origin() -> None:
    """Refuse the page of another server; a client that is no browser says nothing."""
    said = request.headers.get("Origin")
    if said is not None and not is_own(said):
        raise Forbidden("a page of another server may not sign in here")


def check_socket(origins: frozenset[str], *, cookie: bool) -> None:
    """Refuse a socket that another server's page opens: CORS does not cover them.

    Browsers send Origin with a socket, other clients none: those bring no cookie.
    """
    origin = request.headers.get("Origin")
    if origin is None and not cookie:
        return
    if origin is None or not (is_own(origin) or (origin in origins and not cookie)):
        shown = "without an Origin" if origin is None else f"the Origin {origin[:200]!r}"
        raise Forbidden(f"{shown} may not open this socket; ZQ_WEB__ORIGINS names those that may")


def is_own(said: str) -> bool:
    """Tell whether an Origin or Referer is this server: scheme, host and port.

    https fits a request that came as http: a proxy that is not trusted may have unwrapped it.
    """
    try:
        parts = urlsplit(said)
        port = parts.port
    except ValueError:
        return False
    if parts.username is not None or parts.scheme not in {"http", "https"} or not parts.hostname:
        return False
    usual = {"http": 80, "https": 443}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    named = host if port in (None, usual) else f"{host}:{port}"
    downgraded = parts.scheme == "http" and request.scheme in {"https", "wss"}
    here = request.host.lower()
    return not downgraded and here in {named, f"{host}:{usual}" if port in (None, usual) else named}
