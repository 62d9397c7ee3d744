"""Pausing, resuming, and running an ended run again, on every store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import IllegalMove
from orchestrator.models.runs.run import RunState
from orchestrator.ports.moves import Moved
from tests.contract.player import Player
from tests.contract.rigs import Rig
from tests.factories import chain, diamond, new_id, new_run, node, plan, store_workflow


def _rerun(rig: Rig, player: Player, *again: str, room: int = 1000) -> Moved:
    """Run an ended run again: `again` and nothing else."""
    run = player.run()
    workflow = store_workflow(rig.store, chain(1))
    new = replace(new_run(workflow), origin_run_id=run.id, room=room, tenant_id=run.tenant_id)
    with rig.store.begin() as unit:
        return unit.store_rerun(new, {no: no for n, no in player.numbers.items() if n not in again})


def _states(rig: Rig, moved: Moved) -> dict[str, str]:
    return {t.node_id: str(t.state) for t in rig.store.reads.tasks(moved.run_id)}


def test_pause_stops_what_is_new_and_resume_announces_it_again(rig: Rig) -> None:
    player = Player(rig.store, diamond())
    player.do("a")
    moves = rig.store.moves
    paused = moves.steer_run(player.run_id, RunState.RUNNING, RunState.PAUSED)
    assert paused is not None
    assert [e.state for e in paused.events] == ["paused"]
    assert player.claim("b") is None
    resumed = moves.steer_run(player.run_id, RunState.PAUSED, RunState.RUNNING)
    assert resumed is not None
    assert sorted(r.task_no for r in resumed.queued) == [1, 2]
    assert player.claim("b") is not None


def test_what_ends_while_paused_leaves_its_dependants_ready(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    player.claim("n0")
    rig.store.moves.steer_run(player.run_id, RunState.RUNNING, RunState.PAUSED)
    player.settle([player.ending("n0")], claim_id=player.claims["n0"])
    assert player.states() == {"n0": "succeeded", "n1": "ready"}
    rig.store.moves.steer_run(player.run_id, RunState.PAUSED, RunState.RUNNING)
    assert player.queue("n1")


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.SUCCEEDED])
def test_steer_tells_what_the_run_was(rig: Rig, state: RunState) -> None:
    player = Player(rig.store, chain(1))
    if state is RunState.SUCCEEDED:
        player.do("n0")
    moved = rig.store.moves.steer_run(player.run_id, RunState.RUNNING, RunState.PAUSED)
    assert moved is not None
    assert (moved.was, moved.events) == (str(state), ())
    assert rig.store.moves.steer_run(new_id(), RunState.RUNNING, RunState.PAUSED) is None


def test_a_rerun_takes_over_what_succeeded(rig: Rig) -> None:
    player = Player(rig.store, diamond(), input={"day": 1})
    player.do("a", output={"n": 1})
    player.do("b", output={"n": 2})
    player.do("c", "failed", error={"code": "x", "message": "y"})
    assert player.run().state is RunState.FAILED
    moved = _rerun(rig, player, "c", "d")
    assert _states(rig, moved) == {
        "a": "succeeded", "b": "succeeded", "c": "queued", "d": "pending",
    }  # fmt: skip
    run = rig.store.reads.run(player.tenant_id, moved.run_id)
    assert run is not None
    assert (run.origin_run_id, run.input, run.state) == (player.run_id, {"day": 1}, "queued")
    assert rig.store.reads.outputs(moved.run_id, [0, 1]) == {0: {"n": 1}, 1: {"n": 2}}
    assert [r.task_no for r in moved.queued] == [2]
    assert sorted(moved.settled) == [0, 1]
    assert moved.size == 4
    events = rig.store.reads.events(moved.run_id, after=0, limit=100)
    assert [e.seq for e in events] == list(range(1, run.seq + 1))
    assert [e.frame() for e in events] == [e.frame() for e in moved.events]


def test_outputs_in_files_are_said_to_be_the_new_run_s(rig: Rig) -> None:
    player = Player(rig.store, chain(6))
    other = f"{new_id()}/output-1-1.json"
    outputs = [
        {"$artifact": f"{player.run_id}/output-0-1.json"},
        {"$artifact": f"{player.run_id}/output-1-1.json", "of": "a node"},
        {"of": [{"$artifact": other}]},
        {"$artifact": other},
        {"$artifact": f"{player.run_id}/output-0-1.json.bak"},
    ]
    for no, output in enumerate(outputs):
        player.do(f"n{no}", output=output)
    player.do("n5", "failed", error={"code": "x", "message": "y"})
    assert rig.store.reads.large_outputs(player.run_id) == {0: "output-0-1.json"}
    moved = _rerun(rig, player, "n5")
    assert rig.store.reads.outputs(moved.run_id, range(5)) == {
        0: {"$artifact": f"{moved.run_id}/output-0-1.json"},
        **dict(enumerate(outputs[1:], start=1)),
    }
    assert rig.store.reads.large_outputs(moved.run_id) == {0: "output-0-1.json"}
    assert rig.store.reads.large_outputs(new_id()) == {}


def test_a_rerun_from_the_roots_leaves_them_ready(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    player.do("n0")
    player.do("n1")
    moved = _rerun(rig, player, "n0", "n1")
    assert _states(rig, moved) == {"n0": "ready", "n1": "pending"}
    queued = rig.store.moves.queue_tasks(moved.run_id, [0])
    assert queued is not None
    assert [(r.task_no, r.attempt) for r in queued.queued] == [(0, 1)]


def test_a_way_not_taken_stays_not_taken(rig: Rig) -> None:
    player = Player(
        rig.store,
        plan(
            node("size", type="branch"), node("big", "size:big"), node("small", "size:small"),
            node("join", "big", "small", rule="none_failed_min_one_success"),
        ),
    )  # fmt: skip
    player.do("size", output={"taken": ["big"]})
    player.do("big")
    player.do("join", "failed", error={"code": "x", "message": "y"})
    moved = _rerun(rig, player, "join")
    assert _states(rig, moved) == {
        "size": "succeeded", "big": "succeeded", "small": "skipped", "join": "queued",
    }  # fmt: skip


def test_a_way_not_taken_is_skipped_anew_when_it_was_to_run_again(rig: Rig) -> None:
    player = Player(
        rig.store,
        plan(node("size", type="branch"), node("small", "size:small"), node("after", "small")),
    )
    player.do("size", output={"taken": ["big"]})
    assert player.run().state is RunState.SUCCEEDED
    moved = _rerun(rig, player, "small", "after")
    assert _states(rig, moved) == {"size": "succeeded", "small": "skipped", "after": "skipped"}
    run = rig.store.reads.run(player.tenant_id, moved.run_id)
    assert run is not None
    assert run.state is RunState.SUCCEEDED


def test_a_rerun_of_nothing_ends_at_once(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    player.do("n0")
    player.do("n1", output={"x": 1})
    moved = _rerun(rig, player)
    run = rig.store.reads.run(player.tenant_id, moved.run_id)
    assert run is not None
    assert (run.state, run.output) == (RunState.SUCCEEDED, {"n1": {"x": 1}})
    assert moved.open == 0


def test_a_live_run_cannot_be_run_again(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    with pytest.raises(IllegalMove):
        _rerun(rig, player, "n0", "n1")
    assert rig.store.reads.run(player.tenant_id, player.run_id) is not None


def test_a_rerun_can_be_worked_on_to_its_end(rig: Rig) -> None:
    player = Player(rig.store, diamond())
    player.do("a")
    player.do("b", "failed", error={"code": "x", "message": "y"})
    player.do("c")
    moved = _rerun(rig, player, "b", "d")
    again = Player.__new__(Player)
    again.__dict__.update(player.__dict__)
    again.run_id = moved.run_id
    again.do("b")
    again.do("d")
    assert again.run().state is RunState.SUCCEEDED


def test_another_version_numbers_its_tasks_anew(rig: Rig) -> None:
    player = Player(rig.store, diamond(), input={"day": 1})
    player.do("a", output={"n": 1})
    player.do("b", output={"$artifact": f"{player.run_id}/output-1-1.json"})
    player.do("c", "failed", error={"code": "x", "message": "y"})
    origin = player.run()
    second = plan(node("new"), node("a"), node("c", "new", "a"), node("b", "a"))
    other = store_workflow(rig.store, chain(1))
    new = new_run(
        other, workflow_id=origin.workflow_id, tenant_id=origin.tenant_id,
        origin_run_id=origin.id, version=2, input={"day": 2},
    )  # fmt: skip
    with rig.store.begin() as unit:
        saved = unit.workflows.get_workflow(origin.tenant_id, origin.workflow_id)
        assert saved is not None
        unit.workflows.change(replace(saved, version=2), {"name": saved.name}, second)
        moved = unit.store_rerun(new, {1: 0, 3: 1})
    assert _states(rig, moved) == {
        "new": "ready", "a": "succeeded", "c": "pending", "b": "succeeded",
    }  # fmt: skip
    outputs = {t.node_id: t.output for t in rig.store.reads.tasks(new.id)}
    assert outputs["a"] == {"n": 1}
    assert outputs["b"] == {"$artifact": f"{new.id}/output-3-1.json"}
    run = rig.store.reads.run(new.tenant_id, new.id)
    assert run is not None
    assert (run.version, run.input) == (2, {"day": 2})
    assert sorted(moved.settled) == [1, 3]
