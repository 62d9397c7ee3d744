"""Random lives of runs on Postgres: the real functions against a model of who holds what."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.contract.rigs import PostgresRig, Rig
from tests.run_machine import RunMachine


class PostgresMachine(RunMachine):
    """The machine on the Postgres store; every example starts on an emptied database."""

    shared: PostgresRig

    def make_rig(self) -> Rig:
        """See RunMachine."""
        self.shared.empty()
        return self.shared

    def close_rig(self) -> None:
        """The next example goes on with the same rig."""


@pytest.fixture(autouse=True, scope="module")
def _rig(shared_database_url: str) -> Iterator[None]:
    PostgresMachine.shared = PostgresRig(shared_database_url, pool_size=1)
    PostgresMachine.shared.prepare()
    yield
    PostgresMachine.shared.close()


TestPostgresMachine = PostgresMachine.TestCase
TestPostgresMachine.settings = settings(
    max_examples=35,
    stateful_step_count=10,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
