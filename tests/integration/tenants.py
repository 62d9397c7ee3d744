"""Whoever acts for a tenant, and a row of a tenant in each table there is."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, JSON, DateTime, LargeBinary, Text, Uuid

from orchestrator.adapters.postgres.access.tables import metadata
from orchestrator.models.access.permissions import ADMIN, Principal
from orchestrator.ports.acting import Acting, acting_as
from tests.contract.player import Player
from tests.contract.rigs import PostgresRig
from tests.factories import new_id

#: Tables without an owner, each for a reason: the fleet serves all, and the schema's own revision.
NOBODYS = {"workers", "alembic_version"}
OWNED = tuple(sorted({t.name for t in metadata.sorted_tables} - NOBODYS))


def whoever(tenant_id: UUID) -> Principal:
    """Return one who may do everything in a tenant."""
    return replace(ADMIN, id=new_id(), tenant_id=tenant_id)


def on_behalf(tenant_id: UUID, action: str | None = None) -> AbstractContextManager[None]:
    """Act for a tenant, as a request does."""
    return acting_as(Acting(principal=whoever(tenant_id), action=action))


def fill(rig: PostgresRig, play: Player) -> None:
    """Store a row of a tenant in each table that has none yet."""
    user_id = new_id()
    fixed: dict[str, object] = {
        "tenant_id": play.tenant_id,
        "workflow_id": play.started.workflow_id,
        "run_id": play.run_id,
        "user_id": user_id,
        "purpose": "reset",
        "state": "failed",
    }
    for table in metadata.sorted_tables:
        mine = f"SELECT count(*) FROM {table.name} WHERE tenant_id = %s"
        if table.name in {"tenants", *NOBODYS} or rig.run(mine, play.tenant_id)[0][0]:
            continue
        values = {
            column.name: fixed.get(column.name, _some(column.type))
            for column in table.columns
            if not column.nullable and column.server_default is None
        }
        if table.name == "users":
            values["id"] = user_id
        marks = ", ".join(["%s"] * len(values))
        rig.run(
            f"INSERT INTO {table.name} ({', '.join(values)}) VALUES ({marks})", *values.values()
        )


def _some(kind: Any) -> object:
    """Return a value of a column's type that no other row has, where that may count."""
    if isinstance(kind, Uuid):
        return new_id()
    if isinstance(kind, DateTime):
        return datetime.now(UTC)
    if isinstance(kind, ARRAY):
        return []
    if isinstance(kind, JSON):
        return "{}"
    if isinstance(kind, LargeBinary):
        return new_id().bytes
    return f"t{new_id().hex}" if isinstance(kind, Text) else 1
