"""Every noun from Python: the calls reach the server, and the documents have the API's fields."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from uuid import UUID

import pytest

from orchestrator import connect
from orchestrator.client import documents
from orchestrator.client.connecting import Connection, NotInMemory
from orchestrator.client.errors import ApiError
from tests.api.conftest import ONE
from tests.cli.place import EMAIL, PASSWORD, Place

#: The schema of the API's document that each of the client's stands for.
SCHEMAS = {
    "VersionDoc": "VersionRow", "DiffDoc": "Diff", "MeDoc": "Me", "SignedInDoc": "SignedIn",
    "SessionDoc": "Session", "UserDoc": "User", "InvitationDoc": "Invitation", "KeyDoc": "Key",
    "NewKeyDoc": "NewKey", "RoleDoc": "Role", "TenantDoc": "Tenant", "GrantDoc": "Grant",
    "SecretDoc": "Secret", "VariableDoc": "Variable", "QuotaDoc": "Quota",
    "AuditDoc": "AuditEntry", "VerdictDoc": "Verdict",
}  # fmt: skip


@pytest.fixture
def core(place: Place) -> Iterator[Connection]:
    """A connection as the admin."""
    with connect() as made:
        yield made


def test_documents_have_the_fields_of_the_api(core: Connection) -> None:
    http = core.users._http
    schemas = http.json("GET", "openapi.json")["components"]["schemas"]
    for name, schema in SCHEMAS.items():
        fields = typing.get_type_hints(getattr(documents, name))
        assert fields.keys() == schemas[schema]["properties"].keys(), name
    for name, schema in (
        ("RunDoc", "RetriedRun"),
        ("TaskDoc", "Task"),
        ("WorkflowDoc", "WorkflowDocument"),
    ):
        assert typing.get_type_hints(getattr(documents, name)).keys() <= (
            schemas[schema]["properties"].keys()
        ), name


def test_users_and_their_sessions(core: Connection) -> None:
    made = core.users.create(EMAIL, name="Ada", roles=["viewer"], password=PASSWORD)
    assert core.users.get(made["id"]) == made
    changed = core.users.change(made["id"], roles=["editor"])
    assert (changed["name"], changed["roles"], changed["state"]) == ("Ada", ["editor"], "active")
    assert core.users.change(made["id"], state="disabled")["roles"] == ["editor"]
    core.users.change(made["id"], state="active")
    signed = core.account.login(EMAIL, PASSWORD)
    with connect(core.users._http.server, signed["access_token"]) as ada:
        assert ada.account.me()["principal"]["name"] == EMAIL
        (session,) = core.users.sessions(made["id"])
        ada.account.logout()
    assert core.users.sessions(made["id"]) == []
    assert session["id"]
    core.account.login(EMAIL, PASSWORD)
    core.users.end_sessions(made["id"])
    assert core.users.sessions(made["id"]) == []
    invited = core.users.invite("eve@example.org", roles=["viewer"])
    assert core.account.accept(invited["token"], PASSWORD)["has_password"]
    assert core.users.reset(made["id"])["user"]["email"] == EMAIL
    core.users.delete(made["id"])
    assert [user["email"] for user in core.users.list()] == ["eve@example.org"]
    with pytest.raises(ApiError):
        core.users.get(made["id"])


def test_keys_roles_tenants_and_grants(core: Connection) -> None:
    key = core.keys.create("ci", roles=["operator"], scopes=["runs:read"])
    assert core.keys.get(key["id"])["prefix"] == key["prefix"]
    assert core.keys.rotate(key["id"], overlap_s=60)["name"] == "ci"
    core.keys.revoke(key["id"])
    assert [bool(each["revoked_at"]) for each in core.keys.list()] == [True, False]
    role = core.roles.create("watcher", ["runs:read"], description="sees")
    assert core.roles.change("watcher", add=["logs:read"])["description"] == "sees"
    assert core.roles.get("watcher")["permissions"] == ["logs:read", "runs:read"]
    core.roles.delete(role["name"])
    assert "watcher" not in {each["name"] for each in core.roles.list()}
    tenant = core.tenants.create("acme")
    assert core.tenants.invite(tenant["id"], "owner@example.org")["token"]
    assert "acme" in {each["name"] for each in core.tenants.list()}
    workflow, other = core.workflows.create(ONE), core.keys.list()[1]["id"]
    given = core.grants.change(workflow["id"], give={other: "editor"})
    assert [grant["role"] for grant in given] == ["editor"]
    assert core.grants.list(workflow["id"]) == given
    assert core.grants.change(workflow["id"], take=[other]) == []


def test_secrets_variables_quotas_and_the_audit_log(core: Connection) -> None:
    assert core.secrets.set("token", "s3cret-of-this-test", description="d")["version"] == 1
    assert core.secrets.set("token", "another-secret")["description"] == "d"
    assert [each["name"] for each in core.secrets.list()] == ["token"]
    core.secrets.delete("token")
    core.variables.set("region", {"a": 1}, environment="staging")
    core.variables.set("region", None)
    assert len(core.variables.list()) == 2
    assert [v["value"] for v in core.variables.list(environment="staging")] == [{"a": 1}]
    core.variables.delete("region", environment="staging")
    core.variables.delete("region")
    assert core.variables.list() == []
    tenant = core.account.me()["tenant"]["id"]
    limits = {q["name"]: q["limit"] for q in core.quotas.set(tenant, {"workflows": 900})}
    assert limits["workflows"] == 900
    assert core.quotas.list(tenant) == core.quotas.list()
    actions = [entry["action"] for entry in core.audit.list(resource="secret", limit=2)]
    assert actions[0] == "secrets.delete_secret"
    verdict = core.audit.verify()
    assert verdict["valid"]
    assert b"".join(core.audit.export(resource="secret")).count(b"\n") == 3


def test_workflows_versions_and_logs(core: Connection, place: Place) -> None:
    saved = core.workflows.create(ONE)
    core.workflows.change("one", {**ONE, "description": "two"})
    assert [v["version"] for v in core.workflows.versions("one")] == [2, 1]
    assert core.workflows.version(saved["id"], 1)["version"] == 1
    assert core.workflows.diff("one")["about"]
    assert core.workflows.roll_back("one", 1)["version"] == 3
    assert "name: one" in core.workflows.export("one")
    assert core.workflows.archive("one")["status"] == "archived"
    assert core.workflows.list() == []
    assert core.workflows.activate(saved["id"])["status"] == "published"
    run = core.engine.start("one")
    place.write(UUID(run.id), "a line")
    assert [line["message"] for line in core.logs.of(run.id)] == ["a line"]
    assert [line["run_id"] for line in core.logs.search(q="A LINE")] == [run.id]


def test_lists_are_whole_over_pages_or_as_long_as_is_asked_for(
    core: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.client.transport._PAGE", 2)
    for number in range(5):
        core.keys.create(f"k{number}")
    assert [key["name"] for key in core.keys.list()] == ["k0", "k1", "k2", "k3", "k4"]
    assert [key["name"] for key in core.keys.list(limit=3)] == ["k0", "k1", "k2"]


def test_in_memory_there_is_nobody_to_administer() -> None:
    with connect(memory=True) as core:
        for call in (core.users.list, core.keys.list, core.account.me, core.workflows.list):
            with pytest.raises(NotInMemory, match="Only a server"):
                call()
        with pytest.raises(NotInMemory):
            next(core.logs.search())
