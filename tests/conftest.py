"""Real services for the tests that need them, found or started once per test process.

`ZQ_TEST_DATABASE_URL` and `ZQ_TEST_REDIS_URL` name servers to use; else the embedded ones start in
a temporary home. Where neither works, such tests are skipped, and fail where `CI` is set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from orchestrator.adapters.embedded.services import EmbeddedServices, Endpoints
from orchestrator.adapters.postgres.migrate import migrate
from orchestrator.errors import EmbeddedUnavailable
from orchestrator.ports.acting import acting
from tests.servers import Servers


def _unavailable(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(autouse=True)
def _nobody_acts() -> Iterator[None]:
    """Let no test leave somebody acting behind: the next one would see that tenant's rows."""
    yield
    assert acting() is None


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Endpoints]]:
    """A maker of the servers' addresses; the embedded servers start when it is called first."""
    database, redis = (os.environ.get(f"ZQ_TEST_{x}_URL", "") for x in ("DATABASE", "REDIS"))
    embedded: EmbeddedServices | None = None
    found: Endpoints | None = None

    def endpoints() -> Endpoints:
        nonlocal embedded, found
        if found is None:
            if database and redis:
                found = Endpoints(database_url=database, redis_url=redis)
            else:
                embedded = EmbeddedServices(_home(tmp_path_factory))
                started = embedded.start()
                found = Endpoints(
                    database_url=database or started.database_url,
                    redis_url=redis or started.redis_url,
                )
        return found

    yield endpoints
    if embedded is not None:
        embedded.stop()


def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zq") / "home"


@pytest.fixture(scope="session")
def server_url(services: Callable[[], Endpoints]) -> str:
    """The Postgres server: an address at which databases may be made."""
    try:
        return services().database_url
    except EmbeddedUnavailable as error:
        _unavailable(error.detail)
        raise


class Databases:
    """Databases of this test process on one server: a migrated template, and copies of it."""

    def __init__(self, server_url: str) -> None:
        self._server = make_url(server_url.replace("postgres://", "postgresql://", 1))
        self._prefix = f"zq_test_{os.getpid()}"
        self._made: list[str] = []
        self._template = ""

    def _run(self, statement: str) -> None:
        url = self._server.set(drivername="postgresql")
        connection = psycopg2.connect(url.render_as_string(hide_password=False))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def empty(self) -> str:
        """Return the URL of a new database with nothing in it."""
        return self._make("")

    def migrated(self) -> str:
        """Return the URL of a new database of the newest schema (a copy: some 50 ms)."""
        if not self._template:
            url = self.empty()
            migrate(url)
            self._template = str(make_url(url).database)
        return self._make(f" TEMPLATE {self._template}")

    def _make(self, how: str) -> str:
        name = f"{self._prefix}_{len(self._made)}"
        self._run(f"CREATE DATABASE {name}{how}")
        self._made.append(name)
        return self._server.set(database=name).render_as_string(hide_password=False)

    def drop_all(self) -> None:
        """Drop what was made, with whoever is still connected."""
        for name in reversed(self._made):
            self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def databases(server_url: str) -> Iterator[Databases]:
    """The maker of databases; all are dropped at the end of the session."""
    made = Databases(server_url)
    yield made
    made.drop_all()


@pytest.fixture(scope="session")
def shared_database_url(databases: Databases) -> str:
    """One migrated database for a whole session: empty it before use (`PostgresRig.empty`)."""
    return databases.migrated()


@pytest.fixture
def database_url(databases: Databases) -> str:
    """A migrated database for one test alone."""
    return databases.migrated()


@pytest.fixture(scope="session")
def empty_database(databases: Databases) -> Callable[[], str]:
    """A maker of databases with nothing in them, for tests of migrations."""
    return databases.empty


@pytest.fixture(scope="session")
def redis_server_url(services: Callable[[], Endpoints]) -> str:
    """The Redis server, at the database number that belongs to this test process."""
    try:
        url = make_url(services().redis_url)
    except EmbeddedUnavailable as error:
        _unavailable(error.detail)
        raise
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    if "ZQ_TEST_REDIS_URL" in os.environ:
        url = url.set(database=str(int(worker) % 16))
    return url.render_as_string(hide_password=False)


@pytest.fixture
def redis_url(redis_server_url: str) -> str:
    """An empty Redis database for one test."""
    import redis

    client = redis.Redis.from_url(redis_server_url)
    client.flushdb()
    client.close()
    return redis_server_url


@pytest.fixture(scope="session")
def shared_servers(databases: Databases, redis_server_url: str) -> Iterator[Servers]:
    made = Servers(databases.migrated(), redis_server_url)
    yield made
    made.close()


@pytest.fixture
def servers(shared_servers: Servers) -> Servers:
    """A record with nothing in it, and a Redis, for one test."""
    shared_servers.empty()
    return shared_servers


@pytest.fixture(scope="module")
def module_servers(databases: Databases, redis_server_url: str) -> Iterator[Servers]:
    """The same for all tests of a module: nobody else empties it."""
    made = Servers(databases.migrated(), redis_server_url)
    yield made
    made.close()
