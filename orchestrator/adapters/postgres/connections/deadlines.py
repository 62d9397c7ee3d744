"""An end, on our side, to every wait for an answer of Postgres.

The server's own timeouts need a server that lives, and those of TCP see nothing wrong while
somebody takes what is sent: a proxy, the kernel of a frozen process. So a thread looks who has
waited for too long, and breaks that connection; whoever waits then gets the driver's error.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import psycopg2
from psycopg2.extensions import connection, cursor

log = logging.getLogger(__name__)

#: Seconds between two looks, while anybody waits.
_LOOK_EVERY_S = 0.25
#: Seconds without an answer after which it is asked whether the server answers anybody, and what it
#: is given to do so.
DOUBT_S, PROBE_S = 1.5, 2


class BoundedCursor(cursor):
    """A cursor whose statements are waited for under the deadlines of its connection."""

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002
        """See psycopg2."""
        held: Any = self.connection
        held.ask()
        try:
            super().execute(query, vars)
        finally:
            held.asked_at = None

    def executemany(self, query: Any, vars_list: Any) -> None:
        """See psycopg2; all of it is one wait."""
        held: Any = self.connection
        held.ask()
        try:
            super().executemany(query, vars_list)
        finally:
            held.asked_at = None


class BoundedConnection(connection):
    """A connection that notes since when it waits for an answer."""

    #: When the statement was sent that has no answer yet.
    asked_at: float | None = None
    deadlines: Deadlines | None = None
    #: Its socket once more: libpq's own belongs to the thread that waits on it.
    _plug: socket.socket | None = None

    def bind(self, deadlines: Deadlines) -> None:
        """Put it under these deadlines."""
        self._plug = plug = socket.socket(fileno=os.dup(self.fileno()))
        weakref.finalize(self, plug.close)
        self.deadlines = deadlines

    def ask(self) -> None:
        """Begin to wait."""
        self.asked_at = time.monotonic()
        if self.deadlines is not None and self.deadlines.asleep:
            self.deadlines.wake()

    def commit(self) -> None:
        """See psycopg2."""
        self.ask()
        try:
            super().commit()
        finally:
            self.asked_at = None

    def rollback(self) -> None:
        """See psycopg2."""
        self.ask()
        try:
            super().rollback()
        finally:
            self.asked_at = None

    def cut(self) -> None:
        """Break it: who waits for an answer gets an error. From any thread."""
        with contextlib.suppress(OSError):
            if self._plug is not None:
                self._plug.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """See psycopg2."""
        super().close()
        if self._plug is not None:
            self._plug.close()


class Deadlines:
    """Watches over the connections of one process, from a thread that rests while nobody waits.

    A statement may take `answer_s`. With `probe`, which returns whether the server answers a
    newcomer, one that has waited for `DOUBT_S` is broken as soon as a probe is not answered either.
    """

    def __init__(self, answer_s: float, probe: Callable[[], bool] | None = None) -> None:
        self._answer_s = answer_s
        self._probe = probe
        self._connections: weakref.WeakSet[BoundedConnection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._thread: threading.Thread | None = None
        #: Whether it must be woken by whoever begins to wait.
        self.asleep = True

    def add(self, held: BoundedConnection) -> None:
        """Watch over a connection."""
        held.bind(self)
        with self._lock:
            self._connections.add(held)

    def wake(self) -> None:
        """Look after those who wait."""
        self.asleep = False
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="zq-pg", daemon=True)
                    self._thread.start()
        self._awake.set()

    def _run(self) -> None:
        while True:
            self._awake.wait()
            self._awake.clear()
            time.sleep(_LOOK_EVERY_S)
            while self._look():
                time.sleep(_LOOK_EVERY_S)
            self.asleep = True
            if self._waiting():
                # It began before it could see that it has to wake us.
                self.wake()

    def _waiting(self) -> list[tuple[BoundedConnection, float]]:
        with self._lock:
            held = list(self._connections)
        return [(each, at) for each in held if (at := each.asked_at) is not None]

    def _look(self) -> bool:
        """Break who has waited for too long; return whether anybody waits."""
        waiting, now = self._waiting(), time.monotonic()
        late = [(each, at) for each, at in waiting if now - at > self._answer_s]
        doubtful = [(each, at) for each, at in waiting if now - at > DOUBT_S]
        if self._probe is not None and len(late) < len(doubtful) and not self._probe():
            late = doubtful
        for each, at in late:
            if each.asked_at == at:
                log.warning("Postgres has not answered for %.1f s", time.monotonic() - at)
                each.cut()
        return bool(waiting)


def answers(url: str) -> bool:
    """Return whether the server has a word for a newcomer, be it a refusal, within `PROBE_S`."""
    began = time.monotonic()
    try:
        psycopg2.connect(url, connect_timeout=PROBE_S, application_name="zq probe").close()
    except psycopg2.Error:
        return time.monotonic() - began < PROBE_S - 0.1
    return True
