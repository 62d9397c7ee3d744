"""The Postgres and the Redis that all share: embedded and temporary, or named by ZQ_TEST_*_URL.

Commits are flushed to disk. What is changed on the server for one measurement is changed back.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import redis

from orchestrator.adapters.embedded import EmbeddedServices
from orchestrator.adapters.postgres.migrate import migrate
from tests.conftest import Databases
from tests.waiting import wait_for

#: Redis databases: the installations share one, raw Celery has its own two.
OURS, RAW = 0, 8
_COMMITS = 40


class Servers:
    """Both servers, and the databases made on them; all is gone after `close`."""

    def __init__(self, *, preload: str = "") -> None:
        self.home = Path(tempfile.mkdtemp(prefix="zq-bench-"))
        self.home.chmod(0o700)
        # Asked to end, it still stops what it has started.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))
        self._embedded: EmbeddedServices | None = None
        database, redis_ = (os.environ.get(f"ZQ_TEST_{x}_URL", "") for x in ("DATABASE", "REDIS"))
        self._own_postgres = not database
        if not (database and redis_):
            self._embedded = EmbeddedServices(self.home / "servers")
            found = self._embedded.start()
            if preload and not database:
                _run(found.database_url, f"ALTER SYSTEM SET shared_preload_libraries = {preload}")
                self._embedded.stop()
                found = self._embedded.start()
            database, redis_ = database or found.database_url, redis_ or found.redis_url
        self.database_url = database
        self._redis = redis_
        self._databases = Databases(database)

    @property
    def log(self) -> Path | None:
        """The log of Postgres, where it is ours to read."""
        return self.home / "servers" / "log" / "postgres.log" if self._own_postgres else None

    def redis_url(self, number: int) -> str:
        """Return the address of a database of Redis."""
        server, _, last = self._redis.rpartition("/")
        return f"{server if last.isdigit() else self._redis}/{number}"

    def redis(self, number: int) -> redis.Redis:
        """Return a client of a database of Redis."""
        return redis.Redis.from_url(self.redis_url(number))

    def database(self) -> str:
        """Return the address of a new database with the newest schema."""
        url = self._databases.empty()
        migrate(url)
        return url

    @contextmanager
    def tuned(self, **values: str | int) -> Iterator[None]:
        """Change settings of the server for as long as the block lasts."""
        try:
            for name, value in values.items():
                _run(self.database_url, f"ALTER SYSTEM SET {name} = '{value}'")
            self._reload(values)
            yield
        finally:
            for name in values:
                _run(self.database_url, f"ALTER SYSTEM RESET {name}")
            self._reload({})

    def _reload(self, wanted: dict[str, str | int]) -> None:
        _run(self.database_url, "SELECT pg_reload_conf()")
        for name, value in wanted.items():
            wait_for(
                lambda name=name, value=value: (
                    _run(
                        self.database_url, f"SELECT setting FROM pg_settings WHERE name = '{name}'"
                    )
                    == [(str(value),)]
                ),
                what=f"{name} = {value}",
            )

    def commit_ms(self) -> list[float]:
        """Return how long small commits take here, milliseconds each."""
        connection = psycopg2.connect(self.database_url)
        connection.autocommit = True
        taken = []
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS bench_commits (n int)")
            cursor.execute("TRUNCATE bench_commits")
            for n in range(_COMMITS):
                began = time.perf_counter()
                cursor.execute("INSERT INTO bench_commits VALUES (%s)", (n,))
                taken.append((time.perf_counter() - began) * 1000)
        connection.close()
        return taken

    def show(self, name: str) -> str:
        """Return a setting of Postgres."""
        return str(_run(self.database_url, f"SHOW {name}")[0][0])

    def close(self) -> None:
        """Drop the databases, stop what was started, and remove its files."""
        self._databases.drop_all()
        if self._embedded is not None:
            self._embedded.stop()
            link = self.home / "servers" / "postgres"
            if link.is_symlink():
                # Root without user namespaces keeps Postgres outside, behind a link.
                shutil.rmtree(link.resolve().parent, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)


def _run(url: str, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
