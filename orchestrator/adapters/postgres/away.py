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


def quiet(error: BaseException | None) -> None:
    """Leave of an error the first line of what the driver says.

    The others quote rows (DETAIL: "Failing row contains ...") and values (LINE 1: ...): a
    password's hash, a token's digest, an address. An error is logged, so they must not be in it.
    """
    if error is not None and error.args:
        error.args = (str(error.args[0]).strip().partition("\n")[0],)


@contextmanager
def driver_guarded() -> Iterator[None]:
    """Turn a driver's error that means "Postgres is away" into StoreUnavailable.

    Every other one comes out as it is, but for the rows and values that it quotes.
    """
    try:
        yield
    except psycopg2.Error as error:
        gone = away(error)
        quiet(error)
        if gone is not None:
            raise gone from error
        raise
