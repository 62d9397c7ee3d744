"""Monthly partitions of the run tables, and the default one that catches what no month covers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg2
import psycopg2.errors

from orchestrator.errors import SettingsError
from orchestrator.models.ids import lowest_uuid7

log = logging.getLogger(__name__)

#: Advisory lock of who makes partitions.
_LOCK = 0x5A51_0002
#: Partitioned by range of the run's id, one partition a month.
PARTITIONED = {
    "runs": "id",
    "run_counters": "run_id",
    "tasks": "run_id",
    "attempts": "run_id",
    "events": "run_id",
    "run_tags": "run_id",
}
#: Storage knobs a partition needs because its rows change several times before they rest.
_STORAGE = {
    "run_counters": "fillfactor = 50",
    "tasks": "fillfactor = 70",
    "runs": "fillfactor = 80",
}


def default_statements(tables: Iterable[str] = PARTITIONED) -> Iterator[str]:
    """Yield the DDL of the default partitions: a missed month must never lose a run."""
    for table in tables:
        yield f"CREATE TABLE IF NOT EXISTS {table}_default PARTITION OF {table} DEFAULT" + _with(
            table
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Month:
    """One month's partition of one table."""

    table: str
    name: str
    low: UUID
    high: UUID

    @property
    def bounds(self) -> str:
        """What it holds."""
        return f"FOR VALUES FROM ('{self.low}') TO ('{self.high}')"


def _months(now: datetime, ahead: int, tables: Iterable[str] = PARTITIONED) -> Iterator[_Month]:
    year, month = now.astimezone(UTC).year, now.astimezone(UTC).month
    for _ in range(ahead + 1):
        low = datetime(year, month, 1, tzinfo=UTC)
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        high = datetime(year, month, 1, tzinfo=UTC)
        for table in tables:
            yield _Month(
                table=table,
                name=f"{table}_{low:%Y_%m}",
                low=lowest_uuid7(low),
                high=lowest_uuid7(high),
            )


def month_statements(
    now: datetime, months_ahead: int = 2, *, tables: Iterable[str] = PARTITIONED
) -> Iterator[str]:
    """Yield the DDL of this month's partitions and of the following ones; each is repeatable."""
    for one in _months(now, months_ahead, tables):
        yield _making(one)


def make_months(cursor: Any, now: datetime, months_ahead: int = 2) -> None:
    """Make what is missing of this month's partitions and of the following ones.

    The cursor's connection commits each statement by itself. Only the owner of the tables may:
    SettingsError for others, while something is missing. One process at a time; the others leave.
    """
    months = list(_months(now, months_ahead))
    cursor.execute(
        "SELECT x FROM unnest(%s::text[]) AS x WHERE to_regclass(x) IS NULL",
        ([one.name for one in months],),
    )
    missing = {name for (name,) in cursor.fetchall()}
    if not missing:
        return
    cursor.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,))
    if not cursor.fetchone()[0]:
        return
    try:
        for one in months:
            if one.name in missing:
                _make(cursor, one)
    except psycopg2.errors.InsufficientPrivilege as error:
        raise SettingsError(
            "only the owner of the tables can make the coming months' partitions: run `zq migrate`"
            " as that user, once a month, or let the scheduler connect as that user"
        ) from error
    finally:
        cursor.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


def _make(cursor: Any, one: _Month) -> None:
    # In one transaction each; after it the process is in its own role again.
    try:
        cursor.execute(f"SET LOCAL ROLE NONE; {_making(one)}")
    except psycopg2.errors.CheckViolation:
        # Runs of that month are in the default partition: nobody had made theirs in time.
        log.warning("%s: rows of its month move over from %s_default", one.name, one.table)
        cursor.execute(f"SET LOCAL ROLE NONE; {_moving(one)}")


def _making(one: _Month) -> str:
    made = f"CREATE TABLE IF NOT EXISTS {one.name} PARTITION OF {one.table} {one.bounds}"
    return made + _with(one.table)


def _moving(one: _Month) -> str:
    """Return what makes a partition of rows that are in the default one. Who wants those waits."""
    key, default = PARTITIONED[one.table], f"{one.table}_default"
    # Every name is of this module, every value a UUID.
    return (
        f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE;"  # noqa: S608
        f" CREATE TABLE {one.name} (LIKE {one.table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
        f"{_with(one.table)};"
        f" WITH moved AS (DELETE FROM {default} WHERE {key} >= '{one.low}' AND {key} < '{one.high}'"
        f" RETURNING *) INSERT INTO {one.name} SELECT * FROM moved;"
        f" ALTER TABLE {one.table} ATTACH PARTITION {one.name} {one.bounds}"
    )


def _with(table: str) -> str:
    return f" WITH ({_STORAGE[table]})" if table in _STORAGE else ""
