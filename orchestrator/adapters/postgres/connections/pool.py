"""Connections: one engine a process, made lazily, each connection in autocommit, JSON by orjson.

Transactions are either one function call (one implicit transaction) or `begin()`. Every connection
works in the role that the process was built for: what that may see is in `row_security.py`.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import orjson
import psycopg2
import psycopg2.extras
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orchestrator.adapters.postgres.connections.deadlines import Deadlines, answers
from orchestrator.adapters.postgres.connections.row_security import Role, connecting, of_access
from orchestrator.adapters.postgres.connections.unavailable import away, driver_guarded, quiet
from orchestrator.errors import StoreUnavailable
from orchestrator.ports.acting import Acting, acting

_USED_AT = "used_at"
#: Seconds that a statement's answer may take beyond the server's own timeout.
_GRACE_S = 5.0
#: Seconds that a request waits for a connection at most.
_SOON_S = 4
#: Seconds of rest after which a connection is asked whether it still lives.
_RESTED_S = 1.0


def normal_url(url: str) -> str:
    """Return the URL with the driver named: plain `postgresql://` means psycopg 3 to SQLAlchemy."""
    parsed = make_url(url.replace("postgres://", "postgresql://", 1))
    return parsed.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


def plain_url(url: str) -> str:
    """Return the URL as the driver itself takes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


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
        role: Role | str = Role.ENGINE,
        small_moves: bool = True,
        kept_plans: bool = True,
        keep: bool = False,
        before_commit: Callable[[Connection, Acting | None], None] | None = None,
    ) -> None:
        self._url = normal_url(url)
        self.role = Role(role)
        self._before_commit = before_commit
        self._size = size
        self._small_moves = small_moves
        self._kept_plans = kept_plans
        self._keep = keep
        #: The connection that the main thread keeps between its statements, and its process.
        self._kept: tuple[Any, int] | None = None
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
        # A statement that the server ends has its answer before ours is over.
        answer_s = self._statement_timeout_ms / 1000 + _GRACE_S
        # A request must hear soon that Postgres is frozen; who works or keeps up has time.
        soon = self.role is Role.API
        deadlines = Deadlines(answer_s, partial(answers, plain_url(self._url)) if soon else None)
        connect_s = self._connect_timeout_s
        engine = create_engine(
            self._url,
            pool_size=self._size,
            max_overflow=2,
            pool_timeout=10,
            # The one that was used last has its plans at hand; the others may rest.
            pool_use_lifo=True,
            pool_recycle=1800,
            isolation_level="AUTOCOMMIT",
            # An error is logged with its statement, and never with what was to be stored.
            hide_parameters=True,
            json_serializer=dumps,
            json_deserializer=orjson.loads,
            connect_args={
                "connect_timeout": min(connect_s, _SOON_S) if soon else connect_s,
                "application_name": "zq",
                "keepalives_idle": 15,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 15_000,
                **connecting(self.role),
                # Given at the start, it is also what RESET ROLE and RESET ALL go back to.
                "options": f"-c role={self.role} "
                f"-c statement_timeout={self._statement_timeout_ms} "
                "-c lock_timeout=15000 -c idle_in_transaction_session_timeout=30000 -c jit=off"
                # Planning the statements of a move anew costs twice as much as running them.
                f" -c plan_cache_mode=force_{'generic' if self._kept_plans else 'custom'}_plan"
                # Read by zq_settle_v2; off only to compare.
                + ("" if self._small_moves else " -c zq.small_moves=off"),
            },
        )
        event.listen(engine, "connect", lambda held, _: deadlines.add(held))
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "checkout", _check)
        event.listen(engine, "checkin", _note_use)
        return engine

    @contextmanager
    def cursor(self, *, as_access: bool = False) -> Iterator[Any]:
        """Lend a psycopg2 cursor in autocommit: each execute is a transaction of its own.

        With `as_access`, see there. StoreUnavailable when Postgres is away; the connection is then
        thrown away.
        """
        with guarded():
            connection, kept = self._lend()
        try:
            with (
                guarded(),
                of_access(connection.driver_connection, wanted=as_access),
                contextlib.closing(connection.cursor()) as cursor,
            ):
                yield cursor
        except StoreUnavailable:
            connection.invalidate()
            self._kept = None if kept else self._kept
            kept = False
            raise
        finally:
            if kept:
                _note_use(None, connection)
            else:
                connection.close()

    def _lend(self) -> tuple[Any, bool]:
        """Return a connection, and whether it is the one that is kept.

        A worker's child says one statement after another: to give its connection back and take it
        out again each time costs it more than the server's answer to a small one.
        """
        engine = self.engine
        if not self._keep or threading.current_thread() is not threading.main_thread():
            return engine.raw_connection(), False
        if self._kept is not None and self._kept[1] == os.getpid():
            connection = self._kept[0]
            try:
                _check(connection.driver_connection, connection, None)
            except DisconnectionError:
                # Forgotten first: there may be no other one to be had.
                self._kept = None
                connection.invalidate()
                connection.close()
            else:
                return connection, True
        self._kept = engine.raw_connection(), os.getpid()
        return self._kept[0], True

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a transaction: it commits on a clean exit and rolls back on an error.

        In the role `zq_api` it sees the rows of whoever acts (`ports.acting`), and no others. What
        an acting request writes here is recorded in the audit log right before the commit: that
        locks the tenant's head, so it comes after every other lock. StoreUnavailable when Postgres
        is away.
        """
        with self._transaction(as_access=False) as connection:
            yield connection

    @contextmanager
    def as_access(self) -> Iterator[Connection]:
        """Open a transaction over every tenant's users, credentials, roles, grants, quotas, audit.

        For the steps before a credential has told the tenant, and for the installation's own; in
        the role `zq_api` all other tables are out of reach until it ends. Otherwise like `begin`.
        """
        with self._transaction(as_access=True) as connection:
            yield connection

    @contextmanager
    def _transaction(self, *, as_access: bool) -> Iterator[Connection]:
        engine = self.engine.execution_options(isolation_level="READ COMMITTED")
        with (
            guarded(),
            engine.connect() as connection,
            of_access(connection.connection.driver_connection, wanted=as_access),
            connection.begin(),
        ):
            one = acting()
            if one is not None:
                one.changes.clear()
            yield connection
            if self._before_commit is not None:
                self._before_commit(connection, one)

    def close(self) -> None:
        """Close every connection of this process."""
        if self._kept is not None and self._kept[1] == os.getpid():
            self._kept[0].close()
        self._kept = None
        if self._engine is not None and self._pid == os.getpid():
            self._engine.dispose()
        self._engine = None


def _check(connection: Any, record: Any, _proxy: Any) -> None:
    """Ask a connection whether it still lives that has rested and has something to read.

    A server that went away has said so by then; asking every one would cost a round trip.
    """
    if time.monotonic() - record.info.get(_USED_AT, 0.0) < _RESTED_S:
        return
    look = select.poll()
    look.register(connection.fileno(), select.POLLIN)
    if not look.poll(0):
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
    """Do what `driver_guarded` does for SQLAlchemy's errors too."""
    try:
        with driver_guarded():
            yield
    except PoolTimeout as error:
        raise StoreUnavailable("no connection to Postgres became free in time") from error
    except DBAPIError as error:
        gone = away(error.orig)
        quiet(error.orig)
        quiet(error)
        if gone is not None:
            raise gone from error
        raise
