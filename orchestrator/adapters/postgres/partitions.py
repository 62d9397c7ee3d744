"""Monthly partitions of the run tables, and the default one that catches what no month covers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from orchestrator.models.ids import lowest_uuid7

#: Partitioned by range of the run's id, one partition a month.
PARTITIONED = {
    "runs": "id",
    "run_counters": "run_id",
    "tasks": "run_id",
    "attempts": "run_id",
    "events": "run_id",
}
#: Storage knobs a partition needs because its rows change several times before they rest.
_STORAGE = {
    "run_counters": "fillfactor = 50",
    "tasks": "fillfactor = 70",
    "runs": "fillfactor = 80",
}


def default_statements() -> Iterator[str]:
    """Yield the DDL of the default partitions: a missed month must never lose a run."""
    for table in PARTITIONED:
        yield f"CREATE TABLE IF NOT EXISTS {table}_default PARTITION OF {table} DEFAULT" + _with(
            table
        )


def month_statements(now: datetime, months_ahead: int = 2) -> Iterator[str]:
    """Yield the DDL of this month's partitions and of the following ones; each is repeatable."""
    year, month = now.astimezone(UTC).year, now.astimezone(UTC).month
    for _ in range(months_ahead + 1):
        low = datetime(year, month, 1, tzinfo=UTC)
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        high = datetime(year, month, 1, tzinfo=UTC)
        for table in PARTITIONED:
            yield (
                f"CREATE TABLE IF NOT EXISTS {table}_{low:%Y_%m} PARTITION OF {table} "
                f"FOR VALUES FROM ('{lowest_uuid7(low)}') TO ('{lowest_uuid7(high)}')"
            ) + _with(table)


def _with(table: str) -> str:
    return f" WITH ({_STORAGE[table]})" if table in _STORAGE else ""
