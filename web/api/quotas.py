"""Routes of quotas: what a tenant may use and does use; the installation's owners set it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from orchestrator.models.access.permissions import Permission
from orchestrator.models.quota import Quota
from orchestrator.ports.acting import Acting, acting_as
from web.context import core, principal
from web.openapi.document import Routes
from web.schemas.quotas import QuotaBody, QuotaList

routes = Routes("quotas", __name__, description="What a tenant may use, and what it does use.")
_ONE = "/quotas/<uuid:tenant_id>"


@routes.at("/quotas")
@routes.needs(Permission.QUOTAS_READ)
@routes.gives(200, QuotaList)
def list_quotas() -> dict[str, Any]:
    """List the quotas of your own tenant, with their present use."""
    return _shown(principal().tenant_id)


@routes.at(_ONE)
@routes.needs(Permission.QUOTAS_WRITE)
@routes.gives(200, QuotaList)
def get_quotas(tenant_id: UUID) -> dict[str, Any]:
    """List the quotas of any tenant, with their present use."""
    return _of(tenant_id)


@routes.at(_ONE, "PUT")
@routes.needs(Permission.QUOTAS_WRITE)
@routes.body(QuotaBody)
@routes.gives(200, QuotaList)
def change_quotas(body: Mapping[str, Any], tenant_id: UUID) -> dict[str, Any]:
    """Set quotas of any tenant; what the body does not name stays. In force within 15 s."""
    core().quotas.change(tenant_id, {Quota(name): value for name, value in body.items()})
    return _of(tenant_id)


def _of(tenant_id: UUID) -> dict[str, Any]:
    # Whoever may set the quotas of a tenant sees the counts behind them, and nothing else of it.
    with acting_as(Acting(principal=replace(principal(), tenant_id=tenant_id))):
        return _shown(tenant_id)


def _shown(tenant_id: UUID) -> dict[str, Any]:
    found = core().quotas.of(tenant_id, sockets=core().sockets.held(tenant_id))
    return {"items": found, "next_cursor": None}
