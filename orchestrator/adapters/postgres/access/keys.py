"""API keys, roles, grants, one-time tokens and tenants on Postgres."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, any_, delete, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from orchestrator.adapters.postgres.access.tables import (
    api_keys,
    one_time_tokens,
    roles,
    users,
    workflow_grants,
)
from orchestrator.adapters.postgres.tables import tenants
from orchestrator.errors import NameTaken, NotFound
from orchestrator.ports.access import ApiKey, CustomRole, Grant, OneTimeToken, Purpose, Tenant

_KEY = tuple(c for c in api_keys.c if c.name != "digest")
_TOKEN = tuple(c for c in one_time_tokens.c if c.name != "used_at")


class PostgresApiKeys:
    """Answers `ports.access.ApiKeys`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_key(self, key: ApiKey, digest: bytes) -> None:
        """See the port."""
        values = {
            **{c.name: getattr(key, c.name) for c in _KEY},
            "roles": list(key.roles),
            "scopes": None if key.scopes is None else list(key.scopes),
            "digest": digest,
        }
        self._connection.execute(insert(api_keys).values(values))

    def by_prefix(self, prefix: str) -> tuple[ApiKey, bytes] | None:
        """See the port."""
        row = (
            self._connection.execute(
                select(*_KEY, api_keys.c.digest).where(api_keys.c.prefix == prefix)
            )
            .mappings()
            .first()
        )
        return (_key(row), bytes(row["digest"])) if row else None

    def get_key(self, tenant_id: UUID, key_id: UUID, *, lock: bool = False) -> ApiKey | None:
        """See the port."""
        wanted = select(*_KEY).where(api_keys.c.id == key_id, api_keys.c.tenant_id == tenant_id)
        row = (
            self._connection.execute(wanted.with_for_update() if lock else wanted)
            .mappings()
            .first()
        )
        return _key(row) if row else None

    def page(self, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[ApiKey]:
        """See the port."""
        wanted = select(*_KEY).where(api_keys.c.tenant_id == tenant_id)
        if after is not None:
            wanted = wanted.where(api_keys.c.id > after)
        rows = self._connection.execute(wanted.order_by(api_keys.c.id).limit(limit))
        return [_key(row) for row in rows.mappings()]

    def change(self, key: ApiKey) -> bool:
        """See the port."""
        done = self._connection.execute(
            update(api_keys)
            .where(api_keys.c.id == key.id, api_keys.c.tenant_id == key.tenant_id)
            .values(
                name=key.name, rotated_to=key.rotated_to, expires_at=key.expires_at,
                revoked_at=key.revoked_at,
            )
        )  # fmt: skip
        return bool(done.rowcount)

    def used(self, key_id: UUID, at: datetime) -> None:
        """See the port."""
        self._connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(used_at=at))


def _key(row: RowMapping) -> ApiKey:
    values = {k: v for k, v in row.items() if k != "digest"}
    scopes = values["scopes"]
    values |= {
        "roles": tuple(values["roles"]),
        "scopes": None if scopes is None else tuple(scopes),
    }
    return ApiKey(**values)


class PostgresCustomRoles:
    """Answers `ports.access.CustomRoles`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_role(self, role: CustomRole) -> None:
        """See the port."""
        values = {c.name: getattr(role, c.name) for c in roles.c}
        values["permissions"] = list(role.permissions)
        try:
            with self._connection.begin_nested():
                self._connection.execute(insert(roles).values(values))
        except IntegrityError:
            raise NameTaken(f"there is a role {role.name} already") from None

    def get_role(self, tenant_id: UUID, name: str) -> CustomRole | None:
        """See the port."""
        row = (
            self._connection.execute(
                select(roles).where(roles.c.tenant_id == tenant_id, roles.c.name == name)
            )
            .mappings()
            .first()
        )
        return _role(row) if row else None

    def of_tenant(self, tenant_id: UUID) -> list[CustomRole]:
        """See the port."""
        rows = self._connection.execute(
            select(roles).where(roles.c.tenant_id == tenant_id).order_by(roles.c.name.collate("C"))
        )
        return [_role(row) for row in rows.mappings()]

    def change(self, role: CustomRole) -> bool:
        """See the port."""
        done = self._connection.execute(
            update(roles)
            .where(roles.c.tenant_id == role.tenant_id, roles.c.name == role.name)
            .values(
                description=role.description, permissions=list(role.permissions),
                updated_at=role.updated_at,
            )
        )  # fmt: skip
        return bool(done.rowcount)

    def delete(self, tenant_id: UUID, name: str) -> bool:
        """See the port."""
        run = self._connection.execute
        done = run(delete(roles).where(roles.c.tenant_id == tenant_id, roles.c.name == name))
        if not done.rowcount:
            return False
        for table in (users, api_keys):
            run(
                update(table)
                .where(table.c.tenant_id == tenant_id, literal(name) == any_(table.c.roles))
                .values(roles=func.array_remove(table.c.roles, name))
            )
        grants = workflow_grants.c
        run(delete(workflow_grants).where(grants.tenant_id == tenant_id, grants.role == name))
        return True


def _role(row: RowMapping) -> CustomRole:
    return CustomRole(**{**row, "permissions": tuple(row["permissions"])})


class PostgresGrants:
    """Answers `ports.access.Grants`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, grant: Grant) -> None:
        """See the port. A grant of another tenant is never replaced."""
        values = {c.name: getattr(grant, c.name) for c in workflow_grants.c}
        new = upsert(workflow_grants).values(values)
        try:
            with self._connection.begin_nested():
                self._connection.execute(
                    new.on_conflict_do_update(
                        index_elements=["workflow_id", "principal_id"],
                        set_={"role": grant.role, "created_at": grant.created_at},
                        where=workflow_grants.c.tenant_id == grant.tenant_id,
                    )
                )
        except IntegrityError:
            raise NotFound("there is no such workflow") from None

    def delete(self, tenant_id: UUID, workflow_id: UUID, principal_id: UUID) -> bool:
        """See the port."""
        done = self._connection.execute(
            delete(workflow_grants).where(
                workflow_grants.c.tenant_id == tenant_id,
                workflow_grants.c.workflow_id == workflow_id,
                workflow_grants.c.principal_id == principal_id,
            )
        )
        return bool(done.rowcount)

    def of_workflow(self, tenant_id: UUID, workflow_id: UUID) -> list[Grant]:
        """See the port."""
        rows = self._connection.execute(
            select(workflow_grants)
            .where(
                workflow_grants.c.tenant_id == tenant_id,
                workflow_grants.c.workflow_id == workflow_id,
            )
            .order_by(workflow_grants.c.created_at, workflow_grants.c.principal_id)
        )
        return [Grant(**row) for row in rows.mappings()]

    def forget(self, tenant_id: UUID, principal_id: UUID) -> None:
        """See the port."""
        self._connection.execute(
            delete(workflow_grants).where(
                workflow_grants.c.tenant_id == tenant_id,
                workflow_grants.c.principal_id == principal_id,
            )
        )


class PostgresOneTimeTokens:
    """Answers `ports.access.OneTimeTokens`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_token(self, token: OneTimeToken) -> None:
        """See the port."""
        self.forget(token.user_id)
        values = {c.name: getattr(token, c.name) for c in _TOKEN}
        self._connection.execute(
            insert(one_time_tokens).values({**values, "purpose": str(token.purpose)})
        )

    def find(self, digest: bytes, at: datetime) -> OneTimeToken | None:
        """See the port."""
        row = self._connection.execute(select(*_TOKEN).where(*_good(digest, at))).mappings().first()
        return _token(row) if row else None

    def take(self, digest: bytes, at: datetime) -> OneTimeToken | None:
        """See the port. The second of two callers waits for the first, and finds it used."""
        row = (
            self._connection.execute(
                update(one_time_tokens)
                .where(*_good(digest, at))
                .values(used_at=at)
                .returning(*_TOKEN)
            )
            .mappings()
            .first()
        )
        return _token(row) if row else None

    def forget(self, user_id: UUID) -> None:
        """See the port."""
        self._connection.execute(
            delete(one_time_tokens).where(one_time_tokens.c.user_id == user_id)
        )


def _good(digest: bytes, at: datetime) -> tuple[Any, ...]:
    kept = one_time_tokens.c
    return kept.digest == digest, kept.used_at.is_(None), kept.expires_at > at


def _token(row: RowMapping) -> OneTimeToken:
    values = dict(row)
    return OneTimeToken(
        **{**values, "digest": bytes(values["digest"]), "purpose": Purpose(values["purpose"])}
    )


class PostgresTenants:
    """Answers `ports.access.Tenants`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_tenant(self, tenant: Tenant) -> None:
        """See the port."""
        values = {"id": tenant.id, "name": tenant.name, "created_at": tenant.created_at}
        try:
            with self._connection.begin_nested():
                self._connection.execute(insert(tenants).values(values))
        except IntegrityError:
            raise NameTaken(f"there is a tenant {tenant.name} already") from None

    def get_tenant(self, tenant_id: UUID) -> Tenant | None:
        """See the port."""
        row = (
            self._connection.execute(select(tenants).where(tenants.c.id == tenant_id))
            .mappings()
            .first()
        )
        return Tenant(**row) if row else None

    def page(self, *, after: UUID | None, limit: int) -> list[Tenant]:
        """See the port."""
        wanted = select(tenants)
        if after is not None:
            wanted = wanted.where(tenants.c.id > after)
        rows = self._connection.execute(wanted.order_by(tenants.c.id).limit(limit))
        return [Tenant(**row) for row in rows.mappings()]

    def rename(self, tenant_id: UUID, name: str) -> bool:
        """See the port."""
        try:
            with self._connection.begin_nested():
                done = self._connection.execute(
                    update(tenants).where(tenants.c.id == tenant_id).values(name=name)
                )
        except IntegrityError:
            raise NameTaken(f"there is a tenant {name} already") from None
        return bool(done.rowcount)
