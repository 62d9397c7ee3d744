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


class LargeMovesMachine(PostgresMachine):
    """The same with small slices off: every settle takes the large statement."""

    shared: PostgresRig


@pytest.fixture(autouse=True, scope="module")
def _rigs(shared_database_url: str) -> Iterator[None]:
    PostgresMachine.shared = PostgresRig(shared_database_url, pool_size=1)
    LargeMovesMachine.shared = PostgresRig(shared_database_url, pool_size=1, small_moves=False)
    for machine in (PostgresMachine, LargeMovesMachine):
        machine.shared.prepare()
    yield
    for machine in (PostgresMachine, LargeMovesMachine):
        machine.shared.close()


_SETTINGS = settings(
    max_examples=25,
    stateful_step_count=10,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestPostgresMachine = PostgresMachine.TestCase
TestPostgresMachine.settings = _SETTINGS
TestLargeMovesMachine = LargeMovesMachine.TestCase
TestLargeMovesMachine.settings = _SETTINGS
