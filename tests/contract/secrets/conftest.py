"""What only Postgres keeps is tested there only."""

from __future__ import annotations

import pytest

from tests.contract.rigs import PostgresRig


@pytest.fixture
def rig(postgres_rig: PostgresRig) -> PostgresRig:
    """A record with nothing in it, checked again when the test is over."""
    return postgres_rig
