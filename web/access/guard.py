"""Who may come in and do what: checked before every request, by endpoint function and never by the
text of the path. What has declared no permission is closed.

In two steps, with the limits between them: who asks, and whether they may. So that what is refused
to somebody who is known counts as theirs.

A credential is a bearer token, a cookie, or a socket's ticket; nothing else in a query is one.
"""

from __future__ import annotations

from uuid import UUID

from flask import Flask, g, request

from orchestrator.errors import Forbidden, Unauthorized
from orchestrator.models.access.permissions import Principal, PrincipalKind
from orchestrator.ports.acting import Acting, act
from orchestrator.process.start_check import check_key
from web.access import cookies, csrf, narrowing
from web.access.needs import Need, need_of
from web.context import address, core

#: Endpoint functions that answer without a credential. All others, and unknown paths, demand one.
#: The pages of the API's documents hold nothing of an installation, and a browser that opens one
#: has no way to send a key.
PUBLIC = frozenset(
    {
        "health.healthz", "health.readyz", "health.version", "docs.home", "docs.page",
        "docs.style",
        "auth.login", "auth.refresh", "auth.accept",
        "oauth.providers", "oauth.start", "oauth.callback", "oauth.token",
    }
)  # fmt: skip
#: Sockets, which a browser opens with a ticket: it can send no header with one.
_TICKETS = frozenset({"stream.run_stream", "stream.log_stream"})


def install(app: Flask, *, admin_key: str) -> None:
    """Demand a credential on every route of the application; `check_permissions` belongs to it.

    SettingsError without a key: open is no default.
    """
    check_key(admin_key)

    @app.before_request
    def know() -> None:
        if request.endpoint in PUBLIC:
            return
        g.principal, g.by_cookie = _credential()
        act(
            Acting(
                principal=g.principal,
                address=address(),
                request_id=g.request_id,
                action=request.endpoint if request.method not in csrf.SAFE else None,
            )
        )


def check_permissions(app: Flask, *, origins: frozenset[str]) -> None:
    """Let nobody on to a route who may not, nor another server's page. Goes after the limits."""

    @app.before_request
    def admit() -> None:
        if request.endpoint in PUBLIC:
            return
        if request.headers.get("Upgrade", "").lower() == "websocket":
            csrf.check_socket(origins, cookie=g.by_cookie)
        elif g.by_cookie and request.method not in csrf.SAFE:
            csrf.check(g.principal)
        if request.endpoint is not None:
            _authorise(g.principal, need_of(app, request.endpoint))


def _credential() -> tuple[Principal, bool]:
    """Return who asks, and whether a cookie says so. Unauthorized."""
    header = request.headers.get("Authorization")
    if header is not None:
        scheme, _, bearer = header.partition(" ")
        if scheme.lower() != "bearer" or not bearer.strip():
            raise Unauthorized
        return core().access.principal_of(bearer.strip(), address()), False
    ticket = _ticket()
    if ticket is not None:
        return core().access.take_ticket(ticket), False
    token = cookies.access_token()
    if not token:
        raise Unauthorized
    principal = core().access.principal_of(token, address())
    if principal.kind is not PrincipalKind.USER or principal.session_id is None:
        # A key has no session, so nothing of it could be bound to the page that sends it.
        raise Unauthorized
    return principal, True


def _ticket() -> str | None:
    """Return the ticket of a socket; two are none."""
    given = request.args.getlist("ticket")
    upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
    return given[0] if len(given) == 1 and upgrade and request.endpoint in _TICKETS else None


def _authorise(principal: Principal, need: Need | None) -> None:
    """Let the principal on to the view, or raise Forbidden or NotFound."""
    if need is None:
        raise Forbidden("nobody may do this")
    wanted = need.permission
    if wanted is None or principal.may(wanted):
        return
    if not principal.grants:
        raise narrowing.missing(wanted)
    named = request.view_args or {}
    if isinstance(run_id := named.get("run_id"), UUID):
        narrowing.demand_run(wanted, run_id)
    elif isinstance(workflow_id := named.get("workflow_id"), UUID):
        narrowing.demand(wanted, workflow_id)
    elif not (need.narrowed and principal.somewhere(wanted)):
        raise narrowing.missing(wanted)
