"""Upkeep on memory adapters: one thing that cannot be done keeps nothing else waiting."""

from __future__ import annotations

from uuid import uuid4

import pytest

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.runtime import MemoryArtifacts, SettableClock
from orchestrator.adapters.memory.store import MemoryStore
from orchestrator.errors import NotFound, StoreUnavailable
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.task import Failure, TaskError
from orchestrator.ports.moves import Owner
from orchestrator.process.stop_signal import StopSignal
from orchestrator.services.runs.engine import WorkflowEngine
from orchestrator.services.runs.upkeep import Upkeep
from orchestrator.settings import Upkeep as UpkeepSettings
from orchestrator.settings import Worker
from tests.contract.player import OWNER, Player
from tests.factories import chain, new_id


class Rig:
    """A memory store with an upkeep over it."""

    def __init__(self) -> None:
        self.clock = SettableClock()
        self.store = MemoryStore(self.clock)
        self.dispatcher = MemoryDispatcher()
        self.engine = WorkflowEngine(self.store, self.dispatcher, (), self.clock, MemoryArtifacts())
        self.upkeep = Upkeep(
            self.store, self.engine, self.dispatcher, self.clock, UpkeepSettings(), Worker()
        )


def test_a_due_retry_is_queued_with_the_next_attempt() -> None:
    rig = Rig()
    player = Player(rig.store, chain(1))
    player.do("n0", "retrying", delay_s=5, error={"code": "x", "message": "y"})
    assert rig.upkeep.round().due == 0
    rig.clock.advance(6)
    assert rig.upkeep.round().due == 1
    assert player.task("n0").attempt == 2


def test_what_a_cancelled_run_had_under_way_is_cancelled_and_not_lost() -> None:
    rig = Rig()
    player = Player(rig.store, chain(1), owner=Owner(worker_id=uuid4(), pid=1))
    player.claim("n0")
    player.cancel()
    rig.clock.advance(11)
    assert rig.upkeep.round().lost_attempts == 1
    task = player.task("n0")
    assert (task.state, task.reason, task.error) == ("cancelled", None, None)
    assert player.run().state == "cancelled"


@pytest.mark.parametrize(
    "error",
    [
        NotFound("its definition cannot be read"),
        TypeError("no JSON"),
        StoreUnavailable("it takes too long", undone=True),
    ],
    ids=["ours", "any", "undone"],
)
def test_a_run_that_cannot_be_ended_keeps_no_other_waiting(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    rig = Rig()
    bad = Player(rig.store, dict(chain(1), output="1"))
    good = Player(rig.store, dict(chain(1), output="1"))
    for player in (bad, good):
        player.do("n0")

    def settle_run(run_id, workflow_id, version):  # type: ignore[no-untyped-def]
        if run_id == bad.run_id:
            raise error
        return rig.store.moves.end_run(run_id, 1, None)

    monkeypatch.setattr(rig.engine, "settle_run", settle_run)
    assert rig.upkeep.round().settled_runs == 1
    assert good.run().state == "succeeded"
    assert bad.run().state == "running"


def test_what_cannot_be_tidied_keeps_no_run_waiting_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    player = Player(rig.store, chain(1))
    player.do("n0", "retrying", delay_s=5, error={"code": "x", "message": "y"})
    tried: list[object] = []

    def tidy(now: object, _older_s: float) -> None:
        tried.append(now)
        raise RuntimeError("a partition cannot be made")

    monkeypatch.setattr(rig.store.fleet, "tidy", tidy)
    rig.clock.advance(6)
    assert rig.upkeep.round().due == 1
    rig.upkeep.round()
    assert len(tried) == 1, "not in every round"
    rig.clock.advance(400)
    rig.upkeep.round()
    assert len(tried) == 2


def test_a_stop_is_heard_at_once() -> None:
    rig = Rig()
    stop = StopSignal()
    stop.set()
    rig.upkeep.run_forever(stop)


def test_what_no_database_keeps_is_replaced_in_errors() -> None:
    error = TaskError(code="x", message="a\0b\ud800c", traceback="\0")
    assert error.as_dict() == {"code": "x", "message": "a\ufffdb?c", "traceback": "\ufffd"}


def test_a_retry_without_a_delay_waits_for_no_round_of_upkeep() -> None:
    rig = Rig()
    retry = {"max_attempts": 3, "delay_s": 0}
    nodes = [{"id": "a", "type": "noop", "data": {"retry": retry}}]
    document = {"name": "w", "nodes": nodes, "edges": []}
    run_id, _ = rig.engine.execute(DEFAULT_TENANT, document)
    for attempt, (asked_s, state) in enumerate([(None, "queued"), (float("inf"), "retrying")], 1):
        wanted = [(0, attempt)]
        moved = rig.store.moves.claim_attempts(run_id, wanted, claim_id=new_id(), owner=OWNER)
        assert moved is not None
        error = TaskError(code="x", message="y")
        failure = Failure(error=error, retry_after_s=asked_s)
        plan = rig.engine.plan(moved.workflow_id, moved.version)
        assert rig.engine.report(moved.claimed[0], failure, plan) is not None
        task = rig.store.reads.tasks(run_id)[0]
        assert (task.state, task.attempt) == (state, attempt + (state == "queued"))
    # Whatever a handler asks for is at most a day.
    rig.clock.advance(86_401)
    assert rig.upkeep.round().due == 1
