"""The API document says what the routes do: neither more nor less."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask

from tests.api.conftest import TWO, Api, build_core, refused
from web.access.guard import PUBLIC
from web.access.needs import need_of
from web.app import create_app


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    answer = api.get("/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json
    return found


def routes_of(app: Flask) -> dict[tuple[str, str], str]:
    """Return the endpoint of each path and method, as the document spells them."""
    return {
        (re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule), method.lower()): rule.endpoint
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def test_it_lists_exactly_the_url_map(app: Flask, document: dict[str, Any]) -> None:
    listed = {
        (path, method)
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert listed == set(routes_of(app))


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(part: Any) -> list[str]:
        if isinstance(part, dict):
            own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
            return own + [r for inner in part.values() for r in references(inner)]
        return [r for inner in part for r in references(inner)] if isinstance(part, list) else []

    found = references(document)
    assert len(found) > 50
    for reference in found:
        part: Any = document
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]


def test_only_public_routes_need_no_key(app: Flask, document: dict[str, Any]) -> None:
    listed = {
        (path, method): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }
    public = {route for route, operation in listed.items() if operation.get("security") == []}
    assert public == {route for route, endpoint in routes_of(app).items() if endpoint in PUBLIC}
    assert {path for path, _ in public} == {
        "/", "/healthz", "/readyz", "/version", "/api/docs", "/api/docs/{digest}.css",
        "/api/v1/auth/login", "/api/v1/auth/refresh", "/api/v1/auth/accept",
        "/api/v1/auth/oauth", "/api/v1/auth/oauth/{provider}/start",
        "/api/v1/auth/oauth/{provider}/callback", "/api/v1/oauth/token",
    }  # fmt: skip
    assert document["security"] == [{"key": []}]


def test_the_permission_of_a_route_is_in_the_document(app: Flask, document: dict[str, Any]) -> None:
    for (path, method), endpoint in routes_of(app).items():
        need = need_of(app, endpoint)
        said = document["paths"][path][method].get("x-permission")
        assert (need is None) is (endpoint in PUBLIC), endpoint
        wanted = need.permission if need is not None else None
        assert said == (wanted and str(wanted)), (method, path)


def test_errors_are_problems(document: dict[str, Any]) -> None:
    content = document["components"]["responses"]["DEFAULT_ERROR"]["content"]
    assert list(content) == ["application/problem+json"]
    for item in document["paths"].values():
        for method, operation in item.items():
            if method != "parameters":
                assert "default" in operation["responses"]
                assert operation["summary"]


def test_answers_have_the_fields_of_the_document(api: Api, document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    run_id = api.run(TWO)
    api.workflow(TWO)
    for path, name in (
        (f"/runs/{run_id}", "Run"),
        (f"/runs/{run_id}/tasks/a", "Task"),
    ):
        assert set(api.get(path).json) == set(schemas[name]["properties"])
    item = api.get("/workflows").json["items"][0]
    assert set(item) == set(schemas["WorkflowRow"]["properties"])
    whole = api.get(f"/workflows/{item['id']}").json
    assert set(whole) == set(schemas["WorkflowDocument"]["properties"])
    problem = refused(api.get("/nothing"), 404)
    assert set(problem) == set(schemas["Problem"]["properties"])


def test_frames_have_the_fields_of_the_document(api: Api, document: dict[str, Any]) -> None:
    run_id = api.run(TWO)
    (claim,) = api.claims(run_id)
    api.settle(claim, says=(("info", "hello"),))
    api.claims(run_id)
    mark = {"state": "failed", "reason": "no use"}
    assert api.post(f"/runs/{run_id}/tasks/b/mark", mark).status_code == 200
    again = api.post(f"/runs/{run_id}/retry").json["id"]
    schemas = document["components"]["schemas"]
    frames = [
        frame for id in (run_id, again) for frame in api.get(f"/runs/{id}/events").json["items"]
    ]
    assert {f["kind"] for f in frames} == {"run", "task", "log"}
    for frame in frames:
        schema = schemas[f"{frame['kind'].capitalize()}Frame"]
        assert set(schema["required"]) <= set(frame) <= set(schema["properties"]), frame
        assert frame.get("state") in schema["properties"].get("state", {}).get("enum", [None])
    told = {key for frame in frames for key in frame}
    assert {"error", "reason", "duration_ms", "marked_by", "origin_run_id"} <= told
    (line,) = [f for f in frames if f["kind"] == "log"]
    assert api.get("/logs/history").json["items"] == [line]


def test_nothing_in_a_list_is_an_object_without_fields(api: Api, document: dict[str, Any]) -> None:
    bare = [
        name
        for name, schema in document["components"]["schemas"].items()
        for field in schema.get("properties", {}).values()
        if field.get("type") == "array" and field["items"] in ({}, {"type": "object"})
    ]
    assert bare == []
    types = document["components"]["schemas"]["NodeType"]["properties"]
    items = api.get("/nodes/types").json["items"]
    assert items
    assert all(set(item) == set(types) for item in items)


def test_the_socket_process_has_sockets_and_health_only() -> None:
    app = create_app(build_core(), only="sockets")
    assert {rule.rule for rule in app.url_map.iter_rules()} == {
        "/healthz",
        "/readyz",
        "/version",
        "/metrics",
        "/api/v1/runs/<uuid:run_id>/stream",
        "/api/v1/logs/ws",
    }
