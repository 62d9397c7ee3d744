"""Row B21: who sends a byte at a time, or nothing, is hung up on, and the others notice nothing.

Takes 30 s a case: only `make attack` runs it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import Databases
from tests.integration.serving import KEY, Web, serving

pytestmark = pytest.mark.skipif(
    "ZQ_ATTACK_MINUTES" not in os.environ, reason="takes 30 s; `make attack` runs it"
)
HEAD = f"POST /api/v1/workflows HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
BODY = f"{HEAD}Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
#: Whoever does not come to an end is closed by then, seconds.
CLOSED_S = 30
IDLE = 1_000
#: How many times as long the slowest of a hundred may take, and what is nothing in any case.
RATIO, UNNOTICED_S = 4.0, 0.1


@pytest.fixture
def web(databases: Databases, redis_server_url: str) -> Iterator[Web]:
    with serving(databases.migrated(), redis_server_url, WEB__THREADS=4) as server:
        yield server


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process and those it starts hold that many sockets, where the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * IDLE + 500
    if resource.RLIM_INFINITY != hard < wanted:
        pytest.skip(f"{hard} open files at most")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("start", [HEAD, BODY], ids=["headers", "body"])
def test_b21_slow_requests_end(web: Web, start: str) -> None:
    worst_s = 0.0
    with contextlib.ExitStack() as stack:
        lines = [connected(web, stack) for _ in range(20)]
        began = time.monotonic()
        for line in lines:
            line.sendall(start.encode())
        while lines:
            assert time.monotonic() - began < CLOSED_S + 1, f"{len(lines)} are still served"
            ended, _, _ = select.select(lines, [], [], 0.5)
            lines = [line for line in lines if line not in ended]
            for line in list(lines):
                try:
                    line.send(b"X")
                except OSError:
                    lines.remove(line)
            worst_s = max(worst_s, took_s(web))
    assert worst_s < 2


def test_b21_a_thousand_idle_connections_end(many_files: None, web: Web) -> None:
    """Half of them have asked once and stay; the others never say anything."""
    usual_s = p99_s(web)
    with contextlib.ExitStack() as stack:
        lines = []
        for no in range(IDLE):
            line = connected(web, stack)
            if no % 2:
                line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert line.recv(65_536).startswith(b"HTTP/1.1 200")
            lines.append(line)
        began = time.monotonic()
        assert p99_s(web) < max(UNNOTICED_S, RATIO * usual_s)
        watch = select.poll()
        for line in lines:
            watch.register(line, select.POLLIN)
        by_number = {line.fileno(): line for line in lines}
        while by_number:
            assert time.monotonic() - began < CLOSED_S, f"{len(by_number)} are still open"
            for number, _ in watch.poll(500):
                if over(by_number[number]):
                    watch.unregister(number)
                    del by_number[number]
    assert p99_s(web) < max(UNNOTICED_S, RATIO * usual_s)


def connected(web: Web, stack: contextlib.ExitStack) -> socket.socket:
    address = urlsplit(web.url)
    line = socket.create_connection((address.hostname, address.port), timeout=10)
    return stack.enter_context(contextlib.closing(line))


def over(line: socket.socket) -> bool:
    """Read what there is; tell whether the server has closed."""
    try:
        return line.recv(65_536) == b""
    except ConnectionError:
        return True


def took_s(web: Web) -> float:
    asked = time.monotonic()
    assert httpx.get(f"{web.url}/healthz", timeout=10).status_code == 200
    return time.monotonic() - asked


def p99_s(web: Web) -> float:
    """Return what the second slowest of a hundred healthy requests takes."""
    with httpx.Client(base_url=web.url, timeout=10) as client:

        def one() -> float:
            asked = time.monotonic()
            assert client.get("/healthz").status_code == 200
            return time.monotonic() - asked

        return sorted(one() for _ in range(100))[-2]
