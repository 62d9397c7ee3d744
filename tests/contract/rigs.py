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
from tests.servers import EMPTY

#: What `migrations/functions/now_v1.sql` tells, some seconds later.
_LATER = """
CREATE OR REPLACE FUNCTION zq_now_v1() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS
$$ SELECT clock_timestamp() + make_interval(secs => {ahead_s}) $$
"""


class Rig(Protocol):
    """What a contract test needs beside the port itself."""

    store: Store

    def now(self) -> datetime:
        """Return the record's time."""

    def pass_time(self, seconds: float) -> None:
        """Let time pass, for everything that asks the record's clock."""

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
    """The Postgres store; time passes by replacing the one function that tells it.

    That takes the owner of the schema, and every connection plans anew with it.
    """

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
        self._ahead_s = 0.0

    def run(self, statement: str, *values: Any) -> Any:
        """Run SQL by the side entrance; return its rows, if there are any."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else None

    def empty(self) -> None:
        """Delete every row a test can have made, and set the clock back to what it was."""
        self.run(EMPTY)
        # Another rig may have left it ahead.
        if self.run("SELECT zq_now_v1() > clock_timestamp()")[0][0]:
            self.run(_LATER.format(ahead_s=0))
        self._ahead_s = 0.0

    def now(self) -> datetime:
        """See Rig."""
        found: datetime = self.run("SELECT zq_now_v1()")[0][0]
        return found

    def pass_time(self, seconds: float) -> None:
        """See Rig."""
        self._ahead_s += seconds
        self.run(_LATER.format(ahead_s=self._ahead_s))

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
