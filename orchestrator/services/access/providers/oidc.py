"""Signing in at a provider: authorization code with PKCE, state and nonce; then who that is here.

A provider vouches for its own subjects. Its word on an e-mail address counts only when it says that
it has verified it, and takes over an account that is there only where the deployment wants it so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from orchestrator.errors import (
    Forbidden,
    InvalidDefinition,
    LastOwner,
    NameTaken,
    NotFound,
    Unauthorized,
    ZQError,
)
from orchestrator.models.access.identity_provider import Protocol, Provider
from orchestrator.ports.access import User, UserState
from orchestrator.ports.identity_provider import Challenge, ProviderClient
from orchestrator.ports.runtime import Clock
from orchestrator.services.access.providers.id_tokens import (
    UnknownKey,
    checked_subject,
    read_id_token,
    refuse,
)
from orchestrator.services.access.providers.identities import Identities
from orchestrator.services.access.providers.pending import Pending, PendingSignIns, fresh_secret
from orchestrator.services.access.reporting import Reporting
from orchestrator.services.access.rules import gone, normal_email
from orchestrator.services.access.sign_in.sessions import Sessions, SignedIn

log = logging.getLogger(__name__)

_EMAIL = frozenset({"email", "email_verified"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a browser brings back from a provider, as it is."""

    state: str
    code: str = ""
    error: str = ""
    #: Who the provider says it is (RFC 9207).
    issuer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameBack:
    """Somebody who has signed in at a provider."""

    signed: SignedIn
    then: str
    bearer: bool


class Oidc:
    """Answers for `core.access.oidc`. Safe to share between threads."""

    def __init__(
        self,
        providers: Sequence[Provider],
        client: ProviderClient | None,
        pending: PendingSignIns,
        identities: Identities,
        sessions: Sessions,
        clock: Clock,
        reporting: Reporting,
    ) -> None:
        #: Without somebody to speak with them there are none.
        self.providers = tuple(providers) if client is not None else ()
        self._given = client
        self._pending = pending
        self._identities = identities
        self._sessions = sessions
        self._clock = clock
        self._reporting = reporting

    def start(self, name: str, *, browser: str, redirect_uri: str, then: str, bearer: bool) -> str:
        """Return where the browser goes; NotFound for an unknown provider.

        `browser` is a secret that only this browser has and brings back; `then` is a checked local
        path.
        """
        provider = self._provider(name)
        challenge = Challenge(
            state=fresh_secret(), nonce=fresh_secret(), verifier=fresh_secret(),
            redirect_uri=redirect_uri,
        )  # fmt: skip
        url = self._client.authorization_url(provider, challenge)
        pending = Pending(provider=name, challenge=challenge, then=then, bearer=bearer)
        self._pending.keep(pending, browser)
        return url

    def finish(
        self, name: str, answer: Answer, *, browser: str, address: str, agent: str
    ) -> CameBack:
        """Open a session for whoever comes back from a provider.

        Unauthorized when anything of the answer is not good; Forbidden when it is, but its user may
        not come in. Both are in the audit log, with the reason.
        """
        provider = self._provider(name)
        try:
            pending = self._take(provider, answer, browser)
            claims = self._claims(provider, answer.code, pending.challenge)
            user = self._user(provider, claims)
            signed = self._sessions.open(user.id, address=address, agent=agent)
        except (Unauthorized, Forbidden) as error:
            reason = str(error.extra.get("reason", error.code))
            self._reporting.happened(
                provider.tenant_id, name, "auth.provider_refused", address=address, detail=reason
            )
            raise
        return CameBack(signed=signed, then=pending.then, bearer=pending.bearer)

    @property
    def _client(self) -> ProviderClient:
        if self._given is None:
            raise gone("provider")
        return self._given

    def _provider(self, name: str) -> Provider:
        found = next((one for one in self.providers if one.name == name), None)
        if found is None:
            raise gone("provider")
        return found

    def _take(self, provider: Provider, answer: Answer, browser: str) -> Pending:
        """Use the sign-in up that the answer belongs to, before anything else is believed."""
        pending = self._pending.take(answer.state, browser)
        if pending.provider != provider.name:
            refuse("state: of another provider")
        if answer.error:
            refuse(f"the provider says {answer.error[:40]!r}")
        if not answer.code:
            refuse("no code")
        if provider.protocol is Protocol.OIDC:
            metadata = self._client.metadata(provider)
            if (answer.issuer or metadata.names_itself) and answer.issuer != provider.issuer:
                refuse("the answer is of another issuer")
        return pending

    def _claims(self, provider: Provider, code: str, challenge: Challenge) -> Mapping[str, Any]:
        tokens = self._client.exchange(provider, code, challenge)
        access = tokens.get("access_token")
        if provider.protocol is Protocol.GITHUB:
            if not isinstance(access, str):
                refuse("no access token")
            return self._client.claims(provider, access)
        claims = self._id_claims(provider, tokens.get("id_token"), challenge.nonce)
        whole = claims.keys() >= _EMAIL
        thin = not whole or (provider.role_map and not provider.groups(claims))
        if not (thin and isinstance(access, str)):
            return claims
        if not self._client.metadata(provider).userinfo_endpoint:
            return claims
        more = self._client.claims(provider, access)
        if more.get("sub") != claims["sub"]:
            refuse("userinfo: of another subject")
        # From one place, so that nothing is said to be verified that is not what was verified.
        email = {name: (claims if whole else more).get(name) for name in _EMAIL}
        return {**more, **claims, **email}

    def _id_claims(self, provider: Provider, token: object, nonce: str) -> dict[str, Any]:
        algorithms = self._client.metadata(provider).algorithms

        def read(*, anew: bool) -> dict[str, Any]:
            return read_id_token(
                token, provider, self._client.keys(provider, anew=anew),
                algorithms=algorithms, nonce=nonce, now=self._clock.now(),
            )  # fmt: skip

        with suppress(UnknownKey):
            return read(anew=False)
        try:
            return read(anew=True)
        except UnknownKey:
            return refuse("id_token: unknown key")

    def _user(self, provider: Provider, claims: Mapping[str, Any]) -> User:
        subject, email = checked_subject(claims), verified_email(claims)
        if provider.allowed_domains and (email is None or not provider.admits(email)):
            _forbid("no verified e-mail address of a domain that may sign in here")
        roles = provider.roles(provider.groups(claims))
        user = self._identities.user(provider.issuer, subject)
        if user is None:
            user = self._first_time(provider, subject, email, claims, roles)
        if user.tenant_id != provider.tenant_id:
            _forbid("this account belongs to another tenant than the provider")
        if user.state is not UserState.ACTIVE:
            _forbid("this account is disabled")
        return self._with_roles(user, roles) if provider.role_map else user

    def _first_time(
        self,
        provider: Provider,
        subject: str,
        email: str | None,
        claims: Mapping[str, Any],
        roles: Sequence[str],
    ) -> User:
        if email is None:
            _forbid("the provider has verified no e-mail address of yours")
        there = self._identities.by_email(email)
        if there is not None:
            if not provider.link_verified or there.tenant_id != provider.tenant_id:
                _forbid("there is an account with this address; sign in as you did before")
            if there.state is not UserState.ACTIVE:
                _forbid("this account is disabled")
        elif not provider.allow_sign_up:
            _forbid("there is no account for you; ask for an invitation")
        name = claims.get("name")
        try:
            if there is not None:
                self._identities.link(there, provider.issuer, subject)
                return there
            return self._identities.create_user(
                tenant_id=provider.tenant_id, email=email, roles=roles,
                name=_printable(name) if isinstance(name, str) else "",
                identity=(provider.issuer, subject),
            )  # fmt: skip
        except NameTaken:
            # Twice at the same moment: the other one has made it.
            found = self._identities.user(provider.issuer, subject)
            return found or refuse("the account was made just now")
        except (InvalidDefinition, NotFound) as error:
            _misconfigured(error)

    def _with_roles(self, user: User, roles: Sequence[str]) -> User:
        try:
            return self._identities.set_roles(user.id, user.tenant_id, roles)
        except LastOwner:
            log.warning("%s stays owner against its groups: a tenant keeps its last one", user.id)
            return user
        except InvalidDefinition as error:
            _misconfigured(error)


def verified_email(claims: Mapping[str, Any]) -> str | None:
    """Return the address, as it is kept, where the provider says that it has verified it.

    One that becomes another one when it is made normal is none: it could be somebody else's.
    """
    email, verified = claims.get("email"), claims.get("email_verified")
    if not isinstance(email, str) or not (verified is True or verified == "true"):
        return None
    # Of letters beyond ASCII not even the case: the Kelvin sign is a K, and its lower case a k.
    plain = "".join(c.lower() if c.isascii() else c for c in email.strip())
    return plain if normal_email(email) == plain else None


def _printable(name: str) -> str:
    return "".join(c for c in name if c.isprintable())


def _forbid(reason: str) -> NoReturn:
    raise Forbidden(reason, reason=reason)


def _misconfigured(error: ZQError) -> NoReturn:
    log.error("ZQ_OIDC__PROVIDERS names a role or tenant that is not there: %s", error)
    _forbid("the rules of this provider name what is not there; tell whoever runs this")
