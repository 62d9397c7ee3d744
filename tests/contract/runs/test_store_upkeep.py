"""Timers, backlogs, announcements and deadlines: what upkeep asks the record."""

from __future__ import annotations

from itertools import pairwise

import pytest

from orchestrator.models.runs.run import RunState
from orchestrator.ports.moves import Owner, Take
from tests.contract.player import Player
from tests.contract.rigs import Rig
from tests.factories import beat, chain, join_of, new_id, node, plan

ERROR = {"code": "x", "message": "y"}


def test_due_timers_in_order(rig: Rig) -> None:
    player = Player(rig.store, join_of(3))
    player.do("w0", "retrying", delay_s=20, error=ERROR)
    player.do("w1", "waiting", delay_s=10)
    player.do("w2", "waiting", delay_s=100)
    assert rig.store.fleet.due(10) == {}
    rig.pass_time(30)
    assert rig.store.fleet.due(10) == {player.run_id: [1, 0]}
    assert rig.store.fleet.due(1) == {player.run_id: [1]}
    player.queue("w0", "w1", "w2")
    assert rig.store.fleet.due(10) == {}
    assert player.states()["w2"] == "waiting"


def test_due_timers_of_paused_runs_wait(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    player.do("n0", "waiting", delay_s=0)
    rig.force(player.run_id, RunState.PAUSED)
    assert rig.store.fleet.due(10) == {}
    rig.force(player.run_id, RunState.RUNNING)
    assert rig.store.fleet.due(10) == {player.run_id: [0]}


def test_backlog_is_most_urgent_then_oldest(rig: Rig) -> None:
    roots = plan(node("low", priority=1), node("high", priority=9), node("gpu", queue="gpu"))
    first = Player(rig.store, roots, room=0)
    second = Player(rig.store, roots, room=0)
    fleet = rig.store.fleet
    assert sorted(fleet.ready_queues()) == ["default", "gpu"]
    assert fleet.backlog("default", 10) == {first.run_id: [1, 0], second.run_id: [1, 0]}
    assert fleet.backlog("default", 3) == {first.run_id: [1, 0], second.run_id: [1]}
    assert fleet.backlog("gpu", 10) == {first.run_id: [2], second.run_id: [2]}
    assert fleet.backlog("none", 10) == {}
    rig.force(first.run_id, RunState.PAUSED)
    assert fleet.backlog("gpu", 10) == {second.run_id: [2]}


def test_waiting_queues_have_announced_attempts(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a"), node("b", queue="gpu")))
    assert sorted(rig.store.fleet.waiting_queues()) == ["default", "gpu"]
    player.claim("b")
    assert rig.store.fleet.waiting_queues() == ["default"]


def unclaimed(rig: Rig, older_s: float = 6.0, queue: str = "default") -> list[tuple[int, int]]:
    """Ask what must be announced again; return (task_no, attempt)."""
    return [(r.task_no, r.attempt) for r in rig.store.fleet.unclaimed([queue], older_s, 10)]


def test_unclaimed_is_announced_again_with_a_doubling_pause(rig: Rig) -> None:
    worker = beat()
    rig.store.fleet.beat(worker)
    Player(rig.store, chain(1))
    assert unclaimed(rig) == []
    announced_after = []
    for second in range(2, 70, 2):
        rig.pass_time(2)
        rig.store.fleet.beat(worker)
        if unclaimed(rig, older_s=4.0):
            announced_after.append(second)
    pauses = [b - a for a, b in pairwise([0, *announced_after])]
    assert pauses == pytest.approx([4, 8, 16, 32], abs=3)


def test_unclaimed_pause_ends_at_a_minute(rig: Rig) -> None:
    worker = beat()
    rig.store.fleet.beat(worker)
    Player(rig.store, chain(1))
    for _ in range(12):
        rig.pass_time(61)
        assert unclaimed(rig, older_s=20) == [(0, 1)]


def test_unclaimed_waits_for_a_worker_with_room_in_that_queue(rig: Rig) -> None:
    Player(rig.store, chain(1))
    rig.pass_time(20)
    assert unclaimed(rig) == [], "nobody could have claimed it"
    worker = beat(queues=("gpu",))
    rig.store.fleet.beat(worker)
    rig.pass_time(20)
    rig.store.fleet.beat(worker)
    assert unclaimed(rig) == [], "nobody consumes its queue"
    worker = beat()
    rig.store.fleet.beat(worker)
    assert unclaimed(rig) == [], "it may be fetching the message just now"
    rig.pass_time(7)
    assert unclaimed(rig, queue="gpu") == []
    assert unclaimed(rig) == [(0, 1)]


def test_unclaimed_ignores_a_busy_worker(rig: Rig) -> None:
    worker = beat(slots=1)
    rig.store.fleet.beat(worker)
    busy = Player(rig.store, chain(1), owner=Owner(worker_id=worker.id, pid=1))
    busy.claim("n0")
    Player(rig.store, chain(1))
    rig.store.fleet.beat(worker)
    rig.pass_time(20)
    rig.store.fleet.beat(worker)
    assert unclaimed(rig) == []
    busy.end("n0")
    rig.store.fleet.beat(worker)
    rig.pass_time(7)
    assert unclaimed(rig) == [(0, 1)]


def test_unclaimed_ignores_lost_workers_and_runs_that_must_not_start(rig: Rig) -> None:
    worker = beat()
    rig.store.fleet.beat(worker)
    player = Player(rig.store, chain(1))
    rig.pass_time(20)
    rig.force(player.run_id, RunState.PAUSED)
    assert unclaimed(rig) == []
    rig.force(player.run_id, RunState.QUEUED)
    rig.store.fleet.leave(worker.id)
    assert unclaimed(rig) == []


def test_unclaimed_is_bounded_and_most_urgent_first(rig: Rig) -> None:
    rig.store.fleet.beat(beat())
    Player(rig.store, plan(node("low", priority=1), node("high", priority=9)))
    rig.pass_time(20)
    (first,) = rig.store.fleet.unclaimed(["default"], 6.0, 1)
    assert (first.task_no, first.priority, first.queue) == (1, 9, "default")
    (second,) = rig.store.fleet.unclaimed(["default"], 6.0, 10)
    assert second.task_no == 0


def passed_over(rig: Rig, older_s: float = 6.0, queue: str = "default") -> list[tuple[int, int]]:
    """Ask what was passed over; return (task_no, attempt)."""
    return [(r.task_no, r.attempt) for r in rig.store.fleet.passed_over([queue], older_s, 10)]


def test_passed_over_is_what_was_announced_before_one_that_was_claimed(rig: Rig) -> None:
    Player(rig.store, chain(1))
    rig.pass_time(1)
    younger = Player(rig.store, chain(1))
    rig.pass_time(7)
    assert passed_over(rig) == [], "both wait: the list may be long"
    younger.claim("n0")
    assert passed_over(rig, older_s=60.0) == [], "its message may be on its way"
    assert passed_over(rig, queue="gpu") == []
    assert passed_over(rig) == [(0, 1)], "with no worker that has room"
    assert passed_over(rig) == []


def test_passed_over_needs_one_that_was_announced_later(rig: Rig) -> None:
    older = Player(rig.store, chain(2))
    rig.pass_time(1)
    Player(rig.store, chain(1))
    older.claim("n0")
    rig.pass_time(7)
    assert passed_over(rig) == []
    worker = beat()
    rig.store.fleet.beat(worker)
    rig.pass_time(20)
    again = Player(rig.store, plan(node("a", queue="gpu")))
    rig.pass_time(20)
    assert unclaimed(rig) == [(0, 1)]
    again.claim("a")
    assert passed_over(rig) == [], "it came by another queue"


def test_passed_over_is_not_proved_by_what_was_announced_again(rig: Rig) -> None:
    worker = beat()
    first = Player(rig.store, chain(1))
    rig.pass_time(1)
    second = Player(rig.store, plan(node("low", priority=1)))
    rig.pass_time(1)
    rig.store.fleet.beat(worker)
    rig.pass_time(7)
    (release,) = rig.store.fleet.unclaimed(["default"], 6.0, 1)
    assert release.run_id == first.run_id
    first.claim("n0")
    assert passed_over(rig) == [], "its older message may have been the one"
    assert second.states() == {"low": "queued"}


def test_passed_over_heeds_what_a_younger_run_goes_on_with(rig: Rig) -> None:
    Player(rig.store, chain(1))
    rig.pass_time(1)
    owner = Owner(worker_id=new_id(), pid=1)
    younger = Player(rig.store, chain(3), owner=owner)
    younger.claim("n0")
    rig.pass_time(7)
    younger.end("n0", take=Take(owner=owner, queues=("default",), limit=1))
    assert younger.states()["n1"] == "running"
    assert passed_over(rig) == [(0, 1)]


def test_passed_over_leaves_runs_that_must_not_start(rig: Rig) -> None:
    older = Player(rig.store, chain(1))
    rig.pass_time(1)
    Player(rig.store, chain(1)).claim("n0")
    rig.pass_time(7)
    rig.force(older.run_id, RunState.PAUSED)
    assert passed_over(rig) == []
    rig.force(older.run_id, RunState.RUNNING)
    assert passed_over(rig) == [(0, 1)]


def test_runs_past_their_own_deadline(rig: Rig) -> None:
    late = Player(rig.store, plan(node("a"), timeout_s=10))
    Player(rig.store, plan(node("a"), timeout_s=100))
    Player(rig.store, plan(node("a")))
    assert rig.store.fleet.overdue_runs(10) == []
    rig.pass_time(11)
    assert rig.store.fleet.overdue_runs(10) == [late.run_id]
    late.claim("a")
    late.cancel(RunState.TIMED_OUT)
    assert rig.store.fleet.overdue_runs(10) == [], "it is being stopped"
    late.end("a")
    assert late.run().state is RunState.TIMED_OUT


def test_overdue_runs_are_bounded(rig: Rig) -> None:
    made = [Player(rig.store, plan(node("a"), timeout_s=1)).run_id for _ in range(3)]
    rig.pass_time(2)
    assert rig.store.fleet.overdue_runs(2) == made[:2]


def test_settled_runs_wait_for_their_end(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a"), output="1"))
    Player(rig.store, chain(1))
    assert rig.store.fleet.settled_runs(10) == []
    player.do("a")
    assert rig.store.fleet.settled_runs(10) == [(player.run_id, player.started.workflow_id, 1)]
    player.finish(output=1)
    assert rig.store.fleet.settled_runs(10) == []


def test_next_due(rig: Rig) -> None:
    fleet = rig.store.fleet
    assert fleet.next_due_s() is None
    player = Player(rig.store, plan(node("a"), timeout_s=500))
    assert fleet.next_due_s() == 0, "an attempt is announced: watch it"
    player.claim("a")
    assert fleet.next_due_s() == 0, "an attempt is running: watch its owner"
    player.end("a", "waiting", delay_s=100)
    assert fleet.next_due_s() == pytest.approx(100, abs=2)
    rig.pass_time(60)
    assert fleet.next_due_s() == pytest.approx(40, abs=2)
    rig.pass_time(60)
    assert fleet.next_due_s() == 0
    player.cancel()
    assert fleet.next_due_s() is None


def test_next_due_sees_the_end_of_a_lease(rig: Rig) -> None:
    fleet = rig.store.fleet
    fleet.beat(beat())
    rig.pass_time(1)
    assert fleet.next_due_s(60) is None
    # As short as this, it is over however young the server is.
    assert fleet.next_due_s(0.01) == 0
    assert fleet.next_due_s() is None
    assert fleet.expire(0.01) == 1
    assert fleet.next_due_s(0.01) is None


def test_next_due_sees_a_runs_own_deadline(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a"), timeout_s=50))
    player.do("a", "waiting", delay_s=100)
    assert rig.store.fleet.next_due_s() == pytest.approx(50, abs=2)


def test_the_oldest_needed_run_is_live_or_gave_its_outputs_to_a_live_one(rig: Rig) -> None:
    fleet = rig.store.fleet
    assert fleet.oldest_needed() is None
    first, second = Player(rig.store, chain(1)), Player(rig.store, chain(1))
    assert fleet.oldest_needed() == first.run_id
    first.do("n0")
    assert fleet.oldest_needed() == second.run_id
    second.do("n0")
    assert fleet.oldest_needed() is None
    again = Player(rig.store, chain(1), origin_run_id=first.run_id)
    again.do("n0")
    assert fleet.oldest_needed() is None
    third = Player(rig.store, chain(1), origin_run_id=again.run_id)
    assert fleet.oldest_needed() == first.run_id, "outputs are taken over from run to run"
    third.do("n0")
    assert fleet.oldest_needed() is None
