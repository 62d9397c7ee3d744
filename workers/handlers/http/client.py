"""One pool of HTTP connections a process; its sockets obey the deadline of the task at work.

Where it may go is told by the egress rules; `orchestrator.adapters.http.client` holds them. No
proxies or netrc from the environment, no cookies kept, no redirects of its own accord.
"""

from __future__ import annotations

import functools
import os
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import httpcore
import httpx

from orchestrator.adapters.http import client as guarded_http
from orchestrator.models.egress import Egress

CONNECT_S = 10.0
#: What a request has unless its config says otherwise.
HEADERS: Mapping[str, str] = MappingProxyType(
    {"accept": "*/*", "accept-encoding": "gzip, deflate", "user-agent": "zqautonxg"}
)
_LEAST_S = 0.001
_deadline: ContextVar[float] = ContextVar("http_deadline")


def transport(rules: Egress) -> httpx.BaseTransport:
    """Return this process's transport; after a fork the child gets its own, never the sockets.

    A bare one: httpx's client would read `Location` and fail where it cannot be read, keep
    cookies, and write whole URLs to the log, and with them the secrets in their queries.
    """
    return _transport(os.getpid(), rules)


@functools.lru_cache(4)
def _transport(_pid: int, rules: Egress) -> httpx.BaseTransport:
    return guarded_http.transport(
        rules,
        wrap=_Backend,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
    )


@contextmanager
def until(deadline: float) -> Iterator[httpx.Timeout]:
    """Bound all HTTP work of the block by a `time.monotonic()` value.

    Each read and write gets what is then left, so that a server that sends a byte a second is
    cut off in time. Name look-ups alone cannot be interrupted.
    """
    token = _deadline.set(deadline)
    try:
        left = max(deadline - time.monotonic(), _LEAST_S)
        yield httpx.Timeout(left, connect=min(left, CONNECT_S))
    finally:
        _deadline.reset(token)


def _left(timeout: float | None) -> float:
    left = _deadline.get(float("inf")) - time.monotonic()
    return max(min(left, float("inf") if timeout is None else timeout), _LEAST_S)


class _Stream(httpcore.NetworkStream):
    _PIECE = 65_536

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if _left(timeout) <= _LEAST_S:
            raise httpcore.ReadTimeout("the time is over")
        return self._inner.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), self._PIECE):
            if _left(timeout) <= _LEAST_S:
                raise httpcore.WriteTimeout("the time is over")
            self._inner.write(buffer[start : start + self._PIECE], _left(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _left(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._inner.connect_tcp(host, port, _left(timeout), local_address, socket_options)
        return _Stream(stream)
