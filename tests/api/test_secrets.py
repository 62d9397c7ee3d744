"""Secrets and variables over HTTP: values go in and never come out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.models.access import permissions as access
from orchestrator.models.access.permissions import Permission
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.ports.audit import AuditFilter
from tests.api.conftest import Api, refused

VALUE = "swordfish-42"


def test_a_secret_is_set_listed_changed_and_forgotten(api: Api) -> None:
    answer = api.put("/secrets/token", {"value": VALUE, "description": "of the CRM"})
    assert answer.status_code == 201
    made = answer.json
    assert {k: made[k] for k in ("name", "version", "description")} == {
        "name": "token", "version": 1, "description": "of the CRM",
    }  # fmt: skip
    assert VALUE not in answer.text
    again = api.put("/secrets/token", {"value": "another value"})
    assert (again.status_code, again.json["version"]) == (200, 2)
    assert again.json["description"] == "of the CRM"
    listed = api.get("/secrets")
    assert [s["name"] for s in listed.json["items"]] == ["token"]
    assert VALUE not in listed.text
    assert "value" not in listed.json["items"][0]
    assert api.call("DELETE", "/secrets/token").status_code == 204
    refused(api.call("DELETE", "/secrets/token"), 404)
    refused(api.get("/secrets/token"), 405)
    assert api.core.secrets.values(DEFAULT_TENANT, ["token"]) == {}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"value": None},
        {"value": 1234},
        {"value": ["swordfish"]},
        {"value": "abc"},
        {"value": "    abc    "},
        {"value": "x" * 70_000},
        {"value": VALUE, "tenant_id": str(DEFAULT_TENANT)},
        {"value": VALUE, "version": 7},
        {"value": VALUE, "description": "x" * 501},
    ],
)
def test_what_is_no_secret_is_refused_and_not_repeated(api: Api, body: Any) -> None:
    answer = api.put("/secrets/token", body)
    refused(answer, 400, 413, 422)
    assert "swordfish" not in answer.text
    assert api.get("/secrets").json["items"] == []


@pytest.mark.parametrize("name", ["a-b", "1a", "a.b", "a" * 65, "%C3%BC", "a%20b", "..", "a%0a"])
def test_names_that_no_expression_could_say_are_refused(api: Api, name: str) -> None:
    for path in (f"/secrets/{name}", f"/variables/{name}"):
        refused(api.put(path, {"value": VALUE}), 400, 404, 405, 422)
        refused(api.call("DELETE", path), 400, 404, 405)


def test_lists_come_in_pages(api: Api) -> None:
    for name in ("c", "a", "b"):
        api.put(f"/secrets/{name}", {"value": VALUE})
        api.put(f"/variables/{name}", {"value": 1})
        api.put(f"/variables/{name}", {"value": 2, "environment": "prod"})
    first = api.get("/secrets?limit=2").json
    rest = api.get(f"/secrets?limit=2&cursor={first['next_cursor']}").json
    assert [s["name"] for s in first["items"] + rest["items"]] == ["a", "b", "c"]
    assert rest["next_cursor"] is None
    seen: list[Any] = []
    cursor = ""
    while True:
        page = api.get(f"/variables?limit=2{cursor}").json
        seen += [(v["name"], v["environment"], v["value"]) for v in page["items"]]
        if not page["next_cursor"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [(n, e, v) for n in "abc" for e, v in (("", 1), ("prod", 2))]
    for bad in ("x", "dA", "bnVsbA", "dFsxLDJd", "dFsiYVx1MDAwMCIsIiJd"):
        refused(api.get(f"/secrets?cursor={bad}"), 400)


def test_variables_are_plain_values_of_an_environment(api: Api) -> None:
    value = {"rows": [1, 2.5, None, True, "ü"]}
    answer = api.put("/variables/limits", {"value": value, "environment": "prod"})
    assert (answer.status_code, answer.json["value"]) == (201, value)
    assert api.put("/variables/limits", {"value": None}).status_code == 201
    assert api.put("/variables/limits", {"value": False}).status_code == 200
    assert api.get("/variables/limits").json["value"] is False
    assert api.get("/variables/limits?environment=prod").json["value"] == value
    refused(api.get("/variables/limits?environment=test"), 404)
    only = api.get("/variables?environment=prod").json["items"]
    assert [(v["name"], v["environment"]) for v in only] == [("limits", "prod")]
    refused(api.put("/variables/limits", {"value": 1, "environment": "No Such"}), 422)
    refused(api.put("/variables/limits", {"value": "x" * 65_536}), 413, 422)
    refused(api.put("/variables/limits", {}), 422)
    assert api.call("DELETE", "/variables/limits?environment=prod").status_code == 204
    assert api.get("/variables/limits").json["value"] is False


def test_changes_are_audited_and_no_digest_of_a_value_is_kept(api: Api) -> None:
    api.put("/secrets/token", {"value": VALUE})
    api.put("/secrets/token", {"value": VALUE})
    api.call("DELETE", "/secrets/token")
    found = api.core.store.audit.list(AuditFilter(tenant_id=DEFAULT_TENANT, limit=10))
    assert [(e.action, e.resource, e.resource_id) for e in reversed(found)] == [
        ("secrets.set_secret", "secret", "token"),
        ("secrets.set_secret", "secret", "token"),
        ("secrets.delete_secret", "secret", "token"),
    ]
    first, second, third = reversed(found)
    # The same value twice has another digest: it is the sealed one's.
    assert first.after != second.after
    assert (second.before, third.before, third.after) == (first.after, second.after, None)


@pytest.fixture
def weak(api: Api, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Leave the admin key only some permissions."""

    def only(*allowed: Permission) -> None:
        principal = replace(access.ADMIN, roles=(), permissions=frozenset(allowed))
        monkeypatch.setattr("web.access.guard._credential", lambda: (principal, False))

    return only


def test_permissions(api: Api, weak: Any) -> None:
    weak(Permission.SECRETS_READ, Permission.VARIABLES_READ)
    assert api.get("/secrets").status_code == 200
    assert api.get("/variables").status_code == 200
    refused(api.put("/secrets/token", {"value": VALUE}), 403)
    refused(api.call("DELETE", "/secrets/token"), 403)
    refused(api.put("/variables/a", {"value": 1}), 403)
    refused(api.call("DELETE", "/variables/a"), 403)
    weak(Permission.RUNS_READ)
    refused(api.get("/secrets"), 403)
    refused(api.get("/variables"), 403)
    refused(api.get("/variables/a"), 403)


def test_a_preview_never_sees_a_secret(api: Api) -> None:
    api.put("/secrets/token", {"value": VALUE})
    api.put("/variables/region", {"value": "eu"})
    for body in (
        {"expression": "'Bearer ' + secrets.token"},
        {"template": "Bearer {{ secrets.token }}"},
        {"template": "Bearer {{ secrets['missing'] }}"},
    ):
        answer = api.post("/expressions/preview", body)
        assert answer.json["value"] == "Bearer ***", answer.text
    assert api.post("/expressions/preview", {"expression": "secrets"}).json["value"] == {}
    assert api.post("/expressions/preview", {"expression": "vars.region"}).json["value"] == "eu"
    mine = {"expression": "vars.region", "scope": {"vars": {"region": "us"}}}
    assert api.post("/expressions/preview", mine).json["value"] == "us"


def test_a_node_with_secrets_is_tested_by_those_who_may_set_them(api: Api, weak: Any) -> None:
    weak(Permission.NODES_TEST, Permission.SECRETS_READ)
    for config in ({"expression": "secrets.token"}, {"expression": "secrets"}):
        body = {"config": config, "timeout_s": 1}
        found = refused(api.post("/nodes/types/transform/test", body), 403)
        assert "secrets:write" in found["detail"]
    url = {"url": "https://example.org/{{ secrets.token }}"}
    refused(api.post("/nodes/types/http/test", {"config": url, "timeout_s": 1}), 403)
    refused(api.post("/nodes/types/transform/test", {"config": {"expression": "vars.a"}}), 403)
    assert api.stored()[1] == 0


def test_validation_looks_at_the_form_only(api: Api) -> None:
    def problems(expression: str) -> list[str]:
        node = {"id": "a", "type": "transform", "data": {"config": {"expression": expression}}}
        body = {"name": "w", "nodes": [node], "edges": []}
        return [p["code"] for p in api.post("/workflows/validate", body).json["problems"]]

    assert problems("secrets.not_there + vars.not_there + secrets['x']") == []
    for wrong in ("secrets", "secrets[inputs.x]", "vars[0]", "[vars]", "secrets['a-b']"):
        assert problems(wrong) == ["bad_reference"], wrong


def test_the_document_says_that_a_value_only_goes_in(api: Api) -> None:
    shapes = api.get("/openapi.json").json["components"]["schemas"]
    assert shapes["SecretBody"]["properties"]["value"]["writeOnly"] is True
    assert "value" not in shapes["Secret"]["properties"]
