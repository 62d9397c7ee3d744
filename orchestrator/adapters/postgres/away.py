"""Telling "Postgres is away" from "the statement is wrong", by what the driver says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

from orchestrator.errors import StoreUnavailable

#: SQLSTATE classes that say the server, not the statement, is the trouble.
_AWAY = ("08", "53", "57P", "58", "25006", "55P03")


def away(error: Any) -> StoreUnavailable | None:
    """Return what to raise for a driver's error; None when Postgres is there."""
    state = getattr(error, "pgcode", None) or ""
    disconnected = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    if state.startswith(_AWAY) or (disconnected and not state):
        refused = "refused" in str(error) or "starting up" in str(error) or state == "57P03"
        if 'role "zq_' in str(error) or '"role": "zq_' in str(error):
            return StoreUnavailable(
                "Postgres does not let this process take its role (zq_api, zq_engine): run `zq"
                " migrate` as the user it connects as, or GRANT that user the roles"
            )
        return StoreUnavailable(f"Postgres: {str(error).strip().splitlines()[0]}", refused=refused)
    return None


@contextmanager
def driver_guarded() -> Iterator[None]:
    """Turn a driver's error that means "Postgres is away" into StoreUnavailable."""
    try:
        yield
    except psycopg2.Error as error:
        raise away(error) or error from error
