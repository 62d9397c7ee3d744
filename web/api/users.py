"""Routes of a tenant's users: make, invite, change, reset, remove; and their sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response

from orchestrator.models.access.permissions import Permission
from orchestrator.ports.access import User
from web.api.paging import page
from web.context import core, principal
from web.openapi.document import Routes
from web.responses import etags
from web.schemas.access import (
    InvitationSchema,
    InviteBody,
    SessionList,
    UserBody,
    UserChange,
    UserPage,
    UserSchema,
)
from web.schemas.fields import PageQuery, cursor

routes = Routes("users", __name__, description="The people of a tenant.")
_ONE = "/users/<uuid:user_id>"


@routes.at("/users")
@routes.needs(Permission.USERS_READ)
@routes.query(PageQuery)
@routes.gives(200, UserPage)
def list_users(query: Mapping[str, Any]) -> dict[str, Any]:
    """List users, oldest first."""
    limit = query["limit"]
    found = core().access.users.page(principal(), after=query["cursor"], limit=limit + 1)
    return page(found, limit, lambda each: cursor(each.id))


@routes.at("/users", "POST")
@routes.needs(Permission.USERS_WRITE)
@routes.body(UserBody)
@routes.gives(201, UserSchema)
def create_user(body: Mapping[str, Any]) -> Response:
    """Make a user. 409 where the address is known. Nobody gives a role that is above their own."""
    user = core().access.users.create(principal(), **body)
    answer = _shown(user, status=201)
    answer.headers["Location"] = f"/api/v1/users/{user.id}"
    return answer


@routes.at("/users/invite", "POST")
@routes.needs(Permission.USERS_WRITE)
@routes.body(InviteBody)
@routes.gives(201, InvitationSchema)
def invite_user(body: Mapping[str, Any]) -> Any:
    """Make a user without a password, and the token by which it sets one (`POST /auth/accept`)."""
    return core().access.users.invite(principal(), **body)


@routes.at(_ONE)
@routes.needs(Permission.USERS_READ)
@routes.tagged()
@routes.gives(200, UserSchema)
def get_user(user_id: UUID) -> Response:
    """Read a user."""
    return _shown(core().access.users.get(principal(), user_id))


@routes.at(_ONE, "PUT")
@routes.needs(Permission.USERS_WRITE)
@routes.matched()
@routes.body(UserChange)
@routes.gives(200, UserSchema)
def change_user(body: Mapping[str, Any], user_id: UUID) -> Response:
    """Change a user. A role taken away, or a disabled account, ends its sessions."""
    users = core().access.users
    etags.expect(_tag(users.get(principal(), user_id)))
    return _shown(users.change(principal(), user_id, **body))


@routes.at(_ONE, "DELETE")
@routes.needs(Permission.USERS_WRITE)
@routes.gives(204)
def delete_user(user_id: UUID) -> Response:
    """Remove a user with its sessions and grants. 409 for a tenant's last owner."""
    core().access.users.delete(principal(), user_id)
    return Response(status=204)


@routes.at(f"{_ONE}/reset", "POST")
@routes.needs(Permission.USERS_WRITE)
@routes.gives(200, InvitationSchema)
def reset_user(user_id: UUID) -> Any:
    """Return a token by which the user sets another password (`POST /auth/accept`)."""
    return core().access.users.reset(principal(), user_id)


@routes.at(f"{_ONE}/sessions")
@routes.needs(Permission.USERS_READ)
@routes.gives(200, SessionList)
def list_sessions(user_id: UUID) -> dict[str, Any]:
    """List the open sessions of a user, newest first."""
    found = core().access.users.sessions_of(principal(), user_id)
    return {"items": found, "next_cursor": None}


@routes.at(f"{_ONE}/sessions", "DELETE")
@routes.needs(Permission.USERS_WRITE)
@routes.gives(204)
def end_sessions(user_id: UUID) -> Response:
    """End all sessions of a user."""
    core().access.users.revoke_sessions(principal(), user_id)
    return Response(status=204)


def _tag(user: User) -> str:
    return etags.tag_of([user.name, sorted(user.roles), str(user.state)])


def _shown(user: User, *, status: int = 200) -> Response:
    return etags.answer(UserSchema().dump(user), _tag(user), status=status)
