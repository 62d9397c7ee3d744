"""API keys: good whole and unchanged, within their scopes, until they end or are revoked."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.errors import Conflict, Forbidden, InvalidDefinition, NotFound, Unauthorized
from orchestrator.models.access.permissions import ADMIN, Permission, Principal, PrincipalKind
from orchestrator.models.ids import uuid7
from orchestrator.ports.access import ApiKey
from tests.integration.access_rig import ADDRESS, Rig
from tests.servers import Servers


@pytest.fixture
def rig(servers: Servers) -> Rig:
    return Rig(servers)


def a_key(rig: Rig, *roles: str, actor: Principal = ADMIN, **more: object) -> tuple[ApiKey, str]:
    return rig.access.keys.create(actor, name="ci", roles=roles, **more)  # type: ignore[arg-type]


def refused(rig: Rig, text: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        rig.access.principal_of(text, ADDRESS)
    assert caught.value.detail == (
        "send a valid credential as `Authorization: Bearer <key or token>`"
    )


def test_a_key_is_a_principal_of_its_tenant(rig: Rig) -> None:
    key, text = a_key(rig, "operator")
    principal = rig.access.principal_of(text, ADDRESS)
    assert (principal.id, principal.kind, principal.name) == (key.id, PrincipalKind.KEY, "ci")
    assert principal.tenant_id == ADMIN.tenant_id
    assert principal.may(Permission.RUNS_START)
    assert not principal.may(Permission.WORKFLOWS_WRITE)
    assert principal.session_id is None
    assert rig.access.still(principal) == principal
    assert text.startswith(f"zqk_{key.prefix}_")
    assert len(text) == 4 + 12 + 1 + 43


def test_nothing_of_its_secret_part_is_kept(rig: Rig) -> None:
    key, text = a_key(rig, "operator")
    secret = text.removeprefix(f"zqk_{key.prefix}_")
    assert secret not in rig.servers.rows()
    assert secret not in repr(key)


@pytest.mark.parametrize(
    "bend",
    [
        lambda k: k[:16], lambda k: k[:17], lambda k: k[:-1], lambda k: k + "A", str.upper,
        str.lower, str.swapcase, lambda k: k[4:], lambda k: k.replace("zqk_", "zqr_"),
        lambda k: f" {k}", lambda k: f"{k}\n", lambda k: f"{k}\0", lambda k: k.replace("_", "-"),
        lambda k: k[:17] + "A" * 43, lambda k: k[:-1] + ("A" if k[-1] != "A" else "B"),
        lambda k: "zqk_" + "%" * 12 + k[16:], lambda k: "zqk_" + "_" * 12 + k[16:],
        lambda k: "zqk_aaaaaaaaaaaa" + k[16:], lambda k: f"{k} {k}", lambda k: k[:17] + "é" * 43,
    ],
)  # fmt: skip
def test_a_bent_key_is_none(rig: Rig, bend: object) -> None:
    _, text = a_key(rig, "operator")
    bent = bend(text)  # type: ignore[operator]
    if bent == text:
        pytest.skip("the bent key is the same")
    refused(rig, bent)
    rig.access.principal_of(text, ADDRESS)
    refused(rig, bent)


def test_another_installations_key_is_none(rig: Rig, module_servers: Servers) -> None:
    other = Rig(module_servers)
    _, text = a_key(other, "owner")
    a_key(rig, "owner")
    refused(rig, text)


def test_the_prefix_of_one_and_the_secret_of_another_are_none(rig: Rig) -> None:
    (_, one), (_, two) = a_key(rig, "operator"), a_key(rig, "owner")
    refused(rig, two[:17] + one[17:])
    refused(rig, one[:17] + two[17:])


def test_a_digest_is_compared_whether_the_prefix_is_known_or_not(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hmac

    _, text = a_key(rig, "operator")
    compared: list[int] = []
    compare = hmac.compare_digest

    def counting(a: bytes, b: bytes) -> bool:
        compared.append(len(a))
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    seen = []
    for wrong in (text[:17] + "A" * 43, "zqk_aaaaaaaaaaaa_" + "A" * 43):
        compared.clear()
        refused(rig, wrong)
        seen.append(list(compared))
    assert seen[0] == seen[1] == [32, 32]


def test_a_revoked_key_is_void_everywhere(rig: Rig) -> None:
    key, text = a_key(rig, "operator")
    other_process = rig.process()
    principal = other_process.principal_of(text, ADDRESS)
    token = rig.access.exchange_key(text, address=ADDRESS).access_token
    rig.access.keys.revoke(ADMIN, key.id)
    rig.access.keys.revoke(ADMIN, key.id)
    rig.clock.advance(1)
    for access in (rig.access, other_process):
        for credential in (text, token):
            with pytest.raises(Unauthorized):
                access.principal_of(credential, ADDRESS)
        with pytest.raises(Unauthorized):
            access.still(principal)
    (kept,) = rig.access.keys.page(ADMIN)
    assert kept.revoked_at is not None


def test_without_the_cache_a_revoked_key_is_void_within_15_seconds(rig: Rig) -> None:
    key, text = a_key(rig, "operator")
    rig.cache.away = True
    other_process = rig.process()
    other_process.principal_of(text, ADDRESS)
    rig.access.keys.revoke(ADMIN, key.id)
    refused(rig, text)
    rig.clock.advance(15)
    with pytest.raises(Unauthorized):
        other_process.principal_of(text, ADDRESS)


def test_a_key_ends_to_the_second_although_it_is_remembered(rig: Rig) -> None:
    _, text = a_key(rig, "viewer", expires_at=rig.clock.now() + timedelta(seconds=5))
    principal = rig.access.principal_of(text, ADDRESS)
    rig.clock.advance(4.9)
    rig.access.principal_of(text, ADDRESS)
    rig.clock.advance(0.1)
    refused(rig, text)
    with pytest.raises(Unauthorized):
        rig.access.still(principal)


def test_a_key_that_has_ended_cannot_be_made(rig: Rig) -> None:
    with pytest.raises(InvalidDefinition):
        a_key(rig, "viewer", expires_at=rig.clock.now())


def test_scopes_narrow_and_never_widen(rig: Rig) -> None:
    _, text = a_key(rig, "operator", scopes=["runs:read", "workflows:write"])
    principal = rig.access.principal_of(text, ADDRESS)
    assert principal.permissions == {Permission.RUNS_READ}
    _, text = a_key(rig, "operator", scopes=[])
    assert rig.access.principal_of(text, ADDRESS).permissions == frozenset()


@pytest.mark.parametrize(
    "wrong",
    [{"name": ""}, {"name": "a" * 101}, {"name": "a\nb"}, {"name": "a\0"}, {"roles": ["boss"]},
     {"roles": ["Owner"]}, {"scopes": ["runs:*"]}, {"scopes": ["runs:read "]}, {"scopes": ["*"]}],
)  # fmt: skip
def test_what_a_key_says_must_exist(rig: Rig, wrong: dict[str, object]) -> None:
    good: dict[str, object] = {"name": "ci", "roles": ["viewer"], "scopes": None}
    with pytest.raises(InvalidDefinition):
        rig.access.keys.create(ADMIN, **{**good, **wrong})  # type: ignore[arg-type]
    assert rig.access.keys.page(ADMIN) == []


def test_nobody_makes_a_key_above_themselves(rig: Rig) -> None:
    editor = rig.signed_in("editor")
    admin = rig.signed_in("admin", email="bea@example.org")
    a_key(rig, "editor", actor=editor)
    for role in ("admin", "owner"):
        with pytest.raises(Forbidden):
            a_key(rig, role, actor=editor)
    with pytest.raises(Forbidden):
        a_key(rig, "viewer", "admin", actor=editor)
    a_key(rig, "admin", actor=admin)
    for scopes in (None, ["runs:read"]):
        with pytest.raises(Forbidden):
            a_key(rig, "owner", actor=admin, scopes=scopes)


def test_a_scoped_key_makes_no_wider_one(rig: Rig) -> None:
    _, text = a_key(rig, "owner", scopes=["keys:write", "runs:read"])
    narrow = rig.access.principal_of(text, ADDRESS)
    for role in ("owner", "viewer"):
        with pytest.raises(Forbidden):
            a_key(rig, role, actor=narrow)
    _, text = a_key(rig, "viewer", actor=narrow, scopes=["runs:read"])
    assert rig.access.principal_of(text, ADDRESS).permissions == {Permission.RUNS_READ}


def test_nobody_takes_or_renews_a_key_above_themselves(rig: Rig) -> None:
    admin = rig.signed_in("admin")
    key, text = a_key(rig, "owner")
    for touch in (rig.access.keys.revoke, rig.access.keys.rotate):
        with pytest.raises(Forbidden):
            touch(admin, key.id)
    rig.access.principal_of(text, ADDRESS)


def test_a_rotated_key_overlaps_with_the_next(rig: Rig) -> None:
    old, old_text = a_key(rig, "operator", scopes=["runs:read"])
    new, new_text = rig.access.keys.rotate(ADMIN, old.id, overlap_s=60)
    assert (new.roles, new.scopes, new.name) == (old.roles, old.scopes, old.name)
    assert (new.prefix != old.prefix, new.expires_at) == (True, None)
    one, two = (rig.access.principal_of(text, ADDRESS) for text in (old_text, new_text))
    assert one.permissions == two.permissions
    assert rig.access.keys.get(ADMIN, old.id).rotated_to == new.id
    rig.clock.advance(60)
    refused(rig, old_text)
    rig.access.principal_of(new_text, ADDRESS)


def test_rotation_without_overlap_is_at_once(rig: Rig) -> None:
    old, text = a_key(rig, "operator")
    rig.access.principal_of(text, ADDRESS)
    rig.access.keys.rotate(ADMIN, old.id, overlap_s=0)
    refused(rig, text)


def test_rotation_prolongs_no_key_that_ends_and_happens_once(rig: Rig) -> None:
    life = timedelta(hours=1)
    old, text = a_key(rig, "operator", expires_at=rig.clock.now() + life)
    rig.clock.advance(1800)
    new, _ = rig.access.keys.rotate(ADMIN, old.id, overlap_s=86_400)
    assert rig.access.keys.get(ADMIN, old.id).expires_at == old.expires_at
    assert new.expires_at == rig.clock.now() + life
    with pytest.raises(Conflict):
        rig.access.keys.rotate(ADMIN, old.id)
    rig.access.keys.revoke(ADMIN, new.id)
    with pytest.raises(Conflict):
        rig.access.keys.rotate(ADMIN, new.id)
    rig.clock.advance(1800)
    refused(rig, text)


@pytest.mark.parametrize("overlap_s", [-1, float("nan"), float("inf"), 86_400 * 31])
def test_an_overlap_has_bounds(rig: Rig, overlap_s: float) -> None:
    old, _ = a_key(rig, "operator")
    with pytest.raises(InvalidDefinition):
        rig.access.keys.rotate(ADMIN, old.id, overlap_s=overlap_s)


def test_another_tenants_key_is_not_there(rig: Rig) -> None:
    other = rig.tenant()
    rig.user("owner", email="eve@example.org", tenant_id=other)
    eve = rig.sign_in("eve@example.org").principal
    key, text = a_key(rig, "viewer")
    hers, _ = a_key(rig, "viewer", actor=eve)
    for touch in (rig.access.keys.get, rig.access.keys.revoke, rig.access.keys.rotate):
        for missing in (key.id, uuid7(rig.clock.now())):
            with pytest.raises(NotFound) as caught:
                touch(eve, missing)
            assert caught.value.detail == "there is no such API key"
    assert [k.id for k in rig.access.keys.page(eve)] == [hers.id]
    rig.access.principal_of(text, ADDRESS)


def test_its_last_use_is_noted_once_a_minute(rig: Rig) -> None:
    key, text = a_key(rig, "viewer")
    began = rig.clock.now()
    for _ in range(59):
        rig.access.principal_of(text, ADDRESS)
        rig.clock.advance(1)
    assert rig.access.keys.get(ADMIN, key.id).used_at == began
    rig.clock.advance(20)
    rig.access.principal_of(text, ADDRESS)
    assert rig.access.keys.get(ADMIN, key.id).used_at == rig.clock.now()


def test_a_key_is_exchanged_for_a_token_of_the_same_rights(rig: Rig) -> None:
    key, text = a_key(rig, "operator", scopes=["runs:read"])
    one = rig.access.exchange_key(text, address=ADDRESS)
    principal = rig.access.principal_of(one.access_token, ADDRESS)
    assert (principal.id, principal.kind) == (key.id, PrincipalKind.KEY)
    assert principal.permissions == {Permission.RUNS_READ}
    assert one.refresh_token == ""
    rig.clock.advance(600)
    refused(rig, one.access_token)
    for wrong in ("", text[:-1], one.access_token, rig.auth.admin_key):
        with pytest.raises(Unauthorized):
            rig.access.exchange_key(wrong, address=ADDRESS)


def test_a_ticket_of_a_key_ends_with_it(rig: Rig) -> None:
    key, text = a_key(rig, "viewer")
    principal = rig.access.principal_of(text, ADDRESS)
    assert rig.access.take_ticket(rig.access.ticket(principal)) == principal
    ticket = rig.access.ticket(principal)
    rig.access.keys.revoke(ADMIN, key.id)
    with pytest.raises(Unauthorized):
        rig.access.take_ticket(ticket)
