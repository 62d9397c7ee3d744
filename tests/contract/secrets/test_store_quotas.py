"""Quotas in the record: values, counts, and the queueing within a number of concurrent tasks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from orchestrator.errors import NotFound
from orchestrator.models.quota import EVERYBODY, Quota, TenantFilter
from orchestrator.models.runs.run import RunState
from tests.contract.player import Player
from tests.contract.rigs import PostgresRig
from tests.factories import chain, join_of, new_id, node, plan, store_workflow

ERROR = {"code": "x", "message": "y"}


def _held(player: Player) -> int:
    return sum(state in {"queued", "running"} for state in player.states().values())


def test_values_are_kept_changed_and_taken_back(rig: PostgresRig) -> None:
    one, two = rig.tenant(), rig.tenant()
    quotas = rig.store.quotas
    quotas.change(one, {Quota.WORKFLOWS: 3, Quota.CONCURRENT_TASKS: 2})
    quotas.change(two, {Quota.CONCURRENT_TASKS: 0})
    quotas.change(one, {Quota.WORKFLOWS: 4, Quota.SECRETS: None})
    assert quotas.stored(one) == {Quota.WORKFLOWS: 4, Quota.CONCURRENT_TASKS: 2}
    found = quotas.everywhere(Quota.CONCURRENT_TASKS)
    assert {tenant: found[tenant] for tenant in (one, two)} == {one: 2, two: 0}
    quotas.change(one, {Quota.WORKFLOWS: None})
    assert quotas.stored(one) == {Quota.CONCURRENT_TASKS: 2}
    for tenant in (one, two):
        quotas.change(tenant, dict.fromkeys(Quota))
    assert quotas.stored(one) == {}


def test_use_is_counted(rig: PostgresRig) -> None:
    tenant_id = rig.tenant()
    player = Player(rig.store, join_of(3), tenant_id=tenant_id, room=2)
    store_workflow(rig.store, chain(1), tenant_id=tenant_id)
    used = rig.store.quotas.used(tenant_id, rig.now() - timedelta(minutes=1))
    assert used[Quota.RUNS_PER_MINUTE] == 1
    assert used[Quota.CONCURRENT_TASKS] == 2
    assert used[Quota.WORKFLOWS] == 2
    player.claim("w0", "w1")
    assert rig.store.quotas.used(tenant_id, rig.now())[Quota.CONCURRENT_TASKS] == 2


def test_bytes_are_counted_up_to_the_last_one(rig: PostgresRig) -> None:
    tenant_id, quotas = rig.tenant(), rig.store.quotas

    def kept() -> int:
        return quotas.used(tenant_id, rig.now())[Quota.STORAGE_BYTES]

    assert not quotas.add_bytes(tenant_id, 11, 10)
    assert quotas.add_bytes(tenant_id, 4, 10)
    assert quotas.add_bytes(tenant_id, 6, 10)
    assert not quotas.add_bytes(tenant_id, 1, 10)
    assert kept() == 10
    # More than a quota that was lowered since: less is always welcome.
    assert quotas.add_bytes(tenant_id, -3, 5)
    assert not quotas.add_bytes(tenant_id, 1, 5)
    assert quotas.add_bytes(tenant_id, 1, 0)
    assert quotas.add_bytes(tenant_id, -100, 0)
    assert kept() == 0


def test_no_more_is_queued_than_the_quota_leaves(rig: PostgresRig) -> None:
    tenant_id = rig.tenant()
    first = Player(rig.store, join_of(4), tenant_id=tenant_id, room=0)
    second = Player(rig.store, join_of(4), tenant_id=tenant_id, room=0)
    done = rig.store.quotas.queue_within(tenant_id, 5, 100)
    assert done.held == 5
    # The oldest run first.
    assert [(m.run_id, len(m.queued)) for m in done.moves] == [
        (first.run_id, 4),
        (second.run_id, 1),
    ]
    assert all(m.tenant_id == tenant_id for m in done.moves)
    assert rig.store.quotas.queue_within(tenant_id, 5, 100).moves == ()
    first.do("w0", room=0)
    (more,) = rig.store.quotas.queue_within(tenant_id, 5, 100).moves
    assert [r.task_no for r in more.queued] == [1]
    assert (_held(first), _held(second)) == (3, 2)


def test_at_most_so_many_at_once(rig: PostgresRig) -> None:
    tenant_id = rig.tenant()
    player = Player(rig.store, join_of(9), tenant_id=tenant_id, room=0)
    assert rig.store.quotas.queue_within(tenant_id, 8, 3).held == 3
    assert rig.store.quotas.queue_within(tenant_id, 8, 3).held == 6
    assert rig.store.quotas.queue_within(tenant_id, 8, 3).held == 8
    assert _held(player) == 8


def test_a_lowered_quota_queues_nothing_until_there_is_room(rig: PostgresRig) -> None:
    tenant_id = rig.tenant()
    player = Player(rig.store, join_of(6), tenant_id=tenant_id, room=4)
    done = rig.store.quotas.queue_within(tenant_id, 2, 100)
    assert (done.held, done.moves) == (4, ())
    for name in ("w0", "w1"):
        player.do(name, room=0)
        assert rig.store.quotas.queue_within(tenant_id, 2, 100).moves == ()
    player.do("w2", room=0)
    assert len(rig.store.quotas.queue_within(tenant_id, 2, 100).moves) == 1


def test_the_most_urgent_goes_first_whatever_its_run(rig: PostgresRig) -> None:
    tenant_id = rig.tenant()
    calm = plan(node("a", priority=1), node("b", priority=2))
    Player(rig.store, calm, tenant_id=tenant_id, room=0)
    urgent = Player(rig.store, plan(node("now", priority=9)), tenant_id=tenant_id, room=0)
    done = rig.store.quotas.queue_within(tenant_id, 2, 100)
    queued = [r for m in done.moves for r in m.queued]
    assert [(r.run_id == urgent.run_id, r.priority) for r in queued] == [(True, 9), (False, 2)]


def test_due_timers_wait_for_the_quota_too(rig: PostgresRig) -> None:
    tenant_id = rig.tenant()
    player = Player(rig.store, plan(node("a"), node("b"), node("c")), tenant_id=tenant_id, room=2)
    player.do("a", "retrying", delay_s=5, error=ERROR, room=0)
    player.claim("b")
    # Not due yet: only `c` is there to be queued.
    assert rig.store.quotas.queue_within(tenant_id, 2, 100).held == 2
    rig.pass_time(6)
    assert rig.store.quotas.queue_within(tenant_id, 2, 100).moves == ()
    assert rig.store.quotas.waiting() == [tenant_id]
    player.end("b", room=0)
    (moved,) = rig.store.quotas.queue_within(tenant_id, 2, 100).moves
    assert [(r.task_no, r.attempt) for r in moved.queued] == [(0, 2)]


def test_paused_runs_are_left_alone(rig: PostgresRig) -> None:
    tenant_id = rig.tenant()
    player = Player(rig.store, chain(1), tenant_id=tenant_id, room=0)
    rig.force(player.run_id, RunState.PAUSED)
    assert rig.store.quotas.queue_within(tenant_id, 2, 100).moves == ()
    rig.force(player.run_id, RunState.QUEUED)
    assert rig.store.quotas.queue_within(tenant_id, 2, 100).held == 1


def test_a_backlog_of_some_tenants_only(rig: PostgresRig) -> None:
    tenant_id = rig.tenant()
    mine = Player(rig.store, chain(1), tenant_id=tenant_id, room=0)
    other = Player(rig.store, chain(1), room=0)
    ids = frozenset({tenant_id})
    fleet = rig.store.fleet
    assert set(fleet.backlog("default", 9, EVERYBODY)) == {mine.run_id, other.run_id}
    assert set(fleet.backlog("default", 9, TenantFilter(ids))) == {other.run_id}
    assert set(fleet.backlog("default", 9, TenantFilter(ids, only=True))) == {mine.run_id}
    for player in (mine, other):
        player.queue("n0")
        player.do("n0", "waiting", delay_s=0)
    rig.pass_time(1)
    assert set(fleet.due(9, TenantFilter(ids))) == {other.run_id}
    assert set(fleet.due(9, TenantFilter(ids, only=True))) == {mine.run_id}


def test_runs_and_workflows_are_counted_within_a_transaction(rig: PostgresRig) -> None:
    tenant_id = rig.tenant()
    for _ in range(3):
        Player(rig.store, chain(1), tenant_id=tenant_id)
    with rig.store.begin() as unit:
        started = unit.quotas.runs_since(tenant_id, rig.now() - timedelta(minutes=1), 2)
        assert len(started) == 2
        assert started == sorted(started, reverse=True)
        assert unit.quotas.runs_since(tenant_id, rig.now() + timedelta(minutes=1), 2) == []
        assert unit.quotas.workflows(tenant_id) == 3
        assert unit.quotas.stored(tenant_id) == {}


def test_an_unknown_tenant_has_no_quota(rig: PostgresRig) -> None:
    with pytest.raises(NotFound):
        rig.store.quotas.change(new_id(), {Quota.WORKFLOWS: 1})
    with pytest.raises(NotFound):
        rig.store.quotas.used(new_id(), rig.now())


def test_many_who_queue_at_once_stay_within_the_quota(rig: PostgresRig) -> None:
    tenant_id = rig.tenant()
    players = [Player(rig.store, join_of(6), tenant_id=tenant_id, room=0) for _ in range(5)]
    with ThreadPoolExecutor(8) as many:
        held = list(
            many.map(lambda _: rig.store.quotas.queue_within(tenant_id, 7, 3).held, range(40))
        )
    assert max(held) == 7
    assert sum(_held(player) for player in players) == 7
