"""Which pages of other origins may call the API: those in ZQ_WEB__ORIGINS, by their own key.

Never `*` and never cookies: a page sends a key it was given, so it needs no credentials mode.
Sockets are not covered by CORS; the guard checks their Origin.
"""

from __future__ import annotations

from flask import Flask, Response, request

from orchestrator.errors import SettingsError

#: Headers that a page may send and read; methods are those of the path.
_SENDS = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-Id"
_READS = (
    "ETag, Location, Content-Disposition, Retry-After, X-Request-Id, ZQ-API-Version, Deprecation,"
    " Sunset, Link, RateLimit, RateLimit-Policy"
)
#: How long a browser remembers what a path allows, seconds.
_REMEMBER_S = 600


def read(origins: str) -> frozenset[str]:
    """Return the origins of a setting. SettingsError for `*`: name each."""
    found = frozenset(o.strip().rstrip("/") for o in origins.split(",") if o.strip())
    for origin in found:
        scheme, _, rest = origin.partition("://")
        if scheme not in {"http", "https"} or not rest or "*" in rest or "/" in rest:
            raise SettingsError(
                f"ZQ_WEB__ORIGINS: {origin!r} is no origin; write each as https://host[:port]"
            )
    return found


def install(app: Flask, origins: frozenset[str]) -> None:
    """Answer preflights of known origins, and mark answers for them. Goes before the guard.

    Browsers send no key with a preflight, so the guard must not see it; nothing else is done then.
    """

    @app.before_request
    def preflight() -> Response | None:
        asked = request.headers.get("Access-Control-Request-Method")
        if request.method != "OPTIONS" or not asked or not _known(origins):
            return None
        answer = Response(status=204)
        adapter = app.url_map.bind_to_environ(request.environ)
        methods = ", ".join(sorted(adapter.allowed_methods()))
        answer.headers["Access-Control-Allow-Methods"] = methods
        answer.headers["Access-Control-Allow-Headers"] = _SENDS
        answer.headers["Access-Control-Max-Age"] = str(_REMEMBER_S)
        return answer

    @app.after_request
    def mark(response: Response) -> Response:
        if origins:
            response.vary.add("Origin")
        if _known(origins):
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = _READS
        return response


def _known(origins: frozenset[str]) -> bool:
    return request.headers.get("Origin", "") in origins
