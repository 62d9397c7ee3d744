"""Beats, leases and owners of attempts, and what becomes of workers that are gone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

import pytest

from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.ports.fleet import Beat, Held
from orchestrator.ports.moves import Owner
from tests.contract.player import Player
from tests.contract.rigs import Rig
from tests.factories import beat, chain, join_of, new_id


def held(found: Iterable[Held]) -> list[tuple[int, str | None]]:
    """Return (task_no, verdict) of what somebody holds."""
    return sorted((h.claim.task_no, h.verdict) for h in found)


def test_beat_shows_the_worker(rig: Rig) -> None:
    one = beat(name="celery@one", queues=("default", "io"), slots=3, children=(11, 12))
    assert rig.store.fleet.beat(one).alive
    rig.pass_time(7)
    rig.store.fleet.beat(beat(name="celery@two"))
    first, second = rig.store.fleet.workers()
    assert first["age_s"] == pytest.approx(7, abs=1)
    kept = ("id", "name", "queues", "slots", "children", "state", "busy")
    assert {k: first[k] for k in kept} == {
        "id": one.id, "name": "celery@one", "queues": ["default", "io"], "slots": 3,
        "children": [11, 12], "state": "active", "busy": 0,
    }  # fmt: skip
    assert second["name"] == "celery@two"


def test_next_beat_replaces_what_changes(rig: Rig) -> None:
    worker = beat(children=(1,), slots=1)
    rig.store.fleet.beat(worker)
    rig.store.fleet.beat(beat(worker.id, children=(2, 3), slots=2, queues=("io",)))
    (found,) = rig.store.fleet.workers()
    assert (found["children"], found["slots"], found["queues"]) == ([2, 3], 2, ["io"])
    assert found["age_s"] < 1


def test_beat_brings_what_the_worker_holds(rig: Rig) -> None:
    worker = beat()
    rig.store.fleet.beat(worker)
    player = Player(rig.store, join_of(2), owner=Owner(worker_id=worker.id, pid=2))
    player.claim("w0")
    pulse = rig.store.fleet.beat(worker)
    (mine,) = pulse.held
    assert (mine.verdict, mine.overdue_s) == (None, 0.0)
    assert mine.owner == player.owner
    assert (mine.claim.run_id, mine.claim.task_no, mine.claim.attempt, mine.claim.claim_id) == (
        player.run_id, 0, 1, player.claims["w0"],
    )  # fmt: skip
    assert rig.store.fleet.beat(beat()).held == ()
    assert rig.store.fleet.workers()[0]["busy"] == 1


def test_beat_tells_of_a_cancelled_run(rig: Rig) -> None:
    worker = beat()
    player = Player(rig.store, join_of(2), owner=Owner(worker_id=worker.id, pid=2))
    player.claim("w0")
    player.cancel()
    assert held(rig.store.fleet.beat(worker).held) == [(0, "cancelled")]


def test_beat_tells_of_a_passed_deadline(rig: Rig) -> None:
    worker = beat()
    player = Player(rig.store, chain(1, timeout_s=5.0), owner=Owner(worker_id=worker.id, pid=2))
    player.claim("n0")
    rig.pass_time(4)
    assert held(rig.store.fleet.beat(worker).held) == [(0, None)]
    rig.pass_time(3)
    (mine,) = rig.store.fleet.beat(worker).held
    assert mine.verdict == "timeout"
    assert mine.overdue_s == pytest.approx(2, abs=1)


def test_every_claim_gets_the_whole_timeout(rig: Rig) -> None:
    worker = beat()
    player = Player(rig.store, chain(1, timeout_s=5.0), owner=Owner(worker_id=worker.id, pid=2))
    player.do("n0", "waiting", delay_s=0)
    rig.pass_time(100)
    player.queue("n0")
    player.claim("n0")
    assert held(rig.store.fleet.beat(worker).held) == [(0, None)]


def test_lost_worker_learns_that_it_was_given_up(rig: Rig) -> None:
    worker = beat()
    rig.store.fleet.beat(worker)
    assert rig.store.fleet.expire(lease_s=60) == 0
    rig.pass_time(61)
    assert rig.store.fleet.expire(lease_s=0.01) == 1
    assert rig.store.fleet.expire(lease_s=0.01) == 0
    pulse = rig.store.fleet.beat(worker)
    assert (pulse.alive, pulse.held) == (False, ())
    assert rig.store.fleet.workers()[0]["state"] == "lost"
    assert rig.store.fleet.beat(beat()).alive, "a new identity is welcome"


def test_worker_that_left_stays_gone(rig: Rig) -> None:
    worker = beat()
    rig.store.fleet.beat(worker)
    rig.store.fleet.leave(worker.id)
    rig.store.fleet.leave(new_id())
    assert rig.store.fleet.workers()[0]["state"] == "stopped"
    assert not rig.store.fleet.beat(worker).alive
    rig.pass_time(100)
    assert rig.store.fleet.expire(lease_s=0.01) == 0


def test_workers_long_gone_are_not_shown(rig: Rig) -> None:
    rig.store.fleet.beat(beat())
    rig.pass_time(3700)
    assert rig.store.fleet.workers() == []


def owned(rig: Rig, *, timeout_s: float = 60.0) -> tuple[Player, UUID]:
    """Return a run whose one task is held by child 2 of a worker that has just beaten."""
    worker = beat(children=(1, 2))
    rig.store.fleet.beat(worker)
    player = Player(
        rig.store, chain(1, timeout_s=timeout_s), owner=Owner(worker_id=worker.id, pid=2)
    )
    player.claim("n0")
    return player, worker.id


def ownerless(rig: Rig, lease_s: float = 10.0) -> list[Held]:
    """Ask for what nobody works on."""
    return rig.store.fleet.ownerless(10, lease_s)


def test_attempts_of_a_living_child_have_an_owner(rig: Rig) -> None:
    player, worker_id = owned(rig)
    assert ownerless(rig) == []
    rig.pass_time(5)
    rig.store.fleet.beat(beat(worker_id, children=(1, 2)))
    assert ownerless(rig) == []
    assert [h.claim.task_no for h in rig.store.fleet.of_child(worker_id, 2)] == [0]
    assert rig.store.fleet.of_child(worker_id, 1) == []
    assert rig.store.fleet.of_child(new_id(), 2) == []
    assert player.task("n0").state == "running"


def test_attempts_of_a_lost_worker_have_none(rig: Rig) -> None:
    player, worker_id = owned(rig)
    rig.pass_time(30)
    assert ownerless(rig) == [], "silent, but not given up yet"
    rig.store.fleet.expire(lease_s=0.01)
    (found,) = ownerless(rig)
    assert (found.verdict, found.owner.worker_id) == ("lost", worker_id)
    assert found.claim.claim_id == player.claims["n0"]
    assert found.claim.losses == 0
    player.end("n0", "lost")
    assert ownerless(rig) == []


def test_attempts_of_a_cancelled_run_end_with_it_whatever_became_of_their_worker(rig: Rig) -> None:
    player, worker_id = owned(rig)
    player.cancel()
    assert held(rig.store.fleet.of_child(worker_id, 2)) == [(0, "cancelled")]
    rig.store.fleet.leave(worker_id)
    assert held(ownerless(rig)) == [(0, "cancelled")]


def test_attempts_of_a_stopped_worker_have_none(rig: Rig) -> None:
    _, worker_id = owned(rig)
    rig.store.fleet.leave(worker_id)
    assert held(ownerless(rig)) == [(0, "lost")]


def test_attempts_of_a_dead_child_have_none_after_the_next_beat(rig: Rig) -> None:
    _, worker_id = owned(rig)
    rig.pass_time(6)
    assert ownerless(rig) == []
    rig.store.fleet.beat(beat(worker_id, children=(1, 3)))
    assert held(ownerless(rig)) == [(0, "lost")]
    assert held(rig.store.fleet.of_child(worker_id, 2)) == [(0, "lost")]


def test_beat_from_before_the_claim_says_nothing_about_a_new_child(rig: Rig) -> None:
    worker = beat(children=(1,))
    rig.store.fleet.beat(worker)
    rig.pass_time(1)
    player = Player(rig.store, chain(1), owner=Owner(worker_id=worker.id, pid=99))
    player.claim("n0")
    assert ownerless(rig) == []


def test_attempts_of_a_worker_never_heard_of_get_one_lease(rig: Rig) -> None:
    player = Player(rig.store, chain(1), owner=Owner(worker_id=new_id(), pid=1))
    player.claim("n0")
    assert ownerless(rig) == []
    rig.pass_time(11)
    assert held(ownerless(rig)) == [(0, "lost")]


def test_attempts_far_past_their_deadline_are_not_left_to_their_supervisor(rig: Rig) -> None:
    _, worker_id = owned(rig, timeout_s=5)
    rig.pass_time(60)
    rig.store.fleet.beat(beat(worker_id))
    assert ownerless(rig) == []
    rig.pass_time(10)
    rig.store.fleet.beat(beat(worker_id))
    (found,) = ownerless(rig)
    assert found.verdict == "timeout"
    assert found.overdue_s == pytest.approx(65, abs=2)


def test_ownerless_is_bounded(rig: Rig) -> None:
    player = Player(rig.store, join_of(3), owner=Owner(worker_id=new_id(), pid=1))
    player.claim("w0", "w1", "w2")
    rig.pass_time(11)
    assert len(rig.store.fleet.ownerless(2)) == 2


def test_tidy_drops_old_keys_and_long_gone_workers(rig: Rig) -> None:
    fleet = rig.store.fleet
    old, gone = new_id(), beat()
    fleet.beat(gone)
    fleet.leave(gone.id)
    with rig.store.begin() as work:
        work.keys.take(DEFAULT_TENANT, "old", "d", old)
    rig.pass_time(25 * 3600)
    with rig.store.begin() as work:
        work.keys.take(DEFAULT_TENANT, "new", "d", old)
    fleet.tidy(datetime.now(UTC), keys_older_s=24 * 3600)
    fleet.tidy(datetime.now(UTC), keys_older_s=24 * 3600)
    with rig.store.begin() as work:
        assert work.keys.take(DEFAULT_TENANT, "new", "d", new_id()) == old
        assert work.keys.take(DEFAULT_TENANT, "old", "d", new_id()) is None
    assert fleet.beat(beat(gone.id)).alive, "nothing is left that remembers it"


def test_tidy_keeps_a_gone_worker_that_still_holds_an_attempt(rig: Rig) -> None:
    player, worker_id = owned(rig)
    rig.store.fleet.leave(worker_id)
    rig.pass_time(25 * 3600)
    rig.store.fleet.tidy(datetime.now(UTC), keys_older_s=60)
    assert player.task("n0").worker == "worker@test"


def test_a_refusal_is_kept_once_for_each_worker(rig: Rig) -> None:
    def refuse(host: str, why: str) -> None:
        beat = Beat(
            id=new_id(), name="w", host=host, pid=1, version="1", queues=("default",), slots=0,
            children=(),
        )  # fmt: skip
        rig.store.fleet.refuse(beat, why)

    for host, why in (("one", "first"), ("one", "second"), ("two", "third")):
        refuse(host, why)
    found = {(w["host"], w["refusal"]) for w in rig.store.fleet.workers()}
    assert {("one", "second"), ("two", "third")} <= found
    assert ("one", "first") not in found
    assert all(w["slots"] == 0 for w in rig.store.fleet.workers() if w["state"] == "refused")
