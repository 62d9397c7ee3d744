"""The installation that the attacks of one process share, and what stands outside of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attack.outside import Outside, Trap, standing_outside
from tests.attack.stack import Stack, standing
from tests.attack.tenants import Tenant, furnished
from tests.conftest import Databases

#: Small numbers, so that they are reached.
LIMITS = {
    "ZQ_WEB__SOCKETS": "8",
    "ZQ_LIMITS__SOCKETS_EACH": "4",
    "ZQ_AUTH__LOCKOUT_ATTEMPTS": "3",
    "ZQ_AUTH__LOCKOUT_ADDRESS_ATTEMPTS": "6",
}


@pytest.fixture(scope="package")
def outside() -> Iterator[Outside]:
    with standing_outside() as made:
        yield made


@pytest.fixture(scope="package")
def trap(outside: Outside) -> Trap:
    return outside.trap


@pytest.fixture(scope="package")
def stack(
    databases: Databases,
    redis_server_url: str,
    outside: Outside,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    settings = {**LIMITS, **outside.settings()}
    with standing(databases, redis_server_url, folder, **settings) as made:
        yield made


@pytest.fixture(scope="package")
def victim(stack: Stack) -> Tenant:
    """A tenant that has one of everything."""
    return furnished(stack)


@pytest.fixture(scope="package")
def stranger(stack: Stack) -> str:
    """The key of an owner of another tenant, who has nothing."""
    return stack.key("owner", tenant_id=stack.tenant())


@pytest.fixture(autouse=True)
def unharmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check after each test of an installation that it stands as before."""
    found = request.getfixturevalue("stack") if "stack" in request.fixturenames else None
    yield
    if found is not None:
        found.unharmed()
