"""Secrets, sealed, and variables on Postgres. What is sealed is never opened here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from orchestrator.adapters.postgres.connections.pool import Pool, dumps
from orchestrator.adapters.postgres.quotas import PostgresQuotaChecks
from orchestrator.models.audit import digest_of
from orchestrator.models.secret import Sealed, SealedSecret, Secret, Variable
from orchestrator.ports.acting import note

_LIST = """
SELECT name, description, version, created_at, updated_at FROM secrets
 WHERE tenant_id = %s AND name > %s COLLATE "C" ORDER BY name COLLATE "C" LIMIT %s
"""
_FIND = """
SELECT tenant_id, name, version, description, sealed, data_key, master_key_id FROM secrets
 WHERE tenant_id = %s AND name = ANY(%s)
"""
_UNDER_OTHERS = """
SELECT tenant_id, name, version, description, sealed, data_key, master_key_id FROM secrets
 WHERE master_key_id <> %s AND (%s::uuid IS NULL OR (tenant_id, name) > (%s, %s))
 ORDER BY tenant_id, name LIMIT %s
"""
_PUT = """
INSERT INTO secrets AS s
       (tenant_id, name, version, description, sealed, data_key, master_key_id)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (tenant_id, name) DO UPDATE
   SET version = excluded.version, description = excluded.description,
       sealed = excluded.sealed, data_key = excluded.data_key,
       master_key_id = excluded.master_key_id, updated_at = clock_timestamp()
RETURNING name, description, version, created_at, updated_at
"""
_REWRAP = """
UPDATE secrets SET data_key = %s, master_key_id = %s
 WHERE tenant_id = %s AND name = %s AND version = %s AND data_key = %s
"""
# Two who set a new secret at once would both find none: the second waits for the first.
_ALONE = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"

_VARIABLES = """
SELECT name, environment, value, description, created_at, updated_at FROM variables
 WHERE tenant_id = %s AND (%s::text IS NULL OR environment = %s)
   AND (name COLLATE "C", environment COLLATE "C") > (%s, %s)
 ORDER BY name COLLATE "C", environment COLLATE "C" LIMIT %s
"""
_ONE_VARIABLE = """
SELECT name, environment, value, description, created_at, updated_at FROM variables
 WHERE tenant_id = %s AND environment = %s AND name = %s
"""
# The empty environment sorts first: the process's own, where there is one, comes before it.
_VALUES = """
SELECT DISTINCT ON (name) name, value FROM variables
 WHERE tenant_id = %s AND name = ANY(%s) AND environment IN ('', %s)
 ORDER BY name, environment DESC
"""
_PUT_VARIABLE = """
INSERT INTO variables AS v (tenant_id, environment, name, value, description)
VALUES (%s, %s, %s, %s::jsonb, %s)
ON CONFLICT (tenant_id, environment, name) DO UPDATE
   SET value = excluded.value, description = excluded.description, updated_at = clock_timestamp()
RETURNING name, environment, value, description, created_at, updated_at
"""
_DROP_VARIABLE = "DELETE FROM variables WHERE tenant_id = %s AND environment = %s AND name = %s"


class PostgresSecretWork:
    """Answers `ports.secrets.SecretWork` on one connection inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.quotas = PostgresQuotaChecks(connection)

    def get(self, tenant_id: UUID, name: str) -> SealedSecret | None:
        """See the port."""
        self._connection.exec_driver_sql(_ALONE, (f"zq secret {tenant_id} {name}",))
        found = self._connection.exec_driver_sql(_FIND + " FOR UPDATE", (tenant_id, [name]))
        row = found.one_or_none()
        return _sealed(row) if row else None

    def put(self, secret: SealedSecret) -> Secret:
        """See the port."""
        values = (
            secret.tenant_id, secret.name, secret.version, secret.description,
            secret.sealed.value, secret.sealed.data_key, secret.sealed.master_key_id,
        )  # fmt: skip
        return _secret(self._connection.exec_driver_sql(_PUT, values).one())

    def remove(self, tenant_id: UUID, name: str) -> None:
        """See the port."""
        self._connection.exec_driver_sql(
            "DELETE FROM secrets WHERE tenant_id = %s AND name = %s", (tenant_id, name)
        )

    def rewrap(self, secret: SealedSecret, sealed: Sealed) -> bool:
        """See the port."""
        values = (
            sealed.data_key, sealed.master_key_id,
            secret.tenant_id, secret.name, secret.version, secret.sealed.data_key,
        )  # fmt: skip
        return self._connection.exec_driver_sql(_REWRAP, values).rowcount == 1


class PostgresSecrets:
    """Answers `ports.secrets.SecretRows`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def list(self, tenant_id: UUID, *, after: str, limit: int) -> Sequence[Secret]:
        """See the port."""
        return [_secret(row) for row in _rows(self._pool, _LIST, (tenant_id, after, limit))]

    def sealed(self, tenant_id: UUID, names: Sequence[str]) -> Sequence[SealedSecret]:
        """See the port."""
        return [_sealed(row) for row in _rows(self._pool, _FIND, (tenant_id, [*names]))]

    def under_other_keys(
        self, newest: str, *, after: tuple[UUID, str] | None, limit: int
    ) -> Sequence[SealedSecret]:
        """See the port."""
        tenant_id, name = after or (None, None)
        values = (newest, tenant_id, tenant_id, name, limit)
        return [_sealed(row) for row in _rows(self._pool, _UNDER_OTHERS, values)]

    @contextmanager
    def begin(self) -> Iterator[PostgresSecretWork]:
        """See the port."""
        with self._pool.begin() as connection:
            yield PostgresSecretWork(connection)


class PostgresVariables:
    """Answers `ports.secrets.VariableRows`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def list(
        self,
        tenant_id: UUID,
        *,
        environment: str | None,
        after: tuple[str, str] | None,
        limit: int,
    ) -> Sequence[Variable]:
        """See the port."""
        values = (tenant_id, environment, environment, *(after or ("", "")), limit)
        return [_variable(row) for row in _rows(self._pool, _VARIABLES, values)]

    def get(self, tenant_id: UUID, environment: str, name: str) -> Variable | None:
        """See the port."""
        found = _rows(self._pool, _ONE_VARIABLE, (tenant_id, environment, name))
        return _variable(found[0]) if found else None

    def values(self, tenant_id: UUID, environment: str, names: Sequence[str]) -> dict[str, Any]:
        """See the port."""
        return dict(_rows(self._pool, _VALUES, (tenant_id, [*names], environment)))

    def put(
        self, tenant_id: UUID, environment: str, name: str, value: Any, description: str | None
    ) -> tuple[Variable, bool]:
        """See the port."""
        key = (tenant_id, environment, name)
        with self._pool.begin() as connection:
            connection.exec_driver_sql(_ALONE, (f"zq variable {tenant_id} {environment} {name}",))
            row = connection.exec_driver_sql(_ONE_VARIABLE + " FOR UPDATE", key).one_or_none()
            before = _variable(row) if row else None
            told = (before.description if before else "") if description is None else description
            row = connection.exec_driver_sql(_PUT_VARIABLE, (*key, dumps(value), told)).one()
            _note(environment, name, before, after=digest_of(value))
        return _variable(row), before is None

    def remove(self, tenant_id: UUID, environment: str, name: str) -> bool:
        """See the port."""
        key = (tenant_id, environment, name)
        with self._pool.begin() as connection:
            row = connection.exec_driver_sql(_ONE_VARIABLE + " FOR UPDATE", key).one_or_none()
            if row is None:
                return False
            connection.exec_driver_sql(_DROP_VARIABLE, key)
            _note(environment, name, _variable(row), after=None)
        return True


def _rows(pool: Pool, statement: str, values: tuple[Any, ...]) -> list[Any]:
    with pool.cursor() as cursor:
        cursor.execute(statement, values)
        found: list[Any] = cursor.fetchall()
        return found


def _note(environment: str, name: str, before: Variable | None, *, after: str | None) -> None:
    place = f"{environment}/{name}" if environment else name
    note("variable", place, before=digest_of(before.value) if before else None, after=after)


def _secret(row: Sequence[Any]) -> Secret:
    name, description, version, created_at, updated_at = row
    return Secret(
        name=name, description=description, version=version, created_at=created_at,
        updated_at=updated_at,
    )  # fmt: skip


def _sealed(row: Sequence[Any]) -> SealedSecret:
    tenant_id, name, version, description, value, data_key, master_key_id = row
    sealed = Sealed(value=bytes(value), data_key=bytes(data_key), master_key_id=master_key_id)
    return SealedSecret(
        tenant_id=tenant_id, name=name, version=version, description=description, sealed=sealed
    )


def _variable(row: Sequence[Any]) -> Variable:
    name, environment, value, description, created_at, updated_at = row
    return Variable(
        name=name, environment=environment, value=value, description=description,
        created_at=created_at, updated_at=updated_at,
    )  # fmt: skip
