"""API keys, roles, grants, one-time tokens and tenants in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from orchestrator.adapters.memory.access_rows import Rows
from orchestrator.errors import NameTaken
from orchestrator.ports.access import ApiKey, CustomRole, Grant, OneTimeToken, Tenant


class MemoryApiKeys:
    """Answers `ports.access.ApiKeys`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def add(self, key: ApiKey, digest: bytes) -> None:
        """See the port."""
        self._rows.api_keys[key.id] = key
        self._rows.digests[key.id] = digest

    def by_prefix(self, prefix: str) -> tuple[ApiKey, bytes] | None:
        """See the port."""
        for key in self._rows.api_keys.values():
            if key.prefix == prefix:
                return key, self._rows.digests[key.id]
        return None

    def get(self, tenant_id: UUID, key_id: UUID, *, lock: bool = False) -> ApiKey | None:
        """See the port."""
        key = self._rows.api_keys.get(key_id)
        return key if key and key.tenant_id == tenant_id else None

    def page(self, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[ApiKey]:
        """See the port."""
        found = sorted(self._rows.api_keys.values(), key=lambda key: key.id)
        return [
            key for key in found if key.tenant_id == tenant_id and (after is None or key.id > after)
        ][:limit]

    def change(self, key: ApiKey) -> bool:
        """See the port."""
        known = self.get(key.tenant_id, key.id)
        if known is None:
            return False
        self._rows.api_keys[key.id] = replace(
            known, name=key.name, rotated_to=key.rotated_to, expires_at=key.expires_at,
            revoked_at=key.revoked_at,
        )  # fmt: skip
        return True

    def used(self, key_id: UUID, at: datetime) -> None:
        """See the port."""
        self._rows.api_keys[key_id] = replace(self._rows.api_keys[key_id], used_at=at)


class MemoryCustomRoles:
    """Answers `ports.access.CustomRoles`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def add(self, role: CustomRole) -> None:
        """See the port."""
        if (role.tenant_id, role.name) in self._rows.roles:
            raise NameTaken(f"there is a role {role.name} already")
        self._rows.roles[role.tenant_id, role.name] = role

    def get(self, tenant_id: UUID, name: str) -> CustomRole | None:
        """See the port."""
        return self._rows.roles.get((tenant_id, name))

    def of_tenant(self, tenant_id: UUID) -> list[CustomRole]:
        """See the port."""
        found = [role for role in self._rows.roles.values() if role.tenant_id == tenant_id]
        return sorted(found, key=lambda role: role.name)

    def change(self, role: CustomRole) -> bool:
        """See the port."""
        known = self.get(role.tenant_id, role.name)
        if known is None:
            return False
        self._rows.roles[role.tenant_id, role.name] = replace(
            known, description=role.description, permissions=role.permissions,
            updated_at=role.updated_at,
        )  # fmt: skip
        return True

    def delete(self, tenant_id: UUID, name: str) -> bool:
        """See the port."""
        rows = self._rows
        if rows.roles.pop((tenant_id, name), None) is None:
            return False
        for user in list(rows.users.values()):
            if user.tenant_id == tenant_id:
                left = tuple(role for role in user.roles if role != name)
                rows.users[user.id] = replace(user, roles=left)
        for key in list(rows.api_keys.values()):
            if key.tenant_id == tenant_id:
                left = tuple(role for role in key.roles if role != name)
                rows.api_keys[key.id] = replace(key, roles=left)
        rows.grants = {
            k: g for k, g in rows.grants.items() if (g.tenant_id, g.role) != (tenant_id, name)
        }
        return True


class MemoryGrants:
    """Answers `ports.access.Grants`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def put(self, grant: Grant) -> None:
        """See the port. It knows no workflows, so it misses none."""
        self._rows.grants[grant.workflow_id, grant.principal_id] = grant

    def delete(self, tenant_id: UUID, workflow_id: UUID, principal_id: UUID) -> bool:
        """See the port."""
        grant = self._rows.grants.get((workflow_id, principal_id))
        if grant is None or grant.tenant_id != tenant_id:
            return False
        del self._rows.grants[workflow_id, principal_id]
        return True

    def of_workflow(self, tenant_id: UUID, workflow_id: UUID) -> list[Grant]:
        """See the port."""
        found = [
            grant
            for grant in self._rows.grants.values()
            if (grant.tenant_id, grant.workflow_id) == (tenant_id, workflow_id)
        ]
        return sorted(found, key=lambda grant: (grant.created_at, grant.principal_id))

    def forget(self, tenant_id: UUID, principal_id: UUID) -> None:
        """See the port."""
        gone = (tenant_id, principal_id)
        kept = self._rows.grants
        self._rows.grants = {k: g for k, g in kept.items() if (g.tenant_id, g.principal_id) != gone}


class MemoryOneTimeTokens:
    """Answers `ports.access.OneTimeTokens`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def add(self, token: OneTimeToken) -> None:
        """See the port."""
        self.forget(token.user_id)
        self._rows.tokens[token.digest] = token

    def find(self, digest: bytes, at: datetime) -> OneTimeToken | None:
        """See the port."""
        found = self._rows.tokens.get(digest)
        return found if found and found.expires_at > at else None

    def take(self, digest: bytes, at: datetime) -> OneTimeToken | None:
        """See the port."""
        found = self.find(digest, at)
        if found is not None:
            del self._rows.tokens[digest]
        return found

    def forget(self, user_id: UUID) -> None:
        """See the port."""
        kept = self._rows.tokens
        self._rows.tokens = {k: t for k, t in kept.items() if t.user_id != user_id}


class MemoryTenants:
    """Answers `ports.access.Tenants`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def add(self, tenant: Tenant) -> None:
        """See the port."""
        self._check_name(tenant.id, tenant.name)
        self._rows.tenants[tenant.id] = tenant

    def get(self, tenant_id: UUID) -> Tenant | None:
        """See the port."""
        return self._rows.tenants.get(tenant_id)

    def page(self, *, after: UUID | None, limit: int) -> list[Tenant]:
        """See the port."""
        found = sorted(self._rows.tenants.values(), key=lambda tenant: tenant.id)
        return [tenant for tenant in found if after is None or tenant.id > after][:limit]

    def rename(self, tenant_id: UUID, name: str) -> bool:
        """See the port."""
        known = self._rows.tenants.get(tenant_id)
        if known is None:
            return False
        self._check_name(tenant_id, name)
        self._rows.tenants[tenant_id] = replace(known, name=name)
        return True

    def _check_name(self, tenant_id: UUID, name: str) -> None:
        if any(t.name == name and t.id != tenant_id for t in self._rows.tenants.values()):
            raise NameTaken(f"there is a tenant {name} already")
