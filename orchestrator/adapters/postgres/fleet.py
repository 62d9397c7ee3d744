"""Workers, leases, timers and backlogs: the statements of `sql/fleet.sql`, judged by one clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from orchestrator.adapters.postgres.decoding import by_name
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

    def _rows(self, name: str, /, **parameters: Any) -> list[dict[str, Any]]:
        with self._pool.cursor() as cursor:
            cursor.execute(self._sql[name], parameters)
            return by_name(cursor)

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

    def refuse(self, beat: Beat, reason: str) -> None:
        """See the port."""
        self._count(
            "refuse", id=beat.id, name=beat.name, host=beat.host, pid=beat.pid,
            version=beat.version, queues=list(beat.queues), reason=reason,
        )  # fmt: skip

    def leave(self, worker_id: UUID) -> None:
        """See the port."""
        self._count("leave", worker_id=worker_id)

    def workers(self) -> list[Mapping[str, Any]]:
        """See the port."""
        return [*self._rows("workers")]

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
        return [row["queue"] for row in self._rows("ready_queues")]

    def waiting_queues(self) -> list[str]:
        """See the port."""
        return [row["queue"] for row in self._rows("waiting_queues")]

    def unclaimed(self, queues: Sequence[str], older_s: float, limit: int) -> list[Release]:
        """See the port."""
        return self._again("unclaimed", queues, older_s, limit)

    def passed_over(self, queues: Sequence[str], older_s: float, limit: int) -> list[Release]:
        """See the port."""
        return self._again("passed_over", queues, older_s, limit)

    def _again(self, name: str, queues: Sequence[str], older_s: float, limit: int) -> list[Release]:
        rows = self._rows(name, queues=list(queues), older_s=older_s, limit=limit)
        return [Release(**row) for row in rows]

    def overdue_runs(self, limit: int) -> list[UUID]:
        """See the port."""
        return [row["id"] for row in self._rows("overdue_runs", limit=limit)]

    def settled_runs(self, limit: int, but: Sequence[UUID] = ()) -> list[tuple[UUID, UUID, int]]:
        """See the port."""
        rows = self._rows("settled_runs", limit=limit, but=list(but))
        return [(row["id"], row["workflow_id"], row["version"]) for row in rows]

    def oldest_needed(self) -> UUID | None:
        """See the port."""
        return next((row["id"] for row in self._rows("oldest_needed")), None)

    def next_due_s(self, lease_s: float | None = None) -> float | None:
        """See the port."""
        (row,) = self._rows("next_due", lease_s=lease_s)
        if row["expired"]:
            return 0.0
        if not row["live"]:
            return None
        times = [max(0.0, row[name]) for name in ("timer_s", "deadline_s") if row[name] is not None]
        return 0.0 if row["busy"] else min(times, default=0.0)

    def tidy(self, now: datetime, keys_older_s: float) -> None:
        """See the port."""
        self._count("drop_keys", older_s=keys_older_s)
        self._count("drop_workers")
        with self._pool.cursor() as cursor:
            make_months(cursor, now)


def _held(rows: Iterable[Mapping[str, Any]]) -> tuple[Held, ...]:
    names = ("run_id", "task_no", "attempt", "claim_id", "losses")
    return tuple(
        Held(
            claim=Claim(**{name: row[name] for name in names}),
            owner=Owner(worker_id=row["worker_id"], pid=row["pid"]),
            verdict=row["verdict"],
            overdue_s=row["overdue_s"],
        )
        for row in rows
    )


def _by_run(rows: Iterable[Mapping[str, Any]]) -> dict[UUID, list[int]]:
    found: dict[UUID, list[int]] = defaultdict(list)
    for row in rows:
        found[row["run_id"]].append(row["task_no"])
    return dict(found)
