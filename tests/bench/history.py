"""W8: W3 with a million finished runs in the database. They are copies of runs that really ran,
under ids and times of the last weeks."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta

import psycopg2

from orchestrator.adapters.postgres.partitions import PARTITIONED, month_statements
from tests.bench.figures import Row, at_least, paired
from tests.bench.installation import Installation
from tests.bench.shapes import Definition, calling, chain, definition, diamond
from tests.bench.turns import Sizes, in_turns

DAYS = 42
#: A tag of six in ten runs.
COMMON_TAG = "common"
#: A trigger on `runs` writes their tags.
_COPIED = {table: key for table, key in PARTITIONED.items() if table != "run_tags"}
#: Runs copied in one transaction.
_SLICE = 100_000
#: A UUIDv7 of a moment: its milliseconds, the version, and random digits.
_ID = """(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
    || substr(md5(random()::text), 1, 3) || '8' || substr(md5(random()::text), 1, 15))::uuid"""


def failing() -> Definition:
    """Return a workflow that says something and fails."""
    node = calling("a", "bench.fail")
    node["data"]["retry"] = {"max_attempts": 1}
    return definition("failing", [node], [])


def templates(engine: Installation) -> list[tuple[str, int]]:
    """Return runs to copy, each with how many of ten copies are of it."""
    found = []
    tagged = (COMMON_TAG,)
    for shape, weight, tags in (
        (diamond(), 5, tagged), (chain(2), 2, ()), (chain(1), 2, ()), (failing(), 1, tagged),
    ):  # fmt: skip
        run_id = engine.begin(engine.save(shape), tags=tags)
        engine.ended([run_id], ends=("succeeded", "failed"))
        found.append((run_id, weight))
    return found


def fill(engine: Installation, count: int) -> float:
    """Put `count` finished runs into the record; return the minutes it took."""
    began = time.monotonic()
    now = datetime.now(UTC)
    models = [run for run, weight in templates(engine) for _ in range(weight)]
    connection = psycopg2.connect(engine.database_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off; SET statement_timeout = 0")
        # From its month on, so that no default partition is asked for what it holds.
        for statement in month_statements(now - timedelta(days=DAYS + 31), 1):
            cursor.execute(statement)
        for statement in month_statements(now - timedelta(days=DAYS), 1):
            cursor.execute(statement)
        cursor.execute("CREATE UNLOGGED TABLE bench_copies (id uuid, model uuid, later interval)")
        columns = {table: _columns(cursor, table) for table in _COPIED}
        for start in range(0, count, _SLICE):
            size = min(_SLICE, count - start)
            cursor.execute("TRUNCATE bench_copies")
            cursor.execute(
                f"INSERT INTO bench_copies SELECT {_ID}, r.id, at - r.created_at FROM ("
                " SELECT n, %s::timestamptz + n * %s::interval AS at,"
                " (%s::uuid[])[1 + n %% %s] AS model"
                " FROM generate_series(%s, %s) n) x JOIN runs r ON r.id = x.model ORDER BY n",
                (
                    now - timedelta(days=DAYS),
                    timedelta(days=DAYS - 1) / count,
                    models, len(models), start, start + size - 1,
                ),
            )  # fmt: skip
            cursor.execute("ANALYZE bench_copies")
            for table, key in _COPIED.items():
                names, values = columns[table]
                cursor.execute(
                    f"INSERT INTO {table} ({names}) SELECT {values}"
                    f" FROM bench_copies b JOIN {table} t ON t.{key} = b.model"
                )
            print(f"filled {start + size:,} of {count:,} runs", file=sys.stderr)
        cursor.execute("DROP TABLE bench_copies")
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
    connection.close()
    return (time.monotonic() - began) / 60


def _columns(cursor: psycopg2.extensions.cursor, table: str) -> tuple[str, str]:
    """Return a table's columns, and what a copy has in them."""
    cursor.execute(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s"
        " AND is_generated = 'NEVER' ORDER BY ordinal_position",
        (table,),
    )
    known: list[tuple[str, str]] = cursor.fetchall()
    values = {name: f"t.{name}" for name, _ in known}
    values |= {n: f"t.{n} + b.later" for n, kind in known if kind.startswith("timestamp")}
    values[_COPIED[table]] = "b.id"
    return ", ".join(values), ", ".join(values.values())


def with_history(filled: Installation, empty: Installation, sizes: Sizes, note: str) -> list[Row]:
    """W8: the same load on both, in turns."""
    full, bare = in_turns(
        sizes.history_pairs,
        lambda: filled.time_many(diamond(), sizes.diamonds),
        lambda: empty.time_many(diamond(), sizes.diamonds),
    )
    nodes = 5 * sizes.diamonds
    rates = [[nodes / s for s in series] for series in (full, bare)]
    what = f"{sizes.diamonds} diamonds with history"
    told = f"in place of raw Celery: this engine without history in the same turns; {note}"
    return [paired("W8", what, "nodes/s", *rates, at_least(0.9, "×"), note=told)]
