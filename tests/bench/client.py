"""A client of the API that costs little: one connection that is kept, JSON in and out."""

from __future__ import annotations

import http.client
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import orjson


class Client:
    """One keep-alive connection, for one thread."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Return the status and the body of an answer. A connection the server closed is opened
        again, once."""
        data = None if body is None else orjson.dumps(body)
        for again in (True, False):
            try:
                self._connection.request(method, path, body=data, headers=self._headers)
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self._connection.close()
                if not again:
                    raise
        raise AssertionError

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON of a good answer below /api/v1. RuntimeError for a bad one."""
        status, data = self.send(method, f"/api/v1{path}", body)
        if status >= http.client.BAD_REQUEST:
            raise RuntimeError(f"{method} {path}: {status} {data[:500]!r}")
        return orjson.loads(data) if data else None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
