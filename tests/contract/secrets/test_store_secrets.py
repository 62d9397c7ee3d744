"""Secrets and variables of the record: the same on memory and on Postgres."""

from __future__ import annotations

import threading
from uuid import UUID, uuid4

import pytest

from orchestrator.adapters.secrets.box import AesSecretBox
from orchestrator.errors import InvalidDefinition, NotFound, QuotaExceeded
from orchestrator.models.access.permissions import Principal, PrincipalKind
from orchestrator.models.quota import Quota
from orchestrator.ports.acting import Acting, acting_as
from orchestrator.ports.audit import AuditFilter
from orchestrator.services.quotas import Quotas
from orchestrator.services.secrets.secrets import SealedSecrets, Secrets
from orchestrator.services.secrets.variables import Variables
from tests.contract.rigs import PostgresRig

OLD, NEW = "the-older-key-of-these-tests-0001", "the-newer-key-of-these-tests-0002"


class _Clock:
    def __init__(self, rig: PostgresRig) -> None:
        self.now = rig.now


def secrets_of(rig: PostgresRig, *keys: str, most: int = 0) -> Secrets:
    quotas = Quotas(rig.store, {Quota.SECRETS: most}, _Clock(rig))
    sealed = SealedSecrets(rig.store.secrets, AesSecretBox(keys or [NEW]), quotas.admit_secret)
    return Secrets(sealed, writable=sealed, sealed=sealed)


def names(secrets: Secrets, tenant_id: UUID, **more: object) -> list[str]:
    return [s.name for s in secrets.list(tenant_id, limit=10, **more)]  # type: ignore[arg-type]


def test_a_secret_is_set_read_changed_and_forgotten(rig: PostgresRig) -> None:
    secrets, mine = secrets_of(rig), rig.tenant()
    first, new = secrets.put(mine, "token", "first value", description="of the CRM")
    assert (first.version, first.description, new) == (1, "of the CRM", True)
    assert secrets.values(mine, ["token", "other"]) == {"token": "first value"}
    second, new = secrets.put(mine, "token", "second value")
    assert (second.version, second.description, new) == (2, "of the CRM", False)
    assert second.created_at == first.created_at
    assert secrets.values(mine, ["token"]) == {"token": "second value"}
    secrets.remove(mine, "token")
    assert secrets.values(mine, ["token"]) == {}
    with pytest.raises(NotFound):
        secrets.remove(mine, "token")


def test_tenants_have_their_own(rig: PostgresRig) -> None:
    secrets, mine, theirs = secrets_of(rig), rig.tenant(), rig.tenant()
    secrets.put(mine, "token", "mine alone")
    secrets.put(theirs, "token", "theirs alone")
    assert secrets.values(mine, ["token"]) == {"token": "mine alone"}
    secrets.remove(theirs, "token")
    assert names(secrets, mine) == ["token"]
    assert names(secrets, theirs) == []


def test_names_are_listed_in_order_and_in_pages(rig: PostgresRig) -> None:
    secrets, mine = secrets_of(rig), rig.tenant()
    for name in ("b", "_a", "B", "a1", "a_"):
        secrets.put(mine, name, "a value")
    assert names(secrets, mine) == ["B", "_a", "a1", "a_", "b"]
    assert names(secrets, mine, after="_a") == ["a1", "a_", "b"]
    assert not hasattr(secrets.list(mine, limit=1)[0], "value")


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a.b", "a" * 65, "ü", "a\n", "../a", "a b"])
def test_names_that_no_expression_could_say_are_refused(rig: PostgresRig, name: str) -> None:
    with pytest.raises(InvalidDefinition):
        secrets_of(rig).put(rig.tenant(), name, "a value")


@pytest.mark.parametrize("value", ["", "abc", "  abc ", "a\0bcd", "\ud800abcd", "x" * 65_537])
def test_values_that_cannot_be_kept_are_refused_unseen(rig: PostgresRig, value: str) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        secrets_of(rig).put(rig.tenant(), "token", value)
    assert not value.strip() or value.strip() not in str(refused.value)


def test_a_quota_of_secrets_holds_for_new_ones(rig: PostgresRig) -> None:
    secrets, mine = secrets_of(rig, most=2), rig.tenant()
    secrets.put(mine, "a", "a value")
    secrets.put(mine, "b", "a value")
    with pytest.raises(QuotaExceeded):
        secrets.put(mine, "c", "a value")
    secrets.put(mine, "a", "another value")
    assert names(secrets, mine) == ["a", "b"]


def test_rotation_goes_over_all_tenants_and_can_be_repeated(rig: PostgresRig) -> None:
    old, both, new = secrets_of(rig, OLD), secrets_of(rig, NEW, OLD), secrets_of(rig, NEW)
    tenants = [rig.tenant(), rig.tenant()]
    for tenant_id in tenants:
        for name in ("a", "b"):
            old.put(tenant_id, name, f"value {name}")
    lost = new.rotate()
    assert lost.rewrapped == 0
    assert {(t, n) for t, n, _ in lost.failed} >= {(t, n) for t in tenants for n in ("a", "b")}
    assert both.rotate().rewrapped >= 4
    assert (both.rotate().rewrapped, both.rotate().failed) == (0, ())
    for tenant_id in tenants:
        assert new.values(tenant_id, ["a", "b"]) == {"a": "value a", "b": "value b"}
        found = rig.store.audit.list(AuditFilter(tenant_id=tenant_id, limit=10))
        told = [(e.principal, e.action, e.resource_id) for e in found]
        assert told == [("admin", "secrets.rotate", "b"), ("admin", "secrets.rotate", "a")]


def test_a_rotation_does_not_undo_what_is_set_meanwhile(rig: PostgresRig) -> None:
    old, mine = secrets_of(rig, OLD), rig.tenant()
    old.put(mine, "token", "first value")
    (row,) = rig.store.secrets.sealed(mine, ["token"])
    rewrapped = AesSecretBox([NEW, OLD]).rewrap(row)
    old.put(mine, "token", "second value")
    with rig.store.secrets.begin() as work:
        assert work.rewrap(row, rewrapped) is False
    assert old.values(mine, ["token"]) == {"token": "second value"}


def test_each_change_is_audited_without_the_value(rig: PostgresRig) -> None:
    secrets, mine = secrets_of(rig), rig.tenant()
    variables = Variables(rig.store.variables, "")
    who = Principal(id=uuid4(), kind=PrincipalKind.USER, name="eve", tenant_id=mine)

    def acting(action: str) -> Acting:
        return Acting(principal=who, action=action)

    with acting_as(acting("secrets.set_secret")):
        secrets.put(mine, "token", "guess me")
    with acting_as(acting("secrets.delete_secret")):
        secrets.remove(mine, "token")
    with acting_as(acting("variables.set_variable")):
        variables.put(mine, "region", "eu", environment="prod")
    found = rig.store.audit.list(AuditFilter(tenant_id=mine, limit=10))
    shown = [(e.action, e.resource, e.resource_id, bool(e.before), bool(e.after)) for e in found]
    assert shown == [
        ("variables.set_variable", "variable", "prod/region", False, True),
        ("secrets.delete_secret", "secret", "token", True, False),
        ("secrets.set_secret", "secret", "token", False, True),
    ]
    from hashlib import sha256

    assert sha256(b"guess me").hexdigest() not in repr(found)


def test_variables_of_an_environment_win_over_those_of_all(rig: PostgresRig) -> None:
    mine, theirs = rig.tenant(), rig.tenant()
    plain, prod = (Variables(rig.store.variables, e) for e in ("", "prod"))
    assert plain.put(mine, "url", "https://test")[1]
    plain.put(mine, "url", "https://prod", environment="prod")
    plain.put(mine, "only", {"a": [1, None, True]}, environment="prod")
    plain.put(mine, "nothing", None)
    plain.put(theirs, "url", "https://theirs")
    wanted = ["url", "only", "nothing", "missing"]
    assert plain.values(mine, wanted) == {"url": "https://test", "nothing": None}
    assert prod.values(mine, wanted) == {
        "url": "https://prod", "only": {"a": [1, None, True]}, "nothing": None,
    }  # fmt: skip
    listed = [(v.name, v.environment) for v in plain.list(mine, limit=10)]
    assert listed == [("nothing", ""), ("only", "prod"), ("url", ""), ("url", "prod")]
    after = plain.list(mine, after=("only", "prod"), limit=1)
    assert [(v.name, v.environment) for v in after] == [("url", "")]
    assert [v.name for v in plain.list(mine, environment="prod", limit=9)] == ["only", "url"]


@pytest.mark.parametrize(
    "value", [0, -0.0, 1e22, 1e-7, 2**53, -1.5, "", "ü\u2028\\", [], {}, {"a": {"b": [None]}}]
)
def test_any_json_comes_back_as_it_was(rig: PostgresRig, value: object) -> None:
    variables, mine = Variables(rig.store.variables, ""), rig.tenant()
    assert variables.put(mine, "v", value)[0].value == value
    assert variables.values(mine, ["v"]) == {"v": value}


def test_variables_are_changed_and_removed(rig: PostgresRig) -> None:
    variables, mine = Variables(rig.store.variables, ""), rig.tenant()
    variables.put(mine, "n", 1, description="a number")
    changed, new = variables.put(mine, "n", 2)
    assert (changed.value, changed.description, new) == (2, "a number", False)
    assert variables.get(mine, "n").value == 2
    with pytest.raises(NotFound):
        variables.get(mine, "n", environment="prod")
    with pytest.raises(NotFound):
        variables.remove(mine, "n", environment="prod")
    variables.remove(mine, "n")
    assert variables.list(mine, limit=10) == []
    for name, environment, value in [("a-b", "", 1), ("a", "No", 1), ("a", "", "x" * 70_000)]:
        with pytest.raises(InvalidDefinition):
            variables.put(mine, name, value, environment=environment)


def test_two_who_set_a_new_secret_at_once_make_two_versions(rig: PostgresRig) -> None:
    secrets, mine = secrets_of(rig), rig.tenant()
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            secrets.put(mine, "token", f"value {number}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert errors == []
    assert secrets.list(mine, limit=5)[0].version == 6
    assert secrets.values(mine, ["token"])["token"].startswith("value ")
