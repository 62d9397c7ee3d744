"""Settling a task by hand: which tasks, who loses them, and what follows."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.models.runs.run import RunState
from orchestrator.ports.moves import Mark, Moved
from tests.contract.player import Player
from tests.contract.rigs import Rig
from tests.factories import beat, chain, join_of, new_id, node, plan


def mark(player: Player, node_id: str, state: str = "succeeded", **more: Any) -> Moved:
    """Mark a task of the run; it must be there."""
    room = more.pop("room", 1000)
    how = Mark(task_no=player.numbers[node_id], node_id=node_id, state=state, by="ada", **more)
    moved = player.store.moves.mark_task(player.run_id, how, room)
    assert moved is not None
    return moved


def going(rig: Rig) -> Player:
    """Start a run whose tasks are in every state that may be marked, each with a dependant."""
    error = {"code": "x", "message": "y"}
    names = ("ready", "queued", "running", "waiting", "retrying")
    rows = [node(n, priority=no) for no, n in enumerate(names)]
    player = Player(rig.store, plan(*rows, *(node(f"after-{n}", n) for n in names)), room=4)
    player.claim("running")
    player.do("waiting", "waiting", delay_s=60, output={"page": 1})
    player.do("retrying", "retrying", delay_s=60, error=error)
    assert player.states() == {
        **{n: n for n in names}, **{f"after-{n}": "pending" for n in names}
    }  # fmt: skip
    return player


@pytest.mark.parametrize("was", ["ready", "queued", "running", "waiting", "retrying"])
@pytest.mark.parametrize("state", ["succeeded", "failed", "skipped"])
def test_a_task_that_has_not_ended_is_settled_and_its_dependants_follow(
    rig: Rig, was: str, state: str
) -> None:
    player = going(rig)
    attempt, seq = player.task(was).attempt, player.run().seq
    output = {"rows": [1, None]} if state == "succeeded" else None
    moved = mark(player, was, state, output=output, reason="by the book")
    task = player.task(was)
    assert (task.state, task.output) == (state, output)
    assert task.attempt == attempt + (was in {"ready", "retrying"})
    assert task.error == (
        {"code": "marked_failed", "message": "by the book"} if state == "failed" else None
    )
    assert task.reason == ("by the book" if state == "skipped" else None)
    number, after = player.numbers[was], player.numbers[f"after-{was}"]
    assert (moved.was, moved.accepted) == (was, (number,))
    assert moved.settled == ((number,) if state == "succeeded" else (number, after))
    assert [r.task_no for r in moved.queued] == ([after] if state == "succeeded" else [])
    first, second = moved.events
    assert (first.seq, first.node_id, first.state) == (seq + 1, was, state)
    assert first.data is not None
    assert (first.data["marked_by"], first.data["reason"]) == ("ada", "by the book")
    assert ("duration_ms" in first.data) == (was in {"running", "waiting"})
    assert second.state == ("queued" if state == "succeeded" else "skipped")
    assert list(moved.events) == player.events(after=seq)
    assert moved.open == (9 if state == "succeeded" else 8)
    assert rig.broken() == []


def test_a_running_attempt_is_taken_from_its_owner(rig: Rig) -> None:
    worker = beat(children=(1,))
    rig.store.fleet.beat(worker)
    player = Player(rig.store, plan(node("a"), node("b", "a"), node("c")), room=1)
    player.owner = type(player.owner)(worker_id=worker.id, pid=1)
    player.claim("a")
    mark(player, "a", output=5)
    (taken,) = rig.store.fleet.beat(worker).held
    assert (taken.verdict, taken.claim.task_no, taken.owner.pid) == ("taken", 0, 1)
    assert taken.claim.claim_id == player.claims["a"]
    late = player.end("a", "failed", error={"code": "x", "message": "y"})
    assert (late.accepted, late.events) == ((), ())
    lines = player.settle([], claim_id=player.claims["a"], logs=[player.line("a", "still here")])
    assert lines.events == ()
    assert (player.task("a").state, player.task("a").output) == ("succeeded", 5)
    assert rig.store.fleet.of_child(worker.id, 1) == []
    rig.pass_time(4000)
    assert rig.store.fleet.beat(worker).held == ()
    assert rig.broken() == []


def test_the_last_task_ends_its_run_also_when_paused(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    player.claim("n0")
    rig.store.moves.steer_run(player.run_id, RunState.RUNNING, RunState.PAUSED)
    moved = mark(player, "n0")
    assert (moved.queued, moved.ready) == ((), 1)
    assert player.states() == {"n0": "succeeded", "n1": "ready"}
    moved = mark(player, "n1", output="done")
    assert moved.ended_run
    assert (player.run().state, player.run().output) == ("succeeded", {"n1": "done"})
    assert rig.broken() == []


def test_a_failed_mark_fails_its_run(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    player.claim("n0")
    mark(player, "n0", "failed")
    assert player.run().state == "failed"
    assert player.run().error == {
        "code": "task_failed", "node_id": "n0", "message": "n0: marked as failed by hand",
    }  # fmt: skip
    assert rig.broken() == []


def test_a_branch_takes_what_the_mark_says(rig: Rig) -> None:
    player = Player(rig.store, plan(node("b"), node("x", "b:x"), node("y", "b:y")))
    player.claim("b")
    mark(player, "b", output={"taken": ["x"]})
    assert player.states() == {"b": "succeeded", "x": "queued", "y": "skipped"}
    assert rig.broken() == []


def test_a_reason_does_not_read_as_the_records_own(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a"), node("b", "a", rule="none_failed")))
    player.claim("a")
    mark(player, "a", "skipped", reason="upstream_failed")
    assert player.task("a").reason == "skipped"
    assert player.states() == {"a": "skipped", "b": "queued"}


def test_room_bounds_what_is_queued(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a"), *(node(f"b{n}", "a") for n in range(3))))
    player.claim("a")
    moved = mark(player, "a", room=2)
    assert (len(moved.queued), moved.ready) == (2, 1)


def test_what_may_not_be_marked_is_left_alone(rig: Rig) -> None:
    player = Player(rig.store, join_of(2))
    before = player.run().seq

    def refused(node_id: str, was: str) -> None:
        moved = mark(player, node_id)
        assert (moved.was, moved.events, moved.settled) == (was, (), ())

    refused("w0", "queued")  # The run has not begun.
    player.do("w0")
    refused("w0", "succeeded")
    refused("join", "pending")
    player.claim("w1")
    player.cancel()
    refused("w1", "running")
    player.end("w1")
    assert player.run().state == "cancelled"
    refused("join", "cancelled")
    assert player.run().seq > before
    assert (
        rig.store.moves.mark_task(new_id(), Mark(task_no=0, node_id="a", state="failed", by=""), 0)
        is None
    )
    assert rig.broken() == []
