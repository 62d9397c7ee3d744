"""Rows B1 to B9 again, on every path that takes a body: whoever adds one gets the same reader."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.attack.stack import Stack, refused

UNKNOWN = "01890000-0000-7000-8000-000000000001"
JSON = {"Content-Type": "application/json"}
HOSTILE: dict[str, tuple[bytes, dict[str, str], tuple[int, ...]]] = {
    "B1 cut off": (b'{"a": ', JSON, (400,)),
    "B1 a list": (b"[]", JSON, (400,)),
    "B1 null": (b"null", JSON, (400,)),
    "B1 quotes": (b"{'a': 1}", JSON, (400,)),
    "B2 twice": (b'{"name": "a", "name": "b"}', JSON, (400,)),
    "B3 no number": (b'{"a": NaN}', JSON, (400,)),
    "B3 endless": (b'{"a": 1e999}', JSON, (400,)),
    "B4 huge": (b'{"a": 1' + b"0" * 5_000 + b"}", JSON, (400,)),
    # Where no credential is needed it is larger than what is let in.
    "B5 deep": (b'{"a":' * 50_000, JSON, (400, 413)),
    "B5 deep lists": (b'{"a":' + b"[" * 70 + b"]" * 70 + b"}", JSON, (400,)),
    "B6 large": (b'{"a": "' + b"x" * 9_000_000 + b'"}', JSON, (413,)),
    "B7 packed": (gzip.compress(b"{}"), {**JSON, "Content-Encoding": "gzip"}, (415,)),
    "B8 a form": (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, (415,)),
    "B8 parts": (b"--x--", {"Content-Type": "multipart/form-data; boundary=x"}, (415,)),
    "B8 a text": (b"{}", {"Content-Type": "text/plain"}, (415,)),
    "B8 a charset": (b"{}", {"Content-Type": "application/json; charset=utf-16"}, (415,)),
    "B9 no UTF-8": (b'{"a": "\xff"}', JSON, (400,)),
    "B9 surrogate": (b'{"a": "\\ud800"}', JSON, (400,)),
    "B9 mark": (b"\xef\xbb\xbf{}", JSON, (400,)),
    "B10 NUL": (b'{"a": "\\u0000"}', JSON, (400,)),
    "B13 prototype": (b'{"__proto__": {"admin": true}, "constructor": 1}', JSON, (400, 422)),
    "B13 columns": (b'{"tenant_id": "x", "role": "owner", "state": "x"}', JSON, (400, 422)),
}
#: Said before the body is looked at: there is no such thing, or If-Match is missing.
BEFORE = (404, 409, 412, 428)
#: These speak the language of OAuth 2.0, forms included, and have tests of their own.
OTHERWISE = re.compile(r"/oauth/|/import$")


def taking(stack: Stack) -> Iterator[tuple[str, str]]:
    """Yield method and path of everything that takes a JSON body."""
    document = httpx.get(f"{stack.url}/api/v1/openapi.json", headers=stack.headers).json()
    for path, item in document["paths"].items():
        for method in ("post", "put", "patch"):
            body: dict[str, Any] = item.get(method, {}).get("requestBody", {})
            if "application/json" in body.get("content", {}) and not OTHERWISE.search(path):
                yield method, re.sub(r"\{\w+\}", UNKNOWN, path)


def test_there_are_paths_that_take_bodies(stack: Stack) -> None:
    assert len(list(taking(stack))) > 10


@pytest.mark.parametrize("name", HOSTILE)
def test_every_path_reads_bodies_alike(name: str, stack: Stack) -> None:
    body, headers, statuses = HOSTILE[name]
    before = stack.stored()
    for method, path in taking(stack):
        answer = stack.http.request(method, f"{stack.url}{path}", content=body, headers=headers)
        if path.endswith("/validate") and answer.status_code == 200:
            assert answer.json()["valid"] is False
            continue
        try:
            refused(answer, *statuses, *BEFORE)
        except AssertionError as error:
            raise AssertionError(f"{method} {path}: {json.dumps(answer.text[:400])}") from error
    assert stack.stored() == before
