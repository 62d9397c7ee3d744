"""The audit log on Postgres: what a request writes is recorded in the commit of the write itself.

Whoever opens a transaction empties `acting.changes`, and calls `record` right before the commit;
single-statement moves go through `with_entry`. Both lock the tenant's head, so they come last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Text, cast, func, or_, select

from orchestrator.adapters.postgres.access.tables import audit_log
from orchestrator.adapters.postgres.connections.pool import Pool, dumps
from orchestrator.models.audit import AuditEntry, Happening, Head, recordable
from orchestrator.ports.acting import Acting
from orchestrator.ports.audit import AuditFilter

_AUDIT = "zq_audit_v1(%s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb)"
#: A move with its entry; before and after are what `digest_of({"state": ...})` gives.
_MOVED = """
WITH move(made) AS MATERIALIZED ({move})
SELECT made, CASE WHEN jsonb_array_length(made -> 'events') > 0 THEN
    zq_audit_v1(%s, %s, %s, %s, %s, %s, %s, %s, jsonb_build_array(jsonb_build_array(
        %s::text, %s::text,
        encode(sha256(convert_to('{{"state":"' || (made ->> 'was') || '"}}', 'UTF8')), 'hex'),
        encode(sha256(convert_to('{{"state":"' || (made #>> '{{events,0,4}}') || '"}}', 'UTF8')),
               'hex')))) END
  FROM move"""

#: Times that Python cannot say (only a forger writes them) are read as its first and last days.
_LAST = datetime(9999, 12, 30, tzinfo=UTC)
_AT = func.least(func.greatest(audit_log.c.at, datetime(1, 1, 2, tzinfo=UTC)), _LAST)
_COLUMNS = [_AT.label("at") if c.name == "at" else c for c in audit_log.c]

_STARTED = (
    "WITH move(made) AS MATERIALIZED ({move})"
    " SELECT made, CASE WHEN made IS NOT NULL THEN {audit} END FROM move"
)


def record(connection: Connection, acting: Acting | None) -> None:
    """Record what the transaction of this connection has changed; call it right before the commit.

    Nothing for the engine's own transactions, for requests that may not write (`action` is None),
    and where nothing was written. Writes that nobody has noted get an entry without a resource.
    """
    if acting is None or acting.action is None:
        return
    changes = _taken(acting)
    values = (*_who(acting), dumps(changes))
    connection.exec_driver_sql(f"SELECT {_AUDIT}", values)


def with_entry(
    statement: str, acting: Acting | None, resource: str, resource_id: object
) -> tuple[str, tuple[Any, ...]]:
    """Return a move's statement, and parameters to add to its own, so that it leaves an entry.

    The statement must give one row of one column, what a move's function returns; that stays the
    first column. A move that recorded no event leaves none. Without an acting request, or where it
    may not write, the statement stays as it is.
    """
    if acting is None or acting.action is None:
        return statement, ()
    return _MOVED.format(move=statement), (*_who(acting), resource, recordable(str(resource_id)))


def with_changes(statement: str, acting: Acting | None) -> tuple[str, tuple[Any, ...]]:
    """As `with_entry`, for a move whose changes are noted already: they are recorded, and
    forgotten, with it; where it returns NULL nothing is."""
    if acting is None:
        return statement, ()
    changes = _taken(acting)
    if acting.action is None:
        return statement, ()
    return _STARTED.format(move=statement, audit=_AUDIT), (*_who(acting), dumps(changes))


def _taken(acting: Acting) -> list[list[str | None]]:
    """Return what was noted, and forget it."""
    found = [[c.resource, recordable(c.resource_id), c.before, c.after] for c in acting.changes]
    acting.changes.clear()
    return found


def _who(acting: Acting) -> tuple[Any, ...]:
    one = acting.principal
    return (
        one.tenant_id, one.id, str(one.kind), recordable(one.name),
        recordable(acting.action or ""), recordable(acting.detail), recordable(acting.address),
        recordable(acting.request_id),
    )  # fmt: skip


class PostgresAudit:
    """Answers `ports.audit.Audit`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def add(self, happening: Happening) -> None:
        """See the port."""
        one = happening
        change = [recordable(one.resource), recordable(one.resource_id), one.before, one.after]
        values = (
            one.tenant_id, one.principal_id, one.principal_kind, recordable(one.principal),
            recordable(one.action), recordable(one.detail), recordable(one.address),
            recordable(one.request_id), dumps([change]),
        )  # fmt: skip
        # Whoever fails to sign in has no tenant yet.
        with self._pool.cursor(as_access=True) as cursor:
            cursor.execute(f"SELECT {_AUDIT}", values)

    def list(self, wanted: AuditFilter) -> Sequence[AuditEntry]:
        """See the port."""
        order = audit_log.c.no.desc() if wanted.after is None else audit_log.c.no
        asked = select(*_COLUMNS).where(*_conditions(wanted)).order_by(order).limit(wanted.limit)
        with self._pool.begin() as connection:
            return [_entry(row) for row in connection.execute(asked).mappings()]

    def head(self, tenant_id: UUID) -> Head | None:
        """See the port."""
        with self._pool.cursor() as cursor:
            cursor.execute("SELECT no, digest FROM audit_heads WHERE tenant_id = %s", (tenant_id,))
            row = cursor.fetchone()
        return Head(no=row[0], digest=bytes(row[1])) if row else None

    def tenants(self) -> Sequence[UUID]:
        """See the port."""
        with self._pool.cursor() as cursor:
            cursor.execute(
                "SELECT tenant_id FROM audit_heads UNION SELECT tenant_id FROM audit_log ORDER BY 1"
            )
            return [row[0] for row in cursor.fetchall()]


def _conditions(wanted: AuditFilter) -> Iterator[ColumnElement[bool]]:
    column = audit_log.c
    yield column.tenant_id == wanted.tenant_id
    if wanted.before is not None:
        yield column.no < wanted.before
    if wanted.after is not None:
        yield column.no > wanted.after
    if wanted.since is not None:
        yield column.at >= wanted.since
    if wanted.until is not None:
        yield column.at < wanted.until
    if wanted.principal is not None:
        by_id = cast(column.principal_id, Text) == wanted.principal
        yield or_(column.principal == wanted.principal, by_id)
    for name in ("action", "resource", "resource_id"):
        value = getattr(wanted, name)
        if value is not None:
            yield column[name] == value


def _entry(row: Any) -> AuditEntry:
    return AuditEntry(**{**row, "digest": bytes(row["digest"])})
