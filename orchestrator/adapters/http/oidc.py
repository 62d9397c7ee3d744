"""Speaks with providers of identities: Authlib's OAuth 2.0 over httpx, through the egress rules.

It follows no redirect, reads no proxy of the environment, and reads neither much nor for long. What
a provider publishes is remembered, for each process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn
from urllib.parse import urlencode

import httpx
import orjson
from authlib.common.errors import AuthlibBaseError
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.client import OAuth2Client

from orchestrator.adapters.http.client import transport
from orchestrator.adapters.http.github import account
from orchestrator.errors import EgressBlocked, ServiceUnavailable, Unauthorized
from orchestrator.models.access.identity_provider import Protocol, Provider, is_safe_url
from orchestrator.models.egress import Egress
from orchestrator.ports.identity_provider import Challenge, Metadata
from orchestrator.ports.runtime import Clock

log = logging.getLogger(__name__)

#: Seconds for each step of a request, and for an answer as a whole.
STEP_S, ANSWER_S = 5.0, 10.0
MOST_BYTES = 1_048_576
#: What a provider publishes is read again after so long, its keys sooner when one is unknown.
REMEMBERED = timedelta(hours=1)
KEYS_ANEW = timedelta(seconds=30)
#: After a failure nobody waits for it again so soon: a provider that hangs holds few threads.
FAILED_FOR = timedelta(seconds=5)
_HEADERS = {
    "Accept": "application/json",
    # Unpacking could make much of little.
    "Accept-Encoding": "identity",
    "User-Agent": "ZQAutoNXG",
}
_FORM = "application/x-www-form-urlencoded"
_DISCOVERY = ".well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class _Read:
    #: None: it could not be read.
    value: Mapping[str, Any] | None
    at: datetime


class OidcClient:
    """Answers `ports.identity_provider.ProviderClient`. Safe to share between threads."""

    def __init__(self, rules: Egress, clock: Clock) -> None:
        self._rules = rules
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, _Read] = {}

    def metadata(self, provider: Provider) -> Metadata:
        """See the port."""
        if provider.protocol is Protocol.GITHUB:
            return _github(provider)
        url = f"{provider.issuer.rstrip('/')}/{_DISCOVERY}"
        found = self._remembered(provider, url, REMEMBERED, lambda: self._discovered(provider, url))
        return _metadata(provider, found)

    def authorization_url(self, provider: Provider, challenge: Challenge) -> str:
        """See the port. The challenge of PKCE is always S256."""
        more = {"nonce": challenge.nonce} if provider.protocol is Protocol.OIDC else {}
        url, _ = _oauth(provider, challenge.redirect_uri).create_authorization_url(
            self.metadata(provider).authorization_endpoint,
            state=challenge.state,
            code_verifier=challenge.verifier,
            **more,
        )
        return str(url)

    def exchange(self, provider: Provider, code: str, challenge: Challenge) -> Mapping[str, Any]:
        """See the port."""
        metadata = self.metadata(provider)

        def send(url: str, **sent: Any) -> httpx.Response:
            answer = self._send(provider, "POST", url, **sent)
            _object(provider, answer)
            return answer

        session = _Session(send)
        client = _oauth(provider, challenge.redirect_uri, session, _auth_method(provider, metadata))
        try:
            found: Mapping[str, Any] = client.fetch_token(
                metadata.token_endpoint,
                grant_type="authorization_code",
                code=code,
                redirect_uri=challenge.redirect_uri,
                code_verifier=challenge.verifier,
            )
        except AuthlibBaseError as error:
            reason = f"the provider refuses the code: {str(error.error)[:40]!r}"
            detail = "the provider's answer is not good; sign in again"
            raise Unauthorized(detail, reason=reason) from None
        except httpx.HTTPStatusError:
            _nonsense(provider, "its tokens")
        return found

    def keys(self, provider: Provider, *, anew: bool = False) -> Mapping[str, Any]:
        """See the port."""
        url = self.metadata(provider).jwks_uri
        if not url:
            return {"keys": []}
        most = KEYS_ANEW if anew else REMEMBERED
        return self._remembered(provider, url, most, lambda: self._get(provider, url))

    def claims(self, provider: Provider, access_token: str) -> Mapping[str, Any]:
        """See the port."""

        def ask(url: str) -> Any:
            headers = {"Authorization": f"Bearer {access_token}"}
            return _json(provider, self._send(provider, "GET", url, headers=headers))

        try:
            if provider.protocol is Protocol.GITHUB:
                return account(provider.api, ask)
            found = ask(self.metadata(provider).userinfo_endpoint)
        except (TypeError, KeyError):
            _nonsense(provider, "what it says of its users")
        if not isinstance(found, dict):
            _nonsense(provider, "what it says of its users")
        return found

    def _discovered(self, provider: Provider, url: str) -> Mapping[str, Any]:
        found = self._get(provider, url)
        if found.get("issuer") != provider.issuer:
            # Else any provider could send people, and their codes, to another one.
            _nonsense(provider, "its discovery document, which is of another issuer")
        return found

    def _remembered(
        self,
        provider: Provider,
        url: str,
        most: timedelta,
        read: Callable[[], Mapping[str, Any]],
    ) -> Mapping[str, Any]:
        now = self._clock.now()
        with self._lock:
            kept = self._kept.get(url)
        if kept is not None and timedelta() <= now - kept.at < (most if kept.value else FAILED_FOR):
            return kept.value or _unavailable(provider, "it failed just now")
        value = None
        try:
            value = read()
        finally:
            with self._lock:
                self._kept[url] = _Read(value, self._clock.now())
        return value

    def _get(self, provider: Provider, url: str) -> Mapping[str, Any]:
        answer = self._send(provider, "GET", url)
        if answer.status_code != 200:
            _nonsense(provider, f"status {answer.status_code}")
        return _object(provider, answer)

    def _send(
        self,
        provider: Provider,
        method: str,
        url: str,
        *,
        content: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Return a whole answer; ServiceUnavailable for none, too large a one, or too slow a one.

        A client a request: sign-ins are rare, and it survives forks.
        """
        if not is_safe_url(url, plain=provider.issuer.startswith("http:")):
            _nonsense(provider, "an address that is not https")
        sent = {**_HEADERS, **(headers or {})}
        until = time.monotonic() + ANSWER_S
        data = bytearray()
        try:
            with (
                httpx.Client(
                    transport=transport(self._rules), timeout=STEP_S, trust_env=False
                ) as client,
                client.stream(method, url, content=content, headers=sent) as answer,
            ):
                for piece in answer.iter_raw(65_536):
                    data += piece
                    if len(data) > MOST_BYTES or time.monotonic() > until:
                        _nonsense(provider, "too much, or too slowly")
        except EgressBlocked as error:
            _unavailable(provider, error.detail)
        except httpx.HTTPError as error:
            _unavailable(provider, f"{type(error).__name__}: {error}")
        if answer.status_code >= 500 or answer.status_code == 429:
            _unavailable(provider, f"it answers {answer.status_code}")
        return httpx.Response(answer.status_code, content=bytes(data), request=answer.request)


class _Session:
    """What Authlib sends a token request with."""

    def __init__(self, send: Callable[..., httpx.Response]) -> None:
        self._send = send

    def post(
        self, url: str, *, data: Mapping[str, str], headers: Mapping[str, str], auth: ClientAuth
    ) -> httpx.Response:
        """Send a form with the client's own credential."""
        given = {**headers, "Content-Type": _FORM}
        where, sent, body = auth.prepare("POST", url, given, urlencode(data))
        return self._send(where, content=body, headers=sent)


def _oauth(
    provider: Provider, redirect_uri: str, session: _Session | None = None, method: str = "none"
) -> Any:
    return OAuth2Client(
        session,
        provider.client_id,
        provider.client_secret or None,
        token_endpoint_auth_method=method,
        scope=" ".join(provider.scopes),
        redirect_uri=redirect_uri,
        code_challenge_method="S256",
    )


def _auth_method(provider: Provider, metadata: Metadata) -> str:
    if not provider.client_secret:
        return "none"
    basic, post = "client_secret_basic", "client_secret_post"
    return post if basic not in metadata.auth_methods and post in metadata.auth_methods else basic


def _metadata(provider: Provider, found: Mapping[str, Any]) -> Metadata:
    plain = provider.issuer.startswith("http:")

    def endpoint(name: str, *, needed: bool = True) -> str:
        url = found.get(name, "")
        if not isinstance(url, str) or ((url or needed) and not is_safe_url(url, plain=plain)):
            _nonsense(provider, f"{name}: it must be an https:// URL")
        return url

    return Metadata(
        authorization_endpoint=endpoint("authorization_endpoint"),
        token_endpoint=endpoint("token_endpoint"),
        jwks_uri=endpoint("jwks_uri"),
        userinfo_endpoint=endpoint("userinfo_endpoint", needed=False),
        algorithms=_texts(found.get("id_token_signing_alg_values_supported", ["RS256"])),
        auth_methods=_texts(found.get("token_endpoint_auth_methods_supported", [])),
        names_itself=found.get("authorization_response_iss_parameter_supported") is True,
    )


def _github(provider: Provider) -> Metadata:
    return Metadata(
        authorization_endpoint=f"{provider.issuer}/login/oauth/authorize",
        token_endpoint=f"{provider.issuer}/login/oauth/access_token",
        jwks_uri="",
        userinfo_endpoint="",
        algorithms=(),
        auth_methods=("client_secret_post",),
        names_itself=False,
    )


def _json(provider: Provider, answer: httpx.Response) -> Any:
    try:
        # Of the json module, which httpx takes, deep nesting would be the end.
        return orjson.loads(answer.content)
    except ValueError:
        _nonsense(provider, "what is no JSON")


def _object(provider: Provider, answer: httpx.Response) -> dict[str, Any]:
    found = _json(provider, answer)
    if not isinstance(found, dict):
        _nonsense(provider, "no JSON object")
    return found


def _texts(found: object) -> tuple[str, ...]:
    listed = found if isinstance(found, list) else []
    return tuple(one for one in listed if isinstance(one, str))


def _nonsense(provider: Provider, what: str) -> NoReturn:
    _unavailable(provider, f"it answers nonsense: {what}")


def _unavailable(provider: Provider, why: str) -> NoReturn:
    """Raise ServiceUnavailable. Why is for the log: strangers need not know addresses of ours."""
    log.warning("provider %s: %s", provider.name, why)
    raise ServiceUnavailable(
        f"the provider {provider.name} is of no use just now; the log says why"
    ) from None
