"""Rows Q, P, L and D12: texts that would be something else where they end up, and what all answers
carry. Rows of origins (L3) with a signed-in browser: `tests/api/access/test_access_csrf.py`."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.attack.stack import Stack, tells_nothing
from tests.conftest import Databases
from tests.integration.serving import KEY, serving

UNKNOWN = "01890000-0000-7000-8000-000000000001"
INJECTIONS = (
    "' OR 1=1--", "'; DROP TABLE runs;--", "$$;select pg_sleep(5)--", "1;select pg_sleep(5)",
    "' union select null,version()--", "\\'; select pg_sleep(5)--", "%' OR pg_sleep(5)='",
    "a') or pg_sleep(5)::text=('a", "{{7*7}}", "name); truncate runs;--", "/**/or/**/1=1",
    "' || pg_sleep(5) || '", "\u02bc OR 1=1--", "1e308", "null", "%s", "%(name)s", ":name", "{0}",
)  # fmt: skip
#: Where a text from outside meets the database.
PLACES = (
    ("/runs", "state"), ("/runs", "workflow_id"), ("/runs", "trigger"), ("/runs", "tag"),
    ("/runs", "since"), ("/runs", "cursor"), ("/runs", "limit"), ("/runs", "sort"),
    ("/workflows", "q"), ("/workflows", "status"), ("/workflows", "cursor"),
    ("/logs/history", "q"), ("/logs/history", "node"), ("/logs/history", "level"),
    (f"/runs/{UNKNOWN}/logs", "q"), (f"/runs/{UNKNOWN}/events", "after"),
    (f"/runs/{UNKNOWN}/tasks", "state"), ("/audit", "action"), ("/audit", "cursor"),
)  # fmt: skip


@pytest.mark.parametrize(("path", "name"), PLACES, ids=lambda text: text.replace(UNKNOWN, "ID"))
def test_q1_a_filter_is_a_text_and_never_sql(path: str, name: str, stack: Stack) -> None:
    before = stack.stored()
    for text in INJECTIONS:
        began = time.monotonic()
        answer = stack.http.get(path, params={name: text})
        assert time.monotonic() - began < 4, text
        assert answer.status_code in {200, 400, 404, 422}, answer.text
        tells_nothing(answer)
        if answer.status_code == 200:
            assert answer.json()["items"] == [] or name in {"tag", "q"}, text
    assert stack.stored() == before


@pytest.mark.parametrize("place", ["path", "name", "header", "tag", "key"])
def test_q1_elsewhere_too(place: str, stack: Stack) -> None:
    good = {"nodes": [{"id": "a", "type": "noop"}], "name": f"q1 {place} {time.monotonic_ns()}"}
    for text in filter(str.isascii, INJECTIONS):
        began = time.monotonic()
        if place == "path":
            answer = stack.http.get(httpx.URL("/workflows/").join(text.replace("/", "%2f")))
        elif place == "name":
            answer = stack.http.post("/workflows", json={**good, "name": f"{text} {began}"})
        elif place == "tag":
            body = {"definition": good, "tags": [text]}
            answer = stack.http.post("/workflows/execute", json=body)
        else:
            header = "X-Request-Id" if place == "header" else "Idempotency-Key"
            answer = stack.http.post("/workflows/validate", json=good, headers={header: text})
        assert time.monotonic() - began < 4, text
        assert answer.status_code < 500
        tells_nothing(answer)
    assert stack.http.get("/runs").status_code == 200


@pytest.mark.parametrize(
    "text", ["%_" * 5_000, "%" * 2_000, " ".join(f"w{no}" for no in range(3_000)),
             "a" * 8_000, "(" * 4_000, "a & | ! b <-> c:*", "\\" * 3_000, "_" * 3_000],
    ids=["wildcards", "percents", "words", "long", "brackets", "operators", "slashes", "lines"],
)  # fmt: skip
def test_q2_a_search_is_bounded(text: str, stack: Stack) -> None:
    for path in ("/logs/history", "/workflows"):
        began = time.monotonic()
        answer = stack.http.get(path, params={"q": text})
        assert answer.status_code in {200, 400, 414, 431}, answer.text[:300]
        assert time.monotonic() - began < 4
        tells_nothing(answer)


NAMES = (
    "../", "..", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e%2f", "%252e%252e%252f",
    "..\\", "..%5c..%5c", "%2fetc%2fpasswd", "/etc/passwd", "file:%2f%2f%2fetc%2fpasswd",
    "C:%5cwindows", "x%00.txt", "....//", "..;/", "%c0%ae%c0%ae%2f", "\u2025\u2215etc", ".",
    "~root", "a%0d%0ab",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_p1_no_path_leads_out(name: str, stack: Stack) -> None:
    run = stack.run({"id": "a", "type": "noop"})
    for path in (f"/runs/{run['id']}/artifacts/", f"/runs/{run['id']}/tasks/", "/workflows/"):
        raw = path + name.encode("ascii", "xmlcharrefreplace").decode()
        answer = stack.http.get(f"{stack.url}/api/v1{raw}")
        assert answer.status_code in {200, 308, 400, 404, 405, 422}, (raw, answer.status_code)
        tells_nothing(answer)
        assert "root:" not in answer.text


def artifact(stack: Stack, name: str, kind: str) -> httpx.Response:
    """Let a node store a file, and download it."""
    run = stack.run(
        {"id": "a", "type": "python", "data": {"config": {
            "function": "attack.artifact", "args": {"name": name, "kind": kind}}}}
    )  # fmt: skip
    assert run["state"] == "succeeded", stack.task(run, "a")
    return stack.http.get(f"/runs/{run['id']}/artifacts/{name}")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("page.html", "text/html"), ("image.svg", "image/svg+xml"), ("a-b.js", "text/javascript"),
     ("data.csv", "text/csv"), ("x.xml", "application/xml"), ("x.pdf", "application/pdf")],
)  # fmt: skip
def test_p2_and_l2_a_file_is_an_attachment_whatever_it_is(
    name: str, kind: str, stack: Stack
) -> None:
    answer = artifact(stack, name, kind)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert "private" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("name", ["a\r\nSet-Cookie: a=b", 'a"b.html', "../x", "a/b", "", "."])
def test_p2_a_file_cannot_have_any_name(name: str, stack: Stack) -> None:
    run = stack.run(
        {"id": "a", "type": "python", "data": {
            "retry": {"max_attempts": 1},
            "config": {"function": "attack.artifact", "args": {"name": name, "kind": "text/html"}}}}
    )  # fmt: skip
    stored = stack.http.get(f"/runs/{run['id']}/artifacts").json()["items"]
    for each in stored:
        answer = stack.http.get(f"{stack.url}/api/v1/runs/{run['id']}/artifacts/" + each["name"])
        assert "Set-Cookie" not in answer.headers
    if run["state"] == "succeeded":
        assert not re.search(r"[\r\n\0/]", stored[0]["name"])


SAID = {
    "lines": 'first\r\nsecond\n{"level":"error","msg":"forged"}',
    "colours": "\x1b[2J\x1b]0;title\x07\x1b[31mred\x9b1m",
    "formats": "%s%n%x {0.__class__} {} ${HOME} \\u0000",
    "a page": "<img src=x onerror=alert(1)><script>alert(1)</script>",
    "a link": "[x](javascript:alert(1))",
    "a formula": "=cmd|' /C calc'!A0",
    "right to left": "\u202egnp.exe\u200b",
    "a megabyte": "x" * 1_000_000,
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_l1_and_l2_what_a_node_says_is_text(name: str, stack: Stack) -> None:
    """In log lines, errors and outputs: a line stays a line, and an answer is JSON, no page."""
    run = stack.run(
        {"id": "a", "type": "python", "data": {"config": {
            "function": "attack.say", "args": {"text": SAID[name]}}}},
        {"id": "b", "type": "python", "data": {
            "retry": {"max_attempts": 1},
            "config": {"function": "attack.fail", "args": {"text": SAID[name]}}}},
    )  # fmt: skip
    assert stack.task(run, "a")["state"] == "succeeded"
    for path in (f"/runs/{run['id']}", f"/runs/{run['id']}/tasks", f"/runs/{run['id']}/events",
                 f"/runs/{run['id']}/logs", "/logs/history"):  # fmt: skip
        answer = stack.http.get(path)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert "\x1b" not in answer.text
        answer.json()
    lines = stack.http.get(f"/runs/{run['id']}/logs").json()["items"]
    assert lines
    for line in lines:
        assert not re.search(r"[\r\n\x00\x1b\x9b]", line["message"]), line
        assert len(line["message"].encode()) <= 16_384 + 100
    for line in stack.logs().splitlines():
        assert "forged" not in line or json.loads(line)["msg"] != "forged"
    assert "\x1b[2J" not in stack.logs()


@pytest.mark.parametrize("header", ["User-Agent", "X-Request-Id", "X-Forwarded-For", "Referer"])
@pytest.mark.parametrize("text", ["\x1b[31mred", "%s%n{0}", '{"level":"error"}', "x" * 7_000])
def test_l1_headers_end_no_line(header: str, text: str, stack: Stack) -> None:
    raw = text.encode()
    answer = stack.http.get("/workflows/none", headers={header.encode(): raw})  # type: ignore[dict-item]
    assert answer.status_code in {400, 404}
    assert "\x1b" not in answer.headers.get("X-Request-Id", "")
    assert len(answer.headers["X-Request-Id"]) <= 128
    assert "\x1b[31mred" not in stack.logs()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://good.example.evil.example",
                                    "http://good.example", "https://good.example:8443", "*", "",
                                    "https://GOOD.example", "https://good.example/",
                                    "https://evilgood.example"])  # fmt: skip
def test_l3_no_origin_is_reflected(origin: str, web_with_origin: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Origin": origin}
    for method, more in (
        ("GET", {}),
        ("OPTIONS", {"Access-Control-Request-Method": "POST"}),
        ("POST", {"Content-Type": "application/json"}),
    ):
        answer = httpx.request(
            method, f"{web_with_origin}/api/v1/workflows", headers=headers | more, content=b"{}"
        )
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_l3_a_known_origin_is_named_and_never_with_cookies(web_with_origin: str) -> None:
    answer = httpx.get(
        f"{web_with_origin}/api/v1/workflows",
        headers={"Authorization": f"Bearer {KEY}", "Origin": "https://good.example"},
    )
    assert answer.headers["Access-Control-Allow-Origin"] == "https://good.example"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Origin" in answer.headers["Vary"]


@pytest.fixture(scope="module")
def web_with_origin(databases: Databases, redis_server_url: str) -> Iterator[str]:
    """A server that knows one other origin, and believes a proxy on this machine."""
    settings: dict[str, Any] = {
        "WEB__ORIGINS": "https://good.example", "WEB__TRUSTED_PROXIES": "127.0.0.1"
    }  # fmt: skip
    with serving(databases.migrated(), redis_server_url, **settings) as web:
        yield web.url


#: What every answer carries, whatever it is; L4.
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Permitted-Cross-Domain-Policies": "none",
}
NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
PAGE = (
    "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none';"
    " form-action 'none'"
)
ANSWERS: dict[str, tuple[str, str, int, str, str]] = {
    "a list": ("GET", "/api/v1/workflows", 200, NOTHING, "no-store"),
    "a document": ("GET", "/api/v1/nodes/types", 200, NOTHING, "private, max-age=60"),
    "a problem": ("GET", "/api/v1/workflows/x", 404, NOTHING, "no-store"),
    "a refusal": ("POST", "/api/v1/workflows", 415, NOTHING, "no-store"),
    "no such method": ("DELETE", "/api/v1/runs", 405, NOTHING, "no-store"),
    "no credential": ("ANONYMOUS", "/api/v1/workflows", 401, NOTHING, "no-store"),
    "health": ("GET", "/healthz", 200, NOTHING, "no-store"),
    "metrics": ("GET", "/metrics", 200, NOTHING, "no-store"),
    "the page": ("GET", "/api/docs", 200, PAGE, "public, max-age=300"),
    "no HTTP": ("RAW", "", 400, NOTHING, "no-store"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_l4_the_headers_of_every_kind_of_answer(name: str, stack: Stack) -> None:
    method, path, status, policy, cache = ANSWERS[name]
    if method == "RAW":
        answer = _raw(stack, b"NO HTTP AT ALL\r\n\r\n")
    else:
        headers = {} if method == "ANONYMOUS" else stack.headers
        verb = "GET" if method == "ANONYMOUS" else method
        answer = httpx.request(verb, f"{stack.url}{path}", headers=headers)
    assert answer.status_code == status, answer.text
    assert {header: answer.headers.get(header) for header in ALWAYS} == ALWAYS
    assert answer.headers["Content-Security-Policy"] == policy
    assert answer.headers["Cache-Control"] == cache
    assert answer.headers["X-Request-Id"]
    assert "Strict-Transport-Security" not in answer.headers
    assert not re.search(r"\d", answer.headers.get("Server", ""))
    assert "Set-Cookie" not in answer.headers


def test_l4_the_style_of_the_page(stack: Stack) -> None:
    page = httpx.get(f"{stack.url}/api/docs").text
    found = re.search(r'href="(/api/docs/\w+\.css)"', page)
    assert found
    answer = httpx.get(f"{stack.url}{found[1]}")
    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    assert {header: answer.headers.get(header) for header in ALWAYS} == ALWAYS
    assert "<script" not in page


def test_l4_by_tls_it_stays_tls(web_with_origin: str) -> None:
    """Behind a proxy that ends TLS and is believed; a stranger's header changes nothing."""
    url = f"{web_with_origin}/healthz"
    assert "Strict-Transport-Security" not in httpx.get(url).headers
    answer = httpx.get(url, headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "8.8.8.8"})
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_l4_a_strangers_word_for_tls_is_nothing(stack: Stack) -> None:
    answer = httpx.get(f"{stack.url}/healthz", headers={"X-Forwarded-Proto": "https"})
    assert "Strict-Transport-Security" not in answer.headers


def _raw(stack: Stack, request: bytes) -> httpx.Response:
    """Send bytes as they are."""
    import socket

    address = httpx.URL(stack.url)
    with socket.create_connection((address.host, address.port), timeout=10) as line:
        line.sendall(request)
        data = b""
        while piece := line.recv(65_536):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    pairs = [tuple(text.split(": ", 1)) for text in lines]
    return httpx.Response(int(status.split()[1]), headers=pairs, content=body)  # type: ignore[arg-type]
