"""Row security on Postgres: on every table, statement and connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from psycopg2 import sql
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from orchestrator.adapters.postgres.access.tables import metadata
from orchestrator.adapters.postgres.connections.row_security import Role
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.errors import NameTaken, NotFound
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.run import RunState
from orchestrator.ports.acting import Acting, acting_as, note
from orchestrator.ports.log_lines import LogFilter
from orchestrator.ports.reads import RunFilter
from tests.conftest import Databases
from tests.contract.player import Player
from tests.contract.rigs import PostgresRig
from tests.factories import beat, chain, new_id, new_run, saved, store_workflow
from tests.integration.tenants import NOBODYS, OWNED, fill, on_behalf, whoever


@pytest.fixture(scope="module")
def module_database_url(databases: Databases) -> str:
    return databases.migrated()


@pytest.fixture
def rig(module_database_url: str) -> Iterator[PostgresRig]:
    """The engine's own store and a side entrance, on an emptied database."""
    made = PostgresRig(module_database_url)
    names = ", ".join(t.name for t in metadata.sorted_tables if t.name != "tenants")
    made.run(f"TRUNCATE {names}")
    yield made
    made.close()


@pytest.fixture
def api(rig: PostgresRig) -> Iterator[PostgresStore]:
    """The store of a web process; three connections, so that they are shared."""
    store = PostgresStore(rig.url, pool_size=3, role=Role.API)
    yield store
    store.close()


@pytest.fixture
def two(rig: PostgresRig) -> tuple[Player, Player]:
    """A run of the first tenant and one of another, each with a line in its log and a retry."""
    players = []
    for tenant_id in (DEFAULT_TENANT, rig.tenant()):
        play = Player(rig.store, chain(2), tenant_id=tenant_id)
        play.claim("n0")
        play.settle(
            [play.ending("n0", "retrying", delay_s=0.0, error={"code": "x", "message": "y"})],
            claim_id=play.claims["n0"],
            logs=[play.line("n0", f"said by {tenant_id}")],
        )
        with rig.store.begin() as work:
            work.keys.take(tenant_id, "a key", "digest", play.run_id)
        players.append(play)
    return players[0], players[1]


def _denied(run: Callable[[], object], *words: str) -> None:
    with pytest.raises(DBAPIError) as caught:
        run()
    assert caught.value.orig is not None
    assert getattr(caught.value.orig, "pgcode", "") == "42501"
    for word in words:
        assert word in str(caught.value.orig)


def test_no_table_is_forgotten(rig: PostgresRig) -> None:
    """Whoever adds a table gives it a tenant and calls `zq_wall_v1`, or names it in NOBODYS."""
    tables = rig.run(
        "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity, ARRAY("
        "  SELECT p.policyname || ' ' || p.roles::text || ' ' || coalesce(p.qual, '')"
        "    FROM pg_policies p WHERE p.schemaname = 'public' AND p.tablename = c.relname)"
        " FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace"
        "  AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    )
    assert {name for name, *_ in tables} == set(OWNED) | NOBODYS
    for name, forced, policies in tables:
        if name in NOBODYS:
            continue
        key = "id" if name == "tenants" else "tenant_id"
        assert forced, name
        (tenant,) = [p for p in policies if p.startswith("tenant {zq_api}")]
        assert tenant.split("} ", 1)[1].startswith(f"({key} = ( SELECT "), tenant
        assert "engine {zq_engine} true" in policies
        allowed = {"tenant {zq_api}", "engine {zq_engine}", "access {zq_access}"}
        assert {p[: p.index("}") + 1] for p in policies} <= allowed, name


def test_nobody_reaches_a_row_past_its_policy(rig: PostgresRig) -> None:
    """No grants on partitions, but that the engine, which sees all, reads them for a dump; no
    definer that is not the engine's; audit entries only added."""
    assert not rig.run(
        "SELECT relname FROM pg_class WHERE relispartition AND relkind IN ('r', 'p')"
        " AND has_table_privilege('zq_engine', oid, 'INSERT, UPDATE, DELETE, TRUNCATE')"
    )
    assert not rig.run(
        "SELECT relname, role FROM pg_class, unnest(%s) AS role WHERE relispartition"
        " AND relkind IN ('r', 'p')"
        " AND has_table_privilege(role, oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')",
        [str(role) for role in Role if role is not Role.ENGINE],
    )
    definers = rig.run(
        "SELECT proname, proowner::regrole::text, proconfig::text FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace AND prosecdef"
    )
    assert definers
    for name, owner, config in definers:
        assert owner == Role.ENGINE, name
        assert "search_path=public, pg_temp" in config, name
    assert rig.run(
        "SELECT DISTINCT grantee::text, privilege_type FROM information_schema.role_table_grants"
        " WHERE table_name = 'audit_log' AND grantee LIKE 'zq\\_%%' AND privilege_type <> 'SELECT'"
    ) == [("zq_engine", "INSERT")]
    may_create = "SELECT has_schema_privilege(%s, 'public', 'CREATE')"
    assert not any(rig.run(may_create, str(role))[0][0] for role in Role)


@pytest.mark.parametrize("table", OWNED)
def test_rows_are_seen_by_their_tenant_alone(
    rig: PostgresRig, api: PostgresStore, two: tuple[Player, Player], table: str
) -> None:
    key = "id" if table == "tenants" else "tenant_id"
    rows = f"SELECT {key} FROM {table}"
    for play in two:
        fill(rig, play)

    def seen(tenant_id: UUID | None) -> set[UUID]:
        # In a transaction, and as a single statement.
        with acting_as(Acting(principal=whoever(tenant_id)) if tenant_id else None):
            with api.begin() as work, api.pool.cursor() as cursor:
                cursor.execute(rows)
                alone = {row[0] for row in cursor.fetchall()}
                within = set(work._connection.execute(text(rows)).scalars())
            assert alone == within
            return alone

    for play in two:
        assert seen(play.tenant_id) == {play.tenant_id}
    assert seen(None) == seen(new_id()) == set()


def test_the_port_shows_nothing_of_another_tenant(
    rig: PostgresRig, api: PostgresStore, two: tuple[Player, Player]
) -> None:
    mine, other = two
    with on_behalf(mine.tenant_id):
        reads, run_id = api.reads, other.run_id
        assert reads.run(other.tenant_id, run_id) is None
        assert reads.runs(RunFilter(tenant_id=other.tenant_id)) == []
        assert reads.log_lines(LogFilter(tenant_id=other.tenant_id)).lines == ()
        assert reads.tasks(run_id) == []
        assert reads.events(run_id, after=0, limit=10) == []
        assert reads.attempts(run_id, 0) == []
        assert reads.outputs(run_id, [0, 1]) == {}
        assert reads.owners([run_id, mine.run_id]).keys() == {mine.run_id}
        assert reads.pinned(run_id) is reads.input(run_id) is reads.unstarted(run_id) is None
        assert reads.definition(other.started.workflow_id, 1) is None
        assert api.moves.cancel_run(run_id, RunState.CANCELLED) is None
        assert api.moves.steer_run(run_id, RunState.RUNNING, RunState.PAUSED) is None
        assert api.moves.queue_tasks(run_id, [0]) is None
        with api.begin() as work:
            assert work.workflows.get_workflow(other.tenant_id, other.started.workflow_id) is None
            assert work.workflows.version(other.started.workflow_id, 1) is None
            assert work.workflows.versions(other.started.workflow_id, before=None, limit=9) == []
        assert reads.run(mine.tenant_id, mine.run_id) is not None
        assert reads.attempts(mine.run_id, 0) != []
        assert len(reads.log_lines(LogFilter(tenant_id=mine.tenant_id)).lines) == 1
    assert other.run().state == RunState.RUNNING


def test_nothing_is_written_for_another_tenant(
    rig: PostgresRig, api: PostgresStore, two: tuple[Player, Player]
) -> None:
    mine, other = two

    def write(statement: str, *values: object) -> Callable[[], object]:
        def run() -> object:
            with on_behalf(mine.tenant_id), api.begin() as work:
                return work._connection.exec_driver_sql(statement, values)

        return run

    moved = "UPDATE workflows SET tenant_id = %s WHERE tenant_id = %s"
    _denied(write(moved, other.tenant_id, mine.tenant_id), "row-level security")
    key = "INSERT INTO idempotency_keys VALUES (%s, 'k', 'd', %s, now())"
    _denied(write(key, other.tenant_id, new_id()), "row-level security")
    _denied(write("UPDATE tenants SET name = 'x'"), "permission denied")
    _denied(write("DELETE FROM runs"), "permission denied")
    _denied(write("INSERT INTO audit_heads VALUES (%s, 1, '')", mine.tenant_id), "permission")
    foreign = saved(tenant_id=other.tenant_id)
    with on_behalf(mine.tenant_id), pytest.raises(DBAPIError), api.begin() as work:
        work.workflows.add_workflow(foreign, {"nodes": []}, chain(1))
    workflow = store_workflow(rig.store, chain(1), tenant_id=other.tenant_id)
    with on_behalf(mine.tenant_id), pytest.raises(NotFound), api.begin() as work:
        work.store_run(new_run(workflow))
    assert rig.run("SELECT count(*) FROM runs")[0][0] == 2
    assert rig.run("SELECT count(*) FROM workflows WHERE id = %s", foreign.id)[0][0] == 0


def test_a_connection_remembers_nobody(
    rig: PostgresRig, api: PostgresStore, two: tuple[Player, Player]
) -> None:
    """Two tenants and nobody on one pool, with refused writes and broken transactions between."""
    barrier = threading.Barrier(6)

    def work(no: int) -> list[str]:
        mine = (*two, None)[no % 3]
        barrier.wait(10)
        with acting_as(Acting(principal=whoever(mine.tenant_id)) if mine else None):
            return [bad for round_ in range(60) for bad in _one_round(api, mine, two, round_)]

    with ThreadPoolExecutor(6) as pool:
        assert [bad for found in pool.map(work, range(6), timeout=60) for bad in found] == []
    # What the pool holds now: each connection is the API's, and knows no tenant.
    with ExitStack() as stack:
        for cursor in [stack.enter_context(api.pool.cursor()) for _ in range(3)]:
            cursor.execute("SELECT current_user, current_setting('zq.tenant', true)")
            assert cursor.fetchone() in {("zq_api", ""), ("zq_api", None)}
            cursor.execute("RESET ALL")
            cursor.execute("RESET ROLE")
            cursor.execute("SELECT current_user, (SELECT count(*) FROM runs)")
            assert cursor.fetchone() == ("zq_api", 0)


def _one_round(
    store: PostgresStore, mine: Player | None, two: tuple[Player, Player], round_: int
) -> Iterator[str]:
    """Look, and leave a connection behind in one of four ways; yield what was seen wrongly."""
    for play in two:
        found = {run.id for run in store.reads.runs(RunFilter(tenant_id=play.tenant_id))}
        if found != ({play.run_id} if play is mine else set()):
            yield f"{found} seen by {mine and mine.tenant_id}"
    match round_ % 4:
        case 0:
            with suppress(DBAPIError), store.begin() as unit:
                unit._connection.exec_driver_sql("SELECT 1 / 0")
        case 1:
            with suppress(ZeroDivisionError), store.begin() as unit:
                unit.workflows.list(two[0].tenant_id, before=None, limit=5, query=None)
                raise ZeroDivisionError
        case 2:
            with suppress(DBAPIError), store.pool.as_access() as connection:
                connection.exec_driver_sql("SELECT count(*) FROM runs")
        case _:
            with store.pool.as_access() as connection:
                if connection.exec_driver_sql("SELECT count(*) FROM tenants").scalar_one() < 2:
                    yield "access does not see every tenant"


def test_a_request_names_its_tenant_whatever_it_runs(rig: PostgresRig, api: PostgresStore) -> None:
    """Statements of every form get their tenant: text, bytes, composed, many values."""
    tenant_id = rig.tenant()
    with on_behalf(tenant_id), api.pool.cursor() as cursor:
        for statement in (
            "SELECT name FROM tenants",
            b"SELECT name FROM tenants",
            sql.SQL("SELECT {} FROM tenants").format(sql.Identifier("name")),
        ):
            cursor.execute(statement)
            assert cursor.fetchall() == [(f"t-{tenant_id}",)]
        # What ends the transaction ends the setting: better nobody's rows than somebody's.
        cursor.execute("COMMIT; SELECT name FROM tenants")
        assert cursor.fetchall() == []
        key = "INSERT INTO idempotency_keys VALUES (%s, %s, 'd', %s, now())"
        cursor.executemany(key, [(tenant_id, f"k{i}", new_id()) for i in range(3)])
    assert rig.run("SELECT count(*) FROM idempotency_keys")[0][0] == 3


def test_as_access_sees_its_tables_of_every_tenant_and_nothing_else(
    rig: PostgresRig, api: PostgresStore, two: tuple[Player, Player]
) -> None:
    reachable = {
        "tenants", "users", "identities", "sessions", "api_keys", "roles", "workflow_grants",
        "quotas", "audit_log", "audit_heads", "one_time_tokens",
    }  # fmt: skip
    for table in OWNED:
        with suppress(DBAPIError), api.pool.as_access() as connection:
            connection.exec_driver_sql(f"SELECT count(*) FROM {table}")
            reachable.remove(table)
    assert reachable == set()
    for lend in (api.pool.as_access, lambda: api.pool.cursor(as_access=True)):
        with on_behalf(two[1].tenant_id), lend() as one:
            run = getattr(one, "exec_driver_sql", None) or one.execute
            result = run("SELECT id FROM tenants")
            found = {row[0] for row in (result or one).fetchall()}
            assert {play.tenant_id for play in two} <= found
    with pytest.raises(NameTaken), api.pool.as_access():
        raise NameTaken("whatever ends it")
    with api.pool.cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == ("zq_api",)


def test_a_tenant_learns_that_a_worker_is_busy_with_others(
    rig: PostgresRig, api: PostgresStore, two: tuple[Player, Player]
) -> None:
    worker_id = new_id()
    rig.store.fleet.beat(beat(worker_id))
    other = two[1]
    play = Player(rig.store, chain(1), tenant_id=other.tenant_id)
    rig.run("DELETE FROM workers WHERE id <> %s", worker_id)
    play.owner = replace(play.owner, worker_id=worker_id)
    assert play.claim("n0")
    with on_behalf(two[0].tenant_id):
        (worker,) = api.fleet.workers()
        assert worker["busy"] == 1
        assert api.fleet.backlog("default", 10) == {}


def test_what_a_request_writes_is_recorded_once_and_with_it(
    rig: PostgresRig, api: PostgresStore, two: tuple[Player, Player]
) -> None:
    mine, other = two

    def entries() -> list[tuple[Any, ...]]:
        asked = "SELECT action, resource, resource_id FROM audit_log WHERE tenant_id = %s"
        found: list[tuple[Any, ...]] = rig.run(f"{asked} ORDER BY no", mine.tenant_id)
        rig.run("DELETE FROM audit_log")
        return found

    change = "UPDATE workflows SET description = 'x'"
    with on_behalf(mine.tenant_id, "some.change"):
        with api.begin() as work:
            work._connection.exec_driver_sql(change)
            note("workflow", "w")
        assert entries() == [("some.change", "workflow", "w")]
        with api.pool.as_access() as connection:
            connection.exec_driver_sql("UPDATE users SET name = 'x'")
            connection.exec_driver_sql("UPDATE tenants SET name = name")
        assert entries() == [("some.change", "", "")]
        with api.begin() as work:
            work.workflows.list(mine.tenant_id, before=None, limit=5, query=None)
        with suppress(ZeroDivisionError), api.begin() as work:
            work._connection.exec_driver_sql(change)
            raise ZeroDivisionError
        assert api.moves.cancel_run(other.run_id, RunState.CANCELLED) is None
        assert api.moves.steer_run(mine.run_id, RunState.PAUSED, RunState.RUNNING) is not None
        assert entries() == [], "nothing was changed"
        assert api.moves.cancel_run(mine.run_id, RunState.CANCELLED) is not None
        assert entries() == [("some.change", "run", str(mine.run_id))]
    with on_behalf(mine.tenant_id), api.begin() as work:
        work._connection.exec_driver_sql(change)
    assert entries() == [], "a request that may not write, or the engine itself"
