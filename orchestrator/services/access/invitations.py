"""One-time tokens: an invitation to set a first password, and a reset that sets another.

A user has one at a time, and none once the password is set. Whoever makes one hands it over; no
mail is sent from here.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256

from orchestrator.ports.access import (
    AccessStore,
    AccessWork,
    OneTimeToken,
    Purpose,
    User,
    UserState,
)
from orchestrator.ports.runtime import Clock
from orchestrator.services.access.passwords import Passwords
from orchestrator.services.access.reporting import Reporting
from orchestrator.services.access.rules import checked_name
from orchestrator.services.access.tokens import refuse

INVITATION_DAYS, RESET_DAYS = 7, 1
_TOKEN = re.compile(r"zqi_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """A one-time token, shown once: `zqi_...`, for an invitation or a password reset."""

    user: User
    token: str = field(repr=False)
    expires_at: datetime


class Invitations:
    """Makes and redeems tokens; who may make one is `users`' to say."""

    def __init__(
        self, store: AccessStore, passwords: Passwords, clock: Clock, reporting: Reporting
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._clock = clock
        self._reporting = reporting

    def invite(self, work: AccessWork, user: User) -> Invitation:
        """Return a token for a user who has just been made."""
        return self._make(work, user, Purpose.INVITATION, INVITATION_DAYS)

    def reset(self, work: AccessWork, user: User) -> Invitation:
        """Return a token for a user who is to set another password."""
        return self._make(work, user, Purpose.RESET, RESET_DAYS)

    def _make(self, work: AccessWork, user: User, purpose: Purpose, days: int) -> Invitation:
        now = self._clock.now()
        token = f"zqi_{secrets.token_urlsafe(32)}"
        kept = OneTimeToken(
            digest=_digest(token), tenant_id=user.tenant_id, user_id=user.id, purpose=purpose,
            created_at=now, expires_at=now + timedelta(days=days),
        )  # fmt: skip
        work.tokens.add_token(kept)
        return Invitation(user=user, token=token, expires_at=kept.expires_at)

    def redeem(self, token: str, password: str, *, name: str | None) -> User:
        """Set the password of the token's user; see `users.Users.redeem`."""
        if not _TOKEN.fullmatch(token):
            refuse()
        digest = _digest(token)
        user = self._owner(digest)
        called = user.name if name is None else checked_name(name, empty=True)
        known = self._passwords.hash(password, email=user.email)
        now = self._clock.now()
        with (
            self._reporting.on_behalf_of(user) as acting,
            self._store.begin(any_tenant=True) as work,
        ):
            # The user as it is now, held: it may have been disabled in the meantime. Held first,
            # as whoever sets a password does: two of them wait, and never deadlock.
            fresh = work.users.hold(user.id, verified=None)
            taken = work.tokens.take(digest, now) if fresh else None
            if taken is None or fresh is None:
                refuse()
            changed = replace(fresh, name=called, valid_from=now, updated_at=now, has_password=True)
            reset = taken.purpose is Purpose.RESET
            acting.action = "auth.password_reset" if reset else "auth.invitation_accepted"
            self._reporting.changes("user", user.id)
            work.users.set_password(user.id, known)
            work.users.change(changed)
            work.tokens.forget(user.id)
            work.sessions.revoke_of_user(user.id, reason="password", at=now)
        return changed

    def _owner(self, digest: bytes) -> User:
        """Look before a password is hashed, which is too dear for whoever just tries tokens."""
        with self._store.begin(any_tenant=True) as work:
            found = work.tokens.find(digest, self._clock.now())
            user = work.users.get_user(found.tenant_id, found.user_id) if found else None
        if user is None or user.state is not UserState.ACTIVE:
            refuse()
        return user


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()
