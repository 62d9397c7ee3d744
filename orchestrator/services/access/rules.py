"""What holds for everybody who gives and takes: names, addresses, roles, and nothing above them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from orchestrator.errors import Forbidden, InvalidDefinition, NotFound, Problem, did_you_mean
from orchestrator.models.access.permissions import (
    GRANTABLE,
    ROLES,
    Permission,
    Principal,
    permissions_of,
)
from orchestrator.ports.access import AccessWork

_EMAIL = re.compile(r"[^\s@<>\"(),:;\\\[\]]{1,64}@[^\s@<>\"(),:;\\\[\]_]{1,190}")
_MOST_NAME = 100


def invalid(path: str, code: str, message: str) -> InvalidDefinition:
    """Return the error for one field that will not do."""
    return InvalidDefinition([Problem(path=path, code=code, message=message)], message)


def normal_email(text: str) -> str | None:
    """Return an address as it is kept and compared; None for what is none."""
    if len(text) > 254:
        return None
    email = unicodedata.normalize("NFKC", text.strip()).lower()
    if len(email) > 254 or not _EMAIL.fullmatch(email) or not email.isprintable():
        return None
    return email


def checked_email(text: str) -> str:
    """Return a normal address; InvalidDefinition for what is none."""
    email = normal_email(text)
    if email is None:
        raise invalid("email", "bad_email", "use an e-mail address such as ada@example.org")
    return email


def checked_name(text: str, *, path: str = "name", empty: bool = False) -> str:
    """Return a person's, key's or tenant's name; InvalidDefinition for one that will not do."""
    name = unicodedata.normalize("NFC", text.strip())
    if not name and empty:
        return ""
    if not name or len(name) > _MOST_NAME or not name.isprintable():
        raise invalid(path, "bad_name", f"use 1 to {_MOST_NAME} printable characters")
    return name


def known_permissions(names: Iterable[str]) -> frozenset[Permission]:
    """Return the permissions of stored names; one that this release does not know is none."""
    return frozenset(p for p in Permission if p.value in frozenset(names))


def checked_permissions(names: Sequence[str], path: str) -> tuple[str, ...]:
    """Return names of permissions, sorted and without repetition; InvalidDefinition else."""
    problems = [
        Problem(
            path=f"{path}[{number}]",
            code="unknown_permission",
            message=f"there is no permission {name[:100]!r}{did_you_mean(name, _PERMISSIONS)}",
        )
        for number, name in enumerate(names)
        if name not in _PERMISSIONS
    ]
    if problems:
        raise InvalidDefinition(problems)
    return tuple(sorted(set(names)))


_PERMISSIONS = [str(p) for p in Permission]


def custom_of(work: AccessWork, tenant_id: UUID) -> dict[str, frozenset[Permission]]:
    """Return a tenant's own roles."""
    return {
        role.name: known_permissions(role.permissions) for role in work.roles.of_tenant(tenant_id)
    }


def checked_roles(
    roles: Sequence[str], custom: Mapping[str, frozenset[Permission]]
) -> tuple[str, ...]:
    """Return roles that exist, without repetition; InvalidDefinition for others."""
    known = [*ROLES, *custom]
    problems = [
        Problem(
            path=f"roles[{number}]",
            code="unknown_role",
            message=f"there is no role {name[:100]!r}{did_you_mean(name, known)}",
        )
        for number, name in enumerate(roles)
        if name not in known
    ]
    if problems:
        raise InvalidDefinition(problems)
    return tuple(dict.fromkeys(roles))


def not_above(
    actor: Principal,
    roles: Iterable[str],
    custom: Mapping[str, frozenset[Permission]],
    tenant_id: UUID,
    scopes: Iterable[str] | None = None,
) -> None:
    """Raise Forbidden where roles, narrowed to scopes, hold what the actor may not do itself.

    `owner` is only for owners: in tenants but the first it permits no more than `admin`.
    """
    roles = tuple(roles)
    wanted = permissions_of(roles, custom, tenant_id)
    if scopes is not None:
        wanted &= known_permissions(scopes)
    if not wanted <= actor.permissions or ("owner" in roles and "owner" not in actor.roles):
        raise Forbidden("this concerns a role above your own")


def granted(role: str, custom: Mapping[str, frozenset[Permission]]) -> frozenset[Permission]:
    """Return what a role gives on a single workflow; an unknown one gives nothing."""
    return (ROLES.get(role) or custom.get(role, frozenset())) & GRANTABLE


def grants_not_above(
    actor: Principal,
    grants: Mapping[UUID, str],
    custom: Mapping[str, frozenset[Permission]],
    scopes: Iterable[str] | None = None,
) -> None:
    """Raise Forbidden where a grant, narrowed to scopes, holds what the actor may not do there.

    Whoever could reset a user, or renew a key, would have its grants as well as its roles.
    """
    kept = None if scopes is None else known_permissions(scopes)
    for workflow_id, role in grants.items():
        wanted = granted(role, custom)
        if kept is not None:
            wanted &= kept
        if not all(actor.may(permission, workflow_id) for permission in wanted):
            raise Forbidden("this concerns a grant above what you may do with its workflow")


def in_tenant(actor: Principal, tenant_id: UUID | None) -> UUID:
    """Return the tenant to work in: another than the actor's own is for who may write tenants."""
    if tenant_id is None or tenant_id == actor.tenant_id:
        return actor.tenant_id
    if not actor.may(Permission.TENANTS_WRITE):
        raise Forbidden("another tenant is not yours to change")
    return tenant_id


def gone(what: str) -> NotFound:
    """Return the error for what is not there, or belongs to another tenant."""
    return NotFound(f"there is no such {what}")
