"""One connection to Postgres for a process that asks every few seconds: a supervisor.

Without SQLAlchemy, which takes more memory than all the rest of such a process.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg2
import psycopg2.extras

from orchestrator.adapters.postgres.connections.unavailable import driver_guarded


class SingleConnection:
    """Lends cursors as `Pool` does, one at a time; after an error the next one connects anew.

    A server that says nothing is given `answer_s` to take what was sent to it, and the connection
    is then broken. One that takes it and does not answer keeps its caller: see `cut`.
    """

    def __init__(
        self, url: str, *, statement_timeout_s: float, connect_timeout_s: int, answer_s: float
    ) -> None:
        self._url = url.replace("postgresql+psycopg2://", "postgresql://", 1)
        self._options = f"-c role=zq_engine -c statement_timeout={int(statement_timeout_s * 1000)}"
        self._connect_timeout_s = min(connect_timeout_s, max(1, int(answer_s)))
        self._answer_ms = max(1, int(answer_s * 1000))
        self._connection: Any = None
        self._lock = threading.Lock()
        #: The connection's socket once more: libpq's own belongs to the thread that waits on it.
        self._plug: socket.socket | None = None
        self._plug_lock = threading.Lock()

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """Lend a cursor in autocommit. StoreUnavailable when Postgres is away."""
        with self._lock, driver_guarded():
            try:
                with contextlib.closing(self._open().cursor()) as cursor:
                    yield cursor
            except psycopg2.Error:
                self._drop()
                raise

    def _open(self) -> Any:
        if self._connection is None:
            made = psycopg2.connect(
                self._url,
                connect_timeout=self._connect_timeout_s,
                application_name="zq supervisor",
                options=self._options,
                keepalives_idle=15,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=self._answer_ms,
            )
            made.autocommit = True
            psycopg2.extras.register_uuid(conn_or_curs=made)  # type: ignore[no-untyped-call]
            psycopg2.extras.register_default_jsonb(conn_or_curs=made, loads=orjson.loads)
            self._connection = made
            with self._plug_lock:
                self._plug = socket.socket(fileno=os.dup(made.fileno()))
        return self._connection

    def cut(self) -> None:
        """Break the connection: who waits for an answer gets StoreUnavailable. From any thread."""
        with self._plug_lock, contextlib.suppress(OSError):
            if self._plug is not None:
                self._plug.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection, if there is one; one that is in use is cut."""
        self.cut()
        if self._lock.acquire(timeout=1.0):
            try:
                self._drop()
            finally:
                self._lock.release()

    def _drop(self) -> None:
        with self._plug_lock:
            if self._plug is not None:
                self._plug.close()
                self._plug = None
        if self._connection is not None:
            with contextlib.suppress(psycopg2.Error):
                self._connection.close()
            self._connection = None
