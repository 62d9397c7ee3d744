"""The rig of a contract test: once on memory, once on Postgres, checked again when it is over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
