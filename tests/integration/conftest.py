"""Live installations for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from tests.conftest import Databases
from tests.integration.invariants import violations
from tests.integration.live import Live, living


def nothing_broken(database_url: str) -> None:
    """Demand that every promise holds for what a database keeps."""
    connection = psycopg2.connect(database_url)
    try:
        assert violations(connection) == []
    finally:
        connection.close()


@pytest.fixture
def live(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Live]:
    """A scheduler and room for workers; after the test every promise must have held."""
    with living(database_url, redis_url, tmp_path) as installation:
        installation.scheduler()
        yield installation
        nothing_broken(database_url)


@pytest.fixture(scope="module")
def installation(
    databases: Databases, redis_server_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    """A scheduler and one worker for a whole module of tests that break nothing."""
    url = databases.migrated()
    with living(url, redis_server_url, tmp_path_factory.mktemp("live")) as made:
        made.scheduler()
        made.worker()
        yield made


@pytest.fixture
def working(installation: Live, tmp_path: Path) -> Iterator[Live]:
    """The module's installation, with traces and a gate of this test's own."""
    installation.fresh(tmp_path)
    yield installation
    installation.let_go()
    nothing_broken(installation.settings.database.url)
