"""Quotas of tenants: who may start, store and run how much, and the queueing of those who may not
run everything at once.

A tenant without a quota costs nothing here but a look into memory. What a tenant may is believed
for 15 s by each process.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil
from uuid import UUID

from orchestrator.errors import QuotaExceeded, StoreUnavailable
from orchestrator.models.quota import EVERYBODY, Quota, QuotaUse, TenantFilter
from orchestrator.ports.acting import acting
from orchestrator.ports.moves import Moved, Take
from orchestrator.ports.quotas import QuotaChecks
from orchestrator.ports.runtime import Clock
from orchestrator.ports.store import Store

log = logging.getLogger(__name__)

#: How long a process believes what it has read.
KEPT = timedelta(seconds=15)
_MINUTE = timedelta(minutes=1)
#: How much, and how long, a process counts bytes of the record by itself.
_NOTED_BYTES = 1 << 20
_NOTED_AFTER = timedelta(seconds=10)
_TENANTS_KEPT = 10_000
_RUNS_KEPT = 4096
#: Most tasks that one refill queues.
_MOST = 500

Own = Mapping[Quota, int]


class Quotas:
    """Answers for one process. Safe to share between threads: what races is only read twice."""

    def __init__(self, store: Store, defaults: Mapping[Quota, int], clock: Clock) -> None:
        self._store = store
        self._defaults = defaults
        self._clock = clock
        self._kept: OrderedDict[UUID, tuple[datetime, Own]] = OrderedDict()
        #: Every tenant's own number of concurrent tasks as the engine sees it, and who has none.
        self._listing: tuple[datetime, Mapping[UUID, int], TenantFilter] | None = None
        self._tenants: OrderedDict[UUID, UUID] = OrderedDict()
        #: Tenants that held more than their quota when this process looked last.
        self._over: set[UUID] = set()
        #: Bytes of the record that are counted here and not yet there, and since when; and what was
        #: there when it was noted last.
        self._written: dict[UUID, tuple[int, datetime]] = {}
        self._recorded: OrderedDict[UUID, tuple[datetime, int]] = OrderedDict()

    def limit(self, tenant_id: UUID, name: Quota, read: Callable[[UUID], Own] | None = None) -> int:
        """Return a tenant's quota, 0 for none; `read` asks on a connection that is at hand."""
        now = self._clock.now()
        kept = self._kept.get(tenant_id)
        if kept is None or now - kept[0] >= KEPT:
            kept = now, dict((read or self._store.quotas.stored)(tenant_id))
            self._kept[tenant_id] = kept
            while len(self._kept) > _TENANTS_KEPT:
                self._kept.popitem(last=False)
        return kept[1].get(name, self._defaults.get(name, 0))

    def admit_run(self, checks: QuotaChecks, tenant_id: UUID, room: int) -> int:
        """Let one more run of a tenant start in this transaction, or raise QuotaExceeded.

        Returns how much of `room` it finds: none where the number of tasks is limited.
        """
        most = self.limit(tenant_id, Quota.RUNS_PER_MINUTE, checks.stored)
        if most:
            self._check_minute(checks, tenant_id, most)
        return 0 if self.limit(tenant_id, Quota.CONCURRENT_TASKS, checks.stored) else room

    def counts_runs(self, tenant_id: UUID) -> bool:
        """Whether a tenant's runs are counted by the minute, which needs a transaction."""
        return bool(self.limit(tenant_id, Quota.RUNS_PER_MINUTE))

    def room(self, tenant_id: UUID, room: int) -> int:
        """Return how much of `room` a new run finds: none where the number of tasks is limited."""
        return 0 if self.limit(tenant_id, Quota.CONCURRENT_TASKS) else room

    def _check_minute(self, checks: QuotaChecks, tenant_id: UUID, most: int) -> None:
        now = self._clock.now()
        started = checks.runs_since(tenant_id, now - _MINUTE, most)
        if len(started) >= most:
            left_s = (started[-1] + _MINUTE - now).total_seconds()
            raise QuotaExceeded(
                f"the tenant may start {most} runs a minute; try again in a moment",
                retry_after_s=max(1, ceil(left_s)),
            )

    def admit_workflow(self, checks: QuotaChecks, tenant_id: UUID) -> None:
        """Let a tenant have one more workflow in this transaction, or raise QuotaExceeded."""
        most = self.limit(tenant_id, Quota.WORKFLOWS, checks.stored)
        if most and checks.workflows(tenant_id) >= most:
            raise QuotaExceeded(f"the tenant may have {most} workflows; archive one first")

    def admit_secret(self, checks: QuotaChecks, tenant_id: UUID) -> None:
        """Let a tenant have one more secret in this transaction, or raise QuotaExceeded."""
        most = self.limit(tenant_id, Quota.SECRETS, checks.stored)
        if most and checks.secrets(tenant_id) >= most:
            raise QuotaExceeded(f"the tenant may have {most} secrets; delete one first")

    def count_bytes(self, tenant_id: UUID, count: int) -> None:
        """Count stored bytes in, or out where negative; QuotaExceeded when there is no room."""
        most = self.limit(tenant_id, Quota.STORAGE_BYTES)
        if not self._store.quotas.add_bytes(tenant_id, count, most):
            raise QuotaExceeded(
                f"the tenant may keep {most:,} bytes of artifacts, and {count:,} more do not fit"
            )

    def give_bytes_back(self, tenant_id: UUID, count: int) -> None:
        """Count bytes out that are not stored any more, or never were."""
        self._store.quotas.add_bytes(tenant_id, -count, 0)

    def admit_record(self, tenant_id: UUID) -> None:
        """Let a tenant put something new into the record, or raise QuotaExceeded.

        What is under way goes on: its outputs and log lines are counted, not refused. Call it
        outside of a transaction: it may need a connection of its own.
        """
        most = self.limit(tenant_id, Quota.RECORD_BYTES)
        if not most:
            return
        now, kept = self._clock.now(), self._recorded.get(tenant_id)
        if kept is None or now - kept[0] >= KEPT:
            self._noted(tenant_id, now)
            kept = self._recorded.get(tenant_id, (now, 0))
        if kept[1] + self._written.get(tenant_id, (0, now))[0] >= most:
            raise QuotaExceeded(
                f"the tenant may keep {most:,} bytes of inputs, outputs, logs and definitions,"
                " and has them"
            )

    def count_record(self, tenant_id: UUID, count: int) -> None:
        """Count bytes that were put into the record, or taken out where negative.

        They are added up in this process and noted after 10 s or a megabyte, with the tenant's next
        ones: what a process that is killed has not noted is not counted.
        """
        now = self._clock.now()
        before, since = self._written.get(tenant_id, (0, now))
        self._written[tenant_id] = before + count, since
        if before + count > _NOTED_BYTES or now - since > _NOTED_AFTER:
            self._noted(tenant_id, now)

    def note_record(self) -> None:
        """Note what was counted for all tenants: for a process that is about to end."""
        for tenant_id in list(self._written):
            self._noted(tenant_id, self._clock.now())

    def _noted(self, tenant_id: UUID, now: datetime) -> None:
        """Note what was counted; with the record away that is done later."""
        count, _ = self._written.pop(tenant_id, (0, now))
        try:
            total = self._store.quotas.add_record_bytes(tenant_id, count)
        except StoreUnavailable:
            self._written[tenant_id] = count + self._written.get(tenant_id, (0, now))[0], now
            return
        self._recorded[tenant_id] = now, total
        while len(self._recorded) > _TENANTS_KEPT:
            self._recorded.popitem(last=False)

    # Concurrent tasks: nothing of such a tenant is queued by the moves themselves; each of them is
    # followed by one that queues as much as the quota leaves room for.

    def concurrent(self, tenant_id: UUID) -> int:
        """Return how many tasks of a tenant may be queued or running at once; 0: any number."""
        if acting() is not None:
            return self.limit(tenant_id, Quota.CONCURRENT_TASKS)
        default = self._defaults.get(Quota.CONCURRENT_TASKS, 0)
        return self._everywhere()[0].get(tenant_id, default)

    def within(self, run_id: UUID, room: int, take: Take | None) -> tuple[int, Take | None]:
        """Narrow what a settle of a run may queue and take.

        One task that ends makes room for one that is taken: then no more are held than before.
        With more ended, how many were still the caller's is known only inside the move.
        """
        if self.others() is EVERYBODY:
            return room, take
        tenant_id = self._tenant_of(run_id)
        if tenant_id is None or not self.concurrent(tenant_id):
            return room, take
        if take is not None:
            take = replace(take, limit=0 if tenant_id in self._over else min(take.limit, 1))
        return 0, take

    def remember(self, moved: Moved) -> None:
        """Note whose run was claimed."""
        self._tenants[moved.run_id] = moved.tenant_id
        while len(self._tenants) > _RUNS_KEPT:
            self._tenants.popitem(last=False)

    def after(self, moved: Moved) -> Sequence[Moved]:
        """Queue what a committed move has made room for; return the moves, to be announced.

        With the record away nothing is queued, and upkeep will do it.
        """
        if not (moved.accepted or moved.settled or moved.size):
            return ()
        try:
            quota = self.concurrent(moved.tenant_id)
            return self._queue(moved.tenant_id, quota) if quota else ()
        except StoreUnavailable as error:
            log.info("tasks within a quota wait for upkeep: %s", error)
            return ()

    def waiting(self) -> list[Moved]:
        """Queue what tenants with a quota have room for: upkeep's net under `after`."""
        if self.others() is EVERYBODY:
            return []
        found: list[Moved] = []
        for tenant_id in self._store.quotas.waiting():
            quota = self.concurrent(tenant_id)
            if quota:
                found += self._queue(tenant_id, quota)
        return found

    def others(self) -> TenantFilter:
        """Return the tenants without such a quota, whose backlog is queued as there is room."""
        return self._everywhere()[1]

    def _queue(self, tenant_id: UUID, quota: int) -> Sequence[Moved]:
        done = self._store.quotas.queue_within(tenant_id, quota, _MOST)
        if done.held > quota:
            self._over.add(tenant_id)
        else:
            self._over.discard(tenant_id)
        return done.moves

    def _everywhere(self) -> tuple[Mapping[UUID, int], TenantFilter]:
        if acting() is not None:
            # A request sees its own tenant only; what it sees is not kept for others.
            return self._read_everywhere()
        now = self._clock.now()
        kept = self._listing
        if kept is None or now - kept[0] >= KEPT:
            kept = now, *self._read_everywhere()
            self._listing = kept
        return kept[1], kept[2]

    def _read_everywhere(self) -> tuple[Mapping[UUID, int], TenantFilter]:
        found = self._store.quotas.everywhere(Quota.CONCURRENT_TASKS)
        if self._defaults.get(Quota.CONCURRENT_TASKS, 0):
            return found, TenantFilter(frozenset(t for t, most in found.items() if not most), True)
        limited = frozenset(t for t, most in found.items() if most)
        return found, TenantFilter(limited) if limited else EVERYBODY

    def _tenant_of(self, run_id: UUID) -> UUID | None:
        known = self._tenants.get(run_id)
        if known is None:
            owner = self._store.reads.owners([run_id]).get(run_id)
            known = owner[0] if owner else None
        return known

    # For people.

    def of(self, tenant_id: UUID, *, sockets: int = 0) -> list[QuotaUse]:
        """Return every quota of a tenant, as it is stored now, with its present use."""
        own = self._store.quotas.stored(tenant_id)
        used = self._store.quotas.used(tenant_id, self._clock.now() - _MINUTE)
        return [
            QuotaUse(
                name=name,
                limit=own.get(name, self._defaults.get(name, 0)),
                default=name not in own,
                used=sockets if name is Quota.SOCKETS else used.get(name, 0),
            )
            for name in Quota
        ]

    def change(self, tenant_id: UUID, values: Mapping[Quota, int | None]) -> None:
        """Give a tenant values of its own, None takes one back; in force within 15 s. NotFound."""
        self._store.quotas.change(tenant_id, values)
        self._kept.pop(tenant_id, None)
        self._listing = None

    def held(self, tenant_id: UUID) -> int:
        """Return how many tasks of a tenant are queued or running."""
        used = self._store.quotas.used(tenant_id, self._clock.now() - _MINUTE)
        return used.get(Quota.CONCURRENT_TASKS, 0)
