"""Routes of signing in and out, of one's own account, and of tickets for sockets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response, g, jsonify, request

from orchestrator.errors import Forbidden, Unauthorized
from orchestrator.models.access.permissions import Principal, PrincipalKind
from orchestrator.services.access.sign_in.sessions import SignedIn
from orchestrator.services.access.sign_in.tickets import TICKET_S
from web.access import cookies, csrf
from web.context import address, core, principal
from web.openapi.document import Routes
from web.schemas.access import (
    AcceptBody,
    LoginBody,
    MeSchema,
    PasswordBody,
    RefreshBody,
    SessionList,
    SignedInSchema,
    TicketSchema,
    UserSchema,
)

routes = Routes("auth", __name__, description="Signing in, and one's own account.")
#: The longest User-Agent that is kept.
_AGENT = 400


@routes.at("/auth/login", "POST")
@routes.body(LoginBody)
@routes.gives(200, SignedInSchema)
@routes.also(429, description="Too many attempts; Retry-After says how long to wait.")
@routes.public()
def login(body: Mapping[str, Any]) -> Response:
    """Sign in with a password: tokens in the answer, or in cookies with `cookie: true`.

    The answer is the same for an unknown account, a disabled one and a wrong password.
    """
    if body["cookie"]:
        csrf.check_any_origin()
    signed = core().access.sign_in(
        body["email"], body["password"], address=address(), agent=_agent()
    )
    return _signed(signed, cookie=body["cookie"])


@routes.at("/auth/refresh", "POST")
@routes.body(RefreshBody, required=False)
@routes.gives(200, SignedInSchema)
@routes.public()
def refresh(body: Mapping[str, Any]) -> Response:
    """Trade the refresh token, of the body or the cookie, for new tokens. Each is good once.

    One that was traded before ends its whole session: somebody else has it.
    """
    token, cookie = body.get("refresh_token"), False
    if token is None:
        token, cookie = cookies.refresh_token(), True
        if not token:
            raise Unauthorized("send the refresh_token of your sign-in")
        csrf.check_origin()
    signed = core().access.refresh(token, address=address(), agent=_agent())
    return _signed(signed, cookie=cookie)


@routes.at("/auth/logout", "POST")
@routes.signed_in()
@routes.gives(204)
def logout() -> Response:
    """End this session everywhere; a key stays as it is."""
    core().access.sign_out(principal())
    return _gone()


@routes.at("/auth/me")
@routes.signed_in()
@routes.gives(200, MeSchema)
def me() -> dict[str, Any]:
    """Say who asks, of which tenant, and what it may do."""
    who = principal()
    bound_to = who.session_id if g.by_cookie else None
    return {
        "principal": who,
        "tenant": core().access.tenants.own(who),
        "permissions": sorted(who.permissions),
        "grants": [
            {"workflow_id": workflow_id, "permissions": sorted(allowed)}
            for workflow_id, allowed in who.grants.items()
        ],
        "csrf_token": core().access.csrf_token(bound_to) if bound_to else None,
    }


@routes.at("/auth/password", "POST")
@routes.signed_in()
@routes.body(PasswordBody)
@routes.gives(204)
@routes.also(429, description="Too many attempts; Retry-After says how long to wait.")
def change_password(body: Mapping[str, Any]) -> Response:
    """Change one's own password. All sessions end, this one too: sign in again."""
    core().access.users.set_password(
        _user(), body["current_password"], body["new_password"], address=address()
    )
    return _gone()


@routes.at("/auth/accept", "POST")
@routes.body(AcceptBody)
@routes.gives(200, UserSchema)
@routes.public()
def accept(body: Mapping[str, Any]) -> Any:
    """Set a password with the token of an invitation or a reset; then sign in with it."""
    return core().access.users.redeem(body["token"], body["password"], name=body["name"])


@routes.at("/auth/sessions")
@routes.signed_in()
@routes.gives(200, SessionList)
def list_sessions() -> dict[str, Any]:
    """List one's own open sessions, newest first."""
    who = _user()
    return {"items": core().access.users.sessions_of(who, who.id), "next_cursor": None}


@routes.at("/auth/sessions", "DELETE")
@routes.signed_in()
@routes.gives(204)
def end_sessions() -> Response:
    """End all of one's own sessions, this one too."""
    who = _user()
    core().access.users.revoke_sessions(who, who.id)
    return _gone()


@routes.at("/auth/ticket", "POST")
@routes.signed_in()
@routes.gives(200, TicketSchema)
def make_ticket() -> dict[str, Any]:
    """Return a ticket that opens one socket as whoever asks: `?ticket=` on its path."""
    return {"ticket": core().access.ticket(principal()), "expires_in_s": TICKET_S}


def _user() -> Principal:
    who = principal()
    if who.kind is not PrincipalKind.USER:
        raise Forbidden("only users have sessions and a password, and a key is none")
    return who


def _agent() -> str:
    return request.headers.get("User-Agent", "")[:_AGENT]


def _signed(signed: SignedIn, *, cookie: bool) -> Response:
    session_id = signed.principal.session_id
    token = core().access.csrf_token(session_id) if cookie and session_id is not None else None
    answer = jsonify(
        {
            "token_type": "Bearer",
            "access_token": None if cookie else signed.access_token,
            "refresh_token": None if cookie else signed.refresh_token,
            "expires_in_s": signed.expires_in_s,
            "csrf_token": token,
        }
    )
    if cookie:
        cookies.keep(answer, signed)
    return answer


def _gone() -> Response:
    answer = Response(status=204)
    if g.by_cookie:
        cookies.drop(answer)
    return answer
