"""Telling "Postgres is away" from "the statement is wrong", by what the driver says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

from orchestrator.errors import StoreUnavailable

#: SQLSTATE classes that say the server, not the statement, is the trouble.
_AWAY = ("08", "53", "57P", "58", "25006", "55P03")
#: What a server undid for the sake of others, or of time: the same again may well do.
_UNDONE = {"40001", "40P01", "57014"}


def away(error: Any) -> StoreUnavailable | None:
    """Return what to raise for an error that passes; None when Postgres is there and means it.

    Its `extra` says `refused` where nobody answers at the door, `undone` where the server is there.
    """
    state = getattr(error, "pgcode", None) or ""
    if state in _UNDONE:
        return StoreUnavailable(f"Postgres: {_first_line(error)}", undone=True)
    disconnected = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    if state.startswith(_AWAY) or (disconnected and not state):
        refused = "refused" in str(error) or "starting up" in str(error) or state == "57P03"
        if 'role "zq_' in str(error) or '"role": "zq_' in str(error):
            return StoreUnavailable(
                "Postgres does not let this process take its role (zq_api, zq_engine): run `zq"
                " migrate` as the user it connects as, or GRANT that user the roles"
            )
        return StoreUnavailable(f"Postgres: {_first_line(error)}", refused=refused)
    return None


def _first_line(error: object) -> str:
    return str(error).strip().partition("\n")[0]


def quiet(error: BaseException | None) -> None:
    """Leave of an error the first line of what the driver says.

    The others quote rows (DETAIL: "Failing row contains ...") and values (LINE 1: ...): a
    password's hash, a token's digest, an address. An error is logged, so they must not be in it.
    """
    if error is not None and error.args:
        error.args = (_first_line(error.args[0]),)


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
