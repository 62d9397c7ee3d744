"""Runs `invariants.sql` on a connection: every promise as one query that must find nothing."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

_QUERY = re.compile(r"^-- name: (\w+)\n((?:--[^\n]*\n)+)(.*?)(?=^-- name: |\Z)", re.M | re.S)


@cache
def queries() -> dict[str, str]:
    """Return the queries by name."""
    text = Path(__file__).with_name("invariants.sql").read_text()
    return {name: query.strip().removesuffix(";") for name, _, query in _QUERY.findall(text)}


def violations(connection: Any, *, limit: int = 3) -> list[str]:
    """Return `name: rows` for each promise that is broken in this database (a DB-API connection).

    Call it when nothing moves, or in a REPEATABLE READ transaction: else the queries see different
    moments and contradict each other.
    """
    found = []
    with connection.cursor() as cursor:
        for name, query in queries().items():
            cursor.execute(query)
            if rows := cursor.fetchmany(limit):
                found.append(f"{name}: {rows}")
    return found
