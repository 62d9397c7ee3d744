"""Queueing ready and due tasks, cancelling in every state, and the end of a run."""

from __future__ import annotations

import random

import pytest

from orchestrator.models.runs.run import RunState
from tests.contract.player import Player
from tests.contract.rigs import PostgresRig, Rig
from tests.factories import chain, diamond, join_of, new_id, node, plan


def test_queue_gives_ready_tasks_their_first_attempt(rig: Rig) -> None:
    roots = plan(node("low", priority=1), node("high", priority=9), node("none"))
    player = Player(rig.store, roots, room=0)
    moved = player.queue("low", "high")
    assert moved is not None
    assert [(r.task_no, r.attempt, r.priority) for r in moved.queued] == [(1, 1, 9), (0, 1, 1)]
    assert [(e.node_id, e.state, e.attempt) for e in moved.events] == [
        ("high", "queued", 1), ("low", "queued", 1),
    ]  # fmt: skip
    assert player.task("none").state == "ready"


def test_queue_twice_queues_once(rig: Rig) -> None:
    player = Player(rig.store, chain(1), room=0)
    assert player.queue("n0")
    assert player.queue("n0") is None
    assert player.task("n0").attempt == 1


def test_queue_leaves_others_alone(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    player.claim("n0")
    assert player.queue("n0", "n1") is None
    assert rig.store.moves.queue_tasks(player.run_id, [17]) is None
    assert rig.store.moves.queue_tasks(new_id(), [0]) is None
    assert player.states() == {"n0": "running", "n1": "pending"}


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.CANCELLING])
def test_queue_does_nothing_in_a_run_that_must_not_start(rig: Rig, state: RunState) -> None:
    player = Player(rig.store, join_of(2))
    player.do("w0", "retrying", delay_s=0, error={"code": "x", "message": "y"})
    player.claim("w1")
    if state is RunState.CANCELLING:
        player.cancel()
    else:
        rig.force(player.run_id, state)
    assert player.queue("w0") is None


def test_cancel_ends_what_holds_no_attempt(rig: Rig) -> None:
    player = Player(
        rig.store,
        plan(
            node("pending", "running"), node("ready", priority=1), node("queued", priority=2),
            node("running", priority=9), node("waiting", priority=8), node("retrying", priority=7),
        ),
        room=4,
    )  # fmt: skip
    player.do("waiting", "waiting", delay_s=60)
    player.do("retrying", "retrying", delay_s=60, error={"code": "x", "message": "y"})
    player.claim("running")
    assert player.states() == {name: name for name in player.numbers}
    moved = player.cancel()
    assert moved is not None
    assert moved.was == "running"
    gone = ["pending", "ready", "queued", "waiting", "retrying"]
    assert [player.numbers[n] for n in gone] == sorted(moved.settled)
    assert [(e.node_id, e.state) for e in moved.events] == [
        (None, "cancelling"), *((n, "cancelled") for n in gone),
    ]  # fmt: skip
    assert player.states() == dict.fromkeys(gone, "cancelled") | {"running": "running"}
    assert player.run().state is RunState.CANCELLING
    last = player.end("running", output=1)
    assert [(e.node_id, e.state) for e in last.events] == [
        ("running", "succeeded"), (None, "cancelled"),
    ]  # fmt: skip
    run = player.run()
    assert (run.state, run.output, run.error) == (RunState.CANCELLED, None, None)


def test_cancel_without_a_live_attempt_ends_at_once(rig: Rig) -> None:
    player = Player(rig.store, diamond())
    moved = player.cancel()
    assert moved is not None
    assert moved.was == "queued"
    assert [e.state for e in moved.events] == ["cancelling", *["cancelled"] * 5]
    assert moved.events[-1].node_id is None
    assert player.run().state is RunState.CANCELLED
    assert player.run().started_at is None


def test_cancel_of_a_paused_run(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    player.do("n0")
    rig.force(player.run_id, RunState.PAUSED)
    moved = player.cancel()
    assert moved is not None
    assert moved.was == "paused"
    assert player.run().state is RunState.CANCELLED


def test_cancel_again_changes_nothing(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    player.claim("n0")
    player.cancel(RunState.TIMED_OUT)
    seq = player.run().seq
    again = player.cancel(RunState.CANCELLED)
    assert again is not None
    assert (again.was, again.events, again.settled) == ("cancelling", (), ())
    assert player.run().seq == seq
    player.end("n0")
    assert player.run().state is RunState.TIMED_OUT, "the first cancel said how it ends"
    ended = player.cancel()
    assert ended is not None
    assert (ended.was, ended.events) == ("timed_out", ())


def test_cancel_of_an_unknown_run(rig: Rig) -> None:
    assert rig.store.moves.cancel_run(new_id(), RunState.CANCELLED) is None


def test_run_timeout_says_so(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    moved = player.cancel(RunState.TIMED_OUT)
    error = {"code": "run_timeout", "message": "the run passed its own deadline"}
    assert player.run().error == error
    assert moved is not None
    assert moved.events[-1].data == {"error": error}


def test_cancel_towards_failed_names_the_failure(rig: Rig) -> None:
    player = Player(rig.store, join_of(2))
    player.fail("w0", "no")
    player.cancel(RunState.FAILED)
    run = player.run()
    assert run.state is RunState.FAILED
    assert run.error == {"code": "task_failed", "node_id": "w0", "message": "w0: no"}


@pytest.mark.parametrize("how", ["lost", "retrying", "waiting"])
def test_attempt_that_would_go_on_is_cancelled_with_its_run(rig: Rig, how: str) -> None:
    player = Player(rig.store, chain(1))
    player.claim("n0")
    player.cancel()
    moved = player.end("n0", how, delay_s=5, error={"code": "x", "message": "y"})
    assert player.states() == {"n0": "cancelled"}
    assert [e.state for e in moved.events] == ["cancelled", "cancelled"]
    assert rig.store.reads.attempts(player.run_id, 0) == []
    assert player.run().state is RunState.CANCELLED


def test_failure_while_cancelling_is_kept(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    player.claim("n0")
    player.cancel()
    player.end("n0", "failed", error={"code": "x", "message": "y"})
    assert player.states() == {"n0": "failed"}
    assert player.run().state is RunState.CANCELLED


def test_late_settle_after_cancel_changes_nothing_twice(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    player.claim("n0")
    player.cancel()
    player.end("n0")
    seq = player.run().seq
    assert player.end("n0").settled == ()
    assert player.run().seq == seq


def test_finish_with_a_computed_output(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a"), output="nodes.a.output"))
    moved = player.do("a", output=4)
    assert moved.open == 0
    assert player.run().state is RunState.RUNNING, "the caller computes the output"
    assert player.run().finished_at is None
    finished = player.finish(output={"total": 4})
    assert finished is not None
    assert [(e.kind, e.state, e.data) for e in finished.events] == [("run", "succeeded", None)]
    assert player.run().output == {"total": 4}
    assert player.finish(output="other") is None
    assert player.run().output == {"total": 4}


def test_finish_with_an_error_fails_the_run(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a"), output="nope"))
    player.do("a")
    error = {"code": "expression_error", "message": "no such name"}
    moved = player.finish(error=error)
    assert moved is not None
    assert moved.events[0].data == {"error": error}
    run = player.run()
    assert (run.state, run.error, run.output) == (RunState.FAILED, error, None)


def test_finish_after_a_failed_task_names_it(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a"), output="1"))
    player.fail("a", "bad")
    assert player.run().state is RunState.RUNNING
    player.finish()
    run = player.run()
    assert (run.state, run.error) == (
        RunState.FAILED, {"code": "task_failed", "node_id": "a", "message": "a: bad"},
    )  # fmt: skip


def test_finish_of_a_run_with_open_tasks_or_none_does_nothing(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    player.do("n0")
    seq = player.run().seq
    assert player.finish(output=1) is None
    assert rig.store.moves.end_run(new_id(), None, None) is None
    assert player.run().seq == seq


def test_finish_of_a_run_that_has_ended_writes_nothing(postgres_rig: PostgresRig) -> None:
    player = Player(postgres_rig.store, chain(1))
    player.do("n0")
    ((run, lock),) = postgres_rig.run(
        "SELECT zq_finish_v2(%s, NULL, NULL), pg_current_xact_id_if_assigned()::text", player.run_id
    )
    assert run is lock is None, "a transaction with a number is flushed to disk"


def test_cancel_before_finish_wins(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a"), output="1"))
    player.do("a")
    player.cancel()
    assert player.run().state is RunState.CANCELLED
    assert player.finish(output=1) is None


def test_cancelling_run_with_a_computed_output_ends_by_its_last_settle(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a"), output="1"))
    player.claim("a")
    player.cancel()
    player.end("a")
    assert player.run().state is RunState.CANCELLED


def test_output_has_only_the_leaves_that_succeeded(rig: Rig) -> None:
    player = Player(rig.store, plan(node("pick"), node("a", "pick:x"), node("b", "pick:y")))
    player.do("pick", output={"taken": ["x"]})
    player.do("a", output=[1])
    assert player.run().output == {"a": [1]}


def test_large_outputs_are_named_not_copied(rig: Rig) -> None:
    noise = random.Random(1).randbytes(700_000).hex()
    player = Player(rig.store, plan(node("a"), node("b")))
    player.do("a", output=noise)
    player.do("b", output=1)
    assert player.run().output == {
        name: {"$ref": f"/api/v1/runs/{player.run_id}/tasks/{name}"} for name in "ab"
    }


def test_seq_counts_every_event(rig: Rig) -> None:
    player = Player(rig.store, diamond(), room=0)
    for name in "abcd":
        player.queue(name)
        player.claim(name)
        player.settle(
            [player.ending(name)], claim_id=player.claims[name], logs=[player.line(name, "x")],
            room=0,
        )  # fmt: skip
    events = player.events()
    assert [e.seq for e in events] == list(range(1, player.run().seq + 1))
    assert player.told() == [
        (None, "queued"), ("a", "queued"), (None, "running"), ("a", "running"),
        ("a", "succeeded"), ("b", "queued"), ("b", "running"), ("b", "succeeded"),
        ("c", "queued"), ("c", "running"), ("c", "succeeded"), ("d", "queued"),
        ("d", "running"), ("d", "succeeded"), (None, "succeeded"),
    ]  # fmt: skip


def test_one_at_a_time_takes_a_runs_output(rig: Rig) -> None:
    player, moves = Player(rig.store, plan(node("a"), output="1")), rig.store.moves
    assert moves.take_output(new_id(), 30.0) is None
    assert moves.take_output(player.run_id, 30.0) is None
    player.do("a")
    assert moves.take_output(player.run_id, 30.0) == 1
    assert moves.take_output(player.run_id, 30.0) is None
    # Given back undone, it was no try.
    moves.leave_output(player.run_id, 0.0)
    assert moves.take_output(player.run_id, 0.0) == 1
    assert moves.take_output(player.run_id, 30.0) == 2
    assert player.finish(output=1)
    assert moves.take_output(player.run_id, 30.0) is None


def test_a_run_that_fails_has_no_output_to_take(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a"), output="1"))
    player.fail("a")
    assert rig.store.moves.take_output(player.run_id, 30.0) == 0


def test_settled_runs_leaves_out_those_that_are_named(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a"), output="1"))
    player.do("a")
    assert player.run_id in {run_id for run_id, _, _ in rig.store.fleet.settled_runs(1000)}
    left = rig.store.fleet.settled_runs(1000, [player.run_id])
    assert player.run_id not in {run_id for run_id, _, _ in left}
