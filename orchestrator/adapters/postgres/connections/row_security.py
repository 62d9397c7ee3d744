"""Row security of a connection: the role it works in, and whose rows its statements may see.

The policies are in revision 0004. A statement of the role `zq_api` is told its tenant in its own
round trip and transaction, so that a connection that goes back to the pool remembers nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from orchestrator.adapters.postgres.connections.deadlines import BoundedConnection, BoundedCursor
from orchestrator.ports.acting import acting


class Role(StrEnum):
    """Whom Postgres takes a process for."""

    #: Sees the rows of the tenant on whose behalf the thread acts; of nobody while nobody acts.
    API = "zq_api"
    #: Sees everything: workers, the scheduler, commands beside the database.
    ENGINE = "zq_engine"
    #: Sees every tenant's rows, of the tables that say who may come in, and of no other.
    ACCESS = "zq_access"


class TenantConnection(BoundedConnection):
    """A connection of a process that serves requests."""

    #: Work as `zq_access` instead: `of_access` alone sets it, and resets it.
    across_tenants = False

    def preamble(self) -> str:
        """Return what comes before the first statement of a transaction; it ends with that."""
        if self.across_tenants:
            return f"SELECT set_config('role', '{Role.ACCESS}', true); "
        one = acting()
        # A UUID's text needs no quoting.
        return f"SELECT set_config('zq.tenant', '{one.tenant_id}', true); " if one else ""


class TenantCursor(BoundedCursor):
    """Puts role or tenant before whatever begins a transaction, be it of one statement or of many.

    Several statements in one string are one transaction in autocommit, and the result is the last
    one's. A statement that goes another way (COPY, a server-side function call) sees no rows.
    """

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002
        """Run a statement under row security."""
        one: Any = self.connection
        if one.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            text = query if isinstance(query, str | bytes) else query.as_string(one)
            preamble: str = one.preamble()
            query = preamble.encode() + text if isinstance(text, bytes) else preamble + text
        super().execute(query, vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        """Run a statement for many values; in autocommit each is a transaction of its own."""
        one: Any = self.connection
        if one.autocommit:
            for values in vars_list:
                self.execute(query, values)
            return
        if one.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            self.execute("SELECT 1")
        super().executemany(query, vars_list)


@contextmanager
def of_access(one: Any, *, wanted: bool) -> Iterator[None]:
    """Let the statements of a connection see the tables of access, of every tenant, if `wanted`.

    Where the process's role sees everything anyway, this changes nothing.
    """
    if not wanted or not isinstance(one, TenantConnection):
        yield
        return
    one.across_tenants = True
    try:
        yield
    finally:
        one.across_tenants = False


def connecting(role: Role) -> dict[str, Any]:
    """Return what a connection of a role needs, beside its options."""
    if role is not Role.API:
        return {"connection_factory": BoundedConnection, "cursor_factory": BoundedCursor}
    return {"connection_factory": TenantConnection, "cursor_factory": TenantCursor}
