"""What a hostile client may send into a socket (row W4): it is closed, and costs no memory."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from orchestrator import bootstrap
from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.settings import Auth, Database, Redis, Settings
from tests.conftest import Databases
from tests.factories import SECRET_KEY
from tests.integration.serving import KEY, Hand, Web, serving
from tests.waiting import wait_for

#: What one attack may cost a process, bytes.
_FLAT = 12 * 1024 * 1024
_MASK = b"\0\0\0\0"


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


def _open(web: Web, run_id: object, extra: str = "") -> socket.socket:
    """Upgrade by hand: a client library would not send what comes next."""
    where = urlsplit(web.url)
    line = socket.create_connection((where.hostname or "", where.port or 0), timeout=20)
    line.sendall(
        f"GET /api/v1/runs/{run_id}/stream HTTP/1.1\r\nHost: {where.netloc}\r\n"
        f"Authorization: Bearer {KEY}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{extra}"
        "\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += line.recv(1)
    assert head.startswith(b"HTTP/1.1 101"), head
    return line


def _frame(first: int, data: bytes = b"", *, masked: bool = True) -> bytes:
    mask = 0x80 if masked else 0
    size = len(data)
    if size < 126:
        head = struct.pack("!BB", first, mask | size)
    elif size < 65_536:
        head = struct.pack("!BBH", first, mask | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask | 127, size)
    return head + (_MASK if masked else b"") + data


def _huge() -> Iterator[bytes]:
    yield struct.pack("!BBQ", 0x81, 0x80 | 127, 100 * 1024 * 1024) + _MASK
    for _ in range(1600):
        yield b"x" * 65_536


def _fragments() -> Iterator[bytes]:
    yield _frame(0x01, b"x")
    while True:
        yield _frame(0x00) * 1000


def _pings() -> Iterator[bytes]:
    while True:
        yield _frame(0x89, b"p" * 125) * 100


def _pongs() -> Iterator[bytes]:
    while True:
        yield _frame(0x8A, b"p" * 125) * 100


def _messages() -> Iterator[bytes]:
    for _ in range(100):
        yield _frame(0x81, b"hello") * 1000


def _bomb() -> Iterator[bytes]:
    packed = zlib.compressobj(wbits=-15)
    data = packed.compress(b"\0" * 50_000_000) + packed.flush(zlib.Z_SYNC_FLUSH)
    yield _frame(0xC1, data[:-4])


#: What is sent, and the close codes that may answer it; 0: the line just ends, since a client that
#: goes on writing may lose the last words.
ATTACKS: dict[str, tuple[Callable[[], Iterator[bytes]], set[int]]] = {
    "100k messages": (_messages, {1008, 0}),
    "100 MB frame": (_huge, {1009, 1008, 0}),
    "endless fragments": (_fragments, {1008, 0}),
    "unmasked": (lambda: iter([_frame(0x81, b"hello", masked=False)]), {1002}),
    "bad UTF-8": (lambda: iter([_frame(0x81, b"\xc3\x28")]), {1007}),
    "invalid opcode": (lambda: iter([_frame(0x83)]), {1002}),
    "ping flood": (_pings, {1008, 0}),
    "pong flood": (_pongs, {1008, 0}),
    "deflate bomb": (_bomb, {1002}),
    "long control frame": (lambda: iter([_frame(0x89, b"p" * 200)]), {1002}),
    "fragmented control frame": (lambda: iter([_frame(0x09, b"p")]), {1002}),
    "reserved close code": (lambda: iter([_frame(0x88, struct.pack("!H", 1005))]), {1002}),
}


def _answer(line: socket.socket, parts: Iterator[bytes]) -> int:
    """Send until the server hangs up; return the code of its close frame, 0 for none."""
    said = b""
    deadline = time.monotonic() + 15
    line.settimeout(5)
    over = False
    while time.monotonic() < deadline:
        if not over:
            try:
                part = next(parts, None)
                if part is None:
                    over = True
                else:
                    line.sendall(part)
            except OSError:
                over = True
        if not select.select([line], [], [], 0.2 if over else 0.0)[0]:
            continue
        try:
            heard = line.recv(65_536)
        except OSError:
            break
        if not heard:
            break
        said = (said + heard)[-200_000:]
    else:
        raise AssertionError("the server did not hang up")
    at = max((said.rfind(struct.pack("!B", 0x88)), 0))
    return struct.unpack("!H", said[at + 2 : at + 4])[0] if said[at : at + 1] == b"\x88" else 0


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
        with contextlib.closing(_open(server, run_id, offer)) as line:
            assert _answer(line, make()) in codes
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
        lines = [stack.enter_context(contextlib.closing(_open(server, run_id))) for _ in range(6)]
        for line in lines:
            line.setblocking(False)
        noise = _frame(0x89, os.urandom(125)) * 200
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
    with contextlib.closing(_open(server, run_id)) as line:
        line.sendall(_frame(0x81, b"x" * 65_536) + _frame(0x89, b"still there?"))
        said = b""
        while b"still there?" not in said:
            heard = line.recv(4096)
            assert heard, said
            said += heard
    with contextlib.closing(_open(server, run_id)) as line:
        assert _answer(line, iter([_frame(0x81, b"x" * 65_537)])) == 1009
