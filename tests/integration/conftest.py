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


def _runs(database_url: str) -> int:
    connection = psycopg2.connect(database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM runs")
            return int(cursor.fetchone()[0])
    finally:
        connection.close()


@pytest.fixture
def live(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Live]:
    """A scheduler and room for workers; after the test every promise must have held, and each run's
    chord has sent its body once at most."""
    with living(database_url, redis_url, tmp_path) as installation:
        installation.scheduler()
        yield installation
        nothing_broken(database_url)
        runs = _runs(database_url)
    # The workers have ended: nothing comes any more.
    assert installation.bodies() <= runs


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
