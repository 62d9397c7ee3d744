"""One transaction over workflows, idempotency keys and the start of runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from orchestrator.adapters.postgres.decoding import moved
from orchestrator.adapters.postgres.moves import INPUT, size_of, starting
from orchestrator.adapters.postgres.quotas import PostgresQuotaChecks
from orchestrator.adapters.postgres.tables import idempotency_keys, workflow_versions, workflows
from orchestrator.errors import (
    IdempotencyMismatch,
    IllegalMove,
    NameTaken,
    NotFound,
    VersionMismatch,
)
from orchestrator.models.definitions.saved import SavedWorkflow, Version, WorkflowStatus
from orchestrator.ports.moves import Moved, NewRun

_START = "SELECT zq_start_v2(%s, %s, %s, %s, %s, %s::text[], %s::jsonb, %s, %s)"
_RERUN = "SELECT zq_rerun_v3(%s, %s, %s, %s, %s::int[], %s::int[], %s, %s::text[], %s::jsonb, %s)"
_LISTED = and_(~workflows.c.ad_hoc, workflows.c.status != WorkflowStatus.ARCHIVED)


class PostgresUnitOfWork:
    """Answers `ports.store.UnitOfWork` on one connection inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.workflows = PostgresWorkflows(connection)
        self.keys = PostgresKeys(connection)
        self.quotas = PostgresQuotaChecks(connection)

    def store_run(self, new: NewRun) -> Moved:
        """See the port."""
        values = starting(new)
        row = self._connection.exec_driver_sql(_START, values).scalar()
        started = moved(new.id, row, stored_bytes=size_of(values[INPUT]))
        if started is None:
            raise NotFound(f"workflow {new.workflow_id} has no version {new.version}")
        return started

    def store_rerun(self, new: NewRun, kept: Mapping[int, int]) -> Moved:
        """See the port."""
        value = starting(new)[INPUT]
        row = self._connection.exec_driver_sql(
            _RERUN,
            (
                new.id,
                new.tenant_id,
                new.origin_run_id,
                new.version,
                list(kept),
                list(kept.values()),
                str(new.trigger),
                list(new.tags),
                value,
                new.room,
            ),
        ).scalar()
        started = moved(new.id, row, stored_bytes=size_of(value))
        if started is None:
            raise IllegalMove("only a run that has ended can be run again; cancel it first")
        return started


class PostgresKeys:
    """Answers `ports.workflows.Keys`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def take(self, tenant_id: UUID, key: str, digest: str, resource_id: UUID) -> UUID | None:
        """See the port. A second caller waits on the first one's uncommitted row."""
        new = self._connection.execute(
            upsert(idempotency_keys)
            .values(
                tenant_id=tenant_id,
                key=key,
                digest=digest,
                resource_id=resource_id,
                created_at=func.zq_now_v1(),
            )
            .on_conflict_do_nothing()
        )
        if new.rowcount:
            return None
        row = self._connection.execute(
            select(idempotency_keys.c.digest, idempotency_keys.c.resource_id).where(
                idempotency_keys.c.tenant_id == tenant_id, idempotency_keys.c.key == key
            )
        ).one()
        if row.digest != digest:
            raise IdempotencyMismatch
        found: UUID = row.resource_id
        return found


class PostgresWorkflows:
    """Answers `ports.workflows.Workflows`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_workflow(self, saved: SavedWorkflow, definition: Mapping[str, Any], plan: Any) -> None:
        """See the port."""
        values = {
            "id": saved.id,
            "tenant_id": saved.tenant_id,
            "ad_hoc": saved.ad_hoc,
            "created_at": saved.created_at,
            **_changing(saved),
        }
        with _UniqueName(saved.name):
            self._connection.execute(insert(workflows).values(values))
        self._add_version(saved, definition, plan)

    def change(self, saved: SavedWorkflow, definition: Mapping[str, Any], plan: Any) -> None:
        """See the port."""
        with _UniqueName(saved.name):
            done = self._connection.execute(
                update(workflows)
                .where(
                    workflows.c.id == saved.id,
                    workflows.c.tenant_id == saved.tenant_id,
                    workflows.c.version == saved.version - 1,
                )
                .values(_changing(saved))
            )
        if not done.rowcount:
            raise VersionMismatch
        self._add_version(saved, definition, plan)

    def _add_version(self, saved: SavedWorkflow, definition: Any, plan: Any) -> None:
        self._connection.execute(
            insert(workflow_versions).values(
                workflow_id=saved.id,
                version=saved.version,
                tenant_id=saved.tenant_id,
                definition=definition,
                plan=plan,
                created_at=saved.updated_at,
            )
        )

    def get_workflow(
        self, tenant_id: UUID, workflow_id: UUID, *, lock: bool = False
    ) -> SavedWorkflow | None:
        """See the port."""
        wanted = select(workflows).where(
            workflows.c.id == workflow_id, workflows.c.tenant_id == tenant_id
        )
        row = (
            self._connection.execute(wanted.with_for_update() if lock else wanted)
            .mappings()
            .one_or_none()
        )
        return _saved(row) if row else None

    def named(self, tenant_id: UUID, name: str) -> SavedWorkflow | None:
        """See the port."""
        row = (
            self._connection.execute(
                select(workflows).where(
                    workflows.c.tenant_id == tenant_id, workflows.c.name == name, _LISTED
                )
            )
            .mappings()
            .one_or_none()
        )
        return _saved(row) if row else None

    def list(
        self,
        tenant_id: UUID,
        *,
        before: UUID | None,
        limit: int,
        query: str | None,
        among: frozenset[UUID] | None = None,
        name: str | None = None,
        statuses: Collection[WorkflowStatus] = (),
    ) -> list[SavedWorkflow]:
        """See the port."""
        wanted = select(workflows).where(workflows.c.tenant_id == tenant_id)
        if WorkflowStatus.ARCHIVED in statuses:
            wanted = wanted.where(~workflows.c.ad_hoc)
        else:
            wanted = wanted.where(_LISTED)
        if statuses:
            wanted = wanted.where(workflows.c.status.in_(statuses))
        if name is not None:
            wanted = wanted.where(workflows.c.name == name)
        if before is not None:
            wanted = wanted.where(workflows.c.id < before)
        if among is not None:
            wanted = wanted.where(workflows.c.id.in_(among))
        if query:
            wanted = wanted.where(workflows.c.name.icontains(query, autoescape=True))
        rows = self._connection.execute(wanted.order_by(workflows.c.id.desc()).limit(limit))
        return [_saved(row) for row in rows.mappings()]

    def version(self, workflow_id: UUID, version: int) -> Version | None:
        """See the port."""
        row = self._connection.execute(
            select(workflow_versions).where(
                workflow_versions.c.workflow_id == workflow_id,
                workflow_versions.c.version == version,
            )
        ).one_or_none()
        if row is None:
            return None
        return Version(
            workflow_id=row.workflow_id,
            version=row.version,
            definition=row.definition,
            created_at=row.created_at,
        )

    def versions(self, workflow_id: UUID, *, before: int | None, limit: int) -> Sequence[Version]:
        """See the port."""
        table = workflow_versions.c
        wanted = select(table.version, table.created_at).where(table.workflow_id == workflow_id)
        if before is not None:
            wanted = wanted.where(table.version < before)
        rows = self._connection.execute(wanted.order_by(table.version.desc()).limit(limit))
        return [
            Version(workflow_id=workflow_id, version=n, definition={}, created_at=at)
            for n, at in rows
        ]


def _changing(saved: SavedWorkflow) -> dict[str, Any]:
    return {
        "name": saved.name,
        "description": saved.description,
        "status": str(saved.status),
        "version": saved.version,
        "updated_at": saved.updated_at,
    }


def _saved(row: Any) -> SavedWorkflow:
    values = dict(row)
    return SavedWorkflow(**{**values, "status": WorkflowStatus(values["status"])})


class _UniqueName:
    """Turn the unique index's refusal into NameTaken."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _tb: object) -> None:
        if isinstance(error, IntegrityError) and "uq_workflows_name" in str(error.orig):
            raise NameTaken(f"another workflow is named {self._name!r}; choose another name")
