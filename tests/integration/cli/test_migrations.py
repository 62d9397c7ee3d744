"""The revisions build what the tables say, once, whoever else is trying."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg2
import psycopg2.extras
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, create_engine, text
from sqlalchemy.pool import NullPool

from orchestrator.adapters.postgres.access.tables import metadata
from orchestrator.adapters.postgres.connections.pool import normal_url
from orchestrator.adapters.postgres.migrate import head, migrate, scripts
from orchestrator.adapters.postgres.partitions import PARTITIONED
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.models.ids import lowest_uuid7
from tests.contract.player import Player
from tests.factories import chain, new_id, new_run, store_workflow

EmptyDatabase = Callable[[], str]


def _catalogue(url: str) -> list[tuple[str, ...]]:
    """Everything a schema is made of: columns, constraints, indexes, functions."""
    queries = (
        (
            "SELECT table_name, column_name, data_type, is_nullable, coalesce(column_default, '')"
            " FROM information_schema.columns WHERE table_schema = 'public'"
        ),
        (
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace"
        ),
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT proname, md5(prosrc) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    )
    engine = create_engine(normal_url(url), poolclass=NullPool)
    with engine.connect() as connection:
        return sorted(tuple(row) for query in queries for row in connection.execute(text(query)))


def test_the_revisions_build_exactly_the_metadata(empty_database: EmptyDatabase) -> None:
    url = empty_database()
    assert migrate(url) == (None, head())
    engine = create_engine(normal_url(url), poolclass=NullPool)
    months = tuple(f"{table}_" for table in PARTITIONED)

    def ours(name: str | None, kind: str, _parents: object) -> bool:
        return not (kind == "table" and name is not None and name.startswith(months))

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": ours, "compare_server_default": False}
        )
        differences = compare_metadata(context, metadata)
    assert [d for d in differences if "alembic_version" not in str(d)] == []


def test_the_metadata_s_checks_are_the_database_s(empty_database: EmptyDatabase) -> None:
    """Alembic does not compare CHECK constraints; this does, by their names."""
    url = empty_database()
    migrate(url)
    connection = psycopg2.connect(url.replace("postgresql+psycopg2", "postgresql"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT conname FROM pg_constraint WHERE contype = 'c'")
        stored = {name for (name,) in cursor.fetchall()}
    connection.close()
    wanted = {
        str(c.name)
        for table in metadata.tables.values()
        for c in table.constraints
        if isinstance(c, CheckConstraint)
    }
    assert wanted
    assert wanted <= stored


def test_tags_of_runs_that_are_there_are_noted(empty_database: EmptyDatabase) -> None:
    url = empty_database()
    engine = create_engine(normal_url(url), poolclass=NullPool)
    with engine.connect() as before:
        config = scripts()
        config.attributes["connection"] = before
        command.upgrade(config, "0007")
        before.commit()
    tenant_id, run_ids = new_id(), [new_id(), lowest_uuid7(datetime(2024, 1, 1, tzinfo=UTC))]
    connection = psycopg2.connect(url)
    psycopg2.extras.register_uuid(conn_or_curs=connection)
    with connection, connection.cursor() as cursor:
        for run_id, tags in (*((run_id, ["b", "a", "a"]) for run_id in run_ids), (new_id(), [])):
            cursor.execute(
                "INSERT INTO runs (id, tenant_id, workflow_id, version, state, trigger, tags,"
                " created_at) VALUES (%s, %s, %s, 1, 'queued', 'api', %s, now())",
                (run_id, tenant_id, tenant_id, tags),
            )
    migrate(url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id, tag, run_id FROM run_tags ORDER BY run_id DESC, tag")
        assert cursor.fetchall() == [(tenant_id, t, r) for r in run_ids for t in ("a", "b")]
        cursor.execute(
            "SELECT replace(relname, 'runs_', ''), pg_get_expr(relpartbound, oid) FROM pg_class"
            " WHERE relispartition AND relkind = 'r' AND relname LIKE 'runs\\_%'"
            " EXCEPT SELECT replace(relname, 'run_tags_', ''), pg_get_expr(relpartbound, oid)"
            " FROM pg_class WHERE relispartition AND relkind = 'r'"
        )
        assert cursor.fetchall() == []
    connection.close()


def test_applying_twice_changes_nothing(empty_database: EmptyDatabase) -> None:
    url = empty_database()
    migrate(url)
    before = _catalogue(url)
    assert migrate(url) == (head(), head())
    assert _catalogue(url) == before


def test_five_at_once_apply_it_once(empty_database: EmptyDatabase) -> None:
    url = empty_database()
    with ThreadPoolExecutor(5) as pool:
        results = list(pool.map(migrate, [url] * 5))
    assert results.count((None, head())) == 1
    assert results.count((head(), head())) == 4


def test_coming_months_get_their_partitions_before_they_begin(
    empty_database: EmptyDatabase,
) -> None:
    url = empty_database()
    migrate(url)
    store = PostgresStore(url)
    store.fleet.tidy(datetime(2031, 12, 30, tzinfo=UTC), 3600)
    store.close()
    names = {row[0] for row in _catalogue(url)}
    for table in PARTITIONED:
        assert {f"{table}_2031_12", f"{table}_2032_01", f"{table}_2032_02"} <= names


def test_runs_that_came_before_their_month_move_into_it(empty_database: EmptyDatabase) -> None:
    url = empty_database()
    migrate(url)
    store = PostgresStore(url)
    early = [lowest_uuid7(datetime(2031, month, 5, tzinfo=UTC)) for month in (1, 2, 7)]
    workflow = store_workflow(store, chain(2))
    for run_id in early:
        with store.begin() as work:
            work.store_run(new_run(workflow, id=run_id, tags=("early",)))
    player = Player(store, chain(2))
    player.run_id = early[1]
    player.claim("n0")
    store.fleet.tidy(datetime(2031, 1, 20, tzinfo=UTC), 3600)
    player.end("n0")
    player.do("n1")
    assert player.run().state == "succeeded"
    assert store.reads.run(workflow.tenant_id, early[0]) is not None
    connection = psycopg2.connect(url.replace("postgresql+psycopg2", "postgresql"))
    with connection.cursor() as cursor:
        for table, key in PARTITIONED.items():
            cursor.execute(f"SELECT DISTINCT {key}::text FROM {table}_default")
            assert cursor.fetchall() in ([(str(early[2]),)], []), table
            cursor.execute(f"SELECT count(*) FROM {table}_2031_02")
            assert (cursor.fetchone()[0] > 0) == (table != "attempts"), table
    connection.close()
    before = _catalogue(url)
    store.fleet.tidy(datetime(2031, 1, 20, tzinfo=UTC), 3600)
    assert _catalogue(url) == before
    store.close()


def test_migrating_again_makes_the_months_that_are_missing(empty_database: EmptyDatabase) -> None:
    url = empty_database()
    migrate(url)
    before = _catalogue(url)
    engine = create_engine(normal_url(url), poolclass=NullPool)
    with engine.begin() as connection:
        for table in PARTITIONED:
            connection.execute(text(f"DROP TABLE {table}_{datetime.now(UTC):%Y_%m}"))
    assert migrate(url) == (head(), head())
    assert _catalogue(url) == before
