"""Starting a saved workflow again: one round trip, and the same answers as the long way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.adapters.memory.store import MemoryStore
from orchestrator.adapters.memory.unit_of_work import MemoryUnitOfWork
from orchestrator.bootstrap.core import SystemClock
from orchestrator.errors import IllegalMove, InvalidDefinition, NotFound
from orchestrator.models.definitions.saved import WorkflowStatus
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.quota import Quota
from orchestrator.models.runs.run import StartRequest
from orchestrator.services.definitions.workflows import Workflows
from orchestrator.services.quotas import Quotas
from orchestrator.services.runs.engine import WorkflowEngine
from tests.factories import new_id

FAN = {
    "name": "fan",
    "inputs": {"type": "object", "properties": {"n": {"type": "integer"}}},
    "nodes": [{"id": x, "type": "noop"} for x in "abc"],
    "edges": [{"source": "a", "target": "c"}],
}


class Counted(MemoryStore):
    """Counts its transactions."""

    begun = 0

    @contextmanager
    def begin(self) -> Iterator[MemoryUnitOfWork]:
        self.begun += 1
        with super().begin() as unit:
            yield unit


class Rig:
    def __init__(self, **limits: int) -> None:
        clock = SystemClock()
        self.store = Counted(clock)
        quotas = Quotas(self.store, {Quota(n): most for n, most in limits.items()}, clock)
        self.engine = WorkflowEngine(
            self.store, MemoryDispatcher(), (), clock, MemoryArtifacts(), quotas=quotas
        )
        self.workflows = Workflows(self.store, clock)
        self.saved, _ = self.workflows.create(DEFAULT_TENANT, FAN)
        self.engine.start(DEFAULT_TENANT, self.saved.id)
        self.store.begun = 0


def test_the_second_start_needs_no_transaction_of_its_own() -> None:
    rig = Rig()
    done = rig.engine.start(DEFAULT_TENANT, rig.saved.id, StartRequest(input={"n": 1}, tags=["t"]))
    assert rig.store.begun == 0
    assert done.run == rig.engine.run(DEFAULT_TENANT, done.run_id)


def test_the_first_start_tells_the_run_as_it_is_stored() -> None:
    rig = Rig()
    for done in (
        rig.engine.start(DEFAULT_TENANT, rig.saved.id, StartRequest(key=("k", "d"))),
        rig.engine.execute(DEFAULT_TENANT, FAN),
    ):
        assert done.run == rig.engine.run(DEFAULT_TENANT, done.run_id)
    again = rig.engine.start(DEFAULT_TENANT, rig.saved.id, StartRequest(key=("k", "d")))
    assert (again.moved, again.run) == (None, None)


def test_a_new_version_is_the_one_that_starts() -> None:
    rig = Rig()
    rig.workflows.change(DEFAULT_TENANT, rig.saved.id, {**FAN, "edges": []})
    first, second = (rig.engine.start(DEFAULT_TENANT, rig.saved.id) for _ in range(2))
    assert first.run is not None
    assert second.run is not None
    assert (first.run.version, second.run.version) == (2, 2)
    assert second.run.counts == {"queued": 3}


def test_what_may_not_start_is_refused_as_ever() -> None:
    rig = Rig()
    with pytest.raises(InvalidDefinition):
        rig.engine.start(DEFAULT_TENANT, rig.saved.id, StartRequest(input={"n": "x"}))
    with pytest.raises(NotFound):
        rig.engine.start(new_id(), rig.saved.id)
    rig.workflows.set_status(DEFAULT_TENANT, rig.saved.id, WorkflowStatus.ARCHIVED)
    with pytest.raises(IllegalMove):
        rig.engine.start(DEFAULT_TENANT, rig.saved.id)


def test_runs_that_are_counted_by_the_minute_go_the_long_way() -> None:
    rig = Rig(runs_per_minute=10)
    rig.engine.start(DEFAULT_TENANT, rig.saved.id)
    assert rig.store.begun == 1
