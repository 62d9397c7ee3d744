"""A tenant's own roles, and grants on single workflows: never more than whoever gives them has."""

from __future__ import annotations

from uuid import UUID

import pytest

from orchestrator.errors import Conflict, Forbidden, InvalidDefinition, NameTaken, NotFound
from orchestrator.models.access.permissions import ADMIN, GRANTABLE, ROLES, Permission
from orchestrator.models.ids import DEFAULT_TENANT, uuid7
from orchestrator.ports.acting import Acting, acting_as
from orchestrator.services.definitions.workflows import Workflows
from tests.integration.access_rig import ADDRESS, Rig
from tests.servers import Servers

DEFINITION = {"name": "flow", "nodes": [{"id": "a", "type": "noop"}], "edges": []}


@pytest.fixture
def rig(servers: Servers) -> Rig:
    return Rig(servers)


def a_workflow(rig: Rig, tenant_id: UUID = DEFAULT_TENANT, name: str = "flow") -> UUID:
    workflows = Workflows(rig.store, rig.clock)
    saved, _ = workflows.create(tenant_id, {**DEFINITION, "name": name})
    return saved.id


def test_a_custom_role_gives_what_it_says_within_a_second(rig: Rig) -> None:
    roles = rig.access.roles
    roles.create(ADMIN, name="auditor", permissions=["audit:read", "runs:read"])
    ada, other_process = rig.signed_in("auditor"), rig.process()
    assert ada.permissions == {Permission.AUDIT_READ, Permission.RUNS_READ}
    other_process.still(ada)
    roles.change(ADMIN, "auditor", permissions=["audit:read"])
    rig.clock.advance(1)
    assert other_process.still(ada).permissions == {Permission.AUDIT_READ}
    roles.delete(ADMIN, "auditor")
    rig.clock.advance(1)
    assert other_process.still(ada).permissions == frozenset()
    # A later role of the same name is another one.
    roles.create(ADMIN, name="auditor", permissions=["runs:read"])
    rig.clock.advance(1)
    assert other_process.still(ada).permissions == frozenset()


@pytest.mark.parametrize(
    "name", ["", *ROLES, "Auditor", "a b", "a" * 51, "-a", "1a", "a\n", "../a", "é"]
)
def test_a_role_needs_a_name_of_its_own(rig: Rig, name: str) -> None:
    with pytest.raises(InvalidDefinition):
        rig.access.roles.create(ADMIN, name=name, permissions=[])


def test_a_role_needs_permissions_that_exist(rig: Rig) -> None:
    for wrong in ("runs:*", "*", "RUNS:READ", "runs.read", ""):
        with pytest.raises(InvalidDefinition) as caught:
            rig.access.roles.create(ADMIN, name="x", permissions=["runs:read", wrong])
        assert caught.value.problems[0].path == "permissions[1]"
    with pytest.raises(InvalidDefinition):
        rig.access.roles.create(ADMIN, name="x", permissions=[], description="a" * 501)


def test_there_is_one_role_of_a_name_and_not_too_many(rig: Rig) -> None:
    rig.access.roles.create(ADMIN, name="r0", permissions=[])
    with pytest.raises(NameTaken):
        rig.access.roles.create(ADMIN, name="r0", permissions=[])
    for number in range(1, 100):
        rig.access.roles.create(ADMIN, name=f"r{number}", permissions=[])
    with pytest.raises(Conflict):
        rig.access.roles.create(ADMIN, name="one-more", permissions=[])


def test_nobody_writes_a_role_above_themselves(rig: Rig) -> None:
    admin = rig.signed_in("admin")
    roles = rig.access.roles
    roles.create(ADMIN, name="boss", permissions=["tenants:write"])
    roles.create(admin, name="fine", permissions=["users:write"])
    with pytest.raises(Forbidden):
        roles.create(admin, name="mine", permissions=["tenants:write"])
    with pytest.raises(Forbidden):
        roles.change(admin, "fine", permissions=["quotas:write"])
    for touch in (
        lambda: roles.change(admin, "boss", permissions=[]),
        lambda: roles.change(admin, "boss", description="x"),
        lambda: roles.delete(admin, "boss"),
    ):
        with pytest.raises(Forbidden):
            touch()
    with pytest.raises(Forbidden):
        rig.access.users.change(admin, admin.id, roles=["admin", "boss"])
    assert roles.get(admin, "boss").permissions == ("tenants:write",)


def test_a_custom_role_of_the_installation_means_nothing_elsewhere(rig: Rig) -> None:
    other = rig.tenant()
    rig.user("owner", email="eve@example.org", tenant_id=other)
    eve = rig.sign_in("eve@example.org").principal
    with pytest.raises(Forbidden):
        rig.access.roles.create(eve, name="boss", permissions=["tenants:write"])
    rig.access.roles.create(ADMIN, name="boss", permissions=["runs:read"])
    with pytest.raises(InvalidDefinition):
        rig.access.users.create(eve, email="x@example.org", roles=["boss"])
    for touch in (rig.access.roles.get, rig.access.roles.delete):
        with pytest.raises(NotFound):
            touch(eve, "boss")
    assert rig.access.roles.list(eve) == []


def test_a_grant_opens_one_workflow_and_no_more(rig: Rig) -> None:
    one, two = a_workflow(rig), a_workflow(rig, name="second")
    ada, other_process = rig.signed_in(), rig.process()
    other_process.still(ada)
    rig.access.grants.put(ADMIN, one, ada.id, "owner")
    rig.clock.advance(1)
    now = other_process.still(ada)
    assert now.permissions == frozenset()
    assert now.grants == {one: GRANTABLE}
    assert now.may(Permission.RUNS_START, one)
    assert not now.may(Permission.RUNS_START, two)
    assert not now.may(Permission.USERS_WRITE, one)
    rig.access.grants.put(ADMIN, one, ada.id, "viewer")
    rig.clock.advance(1)
    assert not other_process.still(ada).may(Permission.RUNS_START, one)
    rig.access.grants.delete(ADMIN, one, ada.id)
    rig.clock.advance(1)
    assert other_process.still(ada).grants == {}
    with pytest.raises(NotFound):
        rig.access.grants.delete(ADMIN, one, ada.id)


def test_scopes_of_a_key_narrow_its_grants_too(rig: Rig) -> None:
    workflow_id = a_workflow(rig)
    key, text = rig.access.keys.create(ADMIN, name="ci", roles=[], scopes=["runs:read"])
    rig.access.grants.put(ADMIN, workflow_id, key.id, "editor")
    principal = rig.access.principal_of(text, ADDRESS)
    assert principal.grants == {workflow_id: {Permission.RUNS_READ}}


def test_a_rotated_keys_next_has_its_grants(rig: Rig) -> None:
    """Narrowed to the same scopes, and each told to the audit log in the same commit."""
    one, two = a_workflow(rig), a_workflow(rig, name="second")
    old, _ = rig.access.keys.create(ADMIN, name="ci", roles=[], scopes=["runs:read", "runs:start"])
    rig.access.grants.put(ADMIN, one, old.id, "viewer")
    rig.access.grants.put(ADMIN, two, old.id, "editor")
    with acting_as(Acting(principal=ADMIN, action="api-keys.rotate_key")):
        new, text = rig.access.keys.rotate(ADMIN, old.id, overlap_s=60)
    both = frozenset({Permission.RUNS_READ, Permission.RUNS_START})
    expected = {one: {Permission.RUNS_READ}, two: both}
    assert rig.access.principal_of(text, ADDRESS).grants == expected
    told = [(e.resource, e.resource_id) for e in rig.audited()]
    assert sorted(told) == sorted(
        [("api_key", str(old.id)), ("api_key", str(new.id)),
         ("grant", f"{one}/{new.id}"), ("grant", f"{two}/{new.id}")]
    )  # fmt: skip


def test_a_grant_gives_no_more_than_its_giver_may(rig: Rig) -> None:
    workflow_id, second = a_workflow(rig), a_workflow(rig, name="second")
    ada = rig.user()
    rig.access.roles.create(
        ADMIN, name="sharer", permissions=["workflows:grant", "workflows:read", "runs:read"]
    )
    rig.access.roles.create(ADMIN, name="reader", permissions=["runs:read"])
    bea = rig.signed_in(email="bea@example.org")
    rig.access.grants.put(ADMIN, workflow_id, bea.id, "sharer")
    rig.clock.advance(1)
    bea = rig.access.still(bea)
    rig.access.grants.put(bea, workflow_id, ada.id, "reader")
    for role in ("editor", "operator", "viewer", "owner"):
        with pytest.raises(Forbidden):
            rig.access.grants.put(bea, workflow_id, ada.id, role)
    with pytest.raises(Forbidden):
        rig.access.grants.put(bea, second, ada.id, "reader")
    rig.access.grants.put(ADMIN, workflow_id, ada.id, "owner")
    with pytest.raises(Forbidden):
        rig.access.grants.put(bea, workflow_id, ada.id, "reader")
    with pytest.raises(Forbidden):
        rig.access.grants.delete(bea, workflow_id, ada.id)


def test_grants_stay_within_a_tenant(rig: Rig) -> None:
    other = rig.tenant()
    eve = rig.user("owner", email="eve@example.org", tenant_id=other)
    actor = rig.sign_in("eve@example.org").principal
    mine, hers = a_workflow(rig), a_workflow(rig, other)
    ada = rig.user()
    key, _ = rig.access.keys.create(ADMIN, name="ci", roles=[])
    grants = rig.access.grants
    for touch in (
        lambda: grants.put(actor, mine, eve.id, "viewer"),
        lambda: grants.put(actor, hers, ada.id, "viewer"),
        lambda: grants.put(actor, hers, key.id, "viewer"),
        lambda: grants.put(ADMIN, mine, eve.id, "viewer"),
        lambda: grants.put(ADMIN, mine, uuid7(rig.clock.now()), "viewer"),
        lambda: grants.list(actor, mine),
        lambda: grants.delete(actor, mine, ada.id),
    ):
        with pytest.raises(NotFound):
            touch()
    with pytest.raises(InvalidDefinition):
        grants.put(ADMIN, mine, ada.id, "boss")
    grants.put(ADMIN, mine, ada.id, "viewer")
    assert [grant.principal_id for grant in grants.list(ADMIN, mine)] == [ada.id]


def test_a_deleted_users_grants_go_with_it(rig: Rig) -> None:
    workflow_id, ada = a_workflow(rig), rig.user()
    rig.access.grants.put(ADMIN, workflow_id, ada.id, "viewer")
    rig.access.users.delete(ADMIN, ada.id)
    assert rig.access.grants.list(ADMIN, workflow_id) == []


def test_only_whoever_has_a_grant_too_touches_its_holder(rig: Rig) -> None:
    """A grant counts on its own workflow, and a custom role as what it holds."""
    workflow, other = a_workflow(rig), a_workflow(rig, name="other")
    rig.access.roles.create(ADMIN, name="keeper", permissions=["users:write", "runs:read"])
    rig.access.roles.create(ADMIN, name="reader", permissions=["users:write", "runs:read"])
    keeper, holder = rig.user("keeper"), rig.user(email="holder@example.org")
    rig.access.grants.put(ADMIN, workflow, keeper.id, "editor")
    actor = rig.sign_in().principal

    def may(role: str, on: UUID) -> bool:
        rig.access.grants.put(ADMIN, on, holder.id, role)
        try:
            rig.access.users.reset(actor, holder.id)
        except Forbidden:
            return False
        finally:
            rig.access.grants.delete(ADMIN, on, holder.id)
        return True

    assert [may("editor", workflow), may("editor", other)] == [True, False]
    assert [may("owner", workflow), may("reader", other)] == [False, True]
