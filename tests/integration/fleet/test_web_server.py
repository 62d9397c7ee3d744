"""The server itself, byte by byte: what no well-behaved client sends, and many clients at once."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.factories import SECRET_KEY
from tests.integration.serving import KEY, ROOT, Web, serving

DEFINITION = b'{"name": "x", "nodes": [{"id": "a", "type": "noop"}]}'


@pytest.fixture(scope="module")
def web(databases: object, redis_server_url: str) -> Iterator[Web]:
    url: str = databases.migrated()  # type: ignore[attr-defined]
    with serving(url, redis_server_url, WEB__THREADS=4, WEB__SOCKETS=4, WEB__PROCESSES=2) as server:
        yield server


@pytest.fixture(autouse=True)
def alive(web: Web) -> Iterator[None]:
    yield
    assert httpx.get(f"{web.url}/healthz").status_code == 200
    assert web.process.poll() is None


def exchange(web: Web, *parts: bytes) -> bytes:
    """Send bytes as they are; return all that comes back until the server closes or is silent."""
    address = urlsplit(web.url)
    got = b""
    with socket.create_connection((address.hostname, address.port), timeout=3) as line:
        for part in parts:
            line.sendall(part)
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while data := line.recv(65_536):
                got += data
                if b"\r\n\r\n" in got and b"onnection: close" not in got:
                    break
    return got


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def head(line: str, *headers: str, host: str = "Host: x") -> bytes:
    own = (host, f"Authorization: Bearer {KEY}", "Content-Type: application/json")
    return "\r\n".join([line, *filter(None, own), *headers, "", ""]).encode("latin-1")


POST = "POST /api/v1/workflows/validate HTTP/1.1"


def test_b6_what_is_sent_must_be_what_is_announced(web: Web) -> None:
    right = head(POST, f"Content-Length: {len(DEFINITION)}")
    assert status(exchange(web, right, DEFINITION)) == 200
    short = head(POST, f"Content-Length: {len(DEFINITION) - 1}", "Connection: close")
    assert status(exchange(web, short, DEFINITION)) == 400
    for lie in ("-1", "1, 2", "1e3", "+5", "0x10", "9" * 30):
        assert status(exchange(web, head(POST, f"Content-Length: {lie}"), DEFINITION)) in {400, 413}


def test_b6_a_large_body_in_chunks_is_cut_off(web: Web) -> None:
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    start = head(POST, "Transfer-Encoding: chunked", "Connection: close")
    got = b""
    with contextlib.suppress(ConnectionError):
        got = exchange(web, start, b"1\r\n[\r\n", *[chunk] * 9, b"0\r\n\r\n")
    assert status(got) in {0, 413}


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 4"),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding : chunked",),
        ("Content-Length: 4", "Content-Length: 5"),
        ("X: a\x00b",),
        ("X y: z",),
        (": z",),
        ("no colon",),
        (" folded: x",),
        ("Host: evil.example",),
    ],
)
def test_b20_smuggling_ends_the_connection(web: Web, headers: tuple[str, ...]) -> None:
    got = exchange(web, head(POST, *headers), b"0\r\n\r\nGET /admin HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status(got) in {400, 501}
    assert got.count(b"HTTP/1.1 ") == 1
    assert b"application/problem+json" in got
    assert b"x-request-id" in got.lower()


@pytest.mark.parametrize(
    "request_line",
    ["GET /" + "a" * 9000 + " HTTP/1.1", "GET /healthz HTTP/9.9", "GET /healthz", "GET", "",
     "\x16\x03\x01", "GET  /healthz  HTTP/1.1", "G\x00T /healthz HTTP/1.1"],
)  # fmt: skip
def test_b20_request_lines(web: Web, request_line: str) -> None:
    assert status(exchange(web, head(request_line))) in {0, 400, 414, 431, 505}


@pytest.mark.parametrize(
    "headers", [("X: " + "a" * 65_536,), tuple(f"X-{i}: 1" for i in range(1000))]
)
def test_b19_large_headers(web: Web, headers: tuple[str, ...]) -> None:
    with contextlib.suppress(ConnectionError):
        assert status(exchange(web, head("GET /healthz HTTP/1.1", *headers))) in {0, 400, 431}


def test_b21_hundreds_of_idle_connections_cost_the_others_nothing(web: Web) -> None:
    address = urlsplit(web.url)
    with contextlib.ExitStack() as stack:
        for no in range(400):
            line = socket.create_connection((address.hostname, address.port), timeout=5)
            stack.enter_context(contextlib.closing(line))
            if no % 2:
                line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert line.recv(100)
        started = time.monotonic()
        for _ in range(20):
            assert httpx.get(f"{web.url}/healthz").status_code == 200
        assert time.monotonic() - started < 5


def test_metrics_sum_over_all_processes(web: Web) -> None:
    def total() -> int:
        text = httpx.get(f"{web.url}/metrics", headers=web.headers).text
        found = [
            line for line in text.splitlines()
            if line.startswith("zq_http_request_duration_seconds_count") and "/version" in line
        ]  # fmt: skip
        return sum(int(float(line.rpartition(" ")[2])) for line in found)

    before = total()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: httpx.get(f"{web.url}/version"), range(40)))
    assert total() - before == 40
    assert total() - before == 40


@pytest.mark.parametrize(
    ("missing", "word"),
    [
        ("ZQ_AUTH__ADMIN_KEY", "ZQ_AUTH__ADMIN_KEY"),
        ("ZQ_AUTH__SECRET_KEY", "ZQ_AUTH__SECRET_KEY"),
        ("ZQ_REDIS__URL", "ZQ_REDIS__URL"),
    ],
)
def test_it_does_not_start_half_configured(tmp_path: Path, missing: str, word: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ZQ_")}
    environment |= {
        "ZQ_HOME": str(tmp_path),
        "ZQ_AUTH__ADMIN_KEY": KEY,
        "ZQ_AUTH__SECRET_KEY": SECRET_KEY,
        "ZQ_DATABASE__URL": "postgresql://127.0.0.1:1/x",
        "ZQ_REDIS__URL": "redis://127.0.0.1:1/0",
        "PYTHONPATH": str(ROOT),
    }
    del environment[missing]
    ended = subprocess.run(
        [sys.executable, "-m", "web.server.serve"],
        env=environment, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT,
    )  # fmt: skip
    assert ended.returncode == 1
    assert word in ended.stderr
    assert "Traceback" not in ended.stderr


def test_clients_that_do_not_hang_up_keep_nobody_waiting(web: Web) -> None:
    address = urlsplit(web.url)
    ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            line = socket.create_connection((address.hostname, address.port), timeout=5)
            stack.enter_context(contextlib.closing(line))
            line.sendall(ask)
            assert line.recv(100)
        started = time.monotonic()
        assert httpx.get(f"{web.url}/healthz").status_code == 200
        assert time.monotonic() - started < 1
