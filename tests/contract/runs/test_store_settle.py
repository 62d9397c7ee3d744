"""Settling: outcomes, fencing, log lines, retries, losses and waits of single attempts."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from orchestrator.models.runs.event import Kind
from orchestrator.models.runs.run import RunState
from orchestrator.ports.moves import Take
from tests.contract.player import OWNER, Player
from tests.contract.rigs import Rig
from tests.factories import beat, chain, diamond, join_of, new_id, node, plan

ERROR = {"code": "boom", "message": "it broke", "traceback": "File ..."}


def test_success_ends_the_run_with_its_leaves_output(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    player.do("n0", output={"n": 1})
    moved = player.do("n1", output=[1, 2])
    assert (moved.settled, moved.open) == ((1,), 0)
    assert [(e.node_id, e.state) for e in moved.events] == [
        ("n1", "succeeded"),
        (None, "succeeded"),
    ]
    run = player.run()
    assert (run.state, run.output, run.error) == (RunState.SUCCEEDED, {"n1": [1, 2]}, None)
    assert run.finished_at is not None
    assert run.seq == moved.events[-1].seq


def test_next_task_is_queued_in_the_same_commit(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    moved = player.do("n0", output=5)
    (release,) = moved.queued
    assert (release.task_no, release.attempt) == (1, 1)
    assert [(e.node_id, e.state, e.attempt) for e in moved.events] == [
        ("n0", "succeeded", 1),
        ("n1", "queued", 1),
    ]
    assert (moved.settled, moved.open, moved.ready) == ((0,), 1, 0)


@pytest.mark.parametrize("output", [None, 0, "", [], {}, {"a": [1, None, {"b": 1.5}]}, "é\n"])
def test_outputs_come_back_as_they_were(rig: Rig, output: object) -> None:
    player = Player(rig.store, chain(1))
    player.do("n0", output=output)
    assert player.task("n0").output == output
    assert rig.store.reads.outputs(player.run_id, [0]) == {0: output}
    assert player.run().output == {"n0": output}


def test_what_is_stored_is_a_copy(rig: Rig) -> None:
    output = {"rows": [1]}
    player = Player(rig.store, chain(1))
    player.do("n0", output=output)
    output["rows"].append(2)
    player.task("n0").output["rows"].append(3)
    assert player.task("n0").output == {"rows": [1]}


def test_failure_fails_the_run_and_says_where(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    player.claim("n0")
    rig.pass_time(1.5)
    moved = player.end("n0", "failed", error=ERROR)
    event = moved.events[0]
    assert event.data is not None
    assert event.data["error"] == {"code": "boom", "message": "it broke"}, "no traceback in events"
    assert 1500 <= event.data["duration_ms"] < 3000
    assert player.task("n0").error == ERROR
    assert player.task("n0").output is None
    run = player.run()
    assert run.state is RunState.FAILED
    assert run.error == {"code": "task_failed", "node_id": "n0", "message": "n0: it broke"}
    assert moved.events[-1].data == {"error": run.error}
    assert set(moved.settled) == {0, 1}


def test_timed_out_counts_as_failed(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    player.do("n0", "timed_out", error={"code": "timeout", "message": "after 60 s"})
    assert player.states() == {"n0": "timed_out"}
    assert player.run().error == {
        "code": "task_failed", "node_id": "n0", "message": "n0: after 60 s",
    }  # fmt: skip


def test_first_failure_is_the_runs_error(rig: Rig) -> None:
    player = Player(rig.store, join_of(3, rule="all_done"))
    player.fail("w2", "first")
    rig.pass_time(1)
    player.fail("w0", "second")
    player.do("w1")
    player.do("join")
    error = player.run().error
    assert error is not None
    assert error["message"] == "w2: first"


def test_stale_claim_changes_nothing(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    player.claim("n0")
    seq = player.run().seq
    moved = player.settle([player.ending("n0", output=1)], claim_id=uuid4())
    assert (moved.accepted, moved.settled, moved.events, moved.open) == ((), (), (), None)
    assert player.states() == {"n0": "running", "n1": "pending"}
    assert player.run().seq == seq


@pytest.mark.parametrize("attempt", [0, 2])
def test_stale_attempt_changes_nothing(rig: Rig, attempt: int) -> None:
    player = Player(rig.store, chain(2))
    player.claim("n0")
    moved = player.end("n0", attempt=attempt, output=1)
    assert moved.accepted == moved.settled == ()
    assert player.task("n0").state == "running"


def test_settling_twice_changes_nothing(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    player.do("n0", output=1)
    moved = player.end("n0", output=2)
    assert (moved.accepted, moved.settled, moved.events) == ((), (), ())
    assert player.task("n0").output == 1
    assert rig.store.reads.outputs(player.run_id, [0, 1]) == {0: 1}


def test_zombie_settles_after_the_next_attempt_began(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    player.claim("n0")
    zombie = player.claims["n0"]
    player.end("n0", "lost")
    player.queue("n0")
    player.claim("n0")
    for attempt in (1, 2):
        moved = player.settle([player.ending("n0", attempt=attempt, output="old")], claim_id=zombie)
        assert moved.accepted == ()
    player.end("n0", output="new")
    assert player.task("n0").output == "new"


def test_mixed_endings_settle_what_is_still_held(rig: Rig) -> None:
    player = Player(rig.store, join_of(2))
    player.claim("w0", "w1")
    claim_id = player.claims["w0"]
    endings = [player.ending("w1"), player.ending("w0"), player.ending("w0", attempt=9)]
    moved = player.settle(endings, claim_id=claim_id)
    assert moved.accepted == moved.settled == (1, 0)
    assert [(e.node_id, e.state) for e in moved.events] == [
        ("w1", "succeeded"), ("w0", "succeeded"), ("join", "queued"),
    ]  # fmt: skip


def test_log_lines_share_the_seq_and_come_first(rig: Rig) -> None:
    player = Player(rig.store, diamond())
    player.claim("a")
    lines = [player.line("a", "one", age_s=2.0), player.line("a", "two", level="error")]
    moved = player.settle([player.ending("a")], claim_id=player.claims["a"], logs=lines)
    assert [(e.kind, e.seq) for e in moved.events] == [
        (Kind.LOG, 5), (Kind.LOG, 6), (Kind.TASK, 7), (Kind.TASK, 8), (Kind.TASK, 9),
    ]  # fmt: skip
    first, second = player.events()[4:6]
    assert (first.message, first.level, first.node_id, first.attempt) == ("one", "info", "a", 1)
    assert (second.message, second.level) == ("two", "error")
    assert second.at - first.at == timedelta(seconds=2)
    assert (first.state, first.data) == (None, None)


def test_lines_alone(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    player.claim("n0")
    moved = player.settle([], claim_id=player.claims["n0"], logs=[player.line("n0", "hello")])
    assert [e.message for e in moved.events] == ["hello"]
    assert moved.settled == ()
    assert player.task("n0").state == "running"


def test_lines_of_a_stale_claim_are_dropped(rig: Rig) -> None:
    player = Player(rig.store, join_of(2))
    player.claim("w0")
    seq = player.run().seq
    stale = [player.line("w0", "from a zombie"), player.line("w1", "not mine")]
    assert player.settle([], claim_id=uuid4(), logs=stale).events == ()
    moved = player.settle(
        [], claim_id=player.claims["w0"], logs=[*stale[1:], player.line("w0", "me")]
    )
    assert [(e.message, e.seq) for e in moved.events] == [("me", seq + 1)]
    assert player.run().seq == seq + 1


def test_unknown_run(rig: Rig) -> None:
    assert rig.store.moves.settle_attempts(new_id(), uuid4(), []) is None


def test_nothing_to_settle_is_harmless(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    moved = player.settle([], claim_id=uuid4())
    assert (moved.events, moved.settled, moved.open) == ((), (), None)


def test_skip_by_the_handler(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    moved = player.do("n0", "skipped", error={"code": "skipped", "message": "no rows today"})
    assert player.states() == {"n0": "skipped", "n1": "skipped"}
    assert player.task("n0").reason == "no rows today"
    assert player.task("n1").reason == "upstream_skipped"
    assert [e.data and e.data.get("reason") for e in moved.events[:2]] == [
        "no rows today", "upstream_skipped",
    ]  # fmt: skip
    run = player.run()
    assert (run.state, run.output) == (RunState.SUCCEEDED, {})


def test_skip_without_a_message(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    player.do("n0", "skipped")
    assert player.task("n0").reason == "skipped"


def test_retry_takes_the_next_attempt_when_due(rig: Rig) -> None:
    worker = beat(name="celery@one")
    rig.store.fleet.beat(worker)
    player = Player(rig.store, chain(1))
    player.claim("n0")
    rig.store.listen(0)
    moved = player.end("n0", "retrying", error=ERROR, delay_s=30.0)
    assert rig.store.listen(5.0), "upkeep may sleep past this timer"
    task = player.task("n0")
    assert (task.state, task.attempt, task.error) == ("retrying", 1, ERROR)
    assert task.due_at is not None
    assert moved.events[0].data is not None
    assert moved.events[0].data["delay_s"] == 30
    assert moved.open == 1
    assert player.queue("n0") is None, "not due yet"
    rig.pass_time(31)
    queued = player.queue("n0")
    assert queued is not None
    assert [(r.task_no, r.attempt) for r in queued.queued] == [(0, 2)]
    player.do("n0", output=1)
    (past,) = rig.store.reads.attempts(player.run_id, 0)
    assert (past["attempt"], past["state"], past["error"]) == (1, "failed", ERROR)
    assert past["queued_at"] <= past["started_at"] <= past["finished_at"]
    assert past["worker"] is None
    assert player.run().state is RunState.SUCCEEDED


def test_retry_after_a_timeout_is_kept_as_timed_out(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    player.do("n0", "retrying", error={"code": "timeout", "message": "slow"}, delay_s=0)
    assert [a["state"] for a in rig.store.reads.attempts(player.run_id, 0)] == ["timed_out"]


def test_lost_attempts_retry_until_max_losses(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a", max_losses=2), node("b", "a")))
    for losses in (1, 2):
        moved = player.do("a", "lost")
        assert player.task("a").state == "retrying"
        assert player.task("a").reason == "worker_lost"
        assert moved.events[0].data is not None
        assert moved.events[0].data["reason"] == "worker_lost"
        queued = player.queue("a")
        assert queued is not None
        claimed = player.claim("a")
        assert claimed is not None
        assert claimed.claimed[0].losses == losses
        assert player.task("a").reason is None
        player.end("a", "retrying", delay_s=0, error=ERROR)
        player.queue("a")
    player.do("a", "lost")
    assert player.states() == {"a": "failed", "b": "skipped"}
    assert player.task("a").reason == "worker_lost"
    states = [a["state"] for a in rig.store.reads.attempts(player.run_id, 0)]
    assert states == ["lost", "failed", "lost", "failed", "lost"]
    assert player.run().state is RunState.FAILED


def test_lost_fails_at_once_when_no_loss_is_allowed(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a", max_losses=0)))
    player.do("a", "lost", error={"code": "worker_lost", "message": "its worker died"})
    task = player.task("a")
    assert (task.state, task.reason, task.attempt) == ("failed", "worker_lost", 1)
    error = player.run().error
    assert error is not None
    assert error["message"] == "a: its worker died"
    assert [a["state"] for a in rig.store.reads.attempts(player.run_id, 0)] == ["lost"]


def test_wait_resumes_the_same_attempt_with_its_memo(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    player.claim("n0")
    started = player.task("n0").started_at
    rig.store.listen(0)
    moved = player.end("n0", "waiting", output={"page": 2}, delay_s=10)
    assert rig.store.listen(5.0)
    assert (moved.events[0].state, moved.open) == ("waiting", 1)
    task = player.task("n0")
    assert (task.state, task.output, task.finished_at) == ("waiting", None, None)
    assert player.claim("n0", attempt=1) is None, "a waiting task holds no slot and has no owner"
    rig.pass_time(11)
    queued = player.queue("n0")
    assert queued is not None
    assert queued.queued[0].attempt == 1
    claimed = player.claim("n0")
    assert claimed is not None
    (claim,) = claimed.claimed
    assert (claim.attempt, claim.resumed) == (1, {"page": 2})
    assert claim.started_at is not None
    assert started is not None
    assert rig.now() - claim.started_at >= timedelta(seconds=11), "it keeps its first start"
    player.end("n0", output="done")
    assert rig.store.reads.attempts(player.run_id, 0) == []
    assert player.run().output == {"n0": "done"}


def test_wait_without_a_memo_resumes_with_an_empty_one(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    player.do("n0", "waiting", delay_s=0)
    player.queue("n0")
    moved = player.claim("n0")
    assert moved is not None
    assert moved.claimed[0].resumed == {}


def test_retry_after_a_wait_forgets_the_memo(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    player.do("n0", "waiting", output={"page": 2}, delay_s=0)
    player.queue("n0")
    player.do("n0", "retrying", error=ERROR, delay_s=0)
    player.queue("n0")
    moved = player.claim("n0")
    assert moved is not None
    assert (moved.claimed[0].attempt, moved.claimed[0].resumed) == (2, None)


def test_parked_attempts_are_accepted_and_not_settled(rig: Rig) -> None:
    player = Player(rig.store, join_of(3))
    for moved in (
        player.do("w0", "waiting", delay_s=9),
        player.do("w1", "retrying", delay_s=9, error=ERROR),
        player.do("w2", "lost"),
    ):
        assert len(moved.accepted) == 1
        assert moved.settled == ()


def test_skipped_dependants_are_settled_and_not_accepted(rig: Rig) -> None:
    player = Player(rig.store, chain(3))
    moved = player.fail("n0")
    assert (moved.accepted, sorted(moved.settled)) == ((0,), [0, 1, 2])


def test_illegal_endings_change_nothing(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    player.claim("n0")
    seq = player.run().seq
    for state in ("ready", "nonsense", "running"):
        with pytest.raises(Exception, match=r"(?i)state|finished|cannot|nonsense"):
            player.end("n0", state)
    assert player.task("n0").state == "running"
    assert player.run().seq == seq


def test_settle_claims_the_next_in_the_same_commit(rig: Rig) -> None:
    player = Player(rig.store, join_of(3))
    player.claim("w0")
    take = Take(owner=OWNER, next=((1, 1), (2, 7), (9, 1)))
    moved = player.settle([player.ending("w0")], claim_id=player.claims["w0"], take=take)
    assert [(c.task_no, c.attempt) for c in moved.claimed] == [(1, 1)]
    assert [(e.node_id, e.state) for e in moved.events] == [("w0", "succeeded"), ("w1", "running")]
    assert player.states() == {
        "w0": "succeeded", "w1": "running", "w2": "queued", "join": "pending",
    }  # fmt: skip
    assert player.settle([player.ending("w1")], claim_id=player.claims["w0"]).accepted == (1,)


def test_settle_claims_nothing_more_of_a_cancelled_run(rig: Rig) -> None:
    player = Player(rig.store, join_of(2))
    player.claim("w0")
    player.cancel()
    take = Take(owner=OWNER, next=((1, 1),))
    moved = player.settle([player.ending("w0")], claim_id=player.claims["w0"], take=take)
    assert moved.claimed == ()
    assert player.states()["w1"] == "cancelled"
