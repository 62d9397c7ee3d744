"""A tenant's own roles. The built-in ones are `models.access.ROLES`, and never change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.errors import Conflict, Forbidden
from orchestrator.models.access.permissions import ROLES, Principal
from orchestrator.ports.access import AccessStore, AccessWork, CustomRole
from orchestrator.ports.runtime import Clock
from orchestrator.services.access.principals import Principals
from orchestrator.services.access.reporting import Reporting
from orchestrator.services.access.rules import (
    checked_permissions,
    gone,
    invalid,
    known_permissions,
)

MOST_ROLES = 100
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,49}")
_MOST_DESCRIPTION = 500


class Roles:
    """Answers for `core.access.roles`. A role holds no more than who writes it (Forbidden)."""

    def __init__(
        self, store: AccessStore, principals: Principals, clock: Clock, reporting: Reporting
    ) -> None:
        self._store = store
        self._principals = principals
        self._clock = clock
        self._reporting = reporting

    def create(
        self, actor: Principal, *, name: str, permissions: Sequence[str], description: str = ""
    ) -> CustomRole:
        """Store a role. InvalidDefinition for a name or permission that will not do; NameTaken."""
        if not _NAME.fullmatch(name) or name in ROLES:
            raise invalid(
                "name",
                "bad_name",
                "use a-z, 0-9, - and _, at most 50, and no name of a built-in role",
            )
        kept = checked_permissions(permissions, "permissions")
        _no_more_than(actor, kept)
        now = self._clock.now()
        role = CustomRole(
            tenant_id=actor.tenant_id, name=name, description=_described(description),
            permissions=kept, created_at=now, updated_at=now,
        )  # fmt: skip
        with self._store.begin() as work:
            if len(work.roles.of_tenant(actor.tenant_id)) >= MOST_ROLES:
                raise Conflict(f"a tenant has at most {MOST_ROLES} roles of its own")
            self._reporting.changes("role", name, after=_told(role))
            work.roles.add_role(role)
        self._principals.changed(f"tenant:{actor.tenant_id}")
        return role

    def list(self, actor: Principal) -> list[CustomRole]:
        """Return the custom roles of the actor's tenant, by name (at most 100)."""
        with self._store.begin() as work:
            return work.roles.of_tenant(actor.tenant_id)

    def get(self, actor: Principal, name: str) -> CustomRole:
        """Return a custom role; NotFound."""
        with self._store.begin() as work:
            return _found(work, actor, name)

    def change(
        self,
        actor: Principal,
        name: str,
        *,
        permissions: Sequence[str] | None = None,
        description: str | None = None,
    ) -> CustomRole:
        """Change what is given; takes effect for everybody who has it within 15 s."""
        kept = None if permissions is None else checked_permissions(permissions, "permissions")
        _no_more_than(actor, kept or ())
        with self._store.begin() as work:
            role = _found(work, actor, name)
            _no_more_than(actor, role.permissions)
            changed = replace(
                role,
                permissions=role.permissions if kept is None else kept,
                description=role.description if description is None else _described(description),
                updated_at=self._clock.now(),
            )
            self._reporting.changes("role", name, _told(role), _told(changed))
            work.roles.change(changed)
        self._principals.changed(f"tenant:{actor.tenant_id}")
        return changed

    def delete(self, actor: Principal, name: str) -> None:
        """Remove a role, from whoever has it too; takes effect within 15 s."""
        with self._store.begin() as work:
            role = _found(work, actor, name)
            _no_more_than(actor, role.permissions)
            self._reporting.changes("role", name, before=_told(role))
            work.roles.delete(actor.tenant_id, name)
        self._principals.changed(f"tenant:{actor.tenant_id}")


def _found(work: AccessWork, actor: Principal, name: str) -> CustomRole:
    role = work.roles.get_role(actor.tenant_id, name)
    if role is None:
        raise gone("role of this tenant")
    return role


def _no_more_than(actor: Principal, names: Sequence[str]) -> None:
    if not known_permissions(names) <= actor.permissions:
        raise Forbidden("a role holds no more than what you may do yourself")


def _described(text: str) -> str:
    if len(text) > _MOST_DESCRIPTION or not text.replace("\n", " ").isprintable():
        raise invalid(
            "description",
            "bad_description",
            f"use at most {_MOST_DESCRIPTION} printable characters",
        )
    return text.strip()


def _told(role: CustomRole) -> dict[str, object]:
    """Return what the audit log's digests are made of."""
    return {
        "name": role.name,
        "description": role.description,
        "permissions": sorted(role.permissions),
    }
