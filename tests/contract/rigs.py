"""A store with the strings a test pulls: time that passes, and states no move leads to yet.

`MemoryRig` and `PostgresRig` answer the same questions, so a contract test never asks which it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import psycopg2
import psycopg2.extras

from orchestrator.adapters.memory.runtime import SettableClock
from orchestrator.adapters.memory.store import MemoryStore
from orchestrator.adapters.memory.tables import unpack
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.models.runs.run import RunState
from orchestrator.ports.store import Store
from tests.factories import new_id
from tests.integration.invariants import prepare, violations
from tests.invariants import broken_in

#: Every column with a moment that decides something, by table.
_MOMENTS = {
    "runs": ("created_at", "started_at", "finished_at", "deadline_at"),
    "tasks": (
        "queued_at", "published_at", "started_at", "finished_at", "deadline_at", "due_at",
    ),
    "attempts": ("queued_at", "started_at", "finished_at"),
    "events": ("at",),
    "workers": ("free_since", "started_at", "beat_at"),
    "idempotency_keys": ("created_at",),
}  # fmt: skip


class Rig(Protocol):
    """What a contract test needs beside the port itself."""

    store: Store

    def now(self) -> datetime:
        """Return the record's time."""

    def pass_time(self, seconds: float) -> None:
        """Let time pass for everything stored so far."""

    def force(self, run_id: UUID, state: RunState) -> None:
        """Put a run that has not ended into a state."""

    def tenant(self) -> UUID:
        """Make another tenant."""

    def plan(self, workflow_id: UUID, version: int) -> Mapping[str, Any]:
        """Return the stored plan."""

    def broken(self) -> list[str]:
        """Return the promises that do not hold for what is stored now."""

    def close(self) -> None:
        """Give back what it holds."""


class MemoryRig:
    """The memory store on a clock that stands still."""

    def __init__(self) -> None:
        self.clock = SettableClock(datetime.now(UTC))
        self.store = MemoryStore(self.clock)

    def now(self) -> datetime:
        """See Rig."""
        return self.clock.now()

    def pass_time(self, seconds: float) -> None:
        """See Rig."""
        self.clock.advance(seconds)

    def force(self, run_id: UUID, state: RunState) -> None:
        """See Rig."""
        with self.store.tables.lock:
            self.store.tables.runs[run_id].state = state

    def tenant(self) -> UUID:
        """See Rig."""
        return new_id()

    def plan(self, workflow_id: UUID, version: int) -> Mapping[str, Any]:
        """See Rig."""
        found: Mapping[str, Any] = unpack(self.store.tables.versions[workflow_id, version].plan)
        return found

    def broken(self) -> list[str]:
        """See Rig."""
        return [
            problem
            for row in self.store.tables.runs.values()
            for problem in broken_in(
                self.store.reads, row.tenant_id, row.id, self.plan(row.workflow_id, row.version)
            )
        ]

    def close(self) -> None:
        """See Rig."""
        self.store.close()


class PostgresRig:
    """The Postgres store; time passes by making everything stored older."""

    def __init__(self, url: str, *, pool_size: int = 10, small_moves: bool = True) -> None:
        self.url = url
        # Without one, without the other: the plain form of everything.
        self.store = PostgresStore(
            url, pool_size=pool_size, small_moves=small_moves, kept_plans=small_moves
        )
        self.connection = psycopg2.connect(url)
        self.connection.autocommit = True
        psycopg2.extras.register_uuid(conn_or_curs=self.connection)
        self.prepared = False

    def run(self, statement: str, *values: Any) -> Any:
        """Run SQL by the side entrance; return its rows, if there are any."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else None

    def empty(self) -> None:
        """Delete every row a test can have made."""
        tables = (
            *_MOMENTS, "run_counters", "run_tags", "workflow_versions", "workflows",
        )  # fmt: skip
        self.run("; ".join(f"DELETE FROM {table}" for table in tables))

    def now(self) -> datetime:
        """See Rig."""
        found: datetime = self.run("SELECT clock_timestamp()")[0][0]
        return found

    def pass_time(self, seconds: float) -> None:
        """See Rig."""
        for table, columns in _MOMENTS.items():
            changes = ", ".join(f"{c} = {c} - make_interval(secs => {seconds})" for c in columns)
            self.run(f"UPDATE {table} SET {changes}")

    def force(self, run_id: UUID, state: RunState) -> None:
        """See Rig."""
        self.run("UPDATE runs SET state = %s WHERE id = %s", str(state), run_id)

    def tenant(self) -> UUID:
        """See Rig."""
        tenant_id = new_id()
        self.run("INSERT INTO tenants (id, name) VALUES (%s, %s)", tenant_id, f"t-{tenant_id}")
        return tenant_id

    def plan(self, workflow_id: UUID, version: int) -> Mapping[str, Any]:
        """See Rig."""
        found: Mapping[str, Any] = self.run(
            "SELECT plan FROM workflow_versions WHERE workflow_id = %s AND version = %s",
            workflow_id,
            version,
        )[0][0]
        return found

    def broken(self) -> list[str]:
        """See Rig."""
        return violations(self.connection, prepared=self.prepared)

    def prepare(self) -> None:
        """Make `broken` cheap enough to be asked after every step."""
        prepare(self.connection)
        self.prepared = True

    def close(self) -> None:
        """See Rig."""
        self.connection.close()
        self.store.close()
