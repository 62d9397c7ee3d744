"""The audit log: who did what to what, in a chain of digests for each tenant.

What a request writes is recorded by the record itself, in the commit of the write (see
`ports.acting`); `add` is for what is no write, such as a refused sign-in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from orchestrator.models.audit import AuditEntry, Happening, Head

__all__ = ["Audit", "AuditEntry", "AuditFilter", "Happening", "Head"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries of a tenant: all that is given must hold.

    Newest first, from below `before`; with `after` oldest first, from above it.
    """

    tenant_id: UUID
    since: datetime | None = None
    until: datetime | None = None
    #: The name or the id of who did it.
    principal: str | None = None
    action: str | None = None
    resource: str | None = None
    resource_id: str | None = None
    before: int | None = None
    after: int | None = None
    limit: int = 50


class Audit(Protocol):
    """The chains of all tenants. Entries are added, never changed and never deleted."""

    def add(self, happening: Happening) -> None:
        """Append to a tenant's chain, in a transaction of its own."""

    def list(self, wanted: AuditFilter) -> Sequence[AuditEntry]:
        """Return the entries that a filter finds."""

    def head(self, tenant_id: UUID) -> Head | None:
        """Return where a tenant's chain ends; None where nothing ever happened."""

    def tenants(self) -> Sequence[UUID]:
        """Return the tenants that have entries or a head."""
