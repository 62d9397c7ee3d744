"""A server on loopback whose paths a test writes, and requests to it as a node sends them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from orchestrator.models.runs.task import Outcome
from tests.unit.handler_calls import LOOPBACK, NOW, call, value_of
from workers.handlers.http import client as http_client

Answer = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A server whose paths are functions, and what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.connections: set[tuple[str, int]] = set()
        self.closing = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self) -> None:
                size = int(self.headers.get("content-length", 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                site.asked.append((self.command, self.path, headers, self.rfile.read(size)))
                site.connections.add(self.client_address)
                try:
                    site.answers[self.path.partition("?")[0]](self)
                except OSError:
                    self.close_connection = True

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        # A client that goes away in the middle is what these tests are about.
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def says(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> None:
        def answer(to: BaseHTTPRequestHandler) -> None:
            to.send_response(status)
            for name, value in headers.items():
                to.send_header(name.replace("_", "-"), value)
            to.send_header("content-length", str(len(body)))
            to.end_headers()
            to.wfile.write(body)

        self.answers[path] = answer

    def reset(self) -> Site:
        self.answers.clear()
        self.asked.clear()
        self.connections.clear()
        return self

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def forget_client() -> None:
    """Let the next request make a client of its own."""
    http_client.transport(LOOPBACK).close()
    http_client._transport.cache_clear()


def send(url: str, *, timeout_s: float = 10.0, now: Any = NOW, **config: Any) -> Outcome:
    return call("http", {"url": url, **config}, timeout_s=timeout_s, now=now)


def body_of(outcome: Outcome) -> Any:
    return value_of(outcome)["body"]
