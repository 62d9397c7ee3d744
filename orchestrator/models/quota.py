"""What a tenant may use at most: the names of its quotas, and one quota beside its present use."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Quota(StrEnum):
    """A quota's name. Each is a whole number; 0 means without a limit."""

    RUNS_PER_MINUTE = "runs_per_minute"
    #: Tasks that are queued or running.
    CONCURRENT_TASKS = "concurrent_tasks"
    #: Bytes of artifacts and of outputs kept as such.
    STORAGE_BYTES = "storage_bytes"
    #: Open WebSockets.
    #: Bytes written into the record: inputs, outputs, log lines, definitions, variables.
    RECORD_BYTES = "record_bytes"
    SOCKETS = "sockets"
    SCHEDULES = "schedules"
    #: Workflows that are not archived.
    WORKFLOWS = "workflows"
    SECRETS = "secrets"


#: The largest value of a quota: what clients in JavaScript still count exactly.
LARGEST = 2**53 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse:
    """One quota of a tenant."""

    name: Quota
    #: What is in force; 0: without a limit.
    limit: int
    #: True when it is the installation's default, not the tenant's own.
    default: bool
    used: int


@dataclass(frozen=True, slots=True)
class TenantFilter:
    """Which tenants a look at the backlog takes in: all but `ids`, or with `only` just those."""

    ids: frozenset[UUID] = frozenset()
    only: bool = False

    def has(self, tenant_id: UUID) -> bool:
        """Tell whether a tenant is taken in."""
        return (tenant_id in self.ids) is self.only


#: Every tenant.
EVERYBODY = TenantFilter()
