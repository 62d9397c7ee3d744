"""Claims: queued -> running for one owner, and everything that must claim nothing."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from orchestrator.models.runs.run import RunState
from orchestrator.ports.moves import Owner
from tests.contract.player import Player
from tests.contract.rigs import Rig
from tests.factories import beat, chain, join_of, new_id, node, plan


def test_first_claim_starts_the_run(rig: Rig) -> None:
    worker = beat(name="celery@one")
    rig.store.fleet.beat(worker)
    player = Player(rig.store, chain(1), input={"x": 1}, owner=Owner(worker_id=worker.id, pid=2))
    moved = player.claim("n0")
    assert moved is not None
    assert [(e.seq, e.node_id, e.state) for e in moved.events] == [
        (3, None, "running"),
        (4, "n0", "running"),
    ]
    assert moved.input == {"x": 1}
    (claim,) = moved.claimed
    assert (claim.task_no, claim.attempt, claim.losses, claim.resumed) == (0, 1, 0, None)
    assert claim.claim_id == player.claims["n0"]
    task, run = player.task("n0"), player.run()
    assert (task.state, task.worker) == ("running", "celery@one")
    assert task.started_at == claim.started_at == run.started_at
    assert run.state is RunState.RUNNING


def test_several_tasks_under_one_claim(rig: Rig) -> None:
    player = Player(rig.store, join_of(3))
    player.claim("w0")
    moved = player.claim("w2", "w0", "w1")
    assert moved is not None
    assert [c.task_no for c in moved.claimed] == [1, 2], "w0 has an owner already"
    assert [(e.node_id, e.state) for e in moved.events] == [("w1", "running"), ("w2", "running")]


def test_duplicate_message_claims_nothing(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    assert player.claim("n0")
    seq = player.run().seq
    assert player.claim("n0") is None
    assert player.run().seq == seq


def test_same_pair_twice_in_one_message_counts_once(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    moved = rig.store.moves.claim_attempts(
        player.run_id, [(0, 1), (0, 1)], claim_id=uuid4(), owner=player.owner
    )
    assert moved is not None
    assert len(moved.claimed) == 1


@pytest.mark.parametrize("attempt", [0, 2, 7])
def test_stale_attempt_claims_nothing(rig: Rig, attempt: int) -> None:
    player = Player(rig.store, chain(1))
    moved = rig.store.moves.claim_attempts(
        player.run_id, [(0, attempt)], claim_id=uuid4(), owner=player.owner
    )
    assert moved is None


def test_message_of_the_last_attempt_is_stale_after_a_retry(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    player.do("n0", "retrying", delay_s=0, error={"code": "x", "message": "y"})
    assert player.queue("n0")
    assert player.claim("n0", attempt=1) is None
    assert player.claim("n0", attempt=2)


def test_unknown_run_and_task(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    claim = rig.store.moves.claim_attempts
    assert claim(new_id(), [(0, 1)], claim_id=uuid4(), owner=player.owner) is None
    assert claim(player.run_id, [(5, 1)], claim_id=uuid4(), owner=player.owner) is None
    assert claim(player.run_id, [], claim_id=uuid4(), owner=player.owner) is None


def test_pending_ready_and_ended_tasks_are_not_claimed(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a"), node("b", "a"), node("c", priority=1)), room=1)
    player.do("a", room=0)
    assert player.states() == {"a": "succeeded", "b": "ready", "c": "ready"}
    for name in player.states():
        assert player.claim(name, attempt=player.task(name).attempt or 1) is None


def test_paused_run_claims_nothing(rig: Rig) -> None:
    player = Player(rig.store, join_of(2))
    player.claim("w0")
    rig.force(player.run_id, RunState.PAUSED)
    assert player.claim("w1") is None
    rig.force(player.run_id, RunState.RUNNING)
    assert player.claim("w1")


def test_cancelling_and_ended_runs_claim_nothing(rig: Rig) -> None:
    player = Player(rig.store, join_of(2))
    player.claim("w0")
    player.cancel()
    assert player.claim("w1", attempt=1) is None
    player.end("w0")
    assert player.run().state is RunState.CANCELLED
    assert player.claim("w1", attempt=1) is None


def test_claim_clears_the_last_error(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    player.do("n0", "retrying", delay_s=0, error={"code": "x", "message": "y"})
    assert player.task("n0").error == {"code": "x", "message": "y"}
    player.queue("n0")
    player.claim("n0")
    assert player.task("n0").error is None


def test_worker_nobody_knows_has_no_name(rig: Rig) -> None:
    player = Player(rig.store, chain(1), owner=Owner(worker_id=UUID(int=99), pid=3))
    player.claim("n0")
    assert player.task("n0").worker is None
