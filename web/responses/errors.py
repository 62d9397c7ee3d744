"""Every failure as application/problem+json: a stable code, a remedy, and never an internal.

The one place where a `ZQError.code` becomes an HTTP status.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from flask import Flask, Response, g, request
from simple_websocket import ConnectionError as HandshakeFailed
from werkzeug.exceptions import HTTPException
from werkzeug.routing.exceptions import WebsocketMismatch
from wsproto.utilities import RemoteProtocolError

from orchestrator.errors import (
    Problem,
    QuotaExceeded,
    RateLimited,
    ServiceUnavailable,
    TooManyAttempts,
    Unauthorized,
    ZQError,
)

log = logging.getLogger(__name__)

#: A code that is not here is a mistake of ours: 500.
STATUS: Mapping[str, int] = {
    "bad_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "illegal_move": 409,
    "name_taken": 409,
    "last_owner": 409,
    "idempotency_mismatch": 409,
    "version_mismatch": 412,
    "too_large": 413,
    "unsupported_media": 415,
    "invalid": 422,
    "expression_error": 422,
    "too_many_attempts": 429,
    "rate_limited": 429,
    "quota_exceeded": 429,
    "unavailable": 503,
    "store_unavailable": 503,
    "channel_unavailable": 503,
    "secrets_unavailable": 503,
}
#: Codes of what werkzeug raises by itself.
CODES: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media",
    429: "rate_limited",
    426: "upgrade_required",
}
RETRY_AFTER_S = 2
MEDIA_TYPE = "application/problem+json"


def install(app: Flask) -> None:
    """Answer every error of the application as a problem."""
    app.register_error_handler(ZQError, _ours)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(RemoteProtocolError, _handshake)
    app.register_error_handler(HandshakeFailed, _handshake)
    app.register_error_handler(Exception, _unforeseen)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    problems: Iterable[Problem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem document (RFC 9457) with this product's `code` and `request_id`."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "instance": request.path,
        "request_id": g.get("request_id"),
        "problems": [as_dict(p) for p in problems],
    }
    data = orjson.dumps(body, default=str)
    return Response(data, status, dict(headers or {}), content_type=MEDIA_TYPE)


def as_dict(found: Problem) -> dict[str, Any]:
    """Return a problem as it is sent."""
    return {
        "path": found.path,
        "node": found.node,
        "code": found.code,
        "message": found.message,
    }


def _ours(error: ZQError) -> Response:
    status = STATUS.get(error.code)
    if status is None:
        return _unforeseen(error)
    headers = {}
    if isinstance(error, ServiceUnavailable):
        headers["Retry-After"] = str(error.extra.get("retry_after_s", RETRY_AFTER_S))
        log.warning("%s: %s", error.code, error.detail)
    if isinstance(error, TooManyAttempts | RateLimited | QuotaExceeded):
        headers["Retry-After"] = str(error.extra.get("retry_after_s", RETRY_AFTER_S))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="zq"'
    found = getattr(error, "problems", None) or error.extra.get("problems", ())
    return problem(status, error.code, error.detail, problems=found, headers=headers)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    if status >= 500:
        return _unforeseen(error)
    headers = {
        name: value
        for name, value in error.get_headers()
        if name in {"Allow", "Retry-After", "Location"}
    }
    if isinstance(error, WebsocketMismatch):
        return _mismatch()
    if 300 <= status < 400:
        return Response(status=status, headers=headers)
    return problem(
        status, CODES.get(status, "bad_request"), _detail(status, error), headers=headers
    )


def _mismatch() -> Response:
    if "Upgrade" in request.headers:
        return problem(400, CODES[400], "this path is no WebSocket; ask for no upgrade")
    detail = "this path is a WebSocket; ask for an upgrade"
    return problem(426, CODES[426], detail, headers={"Upgrade": "websocket"})


def _detail(status: int, error: HTTPException) -> str:
    if status == HTTPStatus.NOT_FOUND:
        return "there is nothing at this path; /api/v1/openapi.json lists all"
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{request.method[:20]} is not for this path; the Allow header lists what is"
    return error.description or HTTPStatus(status).phrase


def _handshake(error: Exception) -> Response:
    return problem(400, "bad_request", f"the WebSocket handshake is wrong: {str(error)[:200]}")


def _unforeseen(error: Exception) -> Response:
    log.error(
        "request %s failed: %s %s",
        g.get("request_id"),
        request.method,
        request.path,
        exc_info=error,
    )
    detail = "this server made a mistake; give the request_id to whoever runs it"
    return problem(500, "internal", detail)
