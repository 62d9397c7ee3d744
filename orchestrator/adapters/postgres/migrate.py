"""Bring a database to this release's schema, under an advisory lock so that ten may try at once."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from orchestrator.adapters.postgres.connections.pool import normal_url
from orchestrator.adapters.postgres.partitions import make_months
from orchestrator.errors import StoreUnavailable

#: Any constant that no other program takes in this database.
_LOCK = 0x5A51_0001


def scripts() -> Config:
    """Return Alembic's configuration: the folder `migrations/` beside the packages."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[3] / "migrations"))
    return config


def head() -> str:
    """Return the newest revision this release knows."""
    revision = ScriptDirectory.from_config(scripts()).get_current_head()
    return revision or ""


def migrate(url: str, *, wait_s: float = 30.0) -> tuple[str | None, str]:
    """Run every missing revision, and make the coming months' partitions; return (revision before,
    revision after).

    Waits up to `wait_s` for a server that is still starting; StoreUnavailable after that.
    """
    engine = create_engine(normal_url(url), poolclass=NullPool)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            with engine.connect() as connection:
                return _under_lock(connection)
        except OperationalError as error:
            if time.monotonic() > deadline:
                detail = str(error.orig).strip().splitlines()[0]
                raise StoreUnavailable(f"Postgres: {detail}") from error
            time.sleep(0.2)


def _under_lock(connection: Connection) -> tuple[str | None, str]:
    connection.execute(text("SELECT pg_advisory_lock(:k)"), {"k": _LOCK})
    connection.commit()
    try:
        before = MigrationContext.configure(connection).get_current_revision()
        connection.commit()
        if before != head():
            connection.execute(text("SET lock_timeout = '10s'"))
            connection.commit()
            config = scripts()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
        _make_months(connection)
        return before, head()
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:k)"), {"k": _LOCK})
        connection.commit()


def _make_months(connection: Connection) -> None:
    connection.rollback()
    driver: Any = connection.connection.driver_connection
    driver.autocommit = True
    try:
        with driver.cursor() as cursor:
            make_months(cursor, datetime.now(UTC))
    finally:
        driver.autocommit = False
