"""What is kept of users, sessions, keys, roles and grants, and how it is read and changed.

Rows only: who may do what to them is decided in `services.access`. No plain credential passes here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class UserState(StrEnum):
    """Whether a user may sign in."""

    ACTIVE = "active"
    DISABLED = "disabled"


class Purpose(StrEnum):
    """What a one-time token is for."""

    INVITATION = "invitation"
    RESET = "reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An owner of rows."""

    id: UUID
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person. Its password's hash is never in here."""

    id: UUID
    tenant_id: UUID
    #: Lower case, NFKC; unique over the installation.
    email: str
    name: str
    roles: tuple[str, ...]
    state: UserState
    #: Sessions opened before are void.
    valid_from: datetime
    created_at: datetime
    updated_at: datetime
    signed_in_at: datetime | None = None
    #: False for whoever only signs in elsewhere, and until an invitation is accepted.
    has_password: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A provider's name for a user; (issuer, subject) is unique over the installation."""

    issuer: str
    subject: str
    tenant_id: UUID
    user_id: UUID
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One sign-in, from its first refresh token to its end."""

    id: UUID
    tenant_id: UUID
    user_id: UUID
    #: SHA-256 of the newest refresh token.
    refresh: bytes = field(repr=False)
    #: How often it was refreshed.
    generation: int
    address: str
    agent: str
    created_at: datetime
    #: Of the last refresh.
    used_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    #: Why it was revoked: sign_out, reuse, password, roles, disabled.
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A credential of a machine. The key itself is shown once and kept nowhere."""

    id: UUID
    tenant_id: UUID
    name: str
    #: The readable part, by which it is found.
    prefix: str
    roles: tuple[str, ...]
    #: Narrows its roles to these permissions; None: all of them.
    scopes: tuple[str, ...] | None
    created_by: UUID | None
    #: The key that follows this one; until `expires_at` both work.
    rotated_to: UUID | None
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomRole:
    """A tenant's own role."""

    tenant_id: UUID
    name: str
    description: str
    #: Names of permissions, as stored: one that this release does not know gives nothing.
    permissions: tuple[str, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A role that a user or key has on one workflow."""

    workflow_id: UUID
    principal_id: UUID
    tenant_id: UUID
    role: str
    created_at: datetime

    @property
    def name(self) -> str:
        """Return what it is called in the audit log."""
        return f"{self.workflow_id}/{self.principal_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OneTimeToken:
    """An invitation or a password reset, by its digest."""

    digest: bytes = field(repr=False)
    tenant_id: UUID
    user_id: UUID
    purpose: Purpose
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a principal's roles and grants mean in its tenant, read in one statement."""

    #: Every custom role of the tenant -> names of its permissions.
    custom: Mapping[str, tuple[str, ...]]
    #: Workflow -> role.
    grants: Mapping[UUID, str]


class Users(Protocol):
    """Users."""

    def add_user(self, user: User, password: str | None) -> None:
        """Store a user with its password's hash; NameTaken when the e-mail address is known."""

    def get_user(self, tenant_id: UUID, user_id: UUID, *, lock: bool = False) -> User | None:
        """Return a user of a tenant; with `lock`, held until the transaction ends."""

    def by_email(self, email: str) -> tuple[User, str | None] | None:
        """Return the user with a normal address, of any tenant, and the password's hash."""

    def page(self, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[User]:
        """Return users in the order of their ids."""

    def change(self, user: User) -> bool:
        """Store name, roles, state, valid_from and updated_at; False when it is gone."""

    def set_password(self, user_id: UUID, password: str) -> None:
        """Store a password's hash, and nothing else."""

    def hold(self, user_id: UUID, *, verified: str | None) -> User | None:
        """Return a user of any tenant, held until the transaction ends.

        None when it is gone or disabled, or when its password's hash is not `verified` any more;
        with None every hash will do.
        """

    def signed_in(self, user_id: UUID, at: datetime) -> None:
        """Note a sign-in."""

    def delete(self, tenant_id: UUID, user_id: UUID) -> bool:
        """Remove a user with all its sessions, identities and tokens; False when it is gone."""

    def owners(self, tenant_id: UUID) -> list[UUID]:
        """Return the active users with the role `owner`, locked until the transaction ends."""


class Identities(Protocol):
    """Names that others have for users."""

    def find(self, issuer: str, subject: str) -> Identity | None:
        """Return an identity."""

    def add_identity(self, identity: Identity) -> None:
        """Store an identity; NameTaken when it belongs to somebody already."""

    def of_user(self, user_id: UUID) -> list[Identity]:
        """Return a user's identities, oldest first."""


class Sessions(Protocol):
    """Sign-ins."""

    def add_session(self, session: Session) -> None:
        """Store a session."""

    def get_session(self, session_id: UUID, *, lock: bool = False) -> tuple[Session, User] | None:
        """Return a session and its user; with `lock`, held until the transaction ends."""

    def rotate(self, session: Session) -> None:
        """Store refresh, generation, used_at and expires_at."""

    def revoke(self, session_id: UUID, *, reason: str, at: datetime) -> bool:
        """End a session; False when it has ended already."""

    def revoke_of_user(self, user_id: UUID, *, reason: str, at: datetime) -> list[UUID]:
        """End all sessions of a user that are open; return their ids."""

    def of_user(self, user_id: UUID, at: datetime) -> list[Session]:
        """Return the sessions that are open at a moment, newest first."""

    def prune(self, user_id: UUID, before: datetime) -> None:
        """Remove a user's sessions that expired before a moment."""


class ApiKeys(Protocol):
    """API keys."""

    def add_key(self, key: ApiKey, digest: bytes) -> None:
        """Store a key and the SHA-256 of its plain text."""

    def by_prefix(self, prefix: str) -> tuple[ApiKey, bytes] | None:
        """Return a key of any tenant, and its digest."""

    def get_key(self, tenant_id: UUID, key_id: UUID, *, lock: bool = False) -> ApiKey | None:
        """Return a key of a tenant, revoked or not; with `lock`, held until the end."""

    def page(self, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[ApiKey]:
        """Return keys in the order of their ids."""

    def change(self, key: ApiKey) -> bool:
        """Store name, rotated_to, expires_at and revoked_at; False when it is gone."""

    def used(self, key_id: UUID, at: datetime) -> None:
        """Note a use."""


class CustomRoles(Protocol):
    """Tenants' own roles."""

    def add_role(self, role: CustomRole) -> None:
        """Store a role; NameTaken when the tenant has one of this name."""

    def get_role(self, tenant_id: UUID, name: str) -> CustomRole | None:
        """Return a role."""

    def of_tenant(self, tenant_id: UUID) -> list[CustomRole]:
        """Return a tenant's roles by name."""

    def change(self, role: CustomRole) -> bool:
        """Store description, permissions and updated_at; False when it is gone."""

    def delete(self, tenant_id: UUID, name: str) -> bool:
        """Remove a role, from whoever has it and from workflows too; False when it is gone."""


class Grants(Protocol):
    """Roles on single workflows."""

    def put(self, grant: Grant) -> None:
        """Store a grant in place of the one there was; NotFound when the workflow is gone."""

    def delete(self, tenant_id: UUID, workflow_id: UUID, principal_id: UUID) -> bool:
        """Remove a grant; False when there is none."""

    def of_workflow(self, tenant_id: UUID, workflow_id: UUID) -> list[Grant]:
        """Return a workflow's grants, oldest first."""

    def forget(self, tenant_id: UUID, principal_id: UUID) -> None:
        """Remove all grants of a principal."""


class OneTimeTokens(Protocol):
    """Invitations and resets."""

    def add_token(self, token: OneTimeToken) -> None:
        """Store a token; earlier ones of the same user, for whatever purpose, no longer work."""

    def find(self, digest: bytes, at: datetime) -> OneTimeToken | None:
        """Return a token; None when it is unknown, used or expired."""

    def take(self, digest: bytes, at: datetime) -> OneTimeToken | None:
        """Use a token up and return it; None as `find`. Of two callers one gets it."""

    def forget(self, user_id: UUID) -> None:
        """Remove all tokens of a user: none works any more."""


class Tenants(Protocol):
    """Owners of rows."""

    def add_tenant(self, tenant: Tenant) -> None:
        """Store a tenant; NameTaken when there is one of this name."""

    def get_tenant(self, tenant_id: UUID) -> Tenant | None:
        """Return a tenant."""

    def page(self, *, after: UUID | None, limit: int) -> list[Tenant]:
        """Return tenants in the order of their ids."""

    def rename(self, tenant_id: UUID, name: str) -> bool:
        """Give a tenant another name; NameTaken, or False when it is gone."""


class AccessWork(Protocol):
    """One transaction: all of it is stored, or nothing."""

    @property
    def users(self) -> Users: ...
    @property
    def identities(self) -> Identities: ...
    @property
    def sessions(self) -> Sessions: ...
    @property
    def api_keys(self) -> ApiKeys: ...
    @property
    def roles(self) -> CustomRoles: ...
    @property
    def grants(self) -> Grants: ...
    @property
    def tokens(self) -> OneTimeTokens: ...
    @property
    def tenants(self) -> Tenants: ...

    def standing(self, tenant_id: UUID, principal_id: UUID) -> Standing:
        """Return what roles mean in a tenant, and what a principal has been granted."""


class AccessStore(Protocol):
    """The record of access. StoreUnavailable when it cannot be reached."""

    def begin(self, *, any_tenant: bool = False) -> AbstractContextManager[AccessWork]:
        """Open a transaction, within the tenant on whose behalf this thread works.

        With `any_tenant`, over all of them: for steps before a credential has told the tenant,
        and for the installation's own.
        """

    def close(self) -> None:
        """Give back what it holds."""


class AccessCache(Protocol):
    """What processes tell each other about sessions, for seconds. Never the record: losing all of
    it only costs statements. Whatever it stores expires by itself."""

    def marks(self, ids: Sequence[str]) -> tuple[str, ...] | None:
        """Return the present mark of each id, "" where there is none; None: it is away."""

    def mark(self, ids: Sequence[str], value: str, *, ttl_s: float) -> None:
        """Set the mark of ids; does nothing while it is away."""

    def count(self, key: str, *, window_s: float) -> tuple[int, float] | None:
        """Count one more; return the count and the seconds until it starts anew. None: away."""

    def forget(self, key: str) -> None:
        """Start counting anew; does nothing while it is away."""

    def give_back(self, key: str) -> None:
        """Count one less, where there is a count; does nothing while it is away."""

    def put_ticket(self, digest: str, value: str, *, ttl_s: float) -> None:
        """Keep a ticket. ChannelUnavailable while it is away."""

    def take_ticket(self, digest: str) -> str | None:
        """Return a ticket's value and remove it, in one step. ChannelUnavailable while away."""
