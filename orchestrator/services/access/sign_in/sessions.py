"""Sessions: opened, refreshed with tokens that rotate, and ended. The record decides every time."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from orchestrator.errors import Forbidden, Unauthorized
from orchestrator.models.access.permissions import Permission, Principal, narrowed
from orchestrator.models.ids import uuid7
from orchestrator.ports.access import AccessStore, AccessWork, Session, User
from orchestrator.ports.runtime import Clock
from orchestrator.services.access.principals import Principals, alive
from orchestrator.services.access.reporting import Reporting, as_principal
from orchestrator.services.access.sign_in.refresh_tokens import Presented, RefreshTokens, digest_of
from orchestrator.services.access.tokens import AccessTokens, refuse

#: Seconds within which a token that was just traded is answered with what it was traded for: two
#: tabs of a browser, or an answer that got lost. See docs/decisions/0007.
GRACE_S = 10.0
#: Sessions that ended longer ago are removed when their user signs in again.
KEEP_DAYS = 30
_MOST_AGENT = 300
#: Of a key that is refused, the readable part.
_SHOWN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """What a client gets. The refresh token is empty for API keys: these are sent again."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in_s: int
    principal: Principal


@dataclass(frozen=True, slots=True)
class _Traded:
    """What became of a refresh token: the session as it is now, and the token to hand out."""

    session: Session
    user: User
    token: str = field(default="", repr=False)
    stolen: bool = False


class Sessions:
    """Answers for sessions. Safe to share between threads."""

    def __init__(
        self,
        store: AccessStore,
        principals: Principals,
        tokens: AccessTokens,
        refresh_tokens: RefreshTokens,
        clock: Clock,
        reporting: Reporting,
        *,
        life_s: float,
        idle_s: float,
    ) -> None:
        self._store = store
        self._principals = principals
        self._tokens = tokens
        self._refresh_tokens = refresh_tokens
        self._clock = clock
        self._reporting = reporting
        self._life = timedelta(seconds=life_s)
        self._idle = timedelta(seconds=idle_s)

    def open(
        self,
        user_id: UUID,
        *,
        address: str,
        agent: str,
        verified: str | None = None,
        newer: str | None = None,
    ) -> SignedIn:
        """Open a session; Unauthorized when the user is gone or disabled.

        `verified` is the password's hash that was checked: it must still be the user's. `newer` is
        the same password's hash with today's parameters, to be kept in its place.
        """
        now = self._clock.now()
        session_id = uuid7(now)
        token = self._refresh_tokens.make(session_id, 0)
        with (
            self._reporting.on_behalf_of(address=address) as acting,
            self._store.begin(any_tenant=True) as work,
        ):
            user = work.users.hold(user_id, verified=verified)
            if user is None:
                refuse()
            work.users.signed_in(user.id, now)
            if newer:
                work.users.set_password(user.id, newer)
            work.sessions.prune(user.id, now - timedelta(days=KEEP_DAYS))
            # By another machine's clock, what made older sessions void may be a moment ahead.
            began = max(now, user.valid_from)
            session = Session(
                id=session_id, tenant_id=user.tenant_id, user_id=user.id,
                refresh=digest_of(token), generation=0, address=address[:100],
                agent=_storable(agent), created_at=began, used_at=began,
                expires_at=began + min(self._life, self._idle),
            )  # fmt: skip
            acting.principal, acting.action = as_principal(user), "auth.sign_in"
            told = {"user_id": user.id, "expires_at": session.expires_at}
            self._reporting.changes("session", session.id, after=told)
            work.sessions.add_session(session)
        return self._signed_in(session, token)

    def refresh(self, token: str, *, address: str, agent: str) -> SignedIn:
        """Trade a refresh token; see `facade.Access.refresh`."""
        shown = self._refresh_tokens.read(token)
        if shown is None:
            refuse()
        with (
            self._reporting.on_behalf_of(address=address) as acting,
            self._store.begin(any_tenant=True) as work,
        ):
            traded = self._trade(work, shown)
            if traded is not None and traded.stolen:
                acting.principal, acting.action = as_principal(traded.user), "auth.refresh_reused"
                acting.detail = "a used refresh token came back; its session is ended"
                self._reporting.changes("session", traded.session.id)
        if traded is None:
            refuse()
        if traded.stolen:
            self._principals.changed(f"session:{traded.session.id}")
            refuse()
        return self._signed_in(traded.session, traded.token)

    def _trade(self, work: AccessWork, shown: Presented) -> _Traded | None:
        now = self._clock.now()
        found = work.sessions.get_session(shown.session_id, lock=True)
        if found is None or not alive(*found, now):
            return None
        session, user = found
        if shown.generation == session.generation:
            if not hmac.compare_digest(shown.digest, session.refresh):
                return None
            return _Traded(*self._rotate(work, session, user, now))
        if shown.generation > session.generation:
            return None
        just_now = now - session.used_at <= timedelta(seconds=GRACE_S)
        if shown.generation == session.generation - 1 and just_now:
            return _Traded(session, user, self._present_token(session))
        work.sessions.revoke(session.id, reason="reuse", at=now)
        return _Traded(session, user, stolen=True)

    def _rotate(
        self, work: AccessWork, session: Session, user: User, now: datetime
    ) -> tuple[Session, User, str]:
        token = self._refresh_tokens.make(session.id, session.generation + 1)
        rotated = replace(
            session,
            refresh=digest_of(token),
            generation=session.generation + 1,
            used_at=now,
            expires_at=min(session.created_at + self._life, now + self._idle),
        )
        work.sessions.rotate(rotated)
        return rotated, user, token

    def _present_token(self, session: Session) -> str:
        made = self._refresh_tokens.all(session.id, session.generation)
        fits = [one for one in made if hmac.compare_digest(digest_of(one), session.refresh)]
        if not fits:
            refuse()
        return fits[0]

    def _signed_in(self, session: Session, token: str) -> SignedIn:
        return SignedIn(
            access_token=self._tokens.issue(
                subject=session.user_id, tenant_id=session.tenant_id, session_id=session.id
            ),
            refresh_token=token,
            expires_in_s=self._tokens.life_s,
            principal=self._principals.of_session(session.id),
        )

    def exchange_key(
        self, key: str, *, address: str, scopes: frozenset[Permission] | None = None
    ) -> SignedIn:
        """Return an access token for an API key; see `facade.Access.exchange_key`."""
        try:
            principal = narrowed(self._principals.of_api_key(key, anew=True), scopes)
        except Unauthorized:
            self._reporting.happened(
                None, key[:_SHOWN], "auth.key_refused", address=address, resource="api_key"
            )
            raise
        if scopes is not None and not scopes <= principal.held:
            raise Forbidden("the key has fewer scopes than these")
        token = self._tokens.issue(
            subject=principal.id, tenant_id=principal.tenant_id, session_id=principal.id,
            scopes=scopes,
        )  # fmt: skip
        self._report(principal, "auth.key_exchanged", address, principal.id, "api_key")
        return SignedIn(
            access_token=token,
            refresh_token="",
            expires_in_s=self._tokens.life_s,
            principal=principal,
        )

    def sign_out(self, principal: Principal) -> None:
        """End a principal's session; harmless when it has ended, and for keys."""
        if principal.session_id is None:
            return
        with self._store.begin(any_tenant=True) as work:
            self._reporting.changes("session", principal.session_id)
            ended = work.sessions.revoke(
                principal.session_id, reason="sign_out", at=self._clock.now()
            )
        self._principals.changed(f"session:{principal.session_id}")
        if ended:
            self._report(principal, "auth.sign_out", "", principal.session_id)

    def _report(
        self,
        principal: Principal,
        action: str,
        address: str,
        resource_id: UUID,
        resource: str = "session",
    ) -> None:
        self._reporting.happened(
            principal.tenant_id, principal, action,
            address=address, resource=resource, resource_id=resource_id,
        )  # fmt: skip


def _storable(agent: str) -> str:
    """Return a User-Agent that Postgres takes and that a terminal survives."""
    return "".join(c for c in agent[:_MOST_AGENT] if c.isprintable())
