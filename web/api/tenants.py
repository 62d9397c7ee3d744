"""Routes of the installation's tenants, for those of the first tenant who may write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response

from orchestrator.models.access.permissions import Permission
from orchestrator.ports.access import Tenant
from web.api.paging import page
from web.context import core, principal
from web.openapi.document import Routes
from web.responses import etags
from web.schemas.access import (
    InvitationSchema,
    OwnerBody,
    TenantBody,
    TenantPage,
    TenantSchema,
)
from web.schemas.fields import PageQuery, cursor

routes = Routes("tenants", __name__, description="Owners of everything, apart from each other.")
_ONE = "/tenants/<uuid:tenant_id>"


@routes.at("/tenants")
@routes.needs(Permission.TENANTS_WRITE)
@routes.query(PageQuery)
@routes.gives(200, TenantPage)
def list_tenants(query: Mapping[str, Any]) -> dict[str, Any]:
    """List tenants, oldest first."""
    limit = query["limit"]
    found = core().access.tenants.page(principal(), after=query["cursor"], limit=limit + 1)
    return page(found, limit, lambda each: cursor(each.id))


@routes.at("/tenants", "POST")
@routes.needs(Permission.TENANTS_WRITE)
@routes.body(TenantBody)
@routes.gives(201, TenantSchema)
def create_tenant(body: Mapping[str, Any]) -> Response:
    """Make a tenant; then invite its first owner."""
    made = core().access.tenants.create(principal(), name=body["name"])
    answer = _shown(made, status=201)
    answer.headers["Location"] = f"/api/v1/tenants/{made.id}"
    return answer


@routes.at(_ONE)
@routes.needs(Permission.TENANTS_WRITE)
@routes.tagged()
@routes.gives(200, TenantSchema)
def get_tenant(tenant_id: UUID) -> Response:
    """Read a tenant."""
    return _shown(core().access.tenants.get(principal(), tenant_id))


@routes.at(_ONE, "PUT")
@routes.needs(Permission.TENANTS_WRITE)
@routes.matched()
@routes.body(TenantBody)
@routes.gives(200, TenantSchema)
def rename_tenant(body: Mapping[str, Any], tenant_id: UUID) -> Response:
    """Give a tenant another name."""
    tenants = core().access.tenants
    etags.expect(_tag(tenants.get(principal(), tenant_id)))
    return _shown(tenants.rename(principal(), tenant_id, name=body["name"]))


@routes.at(f"{_ONE}/invite", "POST")
@routes.needs(Permission.TENANTS_WRITE)
@routes.body(OwnerBody)
@routes.gives(201, InvitationSchema)
def invite_owner(body: Mapping[str, Any], tenant_id: UUID) -> Any:
    """Invite an owner of a tenant, who then invites everybody else there."""
    core().access.tenants.get(principal(), tenant_id)
    return core().access.users.invite(principal(), **body, roles=["owner"], tenant_id=tenant_id)


def _tag(tenant: Tenant) -> str:
    return etags.tag_of([tenant.name])


def _shown(tenant: Tenant, *, status: int = 200) -> Response:
    return etags.answer(TenantSchema().dump(tenant), _tag(tenant), status=status)
