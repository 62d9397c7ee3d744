"""Users, sessions and all else of access in memory, for tests and dry runs. No row security."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from orchestrator.adapters.memory.access_keys import (
    MemoryApiKeys,
    MemoryCustomRoles,
    MemoryGrants,
    MemoryOneTimeTokens,
    MemoryTenants,
)
from orchestrator.adapters.memory.access_rows import Rows
from orchestrator.adapters.memory.audit import MemoryAudit
from orchestrator.errors import NameTaken
from orchestrator.ports.access import Identity, Session, Standing, User, UserState
from orchestrator.ports.acting import acting


class MemoryAccess:
    """Answers `ports.access.AccessStore`: one transaction at a time."""

    def __init__(self, audit: MemoryAudit | None = None) -> None:
        self._audit = audit
        self._lock = threading.RLock()
        self.rows = Rows()

    @contextmanager
    def begin(self, *, any_tenant: bool = False) -> Iterator[MemoryAccessWork]:
        """See the port."""
        one = acting()
        with self._lock:
            if one is not None:
                one.changes.clear()
            before = self.rows.copy()
            try:
                yield MemoryAccessWork(self.rows)
            except BaseException:
                self.rows.take_back(before)
                raise
            if self._audit is not None:
                self._audit.record(one, wrote=self.rows != before)

    def close(self) -> None:
        """See the port. The rows stay readable: they live as long as the object."""


class MemoryAccessWork:
    """Answers `ports.access.AccessWork`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.users = MemoryUsers(rows)
        self.identities = MemoryIdentities(rows)
        self.sessions = MemorySessions(rows)
        self.api_keys = MemoryApiKeys(rows)
        self.roles = MemoryCustomRoles(rows)
        self.grants = MemoryGrants(rows)
        self.tokens = MemoryOneTimeTokens(rows)
        self.tenants = MemoryTenants(rows)

    def standing(self, tenant_id: UUID, principal_id: UUID) -> Standing:
        """See the port."""
        return Standing(
            custom={
                name: role.permissions
                for (tenant, name), role in self._rows.roles.items()
                if tenant == tenant_id
            },
            grants={
                grant.workflow_id: grant.role
                for grant in self._rows.grants.values()
                if (grant.tenant_id, grant.principal_id) == (tenant_id, principal_id)
            },
        )


class MemoryUsers:
    """Answers `ports.access.Users`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def _read(self, user: User) -> User:
        return replace(user, has_password=user.id in self._rows.passwords)

    def add(self, user: User, password: str | None) -> None:
        """See the port."""
        if any(one.email == user.email for one in self._rows.users.values()):
            raise NameTaken(f"somebody has the address {user.email} already")
        self._rows.users[user.id] = user
        if password is not None:
            self._rows.passwords[user.id] = password

    def get(self, tenant_id: UUID, user_id: UUID, *, lock: bool = False) -> User | None:
        """See the port."""
        user = self._rows.users.get(user_id)
        return self._read(user) if user and user.tenant_id == tenant_id else None

    def by_email(self, email: str) -> tuple[User, str | None] | None:
        """See the port."""
        for user in self._rows.users.values():
            if user.email == email:
                return self._read(user), self._rows.passwords.get(user.id)
        return None

    def page(self, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[User]:
        """See the port."""
        found = sorted(self._rows.users.values(), key=lambda user: user.id)
        mine = [u for u in found if u.tenant_id == tenant_id and (after is None or u.id > after)]
        return [self._read(user) for user in mine[:limit]]

    def change(self, user: User) -> bool:
        """See the port."""
        known = self._rows.users.get(user.id)
        if known is None or known.tenant_id != user.tenant_id:
            return False
        self._rows.users[user.id] = replace(
            known, name=user.name, roles=user.roles, state=user.state,
            valid_from=user.valid_from, updated_at=user.updated_at,
        )  # fmt: skip
        return True

    def set_password(self, user_id: UUID, password: str) -> None:
        """See the port."""
        self._rows.passwords[user_id] = password

    def hold(self, user_id: UUID, *, verified: str | None) -> User | None:
        """See the port."""
        user = self._rows.users.get(user_id)
        if user is None or user.state is not UserState.ACTIVE:
            return None
        if verified is not None and self._rows.passwords.get(user_id) != verified:
            return None
        return self._read(user)

    def signed_in(self, user_id: UUID, at: datetime) -> None:
        """See the port."""
        self._rows.users[user_id] = replace(self._rows.users[user_id], signed_in_at=at)

    def delete(self, tenant_id: UUID, user_id: UUID) -> bool:
        """See the port."""
        if self.get(tenant_id, user_id) is None:
            return False
        rows = self._rows
        del rows.users[user_id]
        rows.passwords.pop(user_id, None)
        rows.sessions = {k: s for k, s in rows.sessions.items() if s.user_id != user_id}
        rows.identities = {k: i for k, i in rows.identities.items() if i.user_id != user_id}
        rows.tokens = {k: t for k, t in rows.tokens.items() if t.user_id != user_id}
        return True

    def owners(self, tenant_id: UUID) -> list[UUID]:
        """See the port."""
        return sorted(
            user.id
            for user in self._rows.users.values()
            if user.tenant_id == tenant_id
            and "owner" in user.roles
            and user.state is UserState.ACTIVE
        )


class MemoryIdentities:
    """Answers `ports.access.Identities`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def find(self, issuer: str, subject: str) -> Identity | None:
        """See the port."""
        return self._rows.identities.get((issuer, subject))

    def add(self, identity: Identity) -> None:
        """See the port."""
        key = (identity.issuer, identity.subject)
        if key in self._rows.identities:
            raise NameTaken("this identity belongs to somebody already")
        self._rows.identities[key] = identity

    def of_user(self, user_id: UUID) -> list[Identity]:
        """See the port."""
        found = [i for i in self._rows.identities.values() if i.user_id == user_id]
        return sorted(found, key=lambda one: (one.created_at, one.issuer, one.subject))


class MemorySessions:
    """Answers `ports.access.Sessions`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def add(self, session: Session) -> None:
        """See the port."""
        self._rows.sessions[session.id] = session

    def get(self, session_id: UUID, *, lock: bool = False) -> tuple[Session, User] | None:
        """See the port."""
        session = self._rows.sessions.get(session_id)
        if session is None:
            return None
        user = self._rows.users[session.user_id]
        return session, replace(user, has_password=user.id in self._rows.passwords)

    def rotate(self, session: Session) -> None:
        """See the port."""
        self._rows.sessions[session.id] = replace(
            self._rows.sessions[session.id], refresh=session.refresh,
            generation=session.generation, used_at=session.used_at, expires_at=session.expires_at,
        )  # fmt: skip

    def revoke(self, session_id: UUID, *, reason: str, at: datetime) -> bool:
        """See the port."""
        session = self._rows.sessions.get(session_id)
        if session is None or session.revoked_at is not None:
            return False
        self._rows.sessions[session_id] = replace(session, revoked_at=at, reason=reason)
        return True

    def revoke_of_user(self, user_id: UUID, *, reason: str, at: datetime) -> list[UUID]:
        """See the port."""
        mine = [s.id for s in self._rows.sessions.values() if s.user_id == user_id]
        return [one for one in sorted(mine) if self.revoke(one, reason=reason, at=at)]

    def of_user(self, user_id: UUID, at: datetime) -> list[Session]:
        """See the port."""
        found = [
            one
            for one in self._rows.sessions.values()
            if one.user_id == user_id and one.revoked_at is None and one.expires_at > at
        ]
        return sorted(found, key=lambda one: one.id, reverse=True)

    def prune(self, user_id: UUID, before: datetime) -> None:
        """See the port."""
        kept = self._rows.sessions
        self._rows.sessions = {
            k: s for k, s in kept.items() if s.user_id != user_id or s.expires_at >= before
        }
