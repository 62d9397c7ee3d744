"""The shapes of sign-in, users, keys, roles, tenants and grants. What is not here never leaves."""

from __future__ import annotations

from typing import Any, ClassVar

from marshmallow import Schema, fields, validate

from orchestrator.models.access.permissions import Permission, PrincipalKind
from orchestrator.ports.access import UserState
from web.schemas.fields import BoundedList, Count, Flag, Moment, at

_SECRET = "Shown in this answer and never again."  # noqa: S105
PERMISSIONS = sorted(str(p) for p in Permission)


def _text(most: int, *, least: int = 1, **more: Any) -> fields.String:
    return fields.String(validate=validate.Length(least, most), **more)


def _roles(**more: Any) -> fields.List[str]:
    metadata = {"description": "Built-in roles, or the tenant's own."}
    most = validate.Length(max=20)
    return BoundedList(_text(64), validate=most, metadata=metadata, **more)


class LoginBody(Schema):
    """Who signs in, and how the tokens are to be kept."""

    email = _text(320, required=True)
    password = _text(1024, required=True, load_only=True)
    cookie = Flag(
        load_default=False,
        metadata={"description": "Keep the tokens in HttpOnly cookies: for pages of this server."},
    )


class RefreshBody(Schema):
    """The refresh token, unless a cookie holds it."""

    #: Read by `openapi.StrictParser`: no body is an empty one.
    may_be_absent: ClassVar[bool] = True

    refresh_token = _text(512, load_default=None)


class SignedInSchema(Schema):
    """What a sign-in brings. In cookie mode the tokens are in cookies and null here."""

    token_type = fields.String(metadata={"enum": ["Bearer"]})
    access_token = fields.String(allow_none=True)
    refresh_token = fields.String(allow_none=True)
    expires_in_s = fields.Integer(metadata={"description": "Until the access token expires."})
    csrf_token = fields.String(
        allow_none=True,
        metadata={"description": "In cookie mode: send it as X-CSRF-Token with what changes."},
    )


class PasswordBody(Schema):
    """The password as it is and as it is to be."""

    current_password = _text(1024, required=True, load_only=True)
    new_password = _text(1024, required=True, load_only=True)


class AcceptBody(Schema):
    """An invitation or a reset, and the password to set with it."""

    token = _text(512, required=True, load_only=True)
    password = _text(1024, required=True, load_only=True)
    name = _text(200, load_default=None)


class TicketSchema(Schema):
    """What opens one socket, as `?ticket=`."""

    ticket = fields.String(metadata={"description": "Good once."})
    expires_in_s = fields.Integer()


class PrincipalSchema(Schema):
    """Who acts."""

    id = fields.UUID()
    kind = fields.Enum(PrincipalKind, by_value=True)
    name = fields.String()
    roles = fields.List(fields.String())
    session_id = fields.UUID(allow_none=True)


class TenantSchema(Schema):
    """An owner of rows."""

    id = fields.UUID()
    name = fields.String()
    created_at = at()


class OwnTenant(Schema):
    """The tenant of whoever asks."""

    id = fields.UUID()
    name = fields.String()


class GrantedSchema(Schema):
    """What may be done with one workflow beyond the roles."""

    workflow_id = fields.UUID()
    permissions = fields.List(fields.String())


class MeSchema(Schema):
    """Who asks, and what it may do."""

    principal = fields.Nested(PrincipalSchema)
    tenant = fields.Nested(OwnTenant)
    permissions = fields.List(fields.String())
    grants = fields.List(fields.Nested(GrantedSchema))
    csrf_token = fields.String(allow_none=True, metadata={"description": "In cookie mode."})


class SessionSchema(Schema):
    """A sign-in that is open."""

    id = fields.UUID()
    address = fields.String()
    agent = fields.String()
    created_at = at()
    used_at = at(description="When its tokens were made last.")
    expires_at = at()


class SessionList(Schema):
    """Open sign-ins, newest first."""

    items = fields.List(fields.Nested(SessionSchema))
    next_cursor = fields.String(allow_none=True)


class UserSchema(Schema):
    """A person."""

    id = fields.UUID()
    email = fields.String()
    name = fields.String()
    roles = fields.List(fields.String())
    state = fields.Enum(UserState, by_value=True)
    has_password = fields.Boolean()
    created_at = at()
    updated_at = at()
    signed_in_at = at(nullable=True)


class UserPage(Schema):
    """A page of users."""

    items = fields.List(fields.Nested(UserSchema))
    next_cursor = fields.String(allow_none=True)


class InviteBody(Schema):
    """Whom to invite."""

    email = _text(320, required=True)
    name = _text(200, least=0, load_default="")
    roles = _roles(load_default=list)


class OwnerBody(Schema):
    """Whom to invite as the owner of a tenant."""

    email = _text(320, required=True)
    name = _text(200, least=0, load_default="")


class UserBody(InviteBody):
    """A user to make. Without a password it signs in elsewhere, or after a reset."""

    password = _text(1024, load_default=None, load_only=True)


class UserChange(Schema):
    """A user as it is to be."""

    name = _text(200, least=0, required=True)
    roles = _roles(required=True)
    state = fields.Enum(UserState, by_value=True, required=True)


class InvitationSchema(Schema):
    """What `POST /auth/accept` takes."""

    user = fields.Nested(UserSchema)
    token = fields.String(metadata={"description": _SECRET})
    expires_at = at()


class KeySchema(Schema):
    """An API key, without the key."""

    id = fields.UUID()
    name = fields.String()
    prefix = fields.String(metadata={"description": "How the key begins."})
    roles = fields.List(fields.String())
    scopes = fields.List(fields.String(), allow_none=True)
    created_by = fields.UUID(allow_none=True)
    rotated_to = fields.UUID(allow_none=True, metadata={"description": "The key after this one."})
    created_at = at()
    expires_at = at(nullable=True)
    used_at = at(nullable=True)
    revoked_at = at(nullable=True)


class KeyPage(Schema):
    """A page of API keys, revoked ones too."""

    items = fields.List(fields.Nested(KeySchema))
    next_cursor = fields.String(allow_none=True)


class NewKeySchema(KeySchema):
    """A new API key."""

    key = fields.String(metadata={"description": _SECRET})


class KeyBody(Schema):
    """An API key to make."""

    name = _text(200, required=True)
    roles = _roles(load_default=list)
    scopes = BoundedList(
        fields.String(validate=validate.OneOf(PERMISSIONS)),
        load_default=None,
        allow_none=True,
        validate=validate.Length(max=len(PERMISSIONS)),
        metadata={"description": "Only these permissions of its roles; null: all of them."},
    )
    expires_at = Moment(load_default=None, allow_none=True)


class RotateBody(Schema):
    """How long both keys are good."""

    #: Read by `openapi.StrictParser`: no body is an empty one.
    may_be_absent: ClassVar[bool] = True

    overlap_s = Count(
        load_default=86_400,
        validate=validate.Range(0, 30 * 86_400),
        metadata={"minimum": 0, "maximum": 30 * 86_400},
    )


class RoleSchema(Schema):
    """A role."""

    name = fields.String()
    description = fields.String()
    permissions = fields.List(fields.String())
    built_in = fields.Boolean(metadata={"description": "Every tenant has it; it never changes."})
    created_at = at(nullable=True)
    updated_at = at(nullable=True)


class RoleList(Schema):
    """Built-in roles, then the tenant's own by name."""

    items = fields.List(fields.Nested(RoleSchema))
    next_cursor = fields.String(allow_none=True)


def _permissions() -> fields.List[str]:
    return BoundedList(
        fields.String(validate=validate.OneOf(PERMISSIONS)),
        required=True,
        validate=validate.Length(max=len(PERMISSIONS)),
    )


class RoleBody(Schema):
    """A role to make."""

    name = _text(64, required=True)
    description = _text(500, least=0, load_default="")
    permissions = _permissions()


class RoleChange(Schema):
    """A role as it is to be; its name stays."""

    description = _text(500, least=0, required=True)
    permissions = _permissions()


class TenantBody(Schema):
    """A tenant to make, or its new name."""

    name = _text(200, required=True)


class TenantPage(Schema):
    """A page of tenants."""

    items = fields.List(fields.Nested(TenantSchema))
    next_cursor = fields.String(allow_none=True)


class GrantSchema(Schema):
    """A role that a user or key has on one workflow."""

    principal_id = fields.UUID()
    role = fields.String()
    created_at = at()


class GrantList(Schema):
    """All grants on a workflow, oldest first."""

    items = fields.List(fields.Nested(GrantSchema))
    next_cursor = fields.String(allow_none=True)


class GrantItem(Schema):
    """A user or key, and its role on the workflow."""

    principal_id = fields.UUID(required=True)
    role = _text(64, required=True)


class GrantsBody(Schema):
    """All grants that a workflow is to have."""

    items = BoundedList(fields.Nested(GrantItem), required=True, validate=validate.Length(max=200))
