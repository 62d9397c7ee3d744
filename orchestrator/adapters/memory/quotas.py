"""Quotas, counts and socket leases in memory: for tests, and for a core without servers."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from orchestrator.adapters.memory.moves import MemoryMoves
from orchestrator.adapters.memory.tables import STARTABLE, Tables
from orchestrator.models.definitions.saved import WorkflowStatus
from orchestrator.models.quota import Quota
from orchestrator.models.runs.task import TaskState
from orchestrator.ports.moves import Moved
from orchestrator.ports.quotas import QueuedWithin

_HELD = (TaskState.QUEUED, TaskState.RUNNING)
_TIMED = (TaskState.RETRYING, TaskState.WAITING)


class MemoryQuotaChecks:
    """Answers `ports.quotas.QuotaChecks`; whoever opened the transaction holds the one lock."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def stored(self, tenant_id: UUID) -> Mapping[Quota, int]:
        """See the port."""
        return dict(self._tables.quotas.get(tenant_id, {}))

    def runs_since(self, tenant_id: UUID, at: datetime, most: int) -> list[datetime]:
        """See the port."""
        runs = [r for r in self._tables.runs.values() if r.tenant_id == tenant_id]
        return sorted((r.created_at for r in runs if r.created_at >= at), reverse=True)[:most]

    def workflows(self, tenant_id: UUID) -> int:
        """See the port."""
        mine = [w for w in self._tables.workflows.values() if w.tenant_id == tenant_id]
        return sum(not w.ad_hoc and w.status is not WorkflowStatus.ARCHIVED for w in mine)

    def secrets(self, tenant_id: UUID) -> int:
        """See the port. Secrets are not kept among these tables."""
        return 0


class MemoryQuotas:
    """Answers `ports.quotas.QuotaRecord`. Every tenant is known here."""

    def __init__(self, tables: Tables, moves: MemoryMoves) -> None:
        self._tables = tables
        self._moves = moves
        self._checks = MemoryQuotaChecks(tables)
        self._bytes: dict[UUID, int] = defaultdict(int)
        self._record: dict[UUID, int] = defaultdict(int)

    def stored(self, tenant_id: UUID) -> Mapping[Quota, int]:
        """See the port."""
        with self._tables.lock:
            return self._checks.stored(tenant_id)

    def everywhere(self, name: Quota) -> Mapping[UUID, int]:
        """See the port."""
        with self._tables.lock:
            return {t: own[name] for t, own in self._tables.quotas.items() if name in own}

    def change(self, tenant_id: UUID, values: Mapping[Quota, int | None]) -> None:
        """See the port."""
        with self._tables.lock:
            own = self._tables.quotas.setdefault(tenant_id, {})
            for name, value in values.items():
                if value is None:
                    own.pop(name, None)
                else:
                    own[name] = value

    def used(self, tenant_id: UUID, since: datetime) -> Mapping[Quota, int]:
        """See the port."""
        with self._tables.lock:
            runs = self._checks.runs_since(tenant_id, since, len(self._tables.runs))
            return {
                Quota.RUNS_PER_MINUTE: len(runs),
                Quota.CONCURRENT_TASKS: self._held(tenant_id),
                Quota.STORAGE_BYTES: self._bytes[tenant_id],
                Quota.RECORD_BYTES: self._record[tenant_id],
                Quota.WORKFLOWS: self._checks.workflows(tenant_id),
                Quota.SECRETS: self._checks.secrets(tenant_id),
            }

    def _held(self, tenant_id: UUID) -> int:
        return sum(run.tenant_id == tenant_id for run, _ in self._tables.live_tasks(*_HELD))

    def add_bytes(self, tenant_id: UUID, count: int, most: int) -> bool:
        """See the port."""
        with self._tables.lock:
            after = max(0, self._bytes[tenant_id] + count)
            if most and count > 0 and after > most:
                return False
            self._bytes[tenant_id] = after
            return True

    def add_record_bytes(self, tenant_id: UUID, count: int) -> int:
        """See the port."""
        with self._tables.lock:
            self._record[tenant_id] = max(0, self._record[tenant_id] + count)
            return self._record[tenant_id]

    def queue_within(self, tenant_id: UUID, quota: int, most: int) -> QueuedWithin:
        """See the port."""
        with self._tables.lock:
            held = self._held(tenant_id)
            room = max(0, min(quota - held, most))
            by_run: dict[UUID, list[int]] = defaultdict(list)
            for _, run_id, no in sorted(self._waiting(tenant_id))[:room]:
                by_run[run_id].append(no)
            moves: list[Moved] = []
            for run_id, numbers in by_run.items():
                done = self._moves.queue_tasks(run_id, numbers)
                moves += [done] if done else []
            held += sum(len(m.queued) for m in moves)
            return QueuedWithin(held=held, moves=tuple(moves))

    def _waiting(self, tenant_id: UUID | None = None) -> list[tuple[int, UUID, int]]:
        now = self._tables.clock.now()
        return [
            (-task.priority, run.id, task.task_no)
            for run, task in self._tables.live_tasks(TaskState.READY, *_TIMED)
            if tenant_id in (None, run.tenant_id)
            and run.state in STARTABLE
            and (task.state is TaskState.READY or (task.due_at is not None and task.due_at <= now))
        ]

    def waiting(self) -> list[UUID]:
        """See the port."""
        with self._tables.lock:
            return sorted({self._tables.runs[run_id].tenant_id for _, run_id, _ in self._waiting()})


class MemorySockets:
    """Answers `ports.quotas.SocketLeases` for one process; leases end when they are dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[UUID, tuple[UUID, UUID]] = {}

    def take(
        self, lease_id: UUID, tenant_id: UUID, principal_id: UUID, *, tenant: int, principal: int
    ) -> str | None:
        """See the port."""
        with self._lock:
            if tenant and sum(t == tenant_id for t, _ in self._held.values()) >= tenant:
                return "tenant"
            if principal and sum(p == principal_id for _, p in self._held.values()) >= principal:
                return "principal"
            self._held[lease_id] = tenant_id, principal_id
            return None

    def renew(self, lease_id: UUID, tenant_id: UUID, principal_id: UUID) -> None:
        """See the port."""

    def drop(self, lease_id: UUID, tenant_id: UUID, principal_id: UUID) -> None:
        """See the port."""
        with self._lock:
            self._held.pop(lease_id, None)

    def held(self, tenant_id: UUID) -> int:
        """See the port."""
        with self._lock:
            return sum(t == tenant_id for t, _ in self._held.values())
