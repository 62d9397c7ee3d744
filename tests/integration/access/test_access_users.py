"""Users: nobody gives, takes or touches what is above them, and no tenant loses its last owner."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import (
    Forbidden,
    InvalidDefinition,
    LastOwner,
    NameTaken,
    NotFound,
    Unauthorized,
)
from orchestrator.models.access.permissions import ADMIN, ROLES, Permission, permissions_of
from orchestrator.models.ids import DEFAULT_TENANT, uuid7
from orchestrator.ports.access import UserState
from orchestrator.ports.acting import Acting, acting_as
from tests.integration.access_rig import ADDRESS, AGENT, PASSWORD, Rig
from tests.servers import Servers


@pytest.fixture
def rig(servers: Servers) -> Rig:
    return Rig(servers)


@pytest.mark.parametrize(
    "email",
    ["", "ada", "@example.org", "ada@", "a b@example.org", "ada@exa mple.org", "a@b@c",
     "ada@example.org\n", "ada\0@example.org", "a" * 65 + "@example.org", "a@" + "b" * 300,
     "ada\u202e@example.org", "<ada@example.org>", "a,b@example.org", "ada\u200b@example.org",
     "x" * 1_000_000],
)  # fmt: skip
def test_a_bad_address_is_refused(rig: Rig, email: str) -> None:
    if email.endswith("\n"):
        assert rig.user("viewer", email=email).email == email.strip()
        return
    with pytest.raises(InvalidDefinition) as caught:
        rig.user("viewer", email=email)
    assert caught.value.problems[0].path == "email"


def test_an_address_is_taken_in_every_spelling_and_tenant(rig: Rig) -> None:
    rig.user("viewer")
    for tenant_id in (None, rig.tenant()):
        with pytest.raises(NameTaken):
            rig.user("viewer", email="ADA@Example.org", tenant_id=tenant_id)


def test_a_role_must_exist(rig: Rig) -> None:
    for wrong in ("boss", "Owner", "owner ", "", "__class__"):
        with pytest.raises(InvalidDefinition) as caught:
            rig.user(wrong)
        assert caught.value.problems[0].path == "roles[0]"
    assert rig.user("viewer", "viewer", "editor").roles == ("viewer", "editor")


@pytest.mark.parametrize("own", sorted(ROLES))
@pytest.mark.parametrize("given", sorted(ROLES))
@pytest.mark.parametrize("home", ["first", "other"])
def test_nobody_gives_or_takes_a_role_above_their_own(
    rig: Rig, own: str, given: str, home: str
) -> None:
    rank = ["viewer", "operator", "editor", "admin", "owner"]
    allowed = rank.index(given) <= rank.index(own)
    tenant_id = rig.tenant() if home == "other" else DEFAULT_TENANT
    rig.user("owner", email="root@example.org", tenant_id=tenant_id)
    rig.user(own, email="actor@example.org", tenant_id=tenant_id)
    actor = rig.sign_in("actor@example.org").principal
    target = rig.user("viewer", email="target@example.org", tenant_id=tenant_id)
    holder = rig.user(given, email="holder@example.org", tenant_id=tenant_id)

    def tried(work: object) -> bool:
        try:
            work()  # type: ignore[operator]
        except Forbidden:
            return False
        return True

    users = rig.access.users
    assert tried(lambda: users.create(actor, email="new@x.org", roles=[given])) is allowed
    assert tried(lambda: users.invite(actor, email="new2@x.org", roles=[given])) is allowed
    assert tried(lambda: users.change(actor, target.id, roles=["viewer", given])) is allowed
    assert tried(lambda: users.change(actor, actor.id, roles=[own, given])) is allowed
    assert tried(lambda: users.reset(actor, holder.id)) is allowed
    assert tried(lambda: users.revoke_sessions(actor, holder.id)) is allowed
    assert tried(lambda: users.change(actor, holder.id, name="Mallory")) is allowed
    assert tried(lambda: users.change(actor, holder.id, state=UserState.DISABLED)) is allowed
    assert tried(lambda: users.change(actor, holder.id, roles=[])) is allowed
    if not allowed:
        assert rig.access.users.get(actor, holder.id) == holder
        assert rig.access.users.get(actor, target.id).roles == ("viewer",)
        assert tried(lambda: users.delete(actor, holder.id)) is False


def test_the_last_owner_stays(rig: Rig) -> None:
    owner = rig.user("owner")
    ada = rig.sign_in().principal
    for actor in (ada, ADMIN):
        for change in ({"roles": ["admin"]}, {"roles": []}, {"state": UserState.DISABLED}):
            with pytest.raises(LastOwner):
                rig.access.users.change(actor, owner.id, **change)  # type: ignore[arg-type]
        with pytest.raises(LastOwner):
            rig.access.users.delete(actor, owner.id)
    rig.access.users.change(ada, owner.id, roles=["owner", "viewer"], name="Ada L.")
    second = rig.user("owner", email="bea@example.org")
    rig.access.users.change(ada, second.id, state=UserState.DISABLED)
    with pytest.raises(LastOwner):
        rig.access.users.delete(ada, owner.id)
    rig.access.users.change(ada, second.id, state=UserState.ACTIVE)
    rig.access.users.delete(ada, owner.id)
    with pytest.raises(Unauthorized):
        rig.access.still(ada)


def test_an_owner_elsewhere_does_not_count(rig: Rig) -> None:
    rig.user("owner", email="eve@example.org", tenant_id=rig.tenant())
    owner = rig.user("owner")
    with pytest.raises(LastOwner):
        rig.access.users.delete(ADMIN, owner.id)


def test_another_tenants_user_is_not_there(rig: Rig) -> None:
    ada = rig.user("viewer")
    rig.user("owner", email="eve@example.org", tenant_id=rig.tenant())
    eve = rig.sign_in("eve@example.org").principal
    users = rig.access.users
    for missing in (ada.id, uuid7(rig.clock.now())):
        for touch in (
            lambda one: users.get(eve, one), lambda one: users.delete(eve, one),
            lambda one: users.change(eve, one, name="x"), lambda one: users.reset(eve, one),
            lambda one: users.sessions_of(eve, one), lambda one: users.revoke_sessions(eve, one),
        ):  # fmt: skip
            with pytest.raises(NotFound) as caught:
                touch(missing)
            assert caught.value.detail == "there is no such user"
    assert [user.email for user in users.page(eve)] == ["eve@example.org"]
    with pytest.raises(Forbidden):
        users.create(eve, email="x@example.org", roles=["viewer"], tenant_id=DEFAULT_TENANT)
    with pytest.raises(Forbidden):
        users.invite(eve, email="x@example.org", roles=["viewer"], tenant_id=DEFAULT_TENANT)


def test_only_the_installation_knows_tenants(rig: Rig) -> None:
    other = rig.tenant()
    rig.user("owner", email="eve@example.org", tenant_id=other)
    eve = rig.sign_in("eve@example.org").principal
    assert not eve.may(Permission.TENANTS_WRITE)
    assert not eve.may(Permission.METRICS_READ)
    tenants = rig.access.tenants
    for touch in (
        lambda: tenants.create(eve, name="x"), lambda: tenants.page(eve),
        lambda: tenants.get(eve, other), lambda: tenants.rename(eve, other, name="x"),
    ):  # fmt: skip
        with pytest.raises(Forbidden):
            touch()
    assert tenants.own(eve).name == "other"
    with pytest.raises(NameTaken):
        tenants.create(ADMIN, name=" other ")
    assert tenants.rename(ADMIN, other, name="renamed").name == "renamed"
    assert [t.name for t in tenants.page(ADMIN)] == ["default", "renamed"]
    with pytest.raises(NotFound):
        tenants.rename(ADMIN, uuid7(rig.clock.now()), name="x")
    with pytest.raises(NotFound):
        rig.user("owner", email="x@example.org", tenant_id=uuid7(rig.clock.now()))


def test_an_invited_user_sets_its_first_password(rig: Rig) -> None:
    invited = rig.access.users.invite(ADMIN, email="ada@example.org", roles=["owner"])
    assert invited.token not in repr(invited)
    assert invited.token not in rig.servers.rows()
    assert not invited.user.has_password
    with pytest.raises(InvalidDefinition):
        rig.access.users.redeem(invited.token, "short")
    user = rig.access.users.redeem(invited.token, PASSWORD, name="Ada")
    assert (user.name, user.has_password, user.roles) == ("Ada", True, ("owner",))
    assert rig.sign_in().principal.id == user.id
    with pytest.raises(Unauthorized):
        rig.access.users.redeem(invited.token, "another fine password")


@pytest.mark.parametrize(
    "bend", [lambda t: "", lambda t: t[:-1], str.upper, lambda t: t[4:], lambda t: t + "\n"]
)
def test_a_bent_invitation_is_none_and_costs_no_hash(rig: Rig, bend: object) -> None:
    invited = rig.access.users.invite(ADMIN, email="ada@example.org", roles=["viewer"])
    with pytest.raises(Unauthorized):
        rig.access.users.redeem(bend(invited.token), PASSWORD)  # type: ignore[operator]
    assert rig.hasher.hashed == 0
    rig.access.users.redeem(invited.token, PASSWORD)


def test_invitations_end_and_the_newest_counts(rig: Rig) -> None:
    first = rig.access.users.invite(ADMIN, email="ada@example.org", roles=["viewer"])
    rig.clock.advance(7 * 86_400)
    with pytest.raises(Unauthorized):
        rig.access.users.redeem(first.token, PASSWORD)
    second = rig.access.users.reset(ADMIN, first.user.id)
    third = rig.access.users.reset(ADMIN, first.user.id)
    with pytest.raises(Unauthorized):
        rig.access.users.redeem(second.token, PASSWORD)
    rig.access.users.redeem(third.token, PASSWORD)
    rig.sign_in()


def test_a_reset_voids_the_invitation_before_it(rig: Rig) -> None:
    invited = rig.access.users.invite(ADMIN, email="ada@example.org", roles=["viewer"])
    reset = rig.access.users.reset(ADMIN, invited.user.id)
    with pytest.raises(Unauthorized):
        rig.access.users.redeem(invited.token, "another fine password")
    rig.access.users.redeem(reset.token, PASSWORD)
    rig.sign_in()


def test_no_token_outlives_a_password_that_was_set(rig: Rig) -> None:
    """Whoever asked for a reset to take an account over is too late."""
    rig.user("viewer")
    one = rig.sign_in()
    reset = rig.access.users.reset(ADMIN, one.principal.id)
    rig.access.users.set_password(one.principal, PASSWORD, f"{PASSWORD} 2", address=ADDRESS)
    with pytest.raises(Unauthorized):
        rig.access.users.redeem(reset.token, "another fine password")
    # A mere sign-in, which may store a newer hash, is no new password.
    reset = rig.access.users.reset(ADMIN, one.principal.id)
    rig.sign_in(password=f"{PASSWORD} 2")
    rig.access.users.redeem(reset.token, PASSWORD)
    assert rig.count("one_time_tokens") == 0


def test_a_reset_ends_what_the_old_password_opened(rig: Rig) -> None:
    rig.user("viewer")
    one = rig.sign_in()
    reset = rig.access.users.reset(ADMIN, one.principal.id)
    rig.access.still(one.principal)
    rig.access.users.redeem(reset.token, "another fine password")
    with pytest.raises(Unauthorized):
        rig.access.still(one.principal)
    with pytest.raises(Unauthorized):
        rig.sign_in()
    rig.sign_in(password="another fine password")


def test_a_disabled_user_redeems_nothing(rig: Rig) -> None:
    user = rig.user("viewer")
    reset = rig.access.users.reset(ADMIN, user.id)
    rig.access.users.change(ADMIN, user.id, state=UserState.DISABLED)
    with pytest.raises(Unauthorized):
        rig.access.users.redeem(reset.token, "another fine password")


def test_keys_and_the_admin_key_have_no_password(rig: Rig) -> None:
    rig.user("viewer")
    with pytest.raises(Unauthorized):
        rig.access.users.set_password(ADMIN, PASSWORD, "another fine one", address=ADDRESS)


def test_users_of_a_provider(rig: Rig) -> None:
    identities = rig.access.identities
    issuer = "https://id.example.org"
    user = identities.create_user(
        tenant_id=DEFAULT_TENANT, email="Ada@Example.org", name="Ada", roles=["viewer"]
    )
    identities.link(user, issuer, "s-1")
    assert identities.user(issuer, "s-1") == user == identities.by_email("ADA@example.org")
    assert identities.user(issuer, "s-2") is identities.user(issuer + "/", "s-1") is None
    assert identities.by_email("not an address") is None
    with pytest.raises(NameTaken):
        identities.link(rig.user("viewer", email="b@example.org"), issuer, "s-1")
    one = rig.access.sessions.open(user.id, address=ADDRESS, agent=AGENT)
    identities.set_roles(user.id, DEFAULT_TENANT, ["viewer", "owner"])
    rig.access.still(one.principal)
    with pytest.raises(LastOwner):
        identities.set_roles(user.id, DEFAULT_TENANT, ["viewer"])
    rig.user("owner", email="c@example.org")
    assert identities.set_roles(user.id, DEFAULT_TENANT, ["viewer"]).roles == ("viewer",)
    with pytest.raises(Unauthorized):
        rig.access.still(one.principal)


def test_a_request_leaves_one_entry_with_its_own_name(rig: Rig) -> None:
    actor = rig.signed_in("owner")
    acting = Acting(principal=actor, action="users.create", address=ADDRESS, request_id="r1")
    with acting_as(acting):
        user = rig.access.users.create(actor, email="b@example.org", roles=["viewer"])
        rig.access.sign_out(replace(actor))
    entries = rig.audited()[1:]
    assert [(e.action, e.resource, e.resource_id) for e in entries] == [
        ("users.create", "user", str(user.id)),
        ("users.create", "session", str(actor.session_id)),
    ]
    assert entries[0].before is None
    assert entries[0].after is not None


def test_permissions_are_what_roles_add_up_to(rig: Rig) -> None:
    principal = rig.signed_in("operator", "viewer")
    assert principal.permissions == permissions_of(["operator"], {}, DEFAULT_TENANT)
    assert rig.signed_in(email="none@example.org").permissions == frozenset()
