"""Quotas and what counts against them, on Postgres: a few statements, and one function."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from orchestrator.adapters.postgres.access.tables import quotas, secrets
from orchestrator.adapters.postgres.connections.pool import Pool
from orchestrator.adapters.postgres.decoding import moved
from orchestrator.adapters.postgres.tables import runs, tenants, workflows
from orchestrator.errors import NotFound
from orchestrator.models.audit import digest_of
from orchestrator.models.definitions.saved import WorkflowStatus
from orchestrator.models.ids import lowest_uuid7
from orchestrator.models.quota import Quota
from orchestrator.ports.acting import note
from orchestrator.ports.quotas import QueuedWithin

_STORED = "SELECT name, value FROM quotas WHERE tenant_id = %s"
_EVERYWHERE = "SELECT tenant_id, value FROM quotas WHERE name = %s"
_USED = """
SELECT EXISTS (SELECT 1 FROM tenants WHERE id = %(tenant)s),
       (SELECT count(*) FROM runs WHERE tenant_id = %(tenant)s AND id >= %(since)s),
       (SELECT count(*) FROM tasks
         WHERE tenant_id = %(tenant)s AND state IN ('queued', 'running')),
       (SELECT coalesce(sum(bytes), 0)::bigint FROM artifact_usage WHERE tenant_id = %(tenant)s),
       (SELECT coalesce(sum(record_bytes), 0)::bigint FROM artifact_usage
         WHERE tenant_id = %(tenant)s),
       (SELECT count(*) FROM workflows
         WHERE tenant_id = %(tenant)s AND NOT ad_hoc AND status <> 'archived'),
       (SELECT count(*) FROM secrets WHERE tenant_id = %(tenant)s)
"""
_USED_NAMES = (
    Quota.RUNS_PER_MINUTE,
    Quota.CONCURRENT_TASKS,
    Quota.STORAGE_BYTES,
    Quota.RECORD_BYTES,
    Quota.WORKFLOWS,
    Quota.SECRETS,
)
# The first row of a tenant is refused by the caller: an upsert's condition sees only the second.
_ADD_BYTES = """
INSERT INTO artifact_usage AS u (tenant_id, bytes) VALUES (%(tenant)s, greatest(%(count)s, 0))
ON CONFLICT (tenant_id) DO UPDATE SET bytes = greatest(u.bytes + %(count)s, 0)
 WHERE %(count)s <= 0 OR %(most)s = 0 OR u.bytes + %(count)s <= %(most)s
RETURNING bytes
"""
_ADD_RECORD_BYTES = """
INSERT INTO artifact_usage AS u (tenant_id, record_bytes)
VALUES (%(tenant)s, greatest(%(count)s, 0))
ON CONFLICT (tenant_id) DO UPDATE SET record_bytes = greatest(u.record_bytes + %(count)s, 0)
RETURNING record_bytes
"""
_QUEUE_WITHIN = "SELECT zq_queue_within_v2(%s, %s, %s)"
_WAITING = """
SELECT DISTINCT tenant_id FROM tasks WHERE state = 'ready'
 UNION
SELECT DISTINCT t.tenant_id FROM tasks t
 WHERE t.state IN ('retrying', 'waiting') AND t.due_at <= zq_now_v1()
"""
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 0))")
_KEPT = workflows.c.status != WorkflowStatus.ARCHIVED


class PostgresQuotaChecks:
    """Answers `ports.quotas.QuotaChecks` on the connection of a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def stored(self, tenant_id: UUID) -> Mapping[Quota, int]:
        """See the port."""
        found = self._connection.exec_driver_sql(_STORED, (tenant_id,))
        return _known((name, value) for name, value in found)

    def runs_since(self, tenant_id: UUID, at: datetime, most: int) -> list[datetime]:
        """See the port. By the ids' time, which is that of the processes that start runs."""
        self._lock(Quota.RUNS_PER_MINUTE, tenant_id)
        rows = self._connection.execute(
            select(runs.c.created_at)
            .where(runs.c.tenant_id == tenant_id, runs.c.id >= lowest_uuid7(at))
            .order_by(runs.c.id.desc())
            .limit(most)
        )
        return [started for (started,) in rows]

    def workflows(self, tenant_id: UUID) -> int:
        """See the port."""
        self._lock(Quota.WORKFLOWS, tenant_id)
        wanted = select(func.count()).where(
            workflows.c.tenant_id == tenant_id, ~workflows.c.ad_hoc, _KEPT
        )
        return self._connection.execute(wanted).scalar_one()

    def secrets(self, tenant_id: UUID) -> int:
        """See the port."""
        self._lock(Quota.SECRETS, tenant_id)
        wanted = select(func.count()).where(secrets.c.tenant_id == tenant_id)
        return self._connection.execute(wanted).scalar_one()

    def _lock(self, name: Quota, tenant_id: UUID) -> None:
        self._connection.execute(_LOCK, {"what": f"zq {name} {tenant_id}"})


class PostgresQuotas:
    """Answers `ports.quotas.QuotaRecord`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def _rows(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        with self._pool.cursor() as cursor:
            cursor.execute(statement, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def stored(self, tenant_id: UUID) -> Mapping[Quota, int]:
        """See the port."""
        return _known((name, value) for name, value in self._rows(_STORED, (tenant_id,)))

    def everywhere(self, name: Quota) -> Mapping[UUID, int]:
        """See the port."""
        return {row[0]: row[1] for row in self._rows(_EVERYWHERE, (str(name),))}

    def change(self, tenant_id: UUID, values: Mapping[Quota, int | None]) -> None:
        """See the port. Of any tenant: whether the caller may is decided before."""
        kept = {name: value for name, value in values.items() if value is not None}
        # It also records in the audit log what is noted here, right before the commit.
        with self._pool.as_access() as connection:
            known = select(tenants.c.id).where(tenants.c.id == tenant_id)
            if connection.execute(known).one_or_none() is None:
                raise NotFound(f"there is no tenant {tenant_id}")
            stored = connection.exec_driver_sql(_STORED, (tenant_id,))
            before: dict[str, int | None] = {row.name: row.value for row in stored}
            after = {**before, **{str(name): value for name, value in values.items()}}
            now = {name: value for name, value in after.items() if value is not None}
            note("quota", tenant_id, before=digest_of(before), after=digest_of(now))
            gone = [str(name) for name in values if name not in kept]
            connection.execute(
                delete(quotas).where(quotas.c.tenant_id == tenant_id, quotas.c.name.in_(gone))
            )
            for name, value in kept.items():
                new = upsert(quotas).values(tenant_id=tenant_id, name=str(name), value=value)
                changed = {"value": value, "updated_at": func.now()}
                connection.execute(
                    new.on_conflict_do_update(index_elements=["tenant_id", "name"], set_=changed)
                )

    def used(self, tenant_id: UUID, since: datetime) -> Mapping[Quota, int]:
        """See the port."""
        values = {"tenant": tenant_id, "since": lowest_uuid7(since)}
        ((known, *counts),) = self._rows(_USED, values)
        if not known:
            raise NotFound(f"there is no tenant {tenant_id}")
        return dict(zip(_USED_NAMES, counts, strict=True))

    def add_bytes(self, tenant_id: UUID, count: int, most: int) -> bool:
        """See the port."""
        if most and count > most:
            return False
        values = {"tenant": tenant_id, "count": count, "most": most}
        return bool(self._rows(_ADD_BYTES, values))

    def add_record_bytes(self, tenant_id: UUID, count: int) -> int:
        """See the port."""
        ((total,),) = self._rows(_ADD_RECORD_BYTES, {"tenant": tenant_id, "count": count})
        return int(total)

    def queue_within(self, tenant_id: UUID, quota: int, most: int) -> QueuedWithin:
        """See the port."""
        ((found,),) = self._rows(_QUEUE_WITHIN, (tenant_id, quota, most))
        moves = (moved(UUID(row["run"]), row) for row in found["moves"])
        return QueuedWithin(held=found["held"], moves=tuple(m for m in moves if m is not None))

    def waiting(self) -> list[UUID]:
        """See the port."""
        return [tenant_id for (tenant_id,) in self._rows(_WAITING)]


def _known(rows: Any) -> Mapping[Quota, int]:
    """Return values by quota; a name that this release does not know is left out."""
    names = {str(name): name for name in Quota}
    return {names[name]: value for name, value in rows if name in names}
