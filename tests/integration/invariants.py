"""Runs `invariants.sql` on a connection: every promise as one query that must find nothing."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

_QUERY = re.compile(r"(?ms)^-- name: (\w+)\n((?:--[^\n]*\n)+)(.*?)(?=^-- name: |\Z)")


@cache
def queries() -> dict[str, str]:
    """Return the queries by name."""
    text = Path(__file__).with_name("invariants.sql").read_text()
    return {name: query.strip().removesuffix(";") for name, _, query in _QUERY.findall(text)}


def prepare(connection: Any) -> None:
    """Let this connection plan every query once: a test that asks after each step asks often."""
    with connection.cursor() as cursor:
        cursor.execute("SET plan_cache_mode = force_generic_plan")
        for name, query in queries().items():
            cursor.execute(f"PREPARE invariant_{name} AS {query}")


def violations(connection: Any, *, limit: int = 3, prepared: bool = False) -> list[str]:
    """Return `name: rows` for each promise that is broken in this database (a DB-API connection).

    Call it when nothing moves, or in a REPEATABLE READ transaction: else the queries see different
    moments and contradict each other.
    """
    found = []
    with connection.cursor() as cursor:
        for name, query in queries().items():
            cursor.execute(f"EXECUTE invariant_{name}" if prepared else query)
            if rows := cursor.fetchmany(limit):
                found.append(f"{name}: {rows}")
    return found
