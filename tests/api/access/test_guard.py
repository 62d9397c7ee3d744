"""Nobody comes in without a key, by whatever spelling of a path."""

from __future__ import annotations

import itertools
from uuid import uuid4

import pytest
from flask import Flask

from orchestrator.errors import SettingsError
from orchestrator.settings import Settings
from tests.api.conftest import KEY, Api, build_core, refused
from web.access.guard import PUBLIC
from web.app import create_app

TAILS = (
    "", "/", "/health", "/healthz", ";x", "//", "%2f", "/../healthz", "?x=/healthz", "%00", ".",
    "%2e", "/.", "?ticket=x",
)  # fmt: skip


def paths(app: Flask) -> list[tuple[str, str]]:
    """Return (method, path) of every route that is not public, with made-up ids."""
    values = {"run_id": uuid4(), "workflow_id": uuid4(), "number": 1, "node_id": "a", "name": "a"}
    values |= {"kind": "noop", "tenant_id": uuid4(), "user_id": uuid4(), "key_id": uuid4()}
    found = []
    for rule in app.url_map.iter_rules():
        if rule.endpoint not in PUBLIC:
            _, path = rule.build({k: values[k] for k in rule.arguments}) or ("", "")
            found += [(method, path) for method in rule.methods or ()]
    return found


def test_every_route_demands_a_key(app: Flask, api: Api) -> None:
    routes = paths(app)
    assert len(routes) > 150
    for (method, path), tail in itertools.product(routes, TAILS):
        answer = api.client.open(path + tail, method=method)
        assert answer.status_code == 401, (method, path + tail)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="zq"'


@pytest.mark.parametrize(
    "path", ["/index.html", "/nothing", "/api/v1", "/api/v2/runs", "/static/x", "/%2e%2e/x"]
)
def test_unknown_paths_demand_a_key_too(api: Api, path: str) -> None:
    refused(api.client.get(path), 401)
    refused(api.call("GET", f"/{path}"), 404)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/version"])
def test_health_needs_none(api: Api, path: str) -> None:
    assert api.client.get(path).status_code == 200


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Bearer ", f"Basic {KEY}", KEY, f"Bearer {KEY}x", f"Bearer {KEY[:-1]}",
     f"Bearer {KEY.upper()}", "Bearer \xe9", f"Token {KEY}", f"Bearer {KEY} {KEY}"],
)  # fmt: skip
def test_a_wrong_key_is_no_key(api: Api, value: str) -> None:
    refused(api.client.get("/api/v1/runs", headers={"Authorization": value}), 401)


def test_the_scheme_is_spelled_in_any_case(api: Api) -> None:
    answer = api.client.get("/api/v1/runs", headers={"Authorization": f"bearer {KEY}"})
    assert answer.status_code == 200


def test_a_key_in_the_query_is_none(api: Api) -> None:
    refused(api.client.get(f"/api/v1/runs?key={KEY}"), 401)


def test_there_is_no_application_without_a_key() -> None:
    core = build_core()
    object.__setattr__(core, "settings", Settings())
    with pytest.raises(SettingsError, match="admin key"):
        create_app(core)


def test_every_answer_carries_the_headers(api: Api) -> None:
    for answer in (api.client.get("/healthz"), api.client.get("/x"), api.get("/runs")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-1:2.3_4", True), ("", False), ("x" * 129, False), ("a b", False), ("<script>", False)],
)
def test_request_ids_are_taken_over_when_sane(api: Api, given: str, *, kept: bool) -> None:
    answer = api.client.get("/nothing", headers={"X-Request-Id": given})
    assert (answer.headers["X-Request-Id"] == given) is kept
    assert refused(answer, 401)["request_id"] == answer.headers["X-Request-Id"]


SOCKET = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "http://localhost.evil.example", "http://evil@localhost",
     "ftp://localhost", "//localhost", "http://localhost:81"],
)  # fmt: skip
def test_a_foreign_origin_opens_no_socket(api: Api, origin: str) -> None:
    path = f"/runs/{uuid4()}/stream"
    refused(api.get(path, headers={**SOCKET, "Origin": origin}), 403)
    refused(api.client.get(f"/api/v1{path}", headers={**SOCKET, "Origin": origin}), 401)


@pytest.mark.parametrize(
    "change",
    [{"Sec-WebSocket-Key": ""}, {"Sec-WebSocket-Key": "x"}, {"Sec-WebSocket-Version": "12"}],
)
def test_a_broken_handshake_is_the_clients_fault(api: Api, change: dict[str, str]) -> None:
    path = f"/runs/{uuid4()}/stream"
    refused(api.get(path, headers={**SOCKET, **change}), 400)
    refused(api.get(f"{path}?after=-1", headers=SOCKET), 400)
    refused(api.get(f"{path}?afer=1", headers=SOCKET), 400)
    refused(api.get(path), 426)
    refused(api.get("/runs", headers=SOCKET), 400)
