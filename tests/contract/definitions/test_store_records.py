"""Workflows, idempotency keys, transactions, and what is listed and read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from orchestrator.errors import IdempotencyMismatch, NameTaken, VersionMismatch
from orchestrator.models.definitions.saved import SavedWorkflow, WorkflowStatus
from orchestrator.models.ids import DEFAULT_TENANT, time_of, uuid7
from orchestrator.models.runs.run import RunState, Trigger
from orchestrator.ports.reads import RunFilter
from orchestrator.ports.store import Store
from tests.contract.player import Player
from tests.contract.rigs import Rig
from tests.factories import (
    chain,
    diamond,
    new_id,
    new_run,
    node,
    plan,
    saved,
    start,
    store_workflow,
)
from tests.waiting import wait_for

PLAN = chain(1)


class Stop(Exception):
    """What a test raises inside a transaction."""


def test_workflow_is_read_back_as_stored(rig: Rig) -> None:
    workflow = saved("report", description="d", status=WorkflowStatus.DRAFT)
    with rig.store.begin() as work:
        work.workflows.add_workflow(workflow, {"name": "report", "nodes": [1, None]}, PLAN)
    with rig.store.begin() as work:
        assert work.workflows.get_workflow(DEFAULT_TENANT, workflow.id) == workflow
        assert work.workflows.named(DEFAULT_TENANT, "report") == workflow
        version = work.workflows.version(workflow.id, 1)
        assert work.workflows.version(workflow.id, 2) is None
        assert work.workflows.get_workflow(rig.tenant(), workflow.id) is None
        assert work.workflows.named(rig.tenant(), "report") is None
        assert work.workflows.get_workflow(DEFAULT_TENANT, new_id()) is None
        assert work.workflows.named(DEFAULT_TENANT, "other") is None
    assert version is not None
    assert version.definition == {"name": "report", "nodes": [1, None]}
    assert version.created_at == workflow.updated_at
    assert rig.store.reads.definition(workflow.id, 1) == version.definition
    assert rig.store.reads.definition(workflow.id, 2) is None


def test_change_makes_the_next_version_and_keeps_the_old_one(rig: Rig) -> None:
    workflow = store_workflow(rig.store, PLAN)
    changed = replace(
        workflow, version=2, name="renamed", description="new",
        updated_at=workflow.updated_at + timedelta(seconds=1),
    )  # fmt: skip
    with rig.store.begin() as work:
        work.workflows.change(changed, {"v": 2}, chain(2))
        assert work.workflows.get_workflow(DEFAULT_TENANT, workflow.id) == changed
    assert rig.store.reads.definition(workflow.id, 2) == {"v": 2}
    old = rig.store.reads.definition(workflow.id, 1)
    assert old is not None
    assert old["name"] == workflow.name
    with rig.store.begin() as work:
        assert work.store_run(new_run(workflow)).size == 1, (
            "a run is pinned to the version it names"
        )
        assert work.store_run(new_run(changed)).size == 2


@pytest.mark.parametrize("version", [1, 3])
def test_change_must_follow_the_stored_version(rig: Rig, version: int) -> None:
    workflow = store_workflow(rig.store, PLAN)
    with pytest.raises(VersionMismatch), rig.store.begin() as work:
        work.workflows.change(replace(workflow, version=version, name="x"), {}, PLAN)
    with rig.store.begin() as work:
        assert work.workflows.get_workflow(DEFAULT_TENANT, workflow.id) == workflow


def test_change_of_an_unknown_workflow_or_another_tenants(rig: Rig) -> None:
    workflow = store_workflow(rig.store, PLAN)
    for wrong in (saved(version=2), replace(workflow, tenant_id=rig.tenant(), version=2)):
        with pytest.raises(VersionMismatch), rig.store.begin() as work:
            work.workflows.change(wrong, {}, PLAN)


def test_names_are_taken_per_tenant(rig: Rig) -> None:
    first = store_workflow(rig.store, PLAN, name="report")
    with pytest.raises(NameTaken), rig.store.begin() as work:
        work.workflows.add_workflow(saved("report"), {}, PLAN)
    store_workflow(rig.store, PLAN, name="report", tenant_id=rig.tenant())
    second = store_workflow(rig.store, PLAN, name="other")
    with pytest.raises(NameTaken), rig.store.begin() as work:
        work.workflows.change(replace(second, name="report", version=2), {}, PLAN)
    with rig.store.begin() as work:
        work.workflows.change(replace(first, version=2), {}, PLAN)


def test_archived_and_ad_hoc_workflows_leave_their_name_free(rig: Rig) -> None:
    first = store_workflow(rig.store, PLAN, name="report")
    ad_hoc = store_workflow(rig.store, PLAN, name="report", ad_hoc=True)
    archived = replace(first, version=2, status=WorkflowStatus.ARCHIVED)
    with rig.store.begin() as work:
        work.workflows.change(archived, {}, PLAN)
    second = store_workflow(rig.store, PLAN, name="report")
    with rig.store.begin() as work:
        assert work.workflows.named(DEFAULT_TENANT, "report") == second
        assert work.workflows.get_workflow(DEFAULT_TENANT, ad_hoc.id) == ad_hoc
        assert work.workflows.get_workflow(DEFAULT_TENANT, first.id) == archived
        listed = work.workflows.list(DEFAULT_TENANT, before=None, limit=10, query=None)
    assert listed == [second]


def test_workflows_are_found_by_status_and_whole_name(rig: Rig) -> None:
    kinds = {status: store_workflow(rig.store, PLAN, status=status) for status in WorkflowStatus}
    first, second = (
        store_workflow(rig.store, PLAN, name="gone", status=WorkflowStatus.ARCHIVED)
        for _ in range(2)
    )
    store_workflow(rig.store, PLAN, ad_hoc=True, name="gone", status=WorkflowStatus.ARCHIVED)
    draft, published, archived = kinds.values()

    def found(*statuses: WorkflowStatus, **more: Any) -> list[SavedWorkflow]:
        with rig.store.begin() as work:
            return work.workflows.list(
                DEFAULT_TENANT, before=None, limit=10, query=None, statuses=statuses, **more
            )

    assert found() == [published, draft]
    assert found(WorkflowStatus.DRAFT) == [draft]
    assert found(WorkflowStatus.ARCHIVED) == [second, first, archived]
    assert found(WorkflowStatus.ARCHIVED, WorkflowStatus.DRAFT, name=draft.name) == [draft]
    assert found(WorkflowStatus.ARCHIVED, name="gone") == [second, first]
    assert found(name="gone") == []


def test_workflows_are_listed_newest_first_in_pages(rig: Rig) -> None:
    made = [store_workflow(rig.store, PLAN, name=f"w{i}") for i in range(5)]
    store_workflow(rig.store, PLAN, name="foreign", tenant_id=rig.tenant())
    with rig.store.begin() as work:
        first = work.workflows.list(DEFAULT_TENANT, before=None, limit=2, query=None)
        rest = work.workflows.list(DEFAULT_TENANT, before=first[-1].id, limit=10, query=None)
    assert [*first, *rest] == made[::-1]


def test_query_is_a_part_of_the_name_and_no_pattern(rig: Rig) -> None:
    for name in ("Daily report", "100%", "under_score", "back\\slash"):
        store_workflow(rig.store, PLAN, name=name)

    def found(query: str) -> list[str]:
        with rig.store.begin() as work:
            rows = work.workflows.list(DEFAULT_TENANT, before=None, limit=10, query=query)
        return [w.name for w in rows]

    assert found("DAILY") == ["Daily report"]
    assert found("%") == ["100%"]
    assert found("_") == ["under_score"]
    assert found("\\") == ["back\\slash"]
    assert found("' OR 1=1 --") == []
    assert len(found("")) == 4


def test_error_rolls_everything_back(rig: Rig) -> None:
    kept = store_workflow(rig.store, PLAN, name="kept")
    added, run = saved("added"), new_run(kept)

    def change_everything() -> None:
        with rig.store.begin() as work:
            work.workflows.add_workflow(added, {}, PLAN)
            work.workflows.change(replace(kept, version=2, name="changed"), {}, PLAN)
            work.store_run(run)
            assert work.keys.take(DEFAULT_TENANT, "k", "d", run.id) is None
            assert work.workflows.get_workflow(DEFAULT_TENANT, added.id) == added
            raise Stop

    with pytest.raises(Stop):
        change_everything()
    assert rig.store.reads.run(DEFAULT_TENANT, run.id) is None
    assert rig.store.reads.tasks(run.id) == []
    assert rig.store.reads.events(run.id, after=0, limit=10) == []
    assert rig.store.reads.definition(added.id, 1) is None
    assert rig.store.reads.definition(kept.id, 2) is None
    with rig.store.begin() as work:
        assert work.workflows.get_workflow(DEFAULT_TENANT, kept.id) == kept
        assert work.workflows.named(DEFAULT_TENANT, "added") is None
        assert work.keys.take(DEFAULT_TENANT, "k", "other", new_id()) is None


def test_rolled_back_start_wakes_nobody(rig: Rig) -> None:
    workflow = store_workflow(rig.store, PLAN)
    rig.store.listen(0)

    def start_in_vain() -> None:
        with rig.store.begin() as work:
            work.store_run(new_run(workflow))
            raise Stop

    with pytest.raises(Stop):
        start_in_vain()
    assert not rig.store.listen(0.01)


def test_key_returns_what_its_first_use_created(rig: Rig) -> None:
    first, tenant = new_id(), rig.tenant()
    with rig.store.begin() as work:
        assert work.keys.take(DEFAULT_TENANT, "k", "digest", first) is None
    with rig.store.begin() as work:
        assert work.keys.take(DEFAULT_TENANT, "k", "digest", new_id()) == first
        assert work.keys.take(tenant, "k", "other digest", new_id()) is None
        assert work.keys.take(DEFAULT_TENANT, "k2", "digest", new_id()) is None
    with pytest.raises(IdempotencyMismatch), rig.store.begin() as work:
        work.keys.take(DEFAULT_TENANT, "k", "other digest", new_id())


@pytest.mark.parametrize("first_commits", [True, False])
def test_second_caller_waits_for_the_first_ones_end(rig: Rig, first_commits: bool) -> None:
    store, first, second = rig.store, new_id(), new_id()
    found: list[object] = []
    begun = threading.Event()

    def take() -> None:
        begun.set()
        with store.begin() as work:
            found.append(work.keys.take(DEFAULT_TENANT, "k", "d", second))

    caller = threading.Thread(target=take)
    try:
        with store.begin() as work:
            work.keys.take(DEFAULT_TENANT, "k", "d", first)
            caller.start()
            assert begun.wait(5)
            caller.join(0.05)
            assert found == [], "the second caller must not get past an open first use"
            if not first_commits:
                raise Stop
    except Stop:
        pass
    caller.join(10)
    assert found == [first if first_commits else None]


def test_one_key_from_many_callers_creates_once(rig: Rig) -> None:
    workflow = store_workflow(rig.store, PLAN)
    created = _all_at_once(8, lambda: _start_with_key(rig.store, workflow))
    assert len(set(created)) == 1
    assert len(rig.store.reads.runs(RunFilter(tenant_id=DEFAULT_TENANT))) == 1


def _start_with_key(store: Store, workflow: SavedWorkflow) -> UUID:
    run = new_run(workflow)
    with store.begin() as work:
        known = work.keys.take(DEFAULT_TENANT, "k", "d", run.id)
        if known is not None:
            return known
        return work.store_run(run).run_id


def _all_at_once(count: int, work: Callable[[], UUID]) -> list[UUID]:
    found: list[UUID] = []
    gate = threading.Barrier(count)

    def go() -> None:
        gate.wait(10)
        found.append(work())

    threads = [threading.Thread(target=go) for _ in range(count)]
    for thread in threads:
        thread.start()
    wait_for(lambda: not any(t.is_alive() for t in threads), what="all callers")
    assert len(found) == count
    return found


def test_runs_are_listed_newest_first_in_pages(rig: Rig) -> None:
    made = [start(rig.store, PLAN, input={"i": i}).run_id for i in range(5)]
    start(rig.store, PLAN, tenant_id=rig.tenant())
    reads = rig.store.reads
    first = reads.runs(RunFilter(tenant_id=DEFAULT_TENANT, limit=2))
    rest = reads.runs(RunFilter(tenant_id=DEFAULT_TENANT, before=first[-1].id))
    assert [r.id for r in (*first, *rest)] == made[::-1]
    assert first[0].input is None, "a page comes without inputs and outputs"
    assert first[0].counts == {"queued": 1}


def test_run_filters(rig: Rig) -> None:
    done = Player(rig.store, PLAN, trigger=Trigger.MANUAL)
    done.do("n0")
    failed = Player(rig.store, PLAN)
    failed.fail("n0")
    queued = Player(rig.store, diamond())

    def found(**wanted: Any) -> list[UUID]:
        runs = rig.store.reads.runs(RunFilter(tenant_id=DEFAULT_TENANT, **wanted))
        return [r.id for r in runs]

    assert found(states=(RunState.SUCCEEDED,)) == [done.run_id]
    assert found(states=(RunState.QUEUED, RunState.FAILED)) == [queued.run_id, failed.run_id]
    assert found(trigger=Trigger.MANUAL) == [done.run_id]
    assert found(workflow_id=failed.started.workflow_id) == [failed.run_id]
    assert found(workflow_id=new_id()) == []
    assert found(states=(RunState.SUCCEEDED,), trigger=Trigger.API) == []


def test_runs_by_time(rig: Rig) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    workflow = store_workflow(rig.store, PLAN)
    ids = [uuid7(datetime.now(UTC)) for _ in range(3)]
    base = ids[0].int & (1 << 80) - 1
    ids = [type(ids[0])(int=(int((noon.timestamp() + i) * 1000) << 80) | base) for i in range(3)]
    for id in ids:
        with rig.store.begin() as work:
            work.store_run(new_run(workflow, id=id))
    assert [time_of(id) for id in ids] == [noon + timedelta(seconds=i) for i in range(3)]

    def found(**bounds: Any) -> list[UUID]:
        runs = rig.store.reads.runs(RunFilter(tenant_id=DEFAULT_TENANT, **bounds))
        return [r.id for r in runs]

    assert found(since=noon + timedelta(seconds=1)) == [ids[2], ids[1]]
    assert found(until=noon + timedelta(seconds=1)) == [ids[0]]
    assert found(since=noon, until=noon + timedelta(seconds=2)) == [ids[1], ids[0]]


def test_tasks_in_pages_and_by_node(rig: Rig) -> None:
    player = Player(rig.store, chain(5))
    reads = rig.store.reads
    first = reads.tasks(player.run_id, limit=2)
    rest = reads.tasks(player.run_id, after=first[-1].task_no)
    assert [t.task_no for t in (*first, *rest)] == [0, 1, 2, 3, 4]
    assert [t.task_no for t in reads.tasks(player.run_id, node_id="n3")] == [3]
    assert reads.tasks(player.run_id, node_id="no") == []
    assert reads.tasks(new_id()) == []


def test_events_in_pages(rig: Rig) -> None:
    player = Player(rig.store, diamond())
    player.do("a")
    reads = rig.store.reads
    first = reads.events(player.run_id, after=0, limit=3)
    rest = reads.events(player.run_id, after=3, limit=100)
    assert [e.seq for e in (*first, *rest)] == list(range(1, player.run().seq + 1))
    assert reads.events(player.run_id, after=1000, limit=5) == []
    assert reads.events(new_id(), after=0, limit=5) == []


def test_moved_events_are_the_recorded_ones(rig: Rig) -> None:
    player = Player(rig.store, diamond())
    claimed = player.claim("a")
    settled = player.settle(
        [player.ending("a", "failed", error={"code": "x", "message": "y", "more": None})],
        claim_id=player.claims["a"], logs=[player.line("a", "hello", age_s=0.5)],
    )  # fmt: skip
    assert claimed is not None
    told = [*player.started.events, *claimed.events, *settled.events]
    for mine, recorded in zip(told, player.events(), strict=True):
        assert abs(mine.at - recorded.at) < timedelta(milliseconds=100)
        assert replace(mine, at=recorded.at) == recorded


def test_outputs_of_those_that_succeeded(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a"), node("b"), node("c")))
    player.do("a", output=[1])
    player.fail("b")
    outputs = rig.store.reads.outputs
    assert outputs(player.run_id, [0, 1, 2, 9]) == {0: [1]}
    assert outputs(player.run_id, []) == {}
    assert outputs(new_id(), [0]) == {}


def test_what_a_worker_reads_of_a_run(rig: Rig) -> None:
    player = Player(rig.store, diamond(), input={"day": 1})
    reads, unknown = rig.store.reads, new_id()
    assert reads.input(player.run_id) == {"day": 1}
    assert reads.pinned(player.run_id) == (player.started.workflow_id, 1)
    assert reads.unfinished(player.run_id) == reads.pinned(player.run_id)
    assert reads.unstarted(player.run_id) == 4
    player.claim("a")
    assert reads.unstarted(player.run_id) is None
    assert reads.input(unknown) is reads.pinned(unknown) is reads.unstarted(unknown) is None
    assert reads.unfinished(unknown) is None
    player.cancel()
    player.end("a")
    assert reads.unfinished(player.run_id) is None
    assert reads.pinned(player.run_id) is not None


def test_unknown_run_reads_as_nothing(rig: Rig) -> None:
    assert rig.store.reads.run(DEFAULT_TENANT, new_id()) is None
    assert rig.store.reads.attempts(new_id(), 0) == []
