"""Routes of roles: the built-in ones, and those that a tenant makes for itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response

from orchestrator.errors import Conflict
from orchestrator.models.access.permissions import ROLES, Permission
from orchestrator.ports.access import CustomRole
from web.context import core, principal
from web.openapi.document import Routes
from web.responses import etags
from web.schemas.access import RoleBody, RoleChange, RoleList, RoleSchema

routes = Routes("roles", __name__, description="What may be given to users and keys.")
_ONE = "/roles/<string:name>"


@routes.at("/roles")
@routes.needs(Permission.ROLES_READ)
@routes.gives(200, RoleList)
def list_roles() -> dict[str, Any]:
    """List the built-in roles, then the tenant's own by name."""
    own = [_own(role) for role in core().access.roles.list(principal())]
    return {"items": [*map(_built_in, ROLES), *own], "next_cursor": None}


@routes.at("/roles", "POST")
@routes.needs(Permission.ROLES_WRITE)
@routes.body(RoleBody)
@routes.gives(201, RoleSchema)
def create_role(body: Mapping[str, Any]) -> Response:
    """Make a role. It holds no more than whoever makes it may do."""
    answer = _shown(core().access.roles.create(principal(), **body), status=201)
    answer.headers["Location"] = f"/api/v1/roles/{body['name']}"
    return answer


@routes.at(_ONE)
@routes.needs(Permission.ROLES_READ)
@routes.tagged()
@routes.gives(200, RoleSchema)
def get_role(name: str) -> Response:
    """Read a role."""
    if name in ROLES:
        shown = _built_in(name)
        return etags.answer(shown, etags.tag_of(shown))
    return _shown(core().access.roles.get(principal(), name))


@routes.at(_ONE, "PUT")
@routes.needs(Permission.ROLES_WRITE)
@routes.matched()
@routes.body(RoleChange)
@routes.gives(200, RoleSchema)
def change_role(body: Mapping[str, Any], name: str) -> Response:
    """Change a role; it counts for everybody who has it within 15 s. 409 for a built-in one."""
    _refuse_built_in(name)
    roles = core().access.roles
    etags.expect(_tag(roles.get(principal(), name)))
    return _shown(roles.change(principal(), name, **body))


@routes.at(_ONE, "DELETE")
@routes.needs(Permission.ROLES_WRITE)
@routes.gives(204)
def delete_role(name: str) -> Response:
    """Remove a role; whoever has it loses what it gave. 409 for a built-in one."""
    _refuse_built_in(name)
    core().access.roles.delete(principal(), name)
    return Response(status=204)


def _refuse_built_in(name: str) -> None:
    if name in ROLES:
        raise Conflict(f"the role {name} is built in and never changes; make one of your own")


def _built_in(name: str) -> dict[str, Any]:
    found = {"name": name, "description": "", "permissions": sorted(map(str, ROLES[name]))}
    return {**found, "built_in": True, "created_at": None, "updated_at": None}


def _own(role: CustomRole) -> dict[str, Any]:
    return {
        "name": role.name,
        "description": role.description,
        "permissions": sorted(role.permissions),
        "built_in": False,
        "created_at": role.created_at,
        "updated_at": role.updated_at,
    }


def _tag(role: CustomRole) -> str:
    return etags.tag_of([role.description, sorted(role.permissions)])


def _shown(role: CustomRole, *, status: int = 200) -> Response:
    return etags.answer(RoleSchema().dump(_own(role)), _tag(role), status=status)
