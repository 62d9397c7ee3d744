"""What a hostile client may send into a socket (row W4), and the code by which it is closed."""

from __future__ import annotations

import select
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from tests.integration.serving import KEY

_MASK = b"\0\0\0\0"


def upgraded(url: str, run_id: object, extra: str = "") -> socket.socket:
    """Upgrade by hand: a client library would not send what comes next."""
    where = urlsplit(url)
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


def frame(first: int, data: bytes = b"", *, masked: bool = True) -> bytes:
    """Return a frame: its first byte as it is, then length, mask and data."""
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
    yield frame(0x01, b"x")
    while True:
        yield frame(0x00) * 1000


def _pings() -> Iterator[bytes]:
    while True:
        yield frame(0x89, b"p" * 125) * 100


def _pongs() -> Iterator[bytes]:
    while True:
        yield frame(0x8A, b"p" * 125) * 100


def _messages() -> Iterator[bytes]:
    for _ in range(100):
        yield frame(0x81, b"hello") * 1000


def _bomb() -> Iterator[bytes]:
    packed = zlib.compressobj(wbits=-15)
    data = packed.compress(b"\0" * 50_000_000) + packed.flush(zlib.Z_SYNC_FLUSH)
    yield frame(0xC1, data[:-4])


#: What is sent, and the close codes that may answer it; 0: the line just ends, since a client that
#: goes on writing may lose the last words.
ATTACKS: dict[str, tuple[Callable[[], Iterator[bytes]], set[int]]] = {
    "100k messages": (_messages, {1008, 0}),
    "100 MB frame": (_huge, {1009, 1008, 0}),
    "endless fragments": (_fragments, {1008, 0}),
    "unmasked": (lambda: iter([frame(0x81, b"hello", masked=False)]), {1002}),
    "bad UTF-8": (lambda: iter([frame(0x81, b"\xc3\x28")]), {1007}),
    "invalid opcode": (lambda: iter([frame(0x83)]), {1002}),
    "ping flood": (_pings, {1008, 0}),
    "pong flood": (_pongs, {1008, 0}),
    "deflate bomb": (_bomb, {1002}),
    "long control frame": (lambda: iter([frame(0x89, b"p" * 200)]), {1002}),
    "fragmented control frame": (lambda: iter([frame(0x09, b"p")]), {1002}),
    "reserved close code": (lambda: iter([frame(0x88, struct.pack("!H", 1005))]), {1002}),
}


def close_code(line: socket.socket, parts: Iterator[bytes]) -> int:
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
