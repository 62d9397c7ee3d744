"""Starting a run: its rows, its first events, room for its roots, and what upkeep hears of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import NotFound
from orchestrator.models.definitions.saved import WorkflowStatus
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.event import Kind
from orchestrator.models.runs.run import RunState, Trigger
from tests.contract.player import Player
from tests.contract.rigs import Rig
from tests.factories import chain, diamond, join_of, new_id, new_run, node, plan, store_workflow


def test_roots_are_queued_and_told(rig: Rig) -> None:
    player = Player(rig.store, diamond(), input={"day": "2026-01-01"}, tags=("a", "b"))
    assert player.states() == {"a": "queued", "b": "pending", "c": "pending", "d": "pending"}
    assert [(e.seq, e.kind, e.node_id, e.state, e.attempt) for e in player.started.events] == [
        (1, Kind.RUN, None, "queued", None),
        (2, Kind.TASK, "a", "queued", 1),
    ]
    assert player.started.events == tuple(player.events())
    assert player.started.size == 4
    (release,) = player.started.queued
    assert (release.task_no, release.attempt, release.queue, release.priority) == (
        0,
        1,
        "default",
        5,
    )


def test_what_is_read_back(rig: Rig) -> None:
    origin = new_id()
    before = rig.now()
    player = Player(
        rig.store, chain(2), input=[1, {"x": None}], tags=("t",), origin_run_id=origin,
        trigger=Trigger.MANUAL,
    )  # fmt: skip
    run = player.run()
    assert (run.state, run.trigger, run.tags) == (RunState.QUEUED, Trigger.MANUAL, ("t",))
    assert (run.input, run.output, run.error) == ([1, {"x": None}], None, None)
    assert (run.origin_run_id, run.version, run.seq) == (origin, 1, 2)
    assert run.counts == {"queued": 1, "pending": 1}
    assert (run.started_at, run.finished_at, run.duration_ms) == (None, None, None)
    assert before <= run.created_at <= rig.now()
    assert run.workflow_name == f"workflow-{run.workflow_id}"
    first, second = rig.store.reads.tasks(player.run_id)
    assert (first.attempt, first.max_attempts, first.waits_for, first.type) == (1, 3, 0, "noop")
    assert (second.attempt, second.waits_for, second.queued_at) == (0, 1, None)
    assert first.queued_at is not None
    assert (first.worker, first.output, first.error, first.reason) == (None, None, None, None)


@pytest.mark.parametrize("room", [0, 1, 2, 3])
def test_room_goes_to_the_most_urgent_roots(rig: Rig, room: int) -> None:
    roots = plan(node("low", priority=1), node("high", priority=9), node("mid", priority=5))
    player = Player(rig.store, roots, room=room)
    order = ["high", "mid", "low"]
    assert [player.states()[n] for n in order] == ["queued"] * room + ["ready"] * (3 - room)
    names = {no: n for n, no in player.numbers.items()}
    assert [names[r.task_no] for r in player.started.queued] == order[:room]
    assert [e.node_id for e in player.started.events[1:]] == order[:room]
    assert player.task("low").attempt == (1 if room == 3 else 0)


def test_equal_priorities_start_in_task_order(rig: Rig) -> None:
    player = Player(rig.store, join_of(4), room=2)
    assert [r.task_no for r in player.started.queued] == [0, 1]


def test_unknown_version_stores_nothing(rig: Rig) -> None:
    workflow = store_workflow(rig.store, chain(1))
    run = new_run(workflow, version=2)
    with pytest.raises(NotFound), rig.store.begin() as work:
        work.store_run(run)
    assert rig.store.reads.run(DEFAULT_TENANT, run.id) is None


def test_another_tenants_workflow_cannot_be_started(rig: Rig) -> None:
    workflow = store_workflow(rig.store, chain(1))
    with pytest.raises(NotFound), rig.store.begin() as work:
        work.store_run(new_run(workflow, tenant_id=rig.tenant()))


def test_first_live_run_wakes_upkeep(rig: Rig) -> None:
    rig.store.listen(0)
    player = Player(rig.store, chain(1))
    assert rig.store.listen(5.0)
    Player(rig.store, chain(1))
    assert not rig.store.listen(0.01), "upkeep is awake while a run is live"
    player.do("n0")
    assert player.run().state is RunState.SUCCEEDED


def test_run_belongs_to_its_tenant(rig: Rig) -> None:
    other = rig.tenant()
    player = Player(rig.store, chain(1), tenant_id=other)
    assert rig.store.reads.run(DEFAULT_TENANT, player.run_id) is None
    assert player.run().tenant_id == player.started.tenant_id == other


def test_a_run_of_the_newest_version_starts_at_once(rig: Rig) -> None:
    workflow = store_workflow(rig.store, diamond())
    moved = rig.store.moves.store_run_of_newest(new_run(workflow, input={"x": 1}, room=10))
    assert moved is not None
    player = Player(rig.store, diamond(), input={"x": 1})
    assert [(e.seq, e.kind, e.node_id, e.state) for e in moved.events] == [
        (e.seq, e.kind, e.node_id, e.state) for e in player.started.events
    ]
    assert (moved.size, len(moved.queued)) == (4, 1)
    found = rig.store.reads.run(DEFAULT_TENANT, moved.run_id)
    assert found is not None
    assert (found.input, found.counts, found.seq) == ({"x": 1}, player.run().counts, 2)


@pytest.mark.parametrize("version", [2, 1])
def test_a_run_of_a_version_that_is_not_the_newest_does_not_start(rig: Rig, version: int) -> None:
    workflow = store_workflow(rig.store, chain(1))
    run = new_run(workflow, version=version)
    if version == 1:
        with rig.store.begin() as work:
            work.workflows.change(replace(workflow, version=2), {}, chain(1))
    assert rig.store.moves.store_run_of_newest(run) is None
    assert rig.store.reads.run(DEFAULT_TENANT, run.id) is None


def test_an_archived_or_foreign_workflow_starts_nothing(rig: Rig) -> None:
    workflow = store_workflow(rig.store, chain(1))
    foreign = new_run(workflow, tenant_id=rig.tenant())
    assert rig.store.moves.store_run_of_newest(foreign) is None
    archived = replace(workflow, version=2, status=WorkflowStatus.ARCHIVED)
    with rig.store.begin() as work:
        work.workflows.change(archived, {}, chain(1))
    assert rig.store.moves.store_run_of_newest(new_run(workflow, version=2)) is None


def test_ping(rig: Rig) -> None:
    assert rig.store.reads.ping() >= 1
