"""Users, identities and sessions on Postgres, and the transaction over all of access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    RowMapping,
    any_,
    delete,
    insert,
    literal,
    null,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError

from orchestrator.adapters.postgres.access.keys import (
    PostgresApiKeys,
    PostgresCustomRoles,
    PostgresGrants,
    PostgresOneTimeTokens,
    PostgresTenants,
)
from orchestrator.adapters.postgres.access.tables import (
    identities,
    roles,
    sessions,
    users,
    workflow_grants,
)
from orchestrator.adapters.postgres.connections.pool import Pool
from orchestrator.errors import NameTaken
from orchestrator.ports.access import Identity, Session, Standing, User, UserState

_USER = (
    *(c for c in users.c if c.name != "password"),
    users.c.password.is_not(None).label("has_password"),
)


class PostgresAccess:
    """Answers `ports.access.AccessStore`. What a request writes is in the audit log with it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @contextmanager
    def begin(self, *, any_tenant: bool = False) -> Iterator[PostgresAccessWork]:
        """See the port."""
        # Either records in the audit log what an acting request writes, right before the commit.
        opened = self._pool.as_access() if any_tenant else self._pool.begin()
        with opened as connection:
            yield PostgresAccessWork(connection)

    def close(self) -> None:
        """See the port. The pool is the process's, and closes with the store."""


class PostgresAccessWork:
    """Answers `ports.access.AccessWork` on one connection inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.users = PostgresUsers(connection)
        self.identities = PostgresIdentities(connection)
        self.sessions = PostgresSessions(connection)
        self.api_keys = PostgresApiKeys(connection)
        self.roles = PostgresCustomRoles(connection)
        self.grants = PostgresGrants(connection)
        self.tokens = PostgresOneTimeTokens(connection)
        self.tenants = PostgresTenants(connection)

    def standing(self, tenant_id: UUID, principal_id: UUID) -> Standing:
        """See the port."""
        own = select(
            roles.c.name, roles.c.permissions, literal(None, users.c.id.type).label("workflow_id")
        ).where(roles.c.tenant_id == tenant_id)
        granted = select(workflow_grants.c.role, null(), workflow_grants.c.workflow_id).where(
            workflow_grants.c.tenant_id == tenant_id,
            workflow_grants.c.principal_id == principal_id,
        )
        found = self._connection.execute(union_all(own, granted)).all()
        return Standing(
            custom={name: tuple(kept) for name, kept, workflow in found if workflow is None},
            grants={workflow: name for name, _, workflow in found if workflow is not None},
        )


class PostgresUsers:
    """Answers `ports.access.Users`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_user(self, user: User, password: str | None) -> None:
        """See the port."""
        values = {
            "id": user.id, "tenant_id": user.tenant_id, "email": user.email, "name": user.name,
            "roles": list(user.roles), "state": str(user.state), "valid_from": user.valid_from,
            "created_at": user.created_at, "updated_at": user.updated_at, "password": password,
        }  # fmt: skip
        try:
            with self._connection.begin_nested():
                self._connection.execute(insert(users).values(values))
        except IntegrityError:
            raise NameTaken(f"somebody has the address {user.email} already") from None

    def get_user(self, tenant_id: UUID, user_id: UUID, *, lock: bool = False) -> User | None:
        """See the port."""
        wanted = select(*_USER).where(users.c.id == user_id, users.c.tenant_id == tenant_id)
        row = (
            self._connection.execute(wanted.with_for_update() if lock else wanted)
            .mappings()
            .first()
        )
        return _user(row) if row else None

    def by_email(self, email: str) -> tuple[User, str | None] | None:
        """See the port."""
        wanted = select(*_USER, users.c.password).where(users.c.email == email)
        row = self._connection.execute(wanted).mappings().first()
        if row is None:
            return None
        return _user(row), row["password"]

    def page(self, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[User]:
        """See the port."""
        wanted = select(*_USER).where(users.c.tenant_id == tenant_id)
        if after is not None:
            wanted = wanted.where(users.c.id > after)
        rows = self._connection.execute(wanted.order_by(users.c.id).limit(limit))
        return [_user(row) for row in rows.mappings()]

    def change(self, user: User) -> bool:
        """See the port."""
        done = self._connection.execute(
            update(users)
            .where(users.c.id == user.id, users.c.tenant_id == user.tenant_id)
            .values(
                name=user.name, roles=list(user.roles), state=str(user.state),
                valid_from=user.valid_from, updated_at=user.updated_at,
            )
        )  # fmt: skip
        return bool(done.rowcount)

    def set_password(self, user_id: UUID, password: str) -> None:
        """See the port."""
        self._connection.execute(
            update(users).where(users.c.id == user_id).values(password=password)
        )

    def hold(self, user_id: UUID, *, verified: str | None) -> User | None:
        """See the port."""
        wanted = select(*_USER).where(users.c.id == user_id, users.c.state == UserState.ACTIVE)
        if verified is not None:
            wanted = wanted.where(users.c.password == verified)
        row = self._connection.execute(wanted.with_for_update()).mappings().first()
        return _user(row) if row else None

    def signed_in(self, user_id: UUID, at: datetime) -> None:
        """See the port."""
        self._connection.execute(update(users).where(users.c.id == user_id).values(signed_in_at=at))

    def delete(self, tenant_id: UUID, user_id: UUID) -> bool:
        """See the port. What belongs to the user goes by the foreign keys."""
        done = self._connection.execute(
            delete(users).where(users.c.id == user_id, users.c.tenant_id == tenant_id)
        )
        return bool(done.rowcount)

    def owners(self, tenant_id: UUID) -> list[UUID]:
        """See the port. Locked in one order, so that two callers wait and never deadlock."""
        wanted = (
            select(users.c.id)
            .where(
                users.c.tenant_id == tenant_id,
                literal("owner") == any_(users.c.roles),
                users.c.state == UserState.ACTIVE,
            )
            .order_by(users.c.id)
            .with_for_update()
        )
        return [row.id for row in self._connection.execute(wanted)]


def _user(row: RowMapping) -> User:
    return _user_of({k: v for k, v in row.items() if k != "password"})


def _user_of(values: Mapping[str, Any]) -> User:
    state = UserState(values["state"])
    return User(**{**values, "roles": tuple(values["roles"]), "state": state})


class PostgresIdentities:
    """Answers `ports.access.Identities`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, issuer: str, subject: str) -> Identity | None:
        """See the port."""
        row = (
            self._connection.execute(
                select(identities).where(
                    identities.c.issuer == issuer, identities.c.subject == subject
                )
            )
            .mappings()
            .first()
        )
        return Identity(**row) if row else None

    def add_identity(self, identity: Identity) -> None:
        """See the port."""
        values = {c.name: getattr(identity, c.name) for c in identities.c}
        try:
            with self._connection.begin_nested():
                self._connection.execute(insert(identities).values(values))
        except IntegrityError:
            raise NameTaken("this identity belongs to somebody already") from None

    def of_user(self, user_id: UUID) -> list[Identity]:
        """See the port."""
        order = (identities.c.created_at, identities.c.issuer, identities.c.subject)
        rows = self._connection.execute(
            select(identities).where(identities.c.user_id == user_id).order_by(*order)
        )
        return [Identity(**row) for row in rows.mappings()]


class PostgresSessions:
    """Answers `ports.access.Sessions`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_session(self, session: Session) -> None:
        """See the port."""
        values = {c.name: getattr(session, c.name) for c in sessions.c}
        self._connection.execute(insert(sessions).values(values))

    def get_session(self, session_id: UUID, *, lock: bool = False) -> tuple[Session, User] | None:
        """See the port. One statement; only the session is locked."""
        wanted = (
            select(*_USER, *(c.label(f"session_{c.name}") for c in sessions.c))
            .join(users, users.c.id == sessions.c.user_id)
            .where(sessions.c.id == session_id)
        )
        if lock:
            wanted = wanted.with_for_update(of=sessions)
        row = self._connection.execute(wanted).mappings().first()
        if row is None:
            return None
        values = dict(row)
        mine = {c.name: values.pop(f"session_{c.name}") for c in sessions.c}
        return _session(mine), _user_of(values)

    def rotate(self, session: Session) -> None:
        """See the port."""
        self._connection.execute(
            update(sessions)
            .where(sessions.c.id == session.id)
            .values(
                refresh=session.refresh, generation=session.generation,
                used_at=session.used_at, expires_at=session.expires_at,
            )
        )  # fmt: skip

    def revoke(self, session_id: UUID, *, reason: str, at: datetime) -> bool:
        """See the port."""
        done = self._connection.execute(
            update(sessions)
            .where(sessions.c.id == session_id, sessions.c.revoked_at.is_(None))
            .values(revoked_at=at, reason=reason)
        )
        return bool(done.rowcount)

    def revoke_of_user(self, user_id: UUID, *, reason: str, at: datetime) -> list[UUID]:
        """See the port."""
        rows = self._connection.execute(
            update(sessions)
            .where(sessions.c.user_id == user_id, sessions.c.revoked_at.is_(None))
            .values(revoked_at=at, reason=reason)
            .returning(sessions.c.id)
        )
        return sorted(row.id for row in rows)

    def of_user(self, user_id: UUID, at: datetime) -> list[Session]:
        """See the port."""
        rows = self._connection.execute(
            select(sessions)
            .where(
                sessions.c.user_id == user_id,
                sessions.c.revoked_at.is_(None),
                sessions.c.expires_at > at,
            )
            .order_by(sessions.c.id.desc())
        )
        return [_session(dict(row)) for row in rows.mappings()]

    def prune(self, user_id: UUID, before: datetime) -> None:
        """See the port."""
        self._connection.execute(
            delete(sessions).where(sessions.c.user_id == user_id, sessions.c.expires_at < before)
        )


def _session(values: dict[str, Any]) -> Session:
    return Session(**{**values, "refresh": bytes(values["refresh"])})
