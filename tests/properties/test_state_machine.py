"""Random lives of runs in memory: a short look at every commit; the long one is on Postgres."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.contract.rigs import MemoryRig, Rig
from tests.run_machine import RunMachine


class MemoryMachine(RunMachine):
    """The machine on the memory store."""

    def make_rig(self) -> Rig:
        """See RunMachine."""
        return MemoryRig()


TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = settings(
    max_examples=15,
    stateful_step_count=6,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
