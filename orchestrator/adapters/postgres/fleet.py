"""Workers, leases, timers and backlogs: the statements of `sql/fleet.sql`, judged by one clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from orchestrator.adapters.postgres.partitions import make_months
from orchestrator.adapters.postgres.sql import statements
from orchestrator.models.quota import EVERYBODY, TenantFilter
from orchestrator.models.runs.task import Claim
from orchestrator.ports.fleet import Beat, Held, Pulse
from orchestrator.ports.moves import Owner, Release


class Cursors(Protocol):
    """What it talks through: a pool, or a single connection."""

    def cursor(self) -> AbstractContextManager[Any]:
        """Lend a cursor in autocommit."""


class PostgresFleet:
    """Answers `ports.fleet.Fleet`."""

    def __init__(self, pool: Cursors) -> None:
        self._pool = pool
        self._sql = statements("fleet")

    def _rows(self, name: str, /, **parameters: Any) -> list[tuple[Any, ...]]:
        with self._pool.cursor() as cursor:
            cursor.execute(self._sql[name], parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def _count(self, name: str, /, **parameters: Any) -> int:
        with self._pool.cursor() as cursor:
            cursor.execute(self._sql[name], parameters)
            count: int = cursor.rowcount
            return count

    def beat(self, beat: Beat) -> Pulse:
        """See the port."""
        alive = self._rows(
            "beat",
            id=beat.id,
            name=beat.name,
            host=beat.host,
            pid=beat.pid,
            version=beat.version,
            queues=list(beat.queues),
            slots=beat.slots,
            children=list(beat.children),
        )
        if not alive:
            return Pulse(alive=False)
        return Pulse(alive=True, held=_held(self._rows("held", worker_id=beat.id)))

    def leave(self, worker_id: UUID) -> None:
        """See the port."""
        self._count("leave", worker_id=worker_id)

    def workers(self) -> list[Mapping[str, Any]]:
        """See the port."""
        with self._pool.cursor() as cursor:
            cursor.execute(self._sql["workers"])
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def expire(self, lease_s: float) -> int:
        """See the port."""
        return self._count("expire", lease_s=lease_s)

    def ownerless(self, limit: int, lease_s: float = 10.0) -> list[Held]:
        """See the port."""
        return list(_held(self._rows("ownerless", limit=limit, lease_s=lease_s)))

    def of_child(self, worker_id: UUID, pid: int) -> list[Held]:
        """See the port."""
        return list(_held(self._rows("of_child", worker_id=worker_id, pid=pid)))

    def due(self, limit: int, of: TenantFilter = EVERYBODY) -> dict[UUID, list[int]]:
        """See the port."""
        return _by_run(self._rows("due", limit=limit, tenants=list(of.ids), only=of.only))

    def backlog(
        self, queue: str, limit: int, of: TenantFilter = EVERYBODY
    ) -> dict[UUID, list[int]]:
        """See the port."""
        rows = self._rows("backlog", queue=queue, limit=limit, tenants=list(of.ids), only=of.only)
        return _by_run(rows)

    def ready_queues(self) -> list[str]:
        """See the port."""
        return [queue for (queue,) in self._rows("ready_queues")]

    def waiting_queues(self) -> list[str]:
        """See the port."""
        return [queue for (queue,) in self._rows("waiting_queues")]

    def unclaimed(self, queues: Sequence[str], older_s: float, limit: int) -> list[Release]:
        """See the port."""
        return self._again("unclaimed", queues, older_s, limit)

    def passed_over(self, queues: Sequence[str], older_s: float, limit: int) -> list[Release]:
        """See the port."""
        return self._again("passed_over", queues, older_s, limit)

    def _again(self, name: str, queues: Sequence[str], older_s: float, limit: int) -> list[Release]:
        rows = self._rows(name, queues=list(queues), older_s=older_s, limit=limit)
        return [
            Release(run_id=run_id, task_no=no, attempt=attempt, queue=queue, priority=priority)
            for run_id, no, attempt, queue, priority in rows
        ]

    def overdue_runs(self, limit: int) -> list[UUID]:
        """See the port."""
        return [run_id for (run_id,) in self._rows("overdue_runs", limit=limit)]

    def settled_runs(self, limit: int, but: Sequence[UUID] = ()) -> list[tuple[UUID, UUID, int]]:
        """See the port."""
        rows = self._rows("settled_runs", limit=limit, but=list(but))
        return [(run_id, workflow_id, version) for run_id, workflow_id, version in rows]

    def oldest_needed(self) -> UUID | None:
        """See the port."""
        return next((run_id for (run_id,) in self._rows("oldest_needed")), None)

    def next_due_s(self, lease_s: float | None = None) -> float | None:
        """See the port."""
        timer, deadline, live, busy, expired = self._rows("next_due", lease_s=lease_s)[0]
        if expired:
            return 0.0
        if not live:
            return None
        times = [max(0.0, t) for t in (timer, deadline) if t is not None]
        return 0.0 if busy else min(times, default=0.0)

    def tidy(self, now: datetime, keys_older_s: float) -> None:
        """See the port."""
        self._count("drop_keys", older_s=keys_older_s)
        self._count("drop_workers")
        with self._pool.cursor() as cursor:
            make_months(cursor, now)


def _held(rows: Iterable[tuple[Any, ...]]) -> tuple[Held, ...]:
    return tuple(
        Held(
            claim=Claim(
                run_id=run_id, task_no=no, attempt=attempt, claim_id=claim_id, losses=losses
            ),
            owner=Owner(worker_id=worker_id, pid=pid),
            verdict=verdict,
            overdue_s=overdue_s,
        )
        for run_id, no, attempt, claim_id, losses, worker_id, pid, verdict, overdue_s in rows
    )


def _by_run(rows: Iterable[tuple[Any, ...]]) -> dict[UUID, list[int]]:
    found: dict[UUID, list[int]] = defaultdict(list)
    for run_id, task_no in rows:
        found[run_id].append(task_no)
    return dict(found)
