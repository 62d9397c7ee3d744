"""Rows B1-B19: what is malformed or hostile gets a 4xx that says what to do, and stores nothing.

Names (B11, B12) and methods (B18) are in `test_bad_names.py`.
"""

from __future__ import annotations

import gzip
import io
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import orjson
import pytest

from orchestrator.errors import BadRequest
from orchestrator.models import strict_json
from tests.api.conftest import MAX_BODY, ONE, Api, build_core, refused
from tests.servers import Servers
from web.app import create_app

JSON = "application/json"
#: Routes that want an object, with what else they need.
BODIES = (
    "/workflows",
    "/workflows/validate",
    "/workflows/execute",
    "/workflows/{id}/runs",
    "/workflows/{id}/rollback",
    "/workflows/import",
    "/workflows/activate",
    "/runs/cancel",
    "/runs/retry",
    "/runs/01890000-0000-7000-8000-000000000001/retry",
    "/logs/query",
    "/nodes/types/noop/test",
    "/expressions/preview",
)


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


def send(api: Api, path: str, raw: bytes, **options: Any) -> Any:
    options = {"content_type": JSON, **options}
    return api.call("POST", path.format(id=api.saved), data=raw, **options)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'{"name": "x"', "malformed"),
        (b'{"name": "x",}', "malformed"),
        (b"{'name': 'x'}", "malformed"),
        (b"", "empty"),
        (b"  ", "malformed"),
        (b"null", "not_an_object"),
        (b"[]", "not_an_object"),
        (b'"x"', "not_an_object"),
        (b"1", "not_an_object"),
        (b"true", "not_an_object"),
        (b'{"id": 1, "id": 2}', "duplicate_key"),
        (b'{"input": {"a": {"b": 1, "b": 1}}}', "duplicate_key"),
        (b'{"input": NaN}', "malformed"),
        (b'{"input": Infinity}', "malformed"),
        (b'{"input": -Infinity}', "malformed"),
        (b'{"input": 1e400}', None),
        (b'{"input": -1e400}', None),
        (b'{"input": 9223372036854775808}', "integer_too_large"),
        (b'{"input": -9223372036854775809}', "integer_too_large"),
        (b'{"input": 9007199254740993}', "integer_too_large"),
        (b'{"input": 1' + b"0" * 4299 + b"}", None),
        (b'{"input": 1' + b"0" * 5000 + b"}", None),
        (b'{"input": "\xff\xfe"}', "malformed"),
        (b'{"input": "\xc0\xaf"}', "malformed"),
        (b'{"input": "\xed\xa0\x80"}', "malformed"),
        (b'\xef\xbb\xbf{"input": 1}', "bom"),
        (b'{"input": "\\ud800"}', "malformed"),
        (b'{"input": "a\\u0000b"}', "nul"),
        (b'{"input": {"a\\u0000b": 1}}', "nul"),
        (b'{"input": "a\x00b"}', "malformed"),
        (b'\x00{"input": 1}', "malformed"),
        (b'{"input": ' + b"[" * 64 + b"]" * 64 + b"}", "too_deep"),
    ],
)
def test_b1_to_b10_bodies(api: Api, path: str, raw: bytes, code: str | None) -> None:
    body = refused(send(api, path, raw), 400)
    (problem,) = body["problems"]
    assert code in (None, problem["code"])
    assert problem["message"]


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"a":' * 100_000, b'{"input":' + b"[" * 60_000])
def test_b5_bottomless_nesting_is_refused_at_once(api: Api, raw: bytes) -> None:
    """In 50 ms of this thread's own time, whatever else the machine does; the best of three."""
    spent_s = []
    for _ in range(3):
        began = time.thread_time()
        with pytest.raises(BadRequest):
            strict_json.parse(raw)
        refused(send(api, "/workflows", raw[: MAX_BODY - 1]), 400)
        spent_s.append(time.thread_time() - began)
    assert min(spent_s) < 0.05


def test_the_deepest_and_largest_allowed_are_read(api: Api) -> None:
    deep = b'{"definition": ' + b"[" * 62 + b"9007199254740992" + b"]" * 62 + b"}"
    body = refused(send(api, "/workflows/execute", deep), 422)
    assert body["problems"][0]["path"] == "definition"


@pytest.mark.parametrize("size", [MAX_BODY + 1, 10_000_000])
@pytest.mark.parametrize("path", BODIES)
def test_b6_large_bodies(api: Api, path: str, size: int) -> None:
    refused(send(api, path, b'{"a": "' + b"x" * size + b'"}'), 413)


def test_b6_a_large_body_in_chunks(api: Api) -> None:
    answer = api.call(
        "POST", "/workflows", content_type=JSON, input_stream=io.BytesIO(b"[" + b" " * 10_000_000),
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )  # fmt: skip
    refused(answer, 413)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x"])
def test_b7_compressed_bodies(api: Api, encoding: str) -> None:
    raw = gzip.compress(orjson.dumps(ONE))
    body = refused(send(api, "/workflows", raw, headers={"Content-Encoding": encoding}), 415)
    assert "uncompressed" in body["detail"]


@pytest.mark.parametrize(
    "media",
    [None, "", "text/plain", "text/json", "application/x-www-form-urlencoded", "application/jsonx",
     "multipart/form-data; boundary=x", "application/json; charset=utf-16",
     "application/json; charset=utf-7", "application/json, text/plain", "application/xml"],
)  # fmt: skip
def test_b8_other_media(api: Api, media: str | None) -> None:
    refused(send(api, "/workflows", orjson.dumps(ONE), content_type=media), 415)


@pytest.mark.parametrize("media", [JSON, f"{JSON}; charset=utf-8", f'{JSON};charset="UTF-8"'])
def test_b8_json_in_utf8_is_read(api: Api, media: str) -> None:
    answer = send(api, "/workflows/validate", orjson.dumps(ONE), content_type=media)
    assert answer.json == {"valid": True, "problems": []}


def test_b8_a_file_in_json_is_no_file(api: Api) -> None:
    files = {"files": [{"filepath": "/etc/passwd"}]}
    body = refused(api.post("/workflows", {**ONE, "name": "x", **files}), 422)
    assert [p["path"] for p in body["problems"]] == ["files"]


@pytest.mark.parametrize(
    "path",
    ["/runs?state=%00", "/workflows?q=a%00b", "/runs/{run}/tasks/a%00b", "/runs?%00=1",
     "/runs/{run}/artifacts/%00", "/runs/{run}/logs?node=%00", "/logs/history?q=%00",
     "/workflows?name=%00", "/workflows/{run}/export?format=%00"],
)  # fmt: skip
def test_b10_nul_in_paths_and_queries(api: Api, path: str) -> None:
    body = refused(api.get(path.format(run=uuid4())), 400)
    assert body["problems"][0]["code"] == "nul"


@pytest.mark.parametrize("number", ["1.0", "1e0", "true", '"1"', "1.5", "null"])
def test_b4_a_whole_number_is_written_as_one(api: Api, number: str) -> None:
    node = b'{"name": "x", "nodes": [{"id": "a", "type": "noop", "data": {"priority": %s}}]}'
    value = number.encode()
    if number != "null":
        found = refused(send(api, "/workflows", node % value), 422)
        assert found["problems"][0]["path"] == "nodes[0].data.priority"
    for path, body in (
        ("/workflows/{id}/rollback", b'{"version": %s}'),
        ("/runs/cancel", b'{"tags": ["x"], "limit": %s}'),
        ("/logs/query", b'{"limit": %s}'),
        ("/nodes/types/noop/test", b'{"config": {}, "timeout_s": %s}'),
    ):
        found = refused(send(api, path, body % value), 422)
        assert found["problems"][0]["path"] in body.decode(), path


@pytest.mark.parametrize(
    "field", ["tenant_id", "role", "state", "attempt", "created_at", "id", "version", "__proto__"]
)
def test_b13_fields_that_are_not_the_clients(api: Api, field: str) -> None:
    for body, send_it in (
        ({**ONE, "name": "new"}, lambda b: api.post("/workflows", b)),
        ({**ONE, "name": "new"}, lambda b: api.put(f"/workflows/{api.saved}", b)),
        ({"definition": ONE}, lambda b: api.post("/workflows/execute", b)),
        ({"input": {}}, lambda b: api.post(f"/workflows/{api.saved}/runs", b)),
    ):
        found = refused(send_it({**body, field: "x"}), 422)
        assert [p["path"] for p in found["problems"]] == [field]
        assert found["problems"][0]["code"] == "unknown_field"


def test_b13_many_unknown_fields(api: Api) -> None:
    body = {f"f{i}": i for i in range(3000)}
    found = refused(api.post("/workflows/execute", {"definition": ONE, **body}), 422)
    assert len(found["problems"]) <= 3001


FORGED = (
    "x",
    "!!",
    "dQ",
    "n",
    "bm9wZQ",
    "dAAAAAAAAAAAAAAAAAAAAAA",
    "bgAAAAE=AAAA",
    "é",
    "A" * 5000,
)


@pytest.mark.parametrize(
    "path",
    [
        "/runs",
        "/workflows",
        "/runs/{run}/tasks",
        "/workflows/{id}/history",
        "/workflows/{id}/versions",
        "/logs/history",
    ],
)
@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=1000000000", "limit=201", "limit=1.0", "limit=x", "limit=",
     "limit=1_0", "limit=%201", "sort=id;drop", "limt=1", "limit=" + "9" * 5000,
     *(f"cursor={text}" for text in FORGED)],
)  # fmt: skip
def test_b14_pages(api: Api, path: str, query: str) -> None:
    where = path.format(run=uuid4(), id=api.saved)
    body = refused(api.get(f"{where}?{query}"), 400)
    assert body["problems"][0]["path"] == query.partition("=")[0]


@pytest.mark.parametrize(
    "value",
    ["0000-01-01T00:00:00Z", "99999-01-01T00:00:00Z", "infinity", "2026-02-30T00:00:00Z", "now",
     "2026-01-01T00:00:00%2B25:00", "2026-01-01T00:00:00", "2026-01-01", "1e9", "",
     "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "2026-01-01T00:00:00Mars"],
)  # fmt: skip
@pytest.mark.parametrize("field", ["since", "until"])
def test_b15_times(api: Api, field: str, value: str) -> None:
    for path in ("/runs", "/logs/history"):
        body = refused(api.get(f"{path}?{field}={value}"), 400)
        assert body["problems"][0]["path"] == field
    for path in ("/logs/query", "/runs/cancel"):
        body = refused(api.post(path, {field: unquote(value)}), 422)
        assert body["problems"][0]["path"] == field


@pytest.mark.parametrize(
    "query",
    ["state=happy", "state=running,happy", "trigger=x", "workflow_id=1", "workflow_id=' OR 1=1--",
     "state=' OR 1=1--", "workflow_id="],
)  # fmt: skip
def test_filters_outside_their_values(api: Api, query: str) -> None:
    refused(api.get(f"/runs?{query}"), 400)


@pytest.mark.parametrize("after", ["-1", "x", "1e3", "1.0", "99999999999999999999", "%2B1"])
@pytest.mark.parametrize("what", ["events", "logs"])
def test_after_is_a_plain_number(api: Api, what: str, after: str) -> None:
    refused(api.get(f"/runs/{uuid4()}/{what}?after={after}"), 400)


@pytest.mark.parametrize("key", ["", "x" * 201, "x" * 10_240, "\xe9", "a\tb"])
def test_b16_idempotency_keys(api: Api, key: str) -> None:
    headers = {"Idempotency-Key": key}
    refused(api.post("/workflows", {**ONE, "name": "new"}, headers=headers), 400)
    refused(api.post("/workflows/execute", {"definition": ONE}, headers=headers), 400)


@pytest.mark.parametrize("tag", ['"2"', "W/1", "x", '"2", "3"', '"x"', "", '"99999999999999"'])
def test_b17_stale_versions(api: Api, tag: str) -> None:
    changed = {**ONE, "name": "changed"}
    refused(api.put(f"/workflows/{api.saved}", changed, headers={"If-Match": tag}), 412)


@pytest.mark.parametrize("text", ["%0d%0aSet-Cookie:%20a=b", "%0aX:%20y"])
def test_b19_line_ends_start_no_header(api: Api, text: str) -> None:
    for path in (f"/runs?state={text}", f"/{text}", f"/runs/{uuid4()}/artifacts/{text}"):
        answer = api.get(path)
        refused(answer, 400, 404)
        assert "Set-Cookie" not in answer.headers


def test_b19_locations_name_no_host(api: Api) -> None:
    answer = api.post(
        "/workflows/validate", ONE, headers={"Host": "evil.example", "X-Forwarded-Host": "evil"}
    )
    assert "evil" not in str(answer.headers)


@pytest.mark.parametrize(
    "path",
    ["/runs/x", "/runs/1", "/runs/..", "/runs/%2e%2e%2fx", "/runs/{u}", "/workflows/{u}",
     "/workflows/x", "/workflows/{u}/versions/x", "/workflows/{u}/versions/-1",
     "/workflows/{u}/versions/99999999999",
     "/runs/{u}/tasks", "/runs/{u}/tasks/a", "/runs/{u}/tasks/../..", "/runs/{u}/tasks/a/attempts",
     "/runs/{u}/events", "/runs/{u}/logs", "/runs/{u}/artifacts", "/runs/{u}/artifacts/..%2fx",
     "/runs/{u}/artifacts/.", "/workflows/{u}/history", "/workflows/{u}/versions/1",
     "/workflows/{u}/versions", "/workflows/{u}/diff", "/workflows/{u}/export"],
)  # fmt: skip
def test_unknown_things_are_404(api: Api, path: str) -> None:
    body = refused(api.get(path.format(u=uuid4())), 404)
    assert body["code"] == "not_found"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, ""),
        ({"definition": ONE, "workflow_id": str(uuid4())}, ""),
        ({"workflow_id": "x"}, "workflow_id"),
        ({"workflow_id": 1}, "workflow_id"),
        ({"definition": "x"}, "definition"),
        ({"definition": None}, "definition"),
        ({"definition": ONE, "tags": "a"}, "tags"),
        ({"definition": ONE, "tags": [1]}, "tags[0]"),
        ({"definition": ONE, "tags": [True]}, "tags[0]"),
        ({"definition": ONE, "tags": [""]}, "tags[0]"),
        ({"definition": ONE, "tags": ["a\u0007"]}, "tags[0]"),
        ({"definition": ONE, "tags": ["x" * 65]}, "tags[0]"),
        ({"definition": ONE, "tags": ["a"] * 21}, "tags"),
        ({"definition": ONE, "input": []}, None),
        ({"definition": ONE, "input": "x"}, None),
        ({"definition": {**ONE, "status": "live"}}, "status"),
        ({"definition": {**ONE, "nodes": []}}, None),
        ({"definition": {**ONE, "nodes": [{"id": "a", "type": "nope"}]}}, None),
    ],
)
def test_requests_to_execute(api: Api, body: dict[str, Any], path: str | None) -> None:
    found = refused(api.post("/workflows/execute", body), 422)
    assert path in (None, found["problems"][0]["path"])


@pytest.mark.parametrize("query", ["wait=61", "wait=-1", "wait=x", "wait=1.5", "wiat=3"])
def test_waits(api: Api, query: str) -> None:
    refused(api.post(f"/workflows/execute?{query}", {"definition": ONE}), 400)


def test_a_workflow_that_is_not_there_starts_nothing(api: Api) -> None:
    refused(api.post(f"/workflows/{uuid4()}/runs", {}), 404)
    refused(api.post("/workflows/execute", {"workflow_id": str(uuid4())}), 404)
    for verb in ("cancel", "pause", "resume", "retry"):
        refused(api.post(f"/runs/{uuid4()}/{verb}"), 404)
    for verb in ("activate", "archive"):
        refused(api.post(f"/workflows/{uuid4()}/{verb}"), 404)
    refused(api.post(f"/workflows/{uuid4()}/rollback", {"version": 1}), 404)
    refused(api.put(f"/workflows/{uuid4()}", ONE), 404)
    refused(api.call("DELETE", f"/workflows/{uuid4()}"), 404)
