"""Routes of signing in at a provider, and the token endpoint for machines (RFC 6749, 4.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import marshmallow as ma
from flask import Response, jsonify, request, url_for

from orchestrator.errors import BadRequest, Forbidden, Unauthorized, UnsupportedMedia
from orchestrator.models.access.permissions import Permission
from orchestrator.services.access.providers.oidc import Answer
from orchestrator.services.access.providers.pending import PENDING_S, fresh_secret
from web.access import cookies
from web.context import address, core
from web.openapi.document import Routes
from web.schemas import strict_json
from web.schemas.access import SignedInSchema
from web.schemas.oauth import (
    CallbackQuery,
    ProviderList,
    StartQuery,
    TokenErrorSchema,
    TokenForm,
    TokenSchema,
)

routes = Routes("oauth", __name__, description="Signing in elsewhere, and tokens for machines.")
_FORM = "application/x-www-form-urlencoded"
_BROWSER = re.compile(r"[A-Za-z0-9_-]{43}")
_MOST_FIELDS = 20
#: The longest User-Agent that is kept.
_AGENT = 400


@routes.at("/auth/oauth")
@routes.gives(200, ProviderList)
@routes.public()
def providers() -> dict[str, Any]:
    """List the providers that people can sign in at."""
    items = [
        {
            "name": one.name,
            "issuer": one.issuer,
            "start": url_for("oauth.start", provider=one.name),
        }
        for one in core().access.oidc.providers
    ]
    return {"items": items, "next_cursor": None}


@routes.at("/auth/oauth/<string:provider>/start")
@routes.query(StartQuery)
@routes.gives(302, description="To the provider.")
@routes.public()
def start(query: Mapping[str, Any], provider: str) -> Response:
    """Send the browser to a provider to sign in. It comes back within ten minutes, or not."""
    browser = cookies.browser()
    if not _BROWSER.fullmatch(browser):
        browser = fresh_secret()
    to = core().access.oidc.start(
        provider, browser=browser, redirect_uri=_callback(provider), then=query["next"],
        bearer=query["mode"] == "bearer",
    )  # fmt: skip
    answer = Response(status=302, headers={"Location": to})
    cookies.keep_browser(answer, browser, max_age_s=int(PENDING_S))
    return answer


@routes.at("/auth/oauth/<string:provider>/callback")
@routes.query(CallbackQuery, unknown=ma.EXCLUDE)
@routes.gives(200, SignedInSchema, description="Tokens, with `mode=bearer`.")
@routes.also(302, description="Signed in: cookies, and on to `next`.")
@routes.also(401, description="Something of the provider's answer is not good; start again.")
@routes.also(403, description="The provider is believed, but its user may not come in.")
@routes.public()
def callback(query: Mapping[str, Any], provider: str) -> Response:
    """Take a browser back from a provider, and sign its user in."""
    if any(len(request.args.getlist(name)) > 1 for name in query):
        raise BadRequest("a parameter is given twice")
    answer = Answer(
        state=query["state"], code=query["code"], error=query["error"], issuer=query["iss"]
    )
    agent = request.headers.get("User-Agent", "")[:_AGENT]
    back = core().access.oidc.finish(
        provider, answer, browser=cookies.browser(), address=address(), agent=agent
    )
    if back.bearer:
        return jsonify(
            {
                "token_type": "Bearer",
                "access_token": back.signed.access_token,
                "refresh_token": back.signed.refresh_token,
                "expires_in_s": back.signed.expires_in_s,
                "csrf_token": None,
            }
        )
    onward = Response(status=302, headers={"Location": back.then})
    cookies.keep(onward, back.signed)
    return onward


@routes.at("/oauth/token", "POST")
@routes.documents(
    requestBody={"required": True, "content": {_FORM: {"schema": TokenForm}}},
)
@routes.gives(200, TokenSchema)
@routes.also(400, TokenErrorSchema, description="The request or its scope will not do.")
@routes.also(401, TokenErrorSchema, description="There is no such key.")
@routes.public()
def token() -> Response:
    """Give a machine a token for its API key: its prefix is the client, the rest the secret."""
    try:
        form = _form()
        key, scopes = _client(form), _scopes(form)
        signed = core().access.exchange_key(key, address=address(), scopes=scopes)
    except _Refused as refused:
        return refused.answer()
    except Unauthorized:
        return _Refused("invalid_client", "there is no such key").answer()
    except Forbidden:
        return _Refused("invalid_scope", "the key has fewer scopes than these").answer()
    return jsonify(
        {
            "access_token": signed.access_token,
            "token_type": "Bearer",
            "expires_in": signed.expires_in_s,
            "scope": " ".join(sorted(signed.principal.held)),
        }
    )


class _Refused(Exception):
    def __init__(self, error: str, description: str) -> None:
        self._body = {"error": error, "error_description": description}

    def answer(self) -> Response:
        answer = jsonify(self._body)
        answer.status_code = 400
        if self._body["error"] == "invalid_client":
            answer.status_code = 401
            answer.headers["WWW-Authenticate"] = 'Basic realm="zq"'
        return answer


def _callback(provider: str) -> str:
    base = core().settings.oidc.public_url or request.host_url
    return base.rstrip("/") + url_for("oauth.callback", provider=provider)


def _form() -> dict[str, str]:
    """Return the fields of the form; empty ones count as not given (RFC 6749, 3.2)."""
    try:
        text = strict_json.read_text(request, {_FORM})
        given = parse_qsl(
            text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except (UnsupportedMedia, BadRequest, ValueError):
        raise _Refused("invalid_request", f"send a form as {_FORM}") from None
    form = dict(given)
    if len(form) != len(given):
        raise _Refused("invalid_request", "a field is given twice")
    kind = form.get("grant_type")
    if not kind:
        raise _Refused("invalid_request", "grant_type is missing")
    if kind != "client_credentials":
        raise _Refused("unsupported_grant_type", "grant_type must be client_credentials")
    return {name: value for name, value in form.items() if value}


def _client(form: Mapping[str, str]) -> str:
    """Return the API key that the client's two halves make."""
    header = request.headers.get("Authorization")
    if header is None:
        return _key(form.get("client_id", ""), form.get("client_secret", ""))
    if "client_secret" in form:
        raise _Refused("invalid_request", "send the credentials once: in a header or in the form")
    given = request.authorization
    if given is None or given.type != "basic" or given.username is None:
        raise _Refused("invalid_client", "send the credentials as Basic, or in the form")
    name, secret = unquote_plus(given.username), unquote_plus(given.password or "")
    if form.get("client_id", name) != name:
        raise _Refused("invalid_request", "header and form name different clients")
    return _key(name, secret)


def _key(prefix: str, secret: str) -> str:
    return f"zqk_{prefix}_{secret}"


def _scopes(form: Mapping[str, str]) -> frozenset[Permission] | None:
    if "scope" not in form:
        return None
    names = form["scope"].split(" ")
    if not set(names) <= {str(one) for one in Permission}:
        raise _Refused("invalid_scope", "there is no such scope")
    return frozenset(Permission(name) for name in names)
