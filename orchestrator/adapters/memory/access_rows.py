"""The rows of access in memory, and their place in a transaction: all of them or none."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from uuid import UUID

from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.ports.access import (
    ApiKey,
    CustomRole,
    Grant,
    Identity,
    OneTimeToken,
    Session,
    Tenant,
    User,
)


def _first_tenant() -> dict[UUID, Tenant]:
    made = datetime(2026, 1, 1, tzinfo=UTC)
    return {DEFAULT_TENANT: Tenant(id=DEFAULT_TENANT, name="default", created_at=made)}


@dataclass(slots=True)
class Rows:
    """Everything that is kept. Rows are frozen, so a copy of the tables is a copy of them all."""

    tenants: dict[UUID, Tenant] = field(default_factory=_first_tenant)
    users: dict[UUID, User] = field(default_factory=dict)
    passwords: dict[UUID, str] = field(default_factory=dict)
    identities: dict[tuple[str, str], Identity] = field(default_factory=dict)
    sessions: dict[UUID, Session] = field(default_factory=dict)
    api_keys: dict[UUID, ApiKey] = field(default_factory=dict)
    digests: dict[UUID, bytes] = field(default_factory=dict)
    roles: dict[tuple[UUID, str], CustomRole] = field(default_factory=dict)
    grants: dict[tuple[UUID, UUID], Grant] = field(default_factory=dict)
    tokens: dict[bytes, OneTimeToken] = field(default_factory=dict)

    def copy(self) -> Rows:
        """Return the tables as they are now."""
        return Rows(**{f.name: dict(getattr(self, f.name)) for f in fields(self)})

    def take_back(self, earlier: Rows) -> None:
        """Put the tables back to what they were."""
        for f in fields(self):
            setattr(self, f.name, getattr(earlier, f.name))
