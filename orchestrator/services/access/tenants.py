"""Tenants of the installation, for those who may write tenants."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from orchestrator.errors import Forbidden
from orchestrator.models.access.permissions import Permission, Principal
from orchestrator.models.ids import uuid7
from orchestrator.ports.access import AccessStore, AccessWork, Tenant
from orchestrator.ports.runtime import Clock
from orchestrator.services.access.reporting import Reporting
from orchestrator.services.access.rules import checked_name, gone


class Tenants:
    """Answers for `core.access.tenants`. Needs Permission.TENANTS_WRITE (Forbidden), but `own`."""

    def __init__(self, store: AccessStore, clock: Clock, reporting: Reporting) -> None:
        self._store = store
        self._clock = clock
        self._reporting = reporting

    def create(self, actor: Principal, *, name: str) -> Tenant:
        """Store a tenant; NameTaken. Its first owner: `users.invite(..., tenant_id=)`."""
        _check(actor)
        now = self._clock.now()
        tenant = Tenant(id=uuid7(now), name=checked_name(name), created_at=now)
        with self._store.begin(any_tenant=True) as work:
            self._reporting.changes("tenant", tenant.id, after={"name": tenant.name})
            work.tenants.add_tenant(tenant)
        return tenant

    def page(self, actor: Principal, *, after: UUID | None = None, limit: int = 50) -> list[Tenant]:
        """Return tenants in the order of their ids."""
        _check(actor)
        with self._store.begin(any_tenant=True) as work:
            return work.tenants.page(after=after, limit=limit)

    def own(self, actor: Principal) -> Tenant:
        """Return the actor's own tenant."""
        with self._store.begin() as work:
            return _found(work, actor.tenant_id)

    def get(self, actor: Principal, tenant_id: UUID) -> Tenant:
        """Return a tenant; NotFound."""
        _check(actor)
        with self._store.begin(any_tenant=True) as work:
            return _found(work, tenant_id)

    def rename(self, actor: Principal, tenant_id: UUID, *, name: str) -> Tenant:
        """Give a tenant another name; NameTaken, NotFound."""
        _check(actor)
        name = checked_name(name)
        with self._store.begin(any_tenant=True) as work:
            tenant = _found(work, tenant_id)
            self._reporting.changes("tenant", tenant_id, {"name": tenant.name}, {"name": name})
            work.tenants.rename(tenant_id, name)
        return replace(tenant, name=name)


def _check(actor: Principal) -> None:
    if not actor.may(Permission.TENANTS_WRITE):
        raise Forbidden("tenants are for who runs this installation")


def _found(work: AccessWork, tenant_id: UUID) -> Tenant:
    tenant = work.tenants.get_tenant(tenant_id)
    if tenant is None:
        raise gone("tenant")
    return tenant
