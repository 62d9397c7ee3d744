"""How gunicorn runs the application: threads for requests and sockets, and deadlines for clients.

Gunicorn's gthread gives a thread to every connection and every unfinished request, without an end;
`DeadlineThreads` takes it back. Imports nothing of the application before a process serves it: the
one that only starts the others stays small.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address
from selectors import EVENT_READ
from typing import Any, ClassVar
from uuid import uuid4

import orjson
from gunicorn import util
from gunicorn.workers.gthread import ThreadWorker

from orchestrator.process import log_lines
from orchestrator.process.memory_use import leave_to_copies
from orchestrator.settings import Settings
from web.server.client_socket import (
    ClientSocket,
    Connection,
    Crowd,
    Waits,
    make_room,
)

#: A request must have arrived whole within this time, seconds.
REQUEST_S = 25.0
#: A connection without a request is closed after this time, seconds.
IDLE_S = 15
#: How long a client may take to hang up, seconds.
FAREWELL_S = 0.5
#: What a stopping process gives its requests; sockets are closed at once.
GRACE_S = 20
#: For whom has too many connections; nothing of a request is read.
_CROWDED = (
    b"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 5\r\n"
    b"Content-Length: 0\r\n\r\n"
)


class Page:
    """Takes the place of a socket and keeps what gunicorn writes of an error."""

    def __init__(self) -> None:
        self._text = b""

    def gettimeout(self) -> float:
        """Say that it never blocks."""
        return 0.0

    def sendall(self, data: bytes) -> None:
        """Keep some bytes."""
        self._text += data

    def as_problem(self) -> bytes:
        """Return the same answer with a problem as its body."""
        from web.responses.errors import MEDIA_TYPE
        from web.responses.headers import SAFE

        word = self._text.split(b" ", 2)[1:2]
        status = HTTPStatus(int(word[0])) if word else HTTPStatus.BAD_REQUEST
        request_id = uuid4().hex
        body = {
            "type": "about:blank",
            "title": status.phrase,
            "status": status,
            "code": "internal" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "bad_request",
            "detail": "this is no HTTP request that this server can read",
            "request_id": request_id,
            "problems": [],
        }
        data = orjson.dumps(body)
        headers = {
            "Connection": "close", "Content-Type": MEDIA_TYPE, "X-Request-Id": request_id,
            "Cache-Control": "no-store", **SAFE, "Content-Length": str(len(data)),
        }  # fmt: skip
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *map(": ".join, headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + data


class DeadlineThreads(ThreadWorker):  # type: ignore[misc]
    """gthread where a connection has a thread only once it talks, and not for ever."""

    #: Connections of each address; 0: any number. See `options`.
    each: ClassVar[int] = 0
    #: Networks of proxies, whose connections are many people's.
    proxies: ClassVar[tuple[Any, ...]] = ()

    def init_process(self) -> None:
        """Start the process."""
        self._arriving: dict[socket.socket, float] = {}
        self._waits: Waits = {}
        self._crowd = Crowd(self.each, self._is_proxy)
        self._shared: list[Any] = []
        super().init_process()

    def load_wsgi(self) -> None:
        """Load the application, and learn when it has read a request."""
        super().load_wsgi()
        from web.context import Shared
        from web.schemas.strict_json import BODY_READ

        self._body_read = BODY_READ
        self._flask: Any = self.wsgi
        self._shared = [x for x in self._flask.extensions.values() if isinstance(x, Shared)]
        self.wsgi: Any = self._call

    def _call(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        arrived = partial(self._arriving.pop, environ["gunicorn.socket"], None)
        environ[self._body_read] = arrived
        if environ.get("CONTENT_LENGTH", "0") == "0" and "HTTP_TRANSFER_ENCODING" not in environ:
            arrived()

        def start(status: str, *more: Any) -> Any:
            if status.startswith("413"):
                # Its body is not read to the end, so no other request can follow: say so.
                environ["gunicorn.socket"].request.force_close()
            return start_response(status, *more)

        answer: Iterable[bytes] = self._flask(environ, start)
        return answer

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer one request."""
        conn.sock.request = req
        return super().handle_request(req, conn)

    def accept(self, listener: socket.socket) -> None:
        """Take a connection; it gets a thread when its first byte is there."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        host = self._crowd.take(address)
        if host is None:
            with client, suppress(OSError):
                client.send(_CROWDED, socket.MSG_DONTWAIT)
            return
        self.nr_conns += 1
        client = ClientSocket.of(client, self._waits)
        back = partial(self._crowd.give_back, host)
        conn = Connection(self.cfg, client, address, listener.getsockname(), closed=back)
        conn.set_timeout()
        self.pending_conns.append(conn)
        self.poller.register(client, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def handle(self, conn: Any) -> Any:
        """Serve one request of a connection."""
        self._arriving[conn.sock] = time.monotonic()
        conn.sock.next_answer()
        try:
            goes_on = super().handle(conn)
        finally:
            self._arriving.pop(conn.sock, None)
        if not goes_on:
            # Else the main loop would wait for a client that does not hang up, and all with it.
            with suppress(OSError):
                conn.sock.setblocking(True)
            util.close_graceful(conn.sock, timeout=FAREWELL_S)
        return goes_on

    def notify(self) -> None:
        """At least once a second: end requests that have been arriving for too long, and answers
        that nobody reads where their threads are needed."""
        super().notify()
        if self._waits and self.tpool._work_queue.qsize():  # noqa: SLF001 - said nowhere else
            make_room(self._waits)
        late = time.monotonic() - REQUEST_S
        for client, since in list(self._arriving.items()):
            if since < late and self._arriving.pop(client, 0.0):
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RD)

    def _is_proxy(self, host: str) -> bool:
        if not self.proxies:
            return False
        found = ip_address(host)
        return any((getattr(found, "ipv4_mapped", None) or found) in net for net in self.proxies)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer what is no HTTP with a problem as well; gunicorn's own page is HTML."""
        page = Page()
        super().handle_error(req, page, addr, exc)
        with suppress(OSError):
            client.sendall(page.as_problem())

    def handle_exit(self, sig: int, frame: Any) -> None:
        """On SIGTERM, tell sockets and waiting requests to end before the rest is waited for."""
        for shared in self._shared:
            shared.stopping.set()
        super().handle_exit(sig, frame)


def options(settings: Settings) -> dict[str, Any]:
    """Return gunicorn's settings."""
    from web.access import proxies

    web = settings.web
    bounds = {
        "each": settings.limits.connections,
        "proxies": proxies.read(web.trusted_proxies),
    }
    return {
        "bind": f"{web.host}:{web.port}",
        "workers": web.processes,
        "worker_class": type("DeadlineThreads", (DeadlineThreads,), bounds),
        # `sendfile` of the kernel knows no deadline.
        "sendfile": False,
        "threads": web.threads + web.sockets,
        "worker_connections": web.threads + web.sockets + _spare_files(),
        "timeout": 30,
        "graceful_timeout": GRACE_S,
        "keepalive": IDLE_S,
        # Else gunicorn believes whoever calls from this machine; `web.access.proxies` decides.
        "forwarded_allow_ips": "",
        "limit_request_line": 8190,
        "limit_request_fields": 100,
        "limit_request_field_size": 8190,
        "logconfig_dict": log_lines.config(settings.log_level),
        "control_socket_disable": True,
        "proc_name": "zq-web",
        "when_ready": announce,
        "pre_fork": share,
        "child_exit": bury,
    }


def _spare_files() -> int:
    """Return how many idle connections a process may keep, by its limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
        soft = min(hard, 65_536)
    return max(100, min(4000, soft // 2))


def announce(server: Any) -> None:
    """Print the address, which with port 0 nobody knows before."""
    host, port = server.LISTENERS[0].getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"web: http://{shown}:{port}\n")
    sys.stdout.flush()


def share(_server: Any, _worker: Any) -> None:
    """Leave what is imported to both processes."""
    leave_to_copies()


def bury(server: Any, worker: Any) -> None:
    """Take a gone process out of the metrics that sum over the living."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_flask_exporter.multiprocess import GunicornInternalPrometheusMetrics

        GunicornInternalPrometheusMetrics.mark_process_dead_on_child_exit(worker.pid)
