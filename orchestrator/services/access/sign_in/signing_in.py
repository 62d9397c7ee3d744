"""Signing in with a password: the same answer, and the same work, for every way to get it wrong."""

from __future__ import annotations

from typing import NoReturn

from orchestrator.errors import TooManyAttempts, Unauthorized
from orchestrator.models.text import storable
from orchestrator.ports.access import AccessStore, User, UserState
from orchestrator.services.access.passwords import Passwords
from orchestrator.services.access.reporting import Reporting
from orchestrator.services.access.rules import normal_email
from orchestrator.services.access.sign_in.lockout import Lockout
from orchestrator.services.access.sign_in.sessions import Sessions, SignedIn


class SigningIn:
    """Answers for passwords at the door. Safe to share between threads."""

    def __init__(
        self,
        store: AccessStore,
        sessions: Sessions,
        passwords: Passwords,
        lockout: Lockout,
        reporting: Reporting,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._passwords = passwords
        self._lockout = lockout
        self._reporting = reporting

    def sign_in(self, email: str, password: str, *, address: str, agent: str) -> SignedIn:
        """See `facade.Access.sign_in`."""
        account = normal_email(email) or storable(email[:254])
        user, known = self.checked(account, password, address=address)
        newer = None
        if known and self._passwords.outdated(known):
            newer = self._passwords.rehash(password)
        try:
            return self._sessions.open(
                user.id, address=address, agent=agent, verified=known, newer=newer
            )
        except Unauthorized:
            # Between the check and now the password was changed, or the user disabled.
            self._failed(account, user, address)

    def checked(self, account: str, password: str, *, address: str) -> tuple[User, str | None]:
        """Return the user and hash that a password fits; counts the attempt.

        Unauthorized and TooManyAttempts as `facade.Access.sign_in` says.
        """
        self._count(account, address)
        with self._store.begin(any_tenant=True) as work:
            found = work.users.by_email(account)
        user, known = found or (None, None)
        fits = self._passwords.fits(password, known)
        if user is None or not fits or user.state is not UserState.ACTIVE:
            self._failed(account, user, address)
        self._lockout.succeeded(account, address)
        return user, known

    def _count(self, account: str, address: str) -> None:
        try:
            self._lockout.attempt(account, address)
        except TooManyAttempts as error:
            if error.extra["first"]:
                self._reporting.happened(
                    None, account, "auth.locked_out", address=address, refused=True
                )
            raise

    def _failed(self, account: str, user: User | None, address: str) -> NoReturn:
        tenant_id = user.tenant_id if user else None
        self._reporting.happened(
            tenant_id, account, "auth.sign_in_failed", address=address, refused=True
        )
        raise Unauthorized("the e-mail address or the password is wrong") from None
