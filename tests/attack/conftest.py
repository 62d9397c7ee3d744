"""The installation that the attacks of one process share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attack.stack import Stack, standing
from tests.conftest import Databases


@pytest.fixture(scope="package")
def stack(
    databases: Databases, redis_server_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    with standing(databases, redis_server_url, tmp_path_factory.mktemp("stack")) as made:
        yield made
        made.unharmed()


@pytest.fixture
def unharmed(stack: Stack) -> Iterator[None]:
    """Check after a test that the installation stands as before."""
    yield
    stack.unharmed()
