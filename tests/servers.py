"""The servers behind services that are tested without workers: a record, and a Redis."""

from __future__ import annotations

from itertools import count
from typing import Any

import psycopg2
import psycopg2.extras
import redis
from sqlalchemy.engine import make_url

from orchestrator.adapters.postgres.access.tables import metadata
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.settings import Redis

_NUMBERS = count(1)
_TABLES = [
    t.name for t in reversed(metadata.sorted_tables) if t.name not in {"tenants", "alembic_version"}
]
#: Deletes every row but the first tenant.
EMPTY = "; ".join(
    (*(f"DELETE FROM {t}" for t in _TABLES), f"DELETE FROM tenants WHERE id <> '{DEFAULT_TENANT}'")
)


class Servers:
    """One database and one Redis. Commits do not wait for the disk: no test here crashes."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        #: The settings of a Redis with nothing in it: its keys have a prefix of their own.
        self.redis = Redis(url=redis_url, prefix=f"zq{next(_NUMBERS)}:")
        self.client = redis.Redis.from_url(redis_url)
        self._connection = psycopg2.connect(database_url)
        self._connection.autocommit = True
        psycopg2.extras.register_uuid(conn_or_curs=self._connection)
        self.run(f"ALTER DATABASE {make_url(database_url).database} SET synchronous_commit = off")
        self.store = PostgresStore(database_url)

    def run(self, statement: str, *values: Any) -> Any:
        """Run SQL by the side entrance; return its rows, if there are any."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else None

    def empty(self) -> None:
        """Delete every key, and every row but the first tenant (a millisecond or two)."""
        if keys := self.key_names():
            self.client.delete(*keys)
        self.run(EMPTY)

    def rows(self) -> str:
        """Return everything that is stored, as text."""
        return "\n".join(row for t in _TABLES for (row,) in self.run(f"SELECT t::text FROM {t} t"))

    def key_names(self) -> list[str]:
        """Return the names of all keys in Redis."""
        return [key.decode() for key in self.client.scan_iter(f"{self.redis.prefix}*")]

    def close(self) -> None:
        """Give the connections back."""
        self.client.close()
        self._connection.close()
        self.store.close()
