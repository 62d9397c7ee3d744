"""Rows B11, B12 and B18: names that are none, and methods that a path does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.api.conftest import ONE, Api, build_core, refused
from tests.servers import Servers
from web.app import create_app

UNKNOWN = "01890000-0000-7000-8000-000000000001"


@pytest.fixture(scope="module")
def api(module_servers: Servers) -> Api:
    """One application for all: nothing here changes it."""
    core = build_core(module_servers)
    found = Api(create_app(core).test_client(), core)
    found.saved = found.workflow({**ONE, "name": "was here before"})
    return found


@pytest.fixture(autouse=True)
def nothing_stored(api: Api) -> Iterator[None]:
    """Whatever a test sends, it changes nothing and the API goes on."""
    before = api.stored()
    yield
    assert api.stored() == before
    assert api.client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "name",
    ["", " ", "a\u202eb", "a\u200bb", "\ufeffa", "x" * 1_000, "..", ".", "-rf", " a", "a ", "a\nb",
     "a\x7fb", "\U0001f600" * 15_000, "/", "a/b", "../a", "a\\b", "...", "!?", "\u0301", "--",
     "CON", "con", "Nul.yaml", "aux .x", "COM1", "lpt9", "prn", "__proto__", "constructor",
     "prototype"],
)  # fmt: skip
def test_b11_b12_names(api: Api, name: str) -> None:
    body = refused(api.post("/workflows", {**ONE, "name": name}), 422)
    assert body["problems"][0]["path"] == "name"


@pytest.mark.parametrize("name", ["__proto__", "constructor", "prototype"])
def test_b12_ids_of_nodes(api: Api, name: str) -> None:
    nodes = [{"id": name, "type": "noop"}]
    body = refused(api.post("/workflows", {"name": "new", "nodes": nodes}), 422)
    assert body["problems"][0]["path"] == "nodes[0].id"


@pytest.mark.parametrize(
    "name",
    ["console", "concert", "COM10", "a.con", "nul-check", "\U0001f680", "\u65e5\u5831", "v1.2",
     "a & b", "(nightly)", "constructors"],
)  # fmt: skip
def test_b12_names_that_are_fine(api: Api, name: str) -> None:
    assert api.post("/workflows/validate", {**ONE, "name": name}).json["problems"] == []


@pytest.mark.parametrize(
    "method", ["TRACE", "CONNECT", "BREW", "PATCH", "PROPFIND", "DELETE", "PUT"]
)
def test_b18_verbs(api: Api, method: str) -> None:
    answer = api.call(method, "/workflows")
    refused(answer, 405)
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


def test_b18_a_method_in_a_header_is_ignored(api: Api) -> None:
    headers = {"X-HTTP-Method-Override": "DELETE", "X-Method-Override": "DELETE"}
    assert api.get(f"/workflows/{api.saved}", headers=headers).json["status"] == "published"
    refused(api.post(f"/workflows/{api.saved}", {}, headers=headers), 405)


def test_b18_head_and_options(api: Api) -> None:
    head = api.call("HEAD", "/workflows")
    assert (head.status_code, head.data) == (200, b"")
    options = api.call("OPTIONS", "/workflows")
    assert options.status_code == 200
    assert set(options.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


def _every_path(api: Api) -> dict[str, set[str]]:
    """Return the methods of each path of the URL map, with ids of nothing in it."""
    found: dict[str, set[str]] = {}
    for rule in api.client.application.url_map.iter_rules():
        path = re.sub(r"<uuid:[^>]+>", UNKNOWN, rule.rule)
        path = re.sub(r"<int[^>]*:[^>]+>", "7", path)
        path = re.sub(r"<[^>]+>", "x", path)
        found.setdefault(path, set()).update(rule.methods or ())
    return found


def test_b18_head_and_options_on_every_path(api: Api) -> None:
    """HEAD is GET without its body, or 405; OPTIONS names the methods. Neither does anything."""
    paths = _every_path(api)
    assert len(paths) > 80
    for path, methods in paths.items():
        head = api.call("HEAD", f"/{path}")
        assert head.data == b"", path
        if "GET" in methods:
            assert head.status_code == api.get(f"/{path}").status_code, path
        else:
            assert head.status_code == 405, path
        options = api.call("OPTIONS", f"/{path}")
        if head.status_code == 426:
            # A socket: whatever is no upgrade is told to be one.
            assert options.status_code == 426, path
            continue
        assert (options.status_code, options.data) == (200, b""), path
        assert set(options.headers["Allow"].split(", ")) == methods, path
