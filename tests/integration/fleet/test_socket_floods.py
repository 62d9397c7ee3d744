"""What a hostile client may send into a socket (row W4): it is closed, and costs no memory."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.bootstrap import core as bootstrap
from orchestrator.settings import Auth, Database, Redis, Settings
from tests.conftest import Databases
from tests.factories import SECRET_KEY
from tests.integration.serving import Hand, Web, serving
from tests.integration.socket_attacks import ATTACKS, close_code, frame, upgraded
from tests.waiting import wait_for

#: What one attack may cost a process, bytes.
_FLAT = 12 * 1024 * 1024


@pytest.fixture(scope="module")
def web(databases: Databases, redis_server_url: str) -> Iterator[tuple[Web, Hand]]:
    url = databases.migrated()
    settings = Settings(
        auth=Auth(secret_key=SECRET_KEY),
        database=Database(url=url),
        redis=Redis(url=redis_server_url),
    )
    core = bootstrap.build(settings, dispatcher=MemoryDispatcher(), artifacts=MemoryArtifacts())
    with serving(url, redis_server_url, WEB__SOCKETS=8) as server:
        assert httpx.get(f"{server.url}/healthz", timeout=20).status_code == 200
        yield server, Hand(core)
    core.store.close()


def _memory(web: Web) -> int:
    family = [psutil.Process(web.process.pid), *psutil.Process(web.process.pid).children()]
    return max(process.memory_info().rss for process in family)


@pytest.mark.parametrize("name", ATTACKS)
def test_w4_a_hostile_client_is_closed(web: tuple[Web, Hand], name: str) -> None:
    server, hand = web
    make, codes = ATTACKS[name]
    pids = {p.pid for p in psutil.Process(server.process.pid).children()}
    run_id = hand.start(1)
    for warm in (True, False):
        before = _memory(server)
        offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if "deflate" in name else ""
        with contextlib.closing(upgraded(server.url, run_id, offer)) as line:
            assert close_code(line, make()) in codes
        # The first time warms up what every socket uses.
        assert warm or _memory(server) - before < _FLAT
    assert httpx.get(f"{server.url}/healthz", timeout=5).status_code == 200
    assert {p.pid for p in psutil.Process(server.process.pid).children()} == pids

    def slots() -> bool:
        text = httpx.get(f"{server.url}/metrics", headers=server.headers).text
        return float(text.split("\nzq_stream_clients ")[1].split()[0]) == 0

    wait_for(slots, what="the slot to be given back")


def test_w4_many_at_once_leave_the_api_alone(web: tuple[Web, Hand]) -> None:
    server, hand = web
    run_id = hand.start(1)
    worst_s = 0.0
    with contextlib.ExitStack() as stack:
        lines = [
            stack.enter_context(contextlib.closing(upgraded(server.url, run_id))) for _ in range(6)
        ]
        for line in lines:
            line.setblocking(False)
        noise = frame(0x89, os.urandom(125)) * 200
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            for line in lines:
                with contextlib.suppress(OSError):
                    line.send(noise)
            asked = time.monotonic()
            assert httpx.get(f"{server.url}/healthz", timeout=5).status_code == 200
            worst_s = max(worst_s, time.monotonic() - asked)
    assert worst_s < 2


def test_w4_the_largest_message_passes_and_the_next_byte_does_not(web: tuple[Web, Hand]) -> None:
    server, hand = web
    run_id = hand.start(1)
    with contextlib.closing(upgraded(server.url, run_id)) as line:
        line.sendall(frame(0x81, b"x" * 65_536) + frame(0x89, b"still there?"))
        said = b""
        while b"still there?" not in said:
            heard = line.recv(4096)
            assert heard, said
            said += heard
    with contextlib.closing(upgraded(server.url, run_id)) as line:
        assert close_code(line, iter([frame(0x81, b"x" * 65_537)])) == 1009
