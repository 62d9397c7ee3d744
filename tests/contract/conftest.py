"""The rig of a contract test: once on memory, once on Postgres, checked again when it is over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.adapters.postgres.access.access import PostgresAccess
from orchestrator.adapters.postgres.connections.pool import Pool
from orchestrator.ports.access import AccessStore
from tests.conftest import Databases
from tests.contract.rigs import MemoryRig, PostgresRig, Rig


@pytest.fixture(params=["memory", "postgres"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A store with nothing in it. Afterwards every promise must hold for what the test left."""
    if request.param == "memory":
        memory = MemoryRig()
        yield memory
        assert memory.broken() == []
    else:
        yield from _postgres(request)


def _postgres(request: pytest.FixtureRequest) -> Iterator[PostgresRig]:
    postgres = PostgresRig(request.getfixturevalue("shared_database_url"))
    try:
        postgres.empty()
        yield postgres
        assert postgres.broken() == []
    finally:
        postgres.close()


@pytest.fixture
def postgres_rig(request: pytest.FixtureRequest) -> Iterator[PostgresRig]:
    """A rig for what only a server with many connections can show."""
    yield from _postgres(request)


@pytest.fixture(scope="module")
def pool(databases: Databases) -> Iterator[Pool]:
    """Connections in the role of a web process, to a database of the module."""
    made = Pool(databases.migrated(), size=4, role="zq_api")
    yield made
    made.close()


@pytest.fixture
def store(pool: Pool) -> AccessStore:
    """A record of access."""
    return PostgresAccess(pool)
