"""The record of quotas, what counts against them, and the leases of open sockets.

Rows and counts only: what follows from them is decided in `services.quotas`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from orchestrator.models.quota import Quota
from orchestrator.ports.moves import Moved


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedWithin:
    """What a tenant's refill did, and how many tasks were queued or running after it."""

    held: int
    moves: tuple[Moved, ...] = ()


class QuotaChecks(Protocol):
    """Counts inside one transaction, whose answers hold until it ends: the next who asks for the
    same tenant waits. Ask only for tenants that have the quota."""

    def stored(self, tenant_id: UUID) -> Mapping[Quota, int]:
        """Return a tenant's own values, without waiting for anybody."""

    def runs_since(self, tenant_id: UUID, at: datetime, most: int) -> list[datetime]:
        """Return when the newest `most` runs since a moment were started, newest first."""

    def workflows(self, tenant_id: UUID) -> int:
        """Return how many workflows a tenant has that are not archived."""

    def secrets(self, tenant_id: UUID) -> int:
        """Return how many secrets a tenant has."""


class QuotaRecord(Protocol):
    """Quotas outside a transaction. StoreUnavailable when the record cannot be reached."""

    def stored(self, tenant_id: UUID) -> Mapping[Quota, int]:
        """Return a tenant's own values."""

    def everywhere(self, name: Quota) -> Mapping[UUID, int]:
        """Return the own value of each tenant that has one, as far as the caller may see."""

    def change(self, tenant_id: UUID, values: Mapping[Quota, int | None]) -> None:
        """Store a tenant's own values; None takes one back. NotFound for an unknown tenant."""

    def used(self, tenant_id: UUID, since: datetime) -> Mapping[Quota, int]:
        """Return the present use of what the record knows; runs are counted since a moment.

        NotFound for an unknown tenant.
        """

    def add_bytes(self, tenant_id: UUID, count: int, most: int) -> bool:
        """Count bytes in, or out where `count` is negative; False, and nothing counted, when there
        would then be more than `most` (0: no limit)."""

    def add_record_bytes(self, tenant_id: UUID, count: int) -> int:
        """Count bytes of the record in, or out where negative; return how many there are now."""

    def queue_within(self, tenant_id: UUID, quota: int, most: int) -> QueuedWithin:
        """Queue a tenant's ready and due tasks, most urgent first: at most `most`, and no more than
        leaves `quota` queued and running. Two calls for one tenant follow each other."""

    def waiting(self) -> list[UUID]:
        """Return the tenants that have ready or due tasks."""


class SocketLeases(Protocol):
    """Open sockets, counted over all processes. A lease that is not renewed ends by itself; with
    the counter's server away nothing is counted and nobody is refused."""

    def take(
        self, lease_id: UUID, tenant_id: UUID, principal_id: UUID, *, tenant: int, principal: int
    ) -> str | None:
        """Take a lease, or return which limit is reached: `tenant` or `principal` (0: none)."""

    def renew(self, lease_id: UUID, tenant_id: UUID, principal_id: UUID) -> None:
        """Keep a lease for another minute; call it more often than that."""

    def drop(self, lease_id: UUID, tenant_id: UUID, principal_id: UUID) -> None:
        """Give a lease back; harmless for one that has ended."""

    def held(self, tenant_id: UUID) -> int:
        """Return how many sockets of a tenant are open; 0 while that is not known."""
