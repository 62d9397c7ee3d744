"""Connections: one engine a process, made lazily, each connection in autocommit, JSON by orjson.

Transactions are either one function call (one implicit transaction) or `begin()` in `store.py`.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg2
import psycopg2.extras
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orchestrator.errors import StoreUnavailable

#: SQLSTATE classes that say the server, not the statement, is the trouble.
_AWAY = ("08", "53", "57P", "58", "25006", "55P03")

_USED_AT = "used_at"
#: Seconds of rest after which a connection is asked whether it still lives.
_RESTED_S = 1.0


def normal_url(url: str) -> str:
    """Return the URL with the driver named: plain `postgresql://` means psycopg 3 to SQLAlchemy."""
    parsed = make_url(url.replace("postgres://", "postgresql://", 1))
    return parsed.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


def dumps(value: Any) -> str:
    """Return compact JSON text; NaN and infinities become null. TypeError for what is no JSON."""
    return orjson.dumps(value).decode()


class Pool:
    """Connections of one process. A forked child gets its own: a shared one corrupts both."""

    def __init__(
        self,
        url: str,
        *,
        size: int = 10,
        statement_timeout_s: float = 30.0,
        connect_timeout_s: int = 5,
    ) -> None:
        self._url = normal_url(url)
        self._size = size
        self._statement_timeout_ms = int(statement_timeout_s * 1000)
        self._connect_timeout_s = connect_timeout_s
        self._engine: Engine | None = None
        self._pid = 0
        self._lock = threading.Lock()

    @property
    def engine(self) -> Engine:
        """The engine of this process."""
        if self._engine is None or self._pid != os.getpid():
            with self._lock:
                if self._engine is not None and self._pid != os.getpid():
                    # Forked: the parent's sockets are not ours to close.
                    self._engine.dispose(close=False)
                    self._engine = None
                if self._engine is None:
                    self._engine, self._pid = self._make(), os.getpid()
        return self._engine

    def _make(self) -> Engine:
        engine = create_engine(
            self._url,
            pool_size=self._size,
            max_overflow=2,
            pool_timeout=10,
            pool_recycle=1800,
            isolation_level="AUTOCOMMIT",
            json_serializer=dumps,
            json_deserializer=orjson.loads,
            connect_args={
                "connect_timeout": self._connect_timeout_s,
                "application_name": "zq",
                "keepalives_idle": 15,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 15_000,
                "options": f"-c statement_timeout={self._statement_timeout_ms} "
                "-c lock_timeout=15000 -c idle_in_transaction_session_timeout=30000 -c jit=off "
                # Planning the statements of a move anew costs twice as much as running them.
                "-c plan_cache_mode=force_generic_plan",
            },
        )
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "checkout", _check)
        event.listen(engine, "checkin", _note_use)
        return engine

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """Lend a psycopg2 cursor in autocommit: each execute is a transaction of its own.

        StoreUnavailable when Postgres is away; the connection is then thrown away.
        """
        with guarded():
            connection = self.engine.raw_connection()
        try:
            with guarded(), contextlib.closing(connection.cursor()) as cursor:
                yield cursor
        except StoreUnavailable:
            connection.invalidate()
            raise
        finally:
            connection.close()

    def close(self) -> None:
        """Close every connection of this process."""
        if self._engine is not None and self._pid == os.getpid():
            self._engine.dispose()
        self._engine = None


def _check(connection: Any, record: Any, _proxy: Any) -> None:
    """Ask a connection that has rested whether it still lives; a busy one need not lose time."""
    if time.monotonic() - record.info.get(_USED_AT, 0.0) < _RESTED_S:
        return
    try:
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.Error as error:
        gone = DisconnectionError()
        # Postgres went away and came back: all that rested with this one are dead as well.
        gone.invalidate_pool = True
        raise gone from error


def _note_use(_connection: Any, record: Any) -> None:
    record.info[_USED_AT] = time.monotonic()


def _prepare(connection: Any, record: Any) -> None:
    _note_use(connection, record)
    psycopg2.extras.register_uuid(conn_or_curs=connection)  # type: ignore[no-untyped-call]
    psycopg2.extras.register_default_jsonb(conn_or_curs=connection, loads=orjson.loads)


@contextmanager
def guarded() -> Iterator[None]:
    """Turn a driver's error that means "Postgres is away" into StoreUnavailable."""
    try:
        yield
    except PoolTimeout as error:
        raise StoreUnavailable("no connection to Postgres became free in time") from error
    except DBAPIError as error:
        raise _away(error.orig) or error from error
    except psycopg2.Error as error:
        raise _away(error) or error from error


def _away(error: Any) -> StoreUnavailable | None:
    state = getattr(error, "pgcode", None) or ""
    disconnected = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    if state.startswith(_AWAY) or (disconnected and not state):
        refused = "refused" in str(error) or "starting up" in str(error) or state == "57P03"
        return StoreUnavailable(f"Postgres: {str(error).strip().splitlines()[0]}", refused=refused)
    return None
