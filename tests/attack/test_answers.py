"""Row S9: servers that answer a node with too much, for too long, or with nonsense."""

from __future__ import annotations

import gzip
import itertools
import resource
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import pytest

from orchestrator.models.egress import rules
from orchestrator.models.runs.task import Failure, Outcome
from tests.unit.handler_calls import call
from workers.handlers.http import client as http_client

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TIMEOUT_S = 0.8
#: What one answer may cost: the limit of a body, and what one packet can unfold to.
MOST_KB = 200 * 1024


class Raw:
    """A server that writes bytes as they are, to one visitor after another."""

    def __init__(self, pieces: Callable[[], Iterable[bytes]], pause_s: float) -> None:
        self._pieces = pieces
        self._pause_s = pause_s
        self._closing = threading.Event()
        self._line = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._line.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                visitor, _ = self._line.accept()
                with visitor, suppress(OSError):
                    visitor.settimeout(5)
                    visitor.recv(65_536)
                    for piece in self._pieces():
                        visitor.sendall(piece)
                        if self._closing.wait(self._pause_s):
                            return

    def close(self) -> None:
        self._closing.set()
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()
        self._thread.join(10)


@pytest.fixture
def answering() -> Iterator[Callable[..., Outcome]]:
    """Return a way to ask a server that answers these pieces."""
    made: list[Raw] = []

    def ask(pieces: Callable[[], Iterable[bytes]], pause_s: float) -> Outcome:
        made.append(Raw(pieces, pause_s))
        known = rules(f"127.0.0.1:{made[-1].port}")
        config = {"url": f"http://127.0.0.1:{made[-1].port}/"}
        try:
            return call("http", config, egress=known, timeout_s=TIMEOUT_S)
        finally:
            http_client.transport(known).close()
            http_client._transport.cache_clear()

    yield ask
    for each in made:
        each.close()


def bomb() -> bytes:
    """Return 1 MB of gzip that unfolds to a gigabyte."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1024 * 1024)
    return b"".join([*(packer.compress(zeros) for _ in range(1024)), packer.flush()])


def forever(head: bytes, piece: bytes) -> Callable[[], Iterable[bytes]]:
    return lambda: itertools.chain([head], itertools.repeat(piece))


def once(*pieces: bytes) -> Callable[[], Iterable[bytes]]:
    return lambda: pieces


BOMB = bomb()
GZIP = b"Content-Encoding: gzip\r\n"
TOO_LARGE, TIMEOUT, LOST = "response_too_large", "timeout", "connection_lost"
CASES: dict[str, tuple[Callable[[], Iterable[bytes]], float, str]] = {
    "10 GB told": (once(OK + b"Content-Length: 10737418240\r\n\r\n"), 0, TOO_LARGE),
    "10 GB sent": (forever(OK + b"\r\n", b"x" * 65_536), 0, TOO_LARGE),
    "chunks without end": (forever(CHUNKED, b"10000\r\n" + b"x" * 65_536 + b"\r\n"), 0, TOO_LARGE),
    "a byte at a time": (forever(OK + b"Content-Length: 100000\r\n\r\n", b"x"), 0.01, TIMEOUT),
    "a header a time": (forever(OK, b"X-A: b\r\n"), 0.01, TIMEOUT),
    "gzip bomb": (
        once(OK + GZIP + b"Content-Length: %d\r\n\r\n" % len(BOMB) + BOMB), 0, TOO_LARGE),
    "gzip in gzip": (
        once(OK + b"Content-Encoding: gzip, gzip\r\n\r\n" + gzip.compress(BOMB)), 0,
        "bad_response"),
    "10 MB of headers": (once(OK + b"X-A: b\r\n" * 1_300_000 + b"\r\n"), 0, LOST),
    "one header of 10 MB": (once(OK + b"X-A: " + b"b" * 10_000_000 + b"\r\n\r\n"), 0, LOST),
    "a chunk size of letters": (once(CHUNKED + b"zz\r\nabc\r\n"), 0, LOST),
    "a negative chunk size": (once(CHUNKED + b"-5\r\nabc\r\n"), 0, LOST),
    "a huge chunk size": (once(CHUNKED + b"f" * 40 + b"\r\nabc\r\n"), 0, LOST),
    "a chunk that is cut off": (once(CHUNKED + b"5\r\nab"), 0, LOST),
    "a length that lies": (once(OK + b"Content-Length: 10\r\n\r\nabc"), 0, LOST),
    "two lengths": (once(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 0, LOST),
    "a negative length": (once(OK + b"Content-Length: -1\r\n\r\n"), 0, LOST),
    "trailers without end": (forever(CHUNKED + b"0\r\n", b"X-A: b\r\n" * 999), 0, LOST),
    "continue without end": (forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), 0.001, TIMEOUT),
    "events without end": (
        forever(OK + b"Content-Type: text/event-stream\r\n\r\n", b"data: x\n\n"), 0.01, TIMEOUT),
    "events in a flood": (
        forever(OK + b"Content-Type: text/event-stream\r\n\r\n", b"data: x\n\n" * 7000), 0,
        TOO_LARGE),
    "no HTTP": (once(b"SSH-2.0-OpenSSH_9.6\r\n"), 0, LOST),
    "nothing": (once(), 0, LOST),
    "an upgrade": (once(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"), 0, LOST),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_s9_an_answer_is_bounded_in_bytes_and_time(
    name: str, answering: Callable[..., Outcome]
) -> None:
    pieces, pause_s, code = CASES[name]
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    outcome = answering(pieces, pause_s)
    took_s = time.monotonic() - began
    assert isinstance(outcome, Failure), outcome
    assert outcome.error.code == code, outcome
    assert took_s < TIMEOUT_S + 2.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < MOST_KB
    assert len(outcome.error.message) < 2100
