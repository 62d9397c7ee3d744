"""Who may do what: permissions, the built-in roles, and the principal that acts.

Decisions only. Where a principal comes from is `services.access`; where it is asked is
`web.access.guard`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from orchestrator.models.ids import DEFAULT_TENANT


class Permission(StrEnum):
    """`resource:verb`. A route asks for exactly one; a new route without one is closed."""

    WORKFLOWS_READ = "workflows:read"
    WORKFLOWS_WRITE = "workflows:write"
    WORKFLOWS_GRANT = "workflows:grant"
    RUNS_READ = "runs:read"
    RUNS_START = "runs:start"
    RUNS_STEER = "runs:steer"
    LOGS_READ = "logs:read"
    ARTIFACTS_READ = "artifacts:read"
    NODES_READ = "nodes:read"
    NODES_TEST = "nodes:test"
    SECRETS_READ = "secrets:read"
    SECRETS_WRITE = "secrets:write"
    VARIABLES_READ = "variables:read"
    VARIABLES_WRITE = "variables:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    ROLES_READ = "roles:read"
    ROLES_WRITE = "roles:write"
    QUOTAS_READ = "quotas:read"
    AUDIT_READ = "audit:read"
    #: Of the whole installation, not of a tenant: only its admin key and owners of the first
    #: tenant have them, and whom these give them to.
    TENANTS_WRITE = "tenants:write"
    QUOTAS_WRITE = "quotas:write"
    METRICS_READ = "metrics:read"


_P = Permission
_VIEWER = frozenset(
    {
        _P.WORKFLOWS_READ, _P.RUNS_READ, _P.LOGS_READ, _P.ARTIFACTS_READ, _P.NODES_READ,
        _P.VARIABLES_READ,
    }
)  # fmt: skip
_OPERATOR = _VIEWER | {_P.RUNS_START, _P.RUNS_STEER}
_EDITOR = _OPERATOR | {
    _P.WORKFLOWS_WRITE, _P.NODES_TEST, _P.VARIABLES_WRITE, _P.SECRETS_READ, _P.QUOTAS_READ,
}  # fmt: skip
_INSTALLATION = frozenset({_P.TENANTS_WRITE, _P.QUOTAS_WRITE, _P.METRICS_READ})
_ADMIN = frozenset(Permission) - _INSTALLATION

#: What each built-in role may do. Each holds all of the one before it.
ROLES: Mapping[str, frozenset[Permission]] = {
    "viewer": _VIEWER,
    "operator": _OPERATOR,
    "editor": _EDITOR,
    "admin": _ADMIN,
    "owner": frozenset(Permission),
}
#: What a grant on one workflow may give: never more than that workflow.
GRANTABLE = frozenset(
    {
        _P.WORKFLOWS_READ, _P.WORKFLOWS_WRITE, _P.RUNS_READ, _P.RUNS_START, _P.RUNS_STEER,
        _P.LOGS_READ, _P.ARTIFACTS_READ, _P.WORKFLOWS_GRANT,
    }
)  # fmt: skip


class PrincipalKind(StrEnum):
    """What a principal is."""

    USER = "user"
    KEY = "key"
    #: The installation's admin key, and commands run beside the database.
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who acts. `tenant_id` comes from the credential and from nowhere else."""

    id: UUID
    kind: PrincipalKind
    name: str
    tenant_id: UUID
    roles: tuple[str, ...] = ()
    permissions: frozenset[Permission] = frozenset()
    #: What it may do with single workflows, beyond its roles.
    grants: Mapping[UUID, frozenset[Permission]] = field(default_factory=dict)
    #: Of a user's sign-in; None for keys.
    session_id: UUID | None = None
    #: What its token narrows it to, below what is recorded; None: to nothing.
    scopes: frozenset[Permission] | None = None
    #: When a key's token ends; None: it is good for as long as the key or the session is.
    expires_at: datetime | None = None

    def may(self, wanted: Permission, workflow_id: UUID | None = None) -> bool:
        """Tell whether it may; with a workflow, its grants on that one count too."""
        if wanted in self.permissions:
            return True
        return workflow_id is not None and wanted in self.grants.get(workflow_id, frozenset())

    @property
    def held(self) -> frozenset[Permission]:
        """Return what it may do anywhere: in the tenant, or with a single workflow."""
        return self.permissions.union(*self.grants.values())

    def somewhere(self, wanted: Permission) -> frozenset[UUID]:
        """Return the workflows on which a grant allows it; empty for most principals."""
        return frozenset(w for w, allowed in self.grants.items() if wanted in allowed)


def narrowed(principal: Principal, scopes: frozenset[Permission] | None) -> Principal:
    """Return the principal with no more than some permissions; None leaves it as it is."""
    if scopes is None:
        return principal
    return replace(
        principal,
        permissions=principal.permissions & scopes,
        grants={workflow: allowed & scopes for workflow, allowed in principal.grants.items()},
        scopes=scopes,
    )


def restricted(
    principal: Principal, scopes: frozenset[Permission] | None, expires_at: datetime | None
) -> Principal:
    """Return the principal as a token of it is: narrowed, and with the token's end."""
    return replace(narrowed(principal, scopes), expires_at=expires_at)


def permissions_of(
    roles: Iterable[str], custom: Mapping[str, frozenset[Permission]], tenant_id: UUID
) -> frozenset[Permission]:
    """Return what roles add up to in a tenant; an unknown role (deleted since) gives nothing."""
    found: frozenset[Permission] = frozenset()
    for role in roles:
        found |= ROLES.get(role) or custom.get(role, frozenset())
    return found if tenant_id == DEFAULT_TENANT else found - _INSTALLATION


#: The admin key's principal has this id, in the first tenant.
ADMIN = Principal(
    id=UUID(int=1),
    kind=PrincipalKind.SYSTEM,
    name="admin",
    tenant_id=DEFAULT_TENANT,
    roles=("owner",),
    permissions=frozenset(Permission),
)
