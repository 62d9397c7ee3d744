"""Row B21 for readers: who does not read an answer is hung up on, and the others notice nothing."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import Databases
from tests.integration.serving import KEY, Web, serving
from tests.waiting import wait_for
from web.server.client_socket import CREDIT_S, LOOPBACK_FACTOR

#: More than there are threads: 4 for requests and 64 for sockets.
READERS = 75
#: Answers that each asks for at once: more than the kernels of both sides hold.
ASKED = 40
THREADS = 4


@pytest.fixture(scope="module")
def web(databases: Databases, redis_server_url: str) -> Iterator[Web]:
    with serving(databases.migrated(), redis_server_url, WEB__THREADS=THREADS) as server:
        yield server


def connected(web: Web, *, buffer: int = 4096) -> socket.socket:
    address = urlsplit(web.url)
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    line.settimeout(10)
    line.connect((address.hostname, address.port))
    return line


def asks(path: str, times: int = ASKED) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode() * times


def hung_up(line: socket.socket) -> bool:
    """Tell whether the server has ended the connection, without reading what it sent."""
    line.setblocking(False)
    try:
        line.send(b"x")
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


@pytest.mark.parametrize("path", ["/api/docs", "/api/v1/openapi.json"])
def test_who_does_not_read_keeps_nobody_from_being_served(web: Web, path: str) -> None:
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(connected(web)) for _ in range(READERS)]
        for line in lines:
            line.sendall(asks(path))
        slowest_s = 0.0
        began = time.monotonic()
        while time.monotonic() - began < 2 * CREDIT_S and not all(map(hung_up, lines)):
            asked = time.monotonic()
            assert httpx.get(f"{web.url}/healthz", timeout=10).status_code == 200
            slowest_s = max(slowest_s, time.monotonic() - asked)
        assert all(map(hung_up, lines))
        # Not a figure of speed: with all threads held it would take CREDIT_S.
        assert slowest_s < CREDIT_S / 2


def test_a_slow_reader_that_reads_is_served_to_the_end(web: Web) -> None:
    with connected(web) as line:
        line.sendall(asks("/api/v1/openapi.json", 1))
        whole = httpx.get(
            f"{web.url}/api/v1/openapi.json",
            headers={"Authorization": f"Bearer {KEY}", "Accept-Encoding": "identity"},
        ).content
        got = b""
        while whole[-64:] not in got:
            piece = line.recv(4096)
            assert piece, "the server hung up on a client that reads"
            got += piece
    assert got.endswith(whole[-64:])


def test_an_address_has_its_share_of_connections(
    databases: Databases, redis_server_url: str
) -> None:
    with (
        serving(databases.migrated(), redis_server_url, LIMITS__CONNECTIONS=1) as small,
        contextlib.ExitStack() as stack,
    ):
        lines = [stack.enter_context(connected(small)) for _ in range(LOOPBACK_FACTOR)]
        for line in lines:
            line.sendall(asks("/healthz", 1))
            assert line.recv(65_536).startswith(b"HTTP/1.1 200")
        with connected(small) as one_more:
            assert one_more.recv(65_536).startswith(b"HTTP/1.1 429")
        lines.pop().close()

        def served_again() -> bool:
            with connected(small) as line:
                line.sendall(asks("/healthz", 1))
                return line.recv(65_536).startswith(b"HTTP/1.1 200")

        wait_for(served_again)


def test_what_is_too_large_ends_its_connection_and_says_so(web: Web) -> None:
    headers = {"Content-Type": "application/json"}
    with httpx.Client(base_url=web.url, timeout=10) as client:
        for _ in range(20):
            refused = client.post("/api/v1/auth/login", content=b" " * 300_000, headers=headers)
            assert refused.status_code == 413
            assert refused.headers["Connection"] == "close"
            assert client.get("/healthz").status_code == 200
