"""What all routes share: other origins, compression, tags, versions, deprecation, the docs page."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import marshmallow as ma
import pytest
from flask import Flask
from flask_compress.compat import compression

from orchestrator.errors import SettingsError
from orchestrator.settings import Settings, Web
from tests.api.conftest import KEY, ONE, TWO, Api, build_core, refused
from tests.servers import Servers
from web.app import create_app
from web.openapi import document as openapi
from web.responses import deprecation
from web.schemas.health import AliveSchema

PAGE = "https://ui.example.org"


def app_with(servers: Servers, **web: Any) -> Api:
    core = build_core(servers)
    settings: Settings = replace(core.settings, web=Web(**web))
    object.__setattr__(core, "settings", settings)
    return Api(create_app(core).test_client(), core)


@pytest.fixture
def open_api(servers: Servers) -> Api:
    return app_with(servers, origins=f" {PAGE}/ , http://localhost:5173")


def preflight(api: Api, origin: str, path: str = "/api/v1/runs/cancel") -> Any:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return api.client.open(path, method="OPTIONS", headers=headers)


def test_a_known_page_may_call(open_api: Api) -> None:
    answer = preflight(open_api, PAGE)
    assert (answer.status_code, answer.data) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "If-Match" in answer.headers["Access-Control-Allow-Headers"]
    for found in (
        open_api.get("/runs", headers={"Origin": PAGE}),
        open_api.client.get("/api/v1/runs", headers={"Origin": PAGE}),
    ):
        assert found.headers["Access-Control-Allow-Origin"] == PAGE
        assert "ETag" in found.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in found.headers
        assert "Origin" in found.headers["Vary"]


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "*", f"{PAGE}.evil.example", "http://ui.example.org",
     f"{PAGE}:444", f"https://x@{PAGE[8:]}", PAGE.upper()],
)  # fmt: skip
def test_l3_other_pages_may_not(open_api: Api, origin: str) -> None:
    answer = preflight(open_api, origin)
    refused(answer, 401)
    for found in (answer, open_api.get("/runs", headers={"Origin": origin})):
        assert "Access-Control-Allow-Origin" not in found.headers


def test_without_origins_nobody_may(api: Api) -> None:
    assert preflight(api, PAGE).status_code == 401
    assert "Access-Control-Allow-Origin" not in api.get("/runs", headers={"Origin": PAGE}).headers


@pytest.mark.parametrize("origins", ["*", "https://*.example.org", "ui.example.org", "https://a/b"])
def test_origins_are_named_one_by_one(origins: str, servers: Servers) -> None:
    with pytest.raises(SettingsError, match="ORIGINS"):
        app_with(servers, origins=origins)


@pytest.mark.parametrize(
    ("encoding", "unpack"), [("gzip", gzip.decompress), ("zstd", compression.zstd.decompress)]
)
def test_large_answers_are_compressed_for_who_asks(api: Api, encoding: str, unpack: Any) -> None:
    plain = api.get("/nodes/types")
    assert "Content-Encoding" not in plain.headers
    headers = {"Accept-Encoding": encoding}
    packed = api.get("/nodes/types", headers=headers)
    assert packed.headers["Content-Encoding"] == encoding
    assert "Accept-Encoding" in packed.headers["Vary"]
    assert unpack(packed.data) == plain.data
    assert len(packed.data) < len(plain.data) / 2
    assert packed.headers["ETag"] != plain.headers["ETag"]
    again = {**headers, "If-None-Match": packed.headers["ETag"]}
    assert api.get("/nodes/types", headers=again).status_code == 304
    small = api.get("/runs", headers=headers)
    assert "Content-Encoding" not in small.headers


def test_a_compressed_tag_is_good_for_a_write(api: Api) -> None:
    nodes = [{"id": f"n{i}", "type": "noop"} for i in range(50)]
    workflow_id = api.workflow({"name": "wide", "nodes": nodes})
    read = api.get(f"/workflows/{workflow_id}", headers={"Accept-Encoding": "gzip"})
    assert read.headers["ETag"] == '"1:gzip"'
    headers = {"If-Match": read.headers["ETag"]}
    changed = {"name": "wide", "nodes": nodes[:-1]}
    assert api.put(f"/workflows/{workflow_id}", changed, headers=headers).json["version"] == 2
    refused(api.put(f"/workflows/{workflow_id}", changed, headers=headers), 412)


def test_single_things_are_not_sent_twice(api: Api) -> None:
    workflow_id = api.workflow(TWO)
    run_id = api.run(ONE)
    api.core.artifacts.put(run_id, "a.txt", b"x", "text/plain", "a")
    for path in (
        f"/workflows/{workflow_id}",
        f"/workflows/{workflow_id}/versions/1",
        f"/workflows/{workflow_id}/diff",
        f"/workflows/{workflow_id}/export",
        f"/workflows/{workflow_id}/export?format=json",
        f"/runs/{run_id}",
        f"/runs/{run_id}/tasks/a",
        f"/runs/{run_id}/artifacts/a.txt",
        "/nodes/types",
    ):
        first = api.get(path)
        tag = {"If-None-Match": first.headers["ETag"]}
        assert "private" in first.headers["Cache-Control"]
        again = api.get(path, headers=tag)
        assert (again.status_code, again.data) == (304, b""), path
        assert api.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
        head = api.call("HEAD", path)
        assert (head.status_code, head.data) == (200, b"")
        assert head.headers["Content-Length"] == first.headers["Content-Length"]
    tag = {"If-None-Match": api.get(f"/runs/{run_id}").headers["ETag"]}
    api.finish(run_id)
    assert api.get(f"/runs/{run_id}", headers=tag).status_code == 200


def test_answers_name_the_version_of_the_api(api: Api) -> None:
    for answer in (api.get("/runs"), api.client.get("/x"), api.client.get("/healthz")):
        assert answer.headers["ZQ-API-Version"] == "1"


NOTICE = deprecation.Notice(
    since=datetime(2026, 1, 31, tzinfo=UTC),
    sunset=datetime(2026, 9, 1, tzinfo=UTC),
    instead="use /new",
    link="https://example.org/policy",
)


class OldQuery(ma.Schema):
    """Of a route that only this test has."""

    old = deprecation.deprecated(ma.fields.String(load_default=None), NOTICE)
    new = ma.fields.String(load_default=None)


@pytest.fixture
def aged() -> tuple[Flask, Any]:
    """An application with a deprecated route and a deprecated field."""
    app = Flask("aged")
    deprecation.install(app)
    api = openapi.make_api(app)
    routes = openapi.Routes("aged", "aged")

    @routes.at("/gone")
    @routes.deprecated(NOTICE)
    @routes.gives(200, AliveSchema)
    def gone() -> dict[str, str]:
        """Say that it is alive."""
        return {"status": "alive"}

    @routes.at("/kept")
    @routes.query(OldQuery)
    @routes.gives(200, AliveSchema)
    def kept(_query: Any) -> dict[str, str]:
        """Say that it is alive."""
        return {"status": "alive"}

    api.register_blueprint(routes)
    return app, api.spec.to_dict()


def test_a_deprecated_route_says_so(aged: tuple[Flask, Any]) -> None:
    app, document = aged
    answer = app.test_client().get("/gone")
    assert answer.headers["Deprecation"] == "@1769817600"
    assert answer.headers["Sunset"] == "Tue, 01 Sep 2026 00:00:00 GMT"
    assert answer.headers["Link"] == (
        '<https://example.org/policy>; rel="deprecation"; type="text/html"'
    )
    operation = document["paths"]["/gone"]["get"]
    assert operation["deprecated"] is True
    assert "use /new" in operation["description"]


def test_a_deprecated_field_says_so_where_it_is_used(aged: tuple[Flask, Any]) -> None:
    app, document = aged
    client = app.test_client()
    assert "Deprecation" not in client.get("/kept?new=1").headers
    assert client.get("/kept?old=1").headers["Deprecation"] == "@1769817600"
    assert "deprecated" not in document["paths"]["/kept"]["get"]
    (old,) = [p for p in document["paths"]["/kept"]["get"]["parameters"] if p["name"] == "old"]
    assert old["schema"].get("deprecated") or old.get("deprecated")


class Links(HTMLParser):
    """Everything a page would load, and every script it has."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.anchors: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.scripts += tag == "script" or any(name.startswith("on") for name in found)
        self.scripts += "style" in found
        wanted = found.get("src") or (found.get("href") if tag == "link" else None)
        self.loads += [wanted] if wanted else []
        self.anchors += [found["href"] or ""] if tag == "a" else []


def test_the_docs_page_stands_alone(api: Api) -> None:
    answer = api.client.get("/api/docs")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    page = Links()
    page.feed(answer.text)
    assert page.scripts == 0
    assert len(page.loads) == 1
    assert not [link for link in (*page.loads, *page.anchors) if link.startswith(("http", "//"))]
    style = api.client.get(page.loads[0])
    assert (style.status_code, style.mimetype) == (200, "text/css")
    assert "immutable" in style.headers["Cache-Control"]
    assert not re.search(r"url\(|@import", style.text)
    refused(api.client.get("/api/docs/0000.css"), 404)
    assert KEY not in answer.text


def test_the_docs_page_shows_every_route(api: Api) -> None:
    page = api.client.get("/api/docs").text
    document = api.get("/openapi.json").json
    for path in document["paths"]:
        assert f"<code>{path}</code>" in page
    tag = {"If-None-Match": api.client.get("/api/docs").headers["ETag"]}
    assert api.client.get("/api/docs", headers=tag).status_code == 304


def test_the_document_tells_of_headers(api: Api) -> None:
    paths = api.get("/openapi.json").json["paths"]

    def headers(path: str, method: str) -> set[str]:
        found = paths[f"/api/v1{path}"][method].get("parameters", [])
        return {p["name"] for p in found if p["in"] == "header"}

    for path in ("/workflows", "/workflows/execute", "/workflows/{workflow_id}/runs",
                 "/workflows/import", "/runs/{run_id}/retry", "/runs/retry"):  # fmt: skip
        assert "Idempotency-Key" in headers(path, "post")
        assert "409" in paths[f"/api/v1{path}"]["post"]["responses"]
    for verb in ("rollback", "activate", "archive"):
        path = f"/workflows/{{workflow_id}}/{verb}"
        assert "If-Match" in headers(path, "post")
        assert "412" in paths[f"/api/v1{path}"]["post"]["responses"]
    assert "If-Match" in headers("/workflows/{workflow_id}", "put")
    assert "If-None-Match" in headers("/runs/{run_id}", "get")
    assert "304" in paths["/api/v1/runs/{run_id}"]["get"]["responses"]


def test_a_person_at_the_root_is_told_where_to_go(api: Api) -> None:
    answer = api.client.get("/", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    page = Links()
    page.feed(answer.text)
    assert page.scripts == 0
    for link in (*page.loads, *page.anchors):
        assert api.client.get(link).status_code == 200, link
    assert "zq run FILE --follow" in answer.text
