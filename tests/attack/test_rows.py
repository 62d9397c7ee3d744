"""Rows B1 to B20 of bad input on a living server: a 4xx that says what to do, and nothing stored.

Byte-level rows (B6, B19 to B21) are also in `tests/integration/fleet/test_web_server.py`; the long
form of each row is `tests/api/test_bad_*.py`, on the same application in memory.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from tests.attack.stack import Stack, refused

JSON = {"Content-Type": "application/json"}
GOOD = b'{"name": "x", "nodes": [{"id": "a", "type": "noop"}]}'
UNKNOWN = "01890000-0000-7000-8000-000000000001"


@dataclass(frozen=True)
class Row:
    """One hostile request and what may come back."""

    name: str
    statuses: tuple[int, ...]
    method: str = "POST"
    path: str = "/workflows"
    body: bytes | None = GOOD
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)


def bodies(name: str, statuses: tuple[int, ...], *raw: bytes) -> list[Row]:
    """Return a row for each body."""
    return [Row(f"{name}-{no}", statuses, body=body) for no, body in enumerate(raw)]


def queries(name: str, status: int, path: str, *texts: str) -> list[Row]:
    """Return a row for each query."""
    return [
        Row(f"{name}-{no}", (status,), "GET", f"{path}?{text}", None)
        for no, text in enumerate(texts)
    ]


def named(text: str) -> bytes:
    """Return a definition of this name, as it stands in JSON."""
    return b'{"name": "%s", "nodes": [{"id": "a", "type": "noop"}]}' % text.encode()


ROWS = [
    *bodies("B1", (400,), b'{"name": "x"', b'{"name": "x",}', b"{'name': 1}", b"", b"null", b"[]",
            b'"x"'),
    *bodies("B2", (400,), b'{"name": "a", "name": "b"}', b'{"inputs": {"a": 1, "a": 2}}'),
    *bodies("B3", (400,), b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": 1e400}'),
    *bodies("B4", (400, 422), b'{"a": 9223372036854775808}', b'{"a": -9223372036854775809}',
            b'{"a": 1' + b"0" * 4299 + b"}", b'{"a": 1' + b"0" * 5000 + b"}",
            *(b'{"name": "x", "nodes": [{"id": "a", "type": "noop", "data": {"priority": %s}}]}' % n
              for n in (b"true", b'"1"', b"1.5", b"1.0"))),
    *bodies("B5", (400,), b"[" * 100_000, b'{"a":' * 100_000),
    *bodies("B6", (413,), b'{"a": "' + b"x" * 10_000_000 + b'"}'),
    *(Row(f"B7-{how}", (415,), body=gzip.compress(b"0" * 10_000_000), headers={
        **JSON, "Content-Encoding": how}) for how in ("gzip", "deflate", "br", "gzip, gzip")),
    *(Row(f"B8-{no}", (415,), headers={"Content-Type": media} if media else {})
      for no, media in enumerate(("", "text/plain", "application/json; charset=utf-16",
                                  "application/json; charset=utf-7", "multipart/form-data"))),
    Row("B8-files", (422,), body=GOOD[:-1] + b', "files": [{"filepath": "/etc/passwd"}]}'),
    *bodies("B9", (400,), b'{"a": "\xff"}', b'{"a": "\xc0\xaf"}', b"\xef\xbb\xbf" + GOOD,
            b'{"a": "\\ud800"}'),
    *bodies("B10", (400,), b'{"a": "\x00"}', b'{"a": "\\u0000"}', b'{"a\\u0000": 1}'),
    *queries("B10", 400, "/runs", "state=%00", "%00=1"),
    *bodies("B11", (422,), *(named(n) for n in ("a\u202eb", "a\u200bb", "\U0001f600" * 250_000))),
    *bodies("B12", (422,), *(named(n) for n in (
        "", " ", "..", ".", "-rf", "/", "a/b", "CON", "__proto__", "constructor",
        "x" * 1_000_000))),
    *bodies("B13", (422,), *(GOOD[:-1] + b', "%s": 1}' % name for name in (
        b"tenant_id", b"role", b"state", b"attempt", b"created_at", b"__proto__")),
        GOOD[:-1] + b"".join(b', "f%d": 1' % n for n in range(10_000)) + b"}"),
    *queries("B14", 400, "/workflows", "limit=0", "limit=-1", "limit=1000000000", "cursor=x",
             "sort=id;drop", "cursor=dAAAAAAAAAAAAAAAAAAAAAA"),
    *queries("B15", 400, "/runs", "since=0000-01-01T00:00:00Z", "since=99999-01-01T00:00:00Z",
             "until=infinity", "since=2026-02-30T00:00:00Z", "until=2026-01-01T00:00:00%2B25:00",
             "since=2026-01-01T00:00:00Mars"),
    Row("B16-long", (400,), headers={**JSON, "Idempotency-Key": "x" * 4_000}),
    Row("B16-huge", (400, 431), headers={**JSON, "Idempotency-Key": "x" * 10_240}),
    *(Row(f"B17-{no}", (412,), "PUT", "/workflows/{id}", headers={**JSON, "If-Match": tag})
      for no, tag in enumerate(('"99"', "W/1", '"x"', '""', '"98", "99"'))),
    *(Row(f"B18-{verb}", (405,), verb, body=None)
      for verb in ("TRACE", "BREW", "PATCH", "PROPFIND", "DELETE")),
    Row("B18-tunnel", (405,), path="/workflows/{id}",
        headers={**JSON, "X-HTTP-Method-Override": "DELETE"}),
    *queries("B19", 400, "/runs", "state=%0d%0aSet-Cookie:%20a=b"),
    *queries("Q1", 400, "/runs", "state=' OR 1=1--", "workflow_id=$$;select pg_sleep(5)"),
    *(Row(f"P1-{no}", (404, 400), "GET", f"/runs/{UNKNOWN}/artifacts/{name}", None)
      for no, name in enumerate(("..%2f..%2fetc%2fpasswd", "%252e%252e", "..\\x", "%2fetc"))),
    Row("D11-laughs", (422,), path="/workflows/import", body=b"a: &a [1]\nb: [*a, *a]",
        headers={"Content-Type": "application/yaml"}),
    Row("D11-tags", (422,), path="/workflows/import", body=b"!!python/object/apply:os.system [ls]",
        headers={"Content-Type": "application/yaml"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def there(stack: Stack) -> str:
    """The id of a workflow that is there."""
    definition = {"name": "there", "nodes": [{"id": "a", "type": "noop"}]}
    answer = stack.http.post("/workflows", json=definition)
    return str(answer.json()["id"])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(row: Row, stack: Stack, there: str) -> None:
    before = stack.stored()
    answer = stack.http.request(
        row.method, row.path.replace("{id}", there), content=row.body, headers=dict(row.headers)
    )
    refused(answer, *row.statuses)
    assert stack.stored() == before


def test_b11_two_forms_of_one_name_are_one(stack: Stack) -> None:
    """As they are shown they are the same, so one of them is taken."""
    nodes = [{"id": "a", "type": "noop"}]
    first = stack.http.post("/workflows", json={"name": "caf\u00e9", "nodes": nodes})
    assert (first.status_code, first.json()["name"]) == (201, "caf\u00e9")
    second = stack.http.post("/workflows", json={"name": "cafe\u0301", "nodes": nodes})
    assert refused(second, 409)["code"] == "name_taken"


def test_b11_a_name_in_other_letters_is_another(stack: Stack) -> None:
    """It reads the same and is not: each is kept as it was sent, none stands for another."""
    nodes = [{"id": "a", "type": "noop"}]
    ids = {}
    for name in ("payroll", "p\u0430yroll", "\uff50ayroll"):
        answer = stack.http.post("/workflows", json={"name": name, "nodes": nodes})
        assert (answer.status_code, answer.json()["name"]) == (201, name)
        ids[name] = answer.json()["id"]
    for name, id in ids.items():
        found = stack.http.get("/workflows", params={"name": name}).json()["items"]
        assert [row["id"] for row in found] == [id]


def test_b16_a_hundred_at_once_with_one_key(stack: Stack, there: str) -> None:
    key = {"Idempotency-Key": str(uuid4())}

    def start(_: int) -> Any:
        return stack.http.post(f"/workflows/{there}/runs", json={}, headers=key).json()["id"]

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(start, range(100)))) == 1
    other = stack.http.post(f"/workflows/{there}/runs", json={"tags": ["other"]}, headers=key)
    assert refused(other, 409)["code"] == "idempotency_mismatch"
