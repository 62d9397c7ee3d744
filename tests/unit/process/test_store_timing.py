"""The record's operations, measured at its ports."""

from __future__ import annotations

from uuid import UUID

import pytest
from prometheus_client import Histogram

from orchestrator.adapters.memory.runtime import SettableClock
from orchestrator.adapters.memory.store import MemoryStore
from orchestrator.bootstrap.timing import store_seconds, timed
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.ports.fleet import Fleet
from orchestrator.ports.moves import Moves
from orchestrator.ports.reads import Reads
from tests.factories import beat, new_id


def counted(seconds: Histogram) -> dict[str, float]:
    """Return how often each operation was measured."""
    return {
        sample.labels["operation"]: sample.value
        for metric in seconds.collect()
        for sample in metric.samples
        if sample.name == "zq_store_seconds_count"
    }


def test_every_call_counts_under_its_operation_and_answers_as_before() -> None:
    seconds, plain = store_seconds(), MemoryStore(SettableClock())
    store = timed(plain, seconds)
    assert counted(seconds) == {}
    worker = beat()
    assert store.fleet.beat(worker).alive
    assert store.fleet.workers() == plain.fleet.workers() != []
    assert store.reads.run(DEFAULT_TENANT, new_id()) is None
    assert store.reads.tasks(new_id(), after=-1, limit=5) == []
    assert store.reads.run(DEFAULT_TENANT, run_id=new_id()) is None
    assert counted(seconds) == {
        "fleet.beat": 1, "fleet.workers": 1, "reads.run": 2, "reads.tasks": 1,
    }  # fmt: skip


def test_a_failed_call_counts_and_raises() -> None:
    class Broken(MemoryStore):
        def __init__(self) -> None:
            super().__init__(SettableClock())
            self.reads.run = self._fail  # type: ignore[method-assign]

        def _fail(self, tenant_id: UUID, run_id: UUID) -> None:
            raise OSError("away")

    seconds = store_seconds()
    store = timed(Broken(), seconds)
    with pytest.raises(OSError, match="away"):
        store.reads.run(DEFAULT_TENANT, new_id())
    assert counted(seconds) == {"reads.run": 1}


def test_what_is_not_measured_is_the_stores_own() -> None:
    plain = MemoryStore(SettableClock())
    store = timed(plain, store_seconds())
    assert store.quotas is plain.quotas
    with store.begin() as unit:
        assert unit.workflows.named(DEFAULT_TENANT, "none") is None


@pytest.mark.parametrize("port", [Moves, Reads, Fleet])
def test_no_operation_is_left_out(port: type) -> None:
    store = timed(MemoryStore(SettableClock()), store_seconds())
    part = getattr(store, port.__name__.lower())
    operations = {name for name in vars(port) if not name.startswith("_")}
    assert operations <= vars(part).keys()
