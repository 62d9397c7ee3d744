"""The end of a connection that the server holds: sending has a deadline, an address its share.

A blocking `sendall` ends when the client has read all, which may be never. Here a client has
credit, the seconds that a thread waits for it. What it reads adds to the credit, so a slow one is
served to the end, and one that reads a byte now and then is not (CWE-400, slow read).
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, MutableMapping
from ipaddress import ip_address
from typing import Any, Self

from gunicorn.workers.gthread import TConn

#: How long a thread waits for a client that reads nothing, seconds.
CREDIT_S = 10.0
#: What a client must read, bytes a second, for its credit to last.
LEAST_RATE = 20_000
#: Where no thread is free, a client that has read nothing for this long makes room, seconds.
PRESSED_S = 1.0
#: How many times as many connections this machine's own address may have: behind a proxy that is
#: not declared, everybody has it.
LOOPBACK_FACTOR = 10

Waits = MutableMapping["ClientSocket", float]


class ClientSocket(socket.socket):
    """A client's connection. `sendall` differs: ConnectionResetError when credit is used up."""

    #: gunicorn's request at hand.
    request: Any
    _credit_s: float
    _waits: Waits

    @classmethod
    def of(cls, sock: socket.socket, waits: Waits) -> Self:
        """Take a socket over. `waits` holds who is waited for, and since when (monotonic)."""
        client = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        client._credit_s = CREDIT_S
        client._waits = waits
        return client

    def next_answer(self) -> None:
        """Begin another answer: credit is not saved up for it."""
        self._credit_s = min(self._credit_s, CREDIT_S)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send all of it while there is credit."""
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                try:
                    count = self.send(view[sent:], flags | socket.MSG_DONTWAIT)
                except BlockingIOError:
                    self._wait()
                    continue
                sent += count
                self._credit_s += count / LEAST_RATE

    def _wait(self) -> None:
        began = time.monotonic()
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        self._waits[self] = began
        try:
            ready = self._credit_s > 0 and poll.poll(self._credit_s * 1000)
        finally:
            self._waits.pop(self, None)
        self._credit_s -= time.monotonic() - began
        if not ready:
            raise ConnectionResetError(errno.ECONNRESET, "the client does not read its answer")


def make_room(waits: Waits) -> None:
    """End the connections of clients that have not read for PRESSED_S: their threads are needed."""
    late = time.monotonic() - PRESSED_S
    for client, since in list(waits.items()):
        if since < late:
            with_nobody(client)


def with_nobody(client: socket.socket) -> None:
    """End both directions, whoever waits for either."""
    try:
        client.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class Crowd:
    """How many connections each address has. Main thread only.

    `each` bounds them, 0 does not; those that `free` names, the proxies, are not counted.
    """

    def __init__(self, each: int, free: Callable[[str], bool]) -> None:
        self._each = each
        self._free = free
        self._counts: Counter[str] = Counter()

    def take(self, address: Any) -> str | None:
        """Count a connection; return whom to give back, or None when the address has its share.

        An address is what `accept` tells: a tuple that begins with the host.
        """
        host = str(address[0]) if isinstance(address, tuple) and address else ""
        if not self._each or self._free(host):
            return ""
        factor = LOOPBACK_FACTOR if _is_loopback(host) else 1
        if self._counts[host] >= self._each * factor:
            return None
        self._counts[host] += 1
        return host

    def give_back(self, host: str) -> None:
        """Forget a connection."""
        if self._counts[host] > 1:
            self._counts[host] -= 1
        else:
            self._counts.pop(host, None)


class Connection(TConn):  # type: ignore[misc]
    """gunicorn's connection, which tells when it is closed."""

    def __init__(self, *words: Any, closed: Callable[[], None]) -> None:
        super().__init__(*words)
        self._closed: Callable[[], None] | None = closed

    def close(self, graceful: bool = False) -> None:
        """Close it; any number of times."""
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()
        super().close(graceful)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return True
