"""Row B21: who sends a byte at a time is hung up on, and the others notice nothing. Takes 30 s.

Only `make attack` runs it.
"""

from __future__ import annotations

import contextlib
import os
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


@pytest.fixture
def web(databases: Databases, redis_server_url: str) -> Iterator[Web]:
    with serving(databases.migrated(), redis_server_url, WEB__THREADS=4) as server:
        yield server


@pytest.mark.parametrize("start", [HEAD, BODY], ids=["headers", "body"])
def test_b21_slow_requests_end(web: Web, start: str) -> None:
    address = urlsplit(web.url)
    began = time.monotonic()
    worst_s = 0.0
    with contextlib.ExitStack() as stack:
        lines = []
        for _ in range(20):
            line = socket.create_connection((address.hostname, address.port), timeout=5)
            stack.enter_context(contextlib.closing(line))
            line.sendall(start.encode())
            lines.append(line)
        while lines:
            assert time.monotonic() - began < 35, f"{len(lines)} are still served"
            ended, _, _ = select.select(lines, [], [], 0.5)
            lines = [line for line in lines if line not in ended]
            for line in list(lines):
                try:
                    line.send(b"X")
                except OSError:
                    lines.remove(line)
            asked = time.monotonic()
            assert httpx.get(f"{web.url}/healthz", timeout=10).status_code == 200
            worst_s = max(worst_s, time.monotonic() - asked)
    assert worst_s < 2
