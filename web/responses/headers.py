"""What every answer carries: a request id, security headers, and how long it may be kept."""

from __future__ import annotations

import re
from urllib.parse import quote
from uuid import uuid4

from flask import Flask, Response, g, request

from orchestrator.errors import BadRequest, Problem
from orchestrator.ports.acting import Origin, come_from
from web.context import address

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
#: On answers of whatever made them, also where a request never reached the application.
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Permitted-Cross-Domain-Policies": "none",
}
_ALWAYS = {**SAFE, "ZQ-API-Version": "1"}
#: For those who came by TLS, seconds: for a year they come by nothing else.
_TLS_ONLY = "max-age=31536000"


def attachment(name: str) -> str:
    """Return the Content-Disposition of a file of this name, as RFC 6266 has it.

    Beyond plain ASCII the name is told twice: as it is, and for programs that do not know how.
    """
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    told = f'attachment; filename="{plain}"'
    return told if plain == name else f"{told}; filename*=UTF-8''{quote(name, safe='')}"


def install(app: Flask) -> None:
    """Name every request and dress every answer of the application. Goes before the guard."""

    @app.before_request
    def name() -> None:
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if _SANE_ID.match(given) else uuid4().hex
        # For the audit log: who it is may never be known.
        come_from(Origin(address(), g.request_id))

    @app.after_request
    def dress(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        for header, value in _ALWAYS.items():
            response.headers.setdefault(header, value)
        response.headers.setdefault("Cache-Control", "no-store")
        if request.is_secure:
            response.headers["Strict-Transport-Security"] = _TLS_ONLY
        return response


def refuse_nul(app: Flask) -> None:
    """Refuse NUL in paths and queries, which Postgres cannot take. Goes after the guard."""

    @app.before_request
    def check() -> None:
        named = [("path", request.path), *request.args.items(multi=True)]
        for where, text in named:
            if "\0" in text or "\0" in where:
                message = "NUL (%00) cannot be part of a request; remove it"
                raise BadRequest(
                    message, problems=[Problem(where.replace("\0", "?"), "nul", message)]
                )
