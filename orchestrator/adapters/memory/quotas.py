"""No quotas: what stands where the record keeps them, for runs of one process and its memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from orchestrator.models.quota import Quota
from orchestrator.ports.quotas import QueuedWithin


class NoQuotas:
    """Answers `ports.quotas.QuotaRecord` and `QuotaChecks`: nobody has a quota, nothing counts."""

    def stored(self, tenant_id: UUID) -> Mapping[Quota, int]:
        """See the port."""
        return {}

    def everywhere(self, name: Quota) -> Mapping[UUID, int]:
        """See the port."""
        return {}

    def change(self, tenant_id: UUID, values: Mapping[Quota, int | None]) -> None:
        """See the port. Nothing is kept."""

    def used(self, tenant_id: UUID, since: datetime) -> Mapping[Quota, int]:
        """See the port."""
        return dict.fromkeys(Quota, 0)

    def add_bytes(self, tenant_id: UUID, count: int, most: int) -> bool:
        """See the port."""
        return True

    def add_record_bytes(self, tenant_id: UUID, count: int) -> int:
        """See the port."""
        return 0

    def queue_within(self, tenant_id: UUID, quota: int, most: int) -> QueuedWithin:
        """See the port."""
        return QueuedWithin(held=0)

    def waiting(self) -> list[UUID]:
        """See the port."""
        return []

    def runs_since(self, tenant_id: UUID, at: datetime, most: int) -> list[datetime]:
        """See the port."""
        return []

    def workflows(self, tenant_id: UUID) -> int:
        """See the port."""
        return 0

    def secrets(self, tenant_id: UUID) -> int:
        """See the port."""
        return 0
