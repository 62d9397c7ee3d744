"""The record's front door on Postgres: transactions, moves, reads, the fleet, listening."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT

from orchestrator.adapters.postgres.access.audit import PostgresAudit, record
from orchestrator.adapters.postgres.connections.deadlines import (
    BoundedConnection,
    BoundedCursor,
    Deadlines,
)
from orchestrator.adapters.postgres.connections.pool import Pool, guarded, normal_url, plain_url
from orchestrator.adapters.postgres.connections.row_security import Role
from orchestrator.adapters.postgres.fleet import PostgresFleet
from orchestrator.adapters.postgres.moves import PostgresMoves
from orchestrator.adapters.postgres.quotas import PostgresQuotas
from orchestrator.adapters.postgres.reads import PostgresReads
from orchestrator.adapters.postgres.secrets import PostgresSecrets, PostgresVariables
from orchestrator.adapters.postgres.unit_of_work import PostgresUnitOfWork


class PostgresStore:
    """Answers `ports.store.Record`. Safe to share between threads and to carry over a fork.

    `role` is the process's: `zq_api` sees only the tenant on whose behalf a thread acts, and no
    row while it acts on nobody's; `zq_engine` sees everything. `pool` is for the other adapters
    on Postgres: each process has one.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        statement_timeout_s: float = 30.0,
        connect_timeout_s: int = 5,
        role: Role | str = Role.ENGINE,
        small_moves: bool = True,
        kept_plans: bool = True,
        keep: bool = False,
    ) -> None:
        self._url = normal_url(url)
        self._connect_timeout_s = connect_timeout_s
        self.pool = Pool(
            url,
            size=pool_size,
            statement_timeout_s=statement_timeout_s,
            connect_timeout_s=connect_timeout_s,
            role=role,
            small_moves=small_moves,
            kept_plans=kept_plans,
            keep=keep,
            before_commit=record,
        )
        self.moves = PostgresMoves(self.pool)
        self.reads = PostgresReads(self.pool)
        self.fleet = PostgresFleet(self.pool)
        self.secrets = PostgresSecrets(self.pool)
        self.variables = PostgresVariables(self.pool)
        self.quotas = PostgresQuotas(self.pool)
        self.audit = PostgresAudit(self.pool)
        self._listener: Any = None
        self._listener_deadlines = Deadlines(connect_timeout_s)

    @contextmanager
    def begin(self) -> Iterator[PostgresUnitOfWork]:
        """See the port."""
        with self.pool.begin() as connection:
            yield PostgresUnitOfWork(connection)

    def listen(self, timeout_s: float, stop: int | None = None) -> bool:
        """See the port. Keeps one connection of its own, outside the pool."""
        deadline = time.monotonic() + timeout_s
        try:
            with guarded():
                listener = self._listening()
                heard_by = [listener] if stop is None else [listener, stop]
                left_s = max(0.0, deadline - time.monotonic())
                if listener in select.select(heard_by, [], [], left_s)[0]:
                    listener.poll()
                heard = bool(listener.notifies)
                listener.notifies.clear()
                return heard
        except Exception:
            self._stop_listening()
            raise

    def _listening(self) -> Any:
        if self._listener is None:
            self._listener = psycopg2.connect(
                plain_url(self._url),
                connect_timeout=self._connect_timeout_s,
                application_name="zq listen",
                keepalives_idle=15,
                connection_factory=BoundedConnection,
                cursor_factory=BoundedCursor,
            )
            self._listener_deadlines.add(self._listener)
            self._listener.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
            with self._listener.cursor() as cursor:
                cursor.execute("LISTEN zq_upkeep")
        return self._listener

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        """See the port."""
        self._stop_listening()
        self.pool.close()
