"""The record of keys, roles, grants and tenants: memory and Postgres keep and find the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from orchestrator.adapters.postgres.access.access import PostgresAccess
from orchestrator.adapters.postgres.connections.pool import Pool
from orchestrator.errors import NameTaken, NotFound
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.ports.access import (
    AccessStore,
    CustomRole,
    Grant,
    Purpose,
    Tenant,
)
from tests.contract.access_rows import NOW, a_key, a_tenant, a_token, a_user, anywhere
from tests.factories import new_id


@pytest.mark.parametrize("scopes", [None, (), ("runs:read", "runs:start")])
def test_a_key_is_found_by_its_prefix(store: AccessStore, scopes: tuple[str, ...] | None) -> None:
    key = a_key(store, a_tenant(store), scopes=scopes, expires_at=NOW + timedelta(days=9))
    with anywhere(store) as work:
        assert work.api_keys.by_prefix(key.prefix) == (key, b"digest of " + key.prefix.encode())
        assert work.api_keys.by_prefix(key.prefix.upper()) is None
        assert work.api_keys.by_prefix(key.prefix[:-1]) is None
        assert work.api_keys.by_prefix("%") is None
        assert work.api_keys.get_key(key.tenant_id, key.id, lock=True) == key
        assert work.api_keys.get_key(DEFAULT_TENANT, key.id) is None


def test_a_key_changes_and_is_used(store: AccessStore) -> None:
    key = a_key(store, a_tenant(store))
    next_id, later = new_id(), NOW + timedelta(hours=1)
    changed = replace(key, rotated_to=next_id, expires_at=later, revoked_at=later, name="cd")
    with anywhere(store) as work:
        assert work.api_keys.change(replace(changed, roles=("owner",), scopes=("runs:read",)))
        assert work.api_keys.get_key(key.tenant_id, key.id) == changed
        work.api_keys.used(key.id, later)
        assert work.api_keys.page(key.tenant_id, after=None, limit=9) == [
            replace(changed, used_at=later)
        ]
        assert not work.api_keys.change(replace(key, tenant_id=DEFAULT_TENANT))


def test_roles_are_a_tenants_own(store: AccessStore) -> None:
    tenant_id, other = a_tenant(store), a_tenant(store)
    role = CustomRole(
        tenant_id=tenant_id, name="auditor", description="looks", permissions=("audit:read",),
        created_at=NOW, updated_at=NOW,
    )  # fmt: skip
    with anywhere(store) as work:
        work.roles.add_role(role)
        work.roles.add_role(replace(role, tenant_id=other))
        work.roles.add_role(replace(role, name="Z"))
        with pytest.raises(NameTaken):
            work.roles.add_role(role)
        changed = replace(role, description="", permissions=(), updated_at=NOW + timedelta(1))
        assert work.roles.change(changed)
        assert work.roles.get_role(tenant_id, "auditor") == changed
        assert work.roles.get_role(other, "auditor") == replace(role, tenant_id=other)
        assert [r.name for r in work.roles.of_tenant(tenant_id)] == ["Z", "auditor"]
        assert not work.roles.change(replace(role, name="none"))


def test_a_removed_role_is_taken_from_everybody_in_its_tenant(store: AccessStore) -> None:
    tenant_id, other = a_tenant(store), a_tenant(store)
    user, foreign = a_user(store, tenant_id, "auditor", "viewer"), a_user(store, other, "auditor")
    key = a_key(store, tenant_id, roles=("auditor",))
    role = CustomRole(
        tenant_id=tenant_id, name="auditor", description="", permissions=("audit:read",),
        created_at=NOW, updated_at=NOW,
    )  # fmt: skip
    with anywhere(store) as work:
        work.roles.add_role(role)
        assert work.roles.delete(tenant_id, "auditor")
        assert not work.roles.delete(tenant_id, "auditor")
        assert work.users.get_user(tenant_id, user.id) == replace(user, roles=("viewer",))
        assert work.users.get_user(other, foreign.id) == foreign
        assert work.api_keys.get_key(tenant_id, key.id) == replace(key, roles=())


def test_a_token_works_once_and_not_for_ever(store: AccessStore) -> None:
    user = a_user(store, a_tenant(store))
    token = a_token(user)
    with anywhere(store) as work:
        work.tokens.add_token(token)
        assert work.tokens.find(token.digest, NOW) == token
        assert work.tokens.find(token.digest, token.expires_at) is None
        assert work.tokens.take(token.digest, token.expires_at) is None
        assert work.tokens.take(token.digest, NOW) == token
        assert work.tokens.take(token.digest, NOW) is None
        assert work.tokens.find(token.digest, NOW) is None


def test_a_newer_token_voids_the_older_of_every_purpose(store: AccessStore) -> None:
    tenant_id = a_tenant(store)
    user, somebody = (a_user(store, tenant_id) for _ in range(2))
    invited, old, newest = a_token(user), a_token(user, Purpose.RESET), a_token(user)
    others = a_token(somebody)
    with anywhere(store) as work:
        for token in (others, invited, old, newest):
            work.tokens.add_token(token)
        found = [work.tokens.find(one.digest, NOW) for one in (invited, old, newest, others)]
        assert found == [None, None, newest, others]
        work.tokens.forget(user.id)
        found = [work.tokens.find(one.digest, NOW) for one in (newest, others)]
        assert found == [None, others]


def test_tenants_have_names_of_their_own(store: AccessStore) -> None:
    one, two = (
        Tenant(id=new_id(), name=f"{word} {uuid4()}", created_at=NOW) for word in ("one", "two")
    )
    with anywhere(store) as work:
        work.tenants.add_tenant(one)
        work.tenants.add_tenant(two)
        with pytest.raises(NameTaken):
            work.tenants.add_tenant(replace(two, id=new_id()))
        with pytest.raises(NameTaken):
            work.tenants.rename(two.id, one.name)
        assert work.tenants.rename(one.id, one.name)
        assert work.tenants.rename(two.id, f"three {two.id}")
        assert not work.tenants.rename(new_id(), f"four {two.id}")
        assert work.tenants.get_tenant(two.id) == replace(two, name=f"three {two.id}")
        assert one in work.tenants.page(after=DEFAULT_TENANT, limit=1000)
        assert work.tenants.get_tenant(DEFAULT_TENANT) is not None


def test_an_error_takes_everything_back(store: AccessStore) -> None:
    tenant_id = a_tenant(store)
    user = a_user(store, tenant_id, "viewer", password="hash")

    def fail() -> None:
        with anywhere(store) as work:
            work.users.change(replace(user, roles=("owner",)))
            work.users.set_password(user.id, "stolen")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with anywhere(store) as work:
        assert work.users.by_email(user.email) == (user, "hash")


def test_standing_is_of_one_tenant_and_one_principal(store: AccessStore) -> None:
    tenant_id, other = a_tenant(store), a_tenant(store)
    for home in (tenant_id, other):
        role = CustomRole(
            tenant_id=home, name="auditor", description="", permissions=("audit:read",),
            created_at=NOW, updated_at=NOW,
        )  # fmt: skip
        with anywhere(store) as work:
            work.roles.add_role(role)
    with anywhere(store) as work:
        found = work.standing(tenant_id, new_id())
        assert (found.custom, found.grants) == ({"auditor": ("audit:read",)}, {})
        assert work.standing(new_id(), new_id()).custom == {}


def test_a_grant_needs_its_workflow(pool: Pool) -> None:
    store = PostgresAccess(pool)
    grant = Grant(
        workflow_id=new_id(), principal_id=new_id(), tenant_id=a_tenant(store), role="viewer",
        created_at=NOW,
    )  # fmt: skip
    with anywhere(store) as work, pytest.raises(NotFound):
        work.grants.put(grant)


def test_grants_are_put_listed_and_forgotten(store: AccessStore, pool: Pool) -> None:
    workflows = [new_id(), new_id()]
    with Pool(pool._url, size=1).cursor() as cursor:
        for one in workflows:
            cursor.execute(
                "INSERT INTO workflows (id, tenant_id, name, status, version, ad_hoc, created_at,"
                " updated_at) VALUES (%s, %s, %s, 'draft', 1, false, now(), now())",
                (one, DEFAULT_TENANT, str(one)),
            )
    _grants(store, DEFAULT_TENANT, *workflows)


def _grants(store: AccessStore, tenant_id: UUID, first: UUID, second: UUID) -> None:
    user, key, other = new_id(), new_id(), a_tenant(store)
    grant = Grant(
        workflow_id=first, principal_id=user, tenant_id=tenant_id, role="viewer", created_at=NOW
    )
    with anywhere(store) as work:
        work.grants.put(grant)
        work.grants.put(replace(grant, principal_id=key, created_at=NOW + timedelta(1)))
        work.grants.put(replace(grant, workflow_id=second, role="editor"))
        work.grants.put(replace(grant, role="operator"))
        # Of another tenant, it neither replaces nor removes.
        work.grants.put(replace(grant, tenant_id=other, role="owner"))
        assert not work.grants.delete(other, first, user)
        assert [(g.principal_id, g.role) for g in work.grants.of_workflow(tenant_id, first)] == [
            (user, "operator"),
            (key, "viewer"),
        ]
        assert work.grants.of_workflow(other, first) == []
        assert work.standing(tenant_id, user).grants == {first: "operator", second: "editor"}
        assert work.standing(other, user).grants == {}
        assert work.grants.delete(tenant_id, second, user)
        assert not work.grants.delete(tenant_id, second, user)
        work.grants.forget(tenant_id, user)
        assert [g.principal_id for g in work.grants.of_workflow(tenant_id, first)] == [key]
