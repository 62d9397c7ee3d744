"""Both servers as one thing: started together, found by other processes, stopped in order.

One launcher per home, held by a file lock that the kernel drops when the launcher dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from orchestrator.adapters.embedded.binaries import Binaries, find_binaries
from orchestrator.adapters.embedded.postgres import PostgresServer
from orchestrator.adapters.embedded.process import within
from orchestrator.adapters.embedded.redis_server import RedisServer
from orchestrator.errors import EmbeddedUnavailable
from orchestrator.process.private_files import private_folder, write_private

LOCK_FILE = "lock"
ENDPOINTS_FILE = "endpoints.json"
PORTS_FILE = "ports.json"
#: `running` holds the lock for an instant to look; a launcher waits that out.
LOCK_S = 2.0


@dataclass(frozen=True, slots=True)
class Endpoints:
    """How to reach the servers; the URLs carry passwords, so they are not in its `repr`."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)


class EmbeddedServices:
    """The two servers below `home`; use as a context manager, or `start` and `stop`.

    Call `start` in the main thread: only there can Linux tie the servers' life to this process
    (else a killed launcher leaves them running until the next start). Not for use after a fork.
    """

    def __init__(self, home: Path, binaries: Binaries | None = None) -> None:
        self._home = home.absolute()
        self._binaries = binaries
        self._lock: int | None = None
        self._postgres: PostgresServer | None = None
        self._redis: RedisServer | None = None

    def start(self) -> Endpoints:
        """Return the endpoints once both servers answer; raise `EmbeddedUnavailable` if not.

        A home whose servers another process runs is refused: ask `running(home)` first.
        """
        if self._lock is not None:
            raise EmbeddedUnavailable("These embedded services have been started already.")
        binaries = self._binaries or find_binaries()
        private_folder(self._home)
        private_folder(self._home / "log")
        self._lock = self._take_lock()
        try:
            return self._start_both(binaries)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop what was started, Postgres first; safe to call twice."""
        if self._lock is None:
            return
        (self._home / ENDPOINTS_FILE).unlink(missing_ok=True)
        for server in (self._postgres, self._redis):
            if server:
                server.stop()
        self._postgres = self._redis = None
        os.close(self._lock)
        self._lock = None

    def ended(self) -> list[str]:
        """Return the names of servers that have ended by themselves: whoever started them acts."""
        both = (("Postgres", self._postgres), ("Redis", self._redis))
        return [name for name, server in both if server and not server.alive()]

    def restart(self, name: str) -> None:
        """Start a server that has ended again, at its port; raise `EmbeddedUnavailable` if not.

        Main thread only, as for `start`.
        """
        server = self._postgres if name == "Postgres" else self._redis
        if server is None:
            raise EmbeddedUnavailable(f"The embedded {name} server has not been started.")
        had = _read(self._home / PORTS_FILE).get(name.lower())
        port, _ = server.start(had)
        if port != had:
            # Whoever uses it knows the old one.
            server.stop()
            raise EmbeddedUnavailable(f"port {had} of 127.0.0.1 is taken by another program.")

    def __enter__(self) -> Endpoints:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_both(self, binaries: Binaries) -> Endpoints:
        (self._home / ENDPOINTS_FILE).unlink(missing_ok=True)
        ports = _read(self._home / PORTS_FILE)
        self._redis = RedisServer(self._home, binaries.redis_server)
        redis_port, redis_url = self._redis.start(ports.get("redis"))
        self._postgres = PostgresServer(self._home, binaries.postgres_bin)
        postgres_port, database_url = self._postgres.start(ports.get("postgres"))
        chosen = {"postgres": postgres_port, "redis": redis_port}
        if chosen != ports:
            write_private(self._home / PORTS_FILE, json.dumps(chosen))
        endpoints = Endpoints(database_url=database_url, redis_url=redis_url)
        write_private(self._home / ENDPOINTS_FILE, json.dumps(asdict(endpoints)))
        return endpoints

    def _take_lock(self) -> int:
        lock = os.open(self._home / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        for _ in within(LOCK_S):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            os.ftruncate(lock, 0)
            os.write(lock, str(os.getpid()).encode())
            return lock
        holder = os.read(lock, 20).decode() or "unknown"
        os.close(lock)
        raise EmbeddedUnavailable(
            f"The embedded servers of {self._home} are run by another process (pid {holder}). "
            "Use that one, stop it, or set ZQ_HOME to another folder."
        )


def running(home: Path) -> Endpoints | None:
    """Return the endpoints of the servers that a live launcher runs on `home`, else None.

    None too while they are still starting. A leftover file proves nothing: the lock must be held
    and both ports must answer.
    """
    home = home.absolute()
    try:
        lock = os.open(home / LOCK_FILE, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        known = _read(home / ENDPOINTS_FILE)
    else:
        return None
    finally:
        os.close(lock)
    endpoints = Endpoints(**known) if known else None
    return endpoints if endpoints and _answers(endpoints) else None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, PermissionError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _answers(endpoints: Endpoints) -> bool:
    for url in (endpoints.database_url, endpoints.redis_url):
        parts = urlsplit(url)
        try:
            socket.create_connection((parts.hostname or "", parts.port or 0), 2).close()
        except OSError:
            return False
    return True
