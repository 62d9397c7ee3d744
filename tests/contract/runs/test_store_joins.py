"""What follows from a settled task: trigger rules, handles, skips through chains, room and take."""

from __future__ import annotations

from itertools import product
from uuid import uuid4

import pytest

from orchestrator.models.runs.run import RunState
from orchestrator.ports.moves import Owner, Take
from orchestrator.services.definitions.reading import from_yaml, read_definition
from orchestrator.services.definitions.workflows import stored_plan
from tests.contract.player import OWNER, Player
from tests.contract.rigs import Rig
from tests.factories import chain, diamond, join_of, node, plan
from tests.invariants import rule_holds

RULES = (
    "all_success", "all_done", "all_failed", "none_failed", "none_failed_min_one_success",
    "none_skipped",
)  # fmt: skip
MEANS = {"succeeded": "ok", "failed": "failed", "timed_out": "failed", "skipped": "skipped"}


@pytest.mark.parametrize("rule", RULES)
def test_trigger_rules(rig: Rig, rule: str) -> None:
    for ends in product(MEANS, repeat=2):
        player = Player(rig.store, join_of(2, rule=rule))
        player.do("w0", ends[0])
        assert player.task("join").state == "pending", "a join waits for all its upstreams"
        player.do("w1", ends[1])
        means = [MEANS[e] for e in ends]
        join = player.task("join")
        if rule_holds(rule, means):
            assert (join.state, join.reason) == ("queued", None), ends
        else:
            reason = "upstream_skipped" if "skipped" in means else "rule_not_met"
            reason = "upstream_failed" if "failed" in means else reason
            assert (join.state, join.reason) == ("skipped", reason), ends


def test_rule_not_met_when_nothing_went_wrong(rig: Rig) -> None:
    player = Player(rig.store, join_of(2, rule="all_failed"))
    player.do("w0")
    moved = player.do("w1")
    assert player.task("join").reason == "rule_not_met"
    assert set(moved.settled) == {1, 2}
    assert player.run().state is RunState.SUCCEEDED


def test_skips_run_through_a_long_chain_in_one_settle(rig: Rig) -> None:
    player = Player(rig.store, chain(40))
    moved = player.fail("n0")
    assert set(moved.settled) == set(range(40))
    assert moved.open == 0
    assert player.states() == {"n0": "failed"} | {f"n{i}": "skipped" for i in range(1, 40)}
    reasons = {t.reason for t in rig.store.reads.tasks(player.run_id, after=0)}
    assert reasons == {"upstream_failed"}, "a failure is carried on as one"
    assert [e.node_id for e in moved.events[:-1]] == [f"n{i}" for i in range(40)]
    assert player.run().state is RunState.FAILED


def test_skip_is_carried_on_as_a_skip(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a"), node("b", "a"), node("c", "b", rule="none_failed")))
    player.do("a", "skipped")
    assert player.task("b").reason == "upstream_skipped"
    assert player.task("c").state == "queued"


def test_failure_through_a_skip_still_counts_as_failed(rig: Rig) -> None:
    player = Player(
        rig.store,
        plan(
            node("a"), node("b", "a"), node("clean", "b", rule="all_failed"),
            node("strict", "b", rule="none_failed"),
        ),
    )  # fmt: skip
    player.fail("a")
    assert player.task("clean").state == "queued"
    assert player.task("strict").state == "skipped"


def test_diamond_joins_once(rig: Rig) -> None:
    player = Player(rig.store, diamond())
    player.do("a")
    player.claim("b")
    player.claim("c")
    assert player.end("c").queued == ()
    moved = player.end("b")
    assert [r.task_no for r in moved.queued] == [3]
    player.do("d", output=9)
    assert player.run().output == {"d": 9}


def test_both_sides_of_a_diamond_in_one_settle(rig: Rig) -> None:
    player = Player(rig.store, diamond())
    player.do("a")
    player.claim("b", "c")
    moved = player.settle([player.ending("b"), player.ending("c")], claim_id=player.claims["b"])
    assert [r.task_no for r in moved.queued] == [3]
    assert player.task("d").waits_for == 0


def test_diamond_with_a_failed_side_skips_the_join_when_both_have_ended(rig: Rig) -> None:
    player = Player(rig.store, diamond())
    player.do("a")
    player.fail("b")
    assert player.task("d").state == "pending"
    player.do("c")
    assert player.task("d").reason == "upstream_failed"


def test_all_done_runs_after_a_failure_and_the_run_still_fails(rig: Rig) -> None:
    player = Player(rig.store, diamond(rule="all_done"))
    player.do("a")
    player.fail("b")
    player.do("c")
    player.do("d", output=1)
    run = player.run()
    assert (run.state, run.output) == (RunState.FAILED, None)


BRANCH = plan(
    node("pick"),
    node("big", "pick:big"),
    node("small", "pick:small"),
    node("either", "pick:big,small"),
    node("always", "pick"),
    node("end", "big", "small", rule="none_failed_min_one_success"),
)


def test_branch_takes_one_handle(rig: Rig) -> None:
    player = Player(rig.store, BRANCH)
    player.do("pick", output={"taken": ["big"]})
    states = player.states()
    assert (states["big"], states["small"]) == ("queued", "skipped")
    assert (states["either"], states["always"]) == ("queued", "queued")
    assert player.task("small").reason == "upstream_skipped"
    player.do("big")
    assert player.task("end").state == "queued"


def test_branch_takes_no_handle(rig: Rig) -> None:
    player = Player(rig.store, BRANCH)
    player.do("pick", output={"taken": []})
    assert player.states() == {
        "pick": "succeeded", "big": "skipped", "small": "skipped", "either": "skipped",
        "always": "queued", "end": "skipped",
    }  # fmt: skip


def test_two_handles_to_one_target_need_one_taken(rig: Rig) -> None:
    for taken, state in ((["small"], "queued"), (["big", "small"], "queued"), (["x"], "skipped")):
        player = Player(rig.store, BRANCH)
        player.do("pick", output={"taken": taken})
        assert player.task("either").state == state, taken


@pytest.mark.parametrize(
    ("rule", "taken", "state"),
    [
        ("all_success", ["big"], "skipped"),
        ("all_success", ["big", "small"], "queued"),
        ("none_failed_min_one_success", ["big"], "queued"),
        ("none_failed_min_one_success", [], "skipped"),
        ("none_skipped", ["small"], "skipped"),
        ("all_done", [], "queued"),
    ],
)
def test_two_edges_of_one_branch_are_two_upstreams(
    rig: Rig, rule: str, taken: list[str], state: str
) -> None:
    """As `needs: [pick.big, pick.small]` is compiled."""
    flow = from_yaml(
        "name: w\nnodes:\n  pick:\n    type: branch\n"
        "    config: {cases: [{when: 'true', handle: big}], default: small}\n"
        f"  end: {{type: noop, needs: [pick.big, pick.small], trigger_rule: {rule}}}"
    )
    player = Player(rig.store, stored_plan(read_definition(flow)))
    player.do("pick", output={"taken": taken})
    assert player.task("end").state == state


@pytest.mark.parametrize(
    ("output", "state"),
    [
        ({"other": 1}, "queued"), (None, "queued"), ([1], "queued"), ({"taken": "big"}, "queued"),
        ({"taken": "bigger"}, "skipped"), ({"taken": None}, "skipped"), ({"taken": 1}, "skipped"),
    ],
)  # fmt: skip
def test_odd_outputs_of_a_branch(rig: Rig, output: object, state: str) -> None:
    player = Player(rig.store, plan(node("pick"), node("big", "pick:big", rule="none_skipped")))
    player.do("pick", output=output)
    assert player.task("big").state == state


def test_failed_branch_fails_its_edges(rig: Rig) -> None:
    player = Player(rig.store, BRANCH)
    player.fail("pick")
    assert player.task("big").reason == "upstream_failed"


@pytest.mark.parametrize("room", [0, 1, 2, 5])
def test_room_bounds_what_is_queued(rig: Rig, room: int) -> None:
    leaves = [node(f"l{i}", "root", priority=i) for i in range(3)]
    player = Player(rig.store, plan(node("root"), *leaves))
    moved = player.do("root", room=room)
    put = min(room, 3)
    assert [r.task_no for r in moved.queued] == [3, 2, 1][:put], "most urgent first"
    assert moved.ready == 3 - put
    assert sorted(player.states().values()).count("ready") == 3 - put
    assert len(moved.events) == 1 + put, "ready is no event"


def test_take_goes_on_in_place_under_the_same_claim(rig: Rig) -> None:
    player = Player(rig.store, chain(3))
    player.claim("n0")
    claim_id = player.claims["n0"]
    owner = Owner(worker_id=OWNER.worker_id, pid=2)
    take = Take(owner=owner, queues=("default",), limit=1)
    moved = player.end("n0", take=take)
    (claim,) = moved.claimed
    assert (claim.task_no, claim.attempt, claim.claim_id, claim.resumed) == (1, 1, claim_id, None)
    assert moved.queued == ()
    assert [(e.node_id, e.state) for e in moved.events] == [("n0", "succeeded"), ("n1", "running")]
    task = player.task("n1")
    assert (task.state, task.attempt, task.started_at) == ("running", 1, claim.started_at)
    assert task.queued_at is not None
    assert rig.store.fleet.of_child(owner.worker_id, 2)[0].claim.task_no == 1
    player.end("n1", take=take)
    player.end("n2", take=take)
    assert player.run().state is RunState.SUCCEEDED


def test_take_before_room_before_ready(rig: Rig) -> None:
    leaves = [node(f"l{i}", "root", priority=i, queue="gpu" if i == 3 else "default")
              for i in range(5)]  # fmt: skip
    player = Player(rig.store, plan(node("root"), *leaves))
    player.claim("root")
    take = Take(owner=OWNER, queues=("default", "io"), limit=2)
    moved = player.end("root", take=take, room=1)
    assert {c.task_no for c in moved.claimed} == {5, 3}, "l4 and l2: l3 is of another queue"
    assert [r.task_no for r in moved.queued] == [4]
    assert moved.ready == 2
    states = player.states()
    assert [states[f"l{i}"] for i in range(5)] == ["ready", "ready", "running", "queued", "running"]


@pytest.mark.parametrize(
    ("limit", "room", "states"),
    [
        (1, 1, ["running", "queued", "ready"]), (2, 0, ["running", "running", "ready"]),
        (0, 2, ["queued", "queued", "ready"]), (0, 1, ["queued", "ready", "ready"]),
    ],
)  # fmt: skip
def test_take_and_room_are_spent_over_waves(
    rig: Rig, limit: int, room: int, states: list[str]
) -> None:
    """`a` follows in the first wave, `x` is skipped in it, `y` and `z` follow in the second."""
    player = Player(
        rig.store,
        plan(
            node("root"),
            node("x", "root", rule="all_failed"),
            node("a", "root"),
            node("y", "x", rule="all_done"),
            node("z", "x", rule="all_done"),
        ),
    )
    player.claim("root")
    take = Take(owner=OWNER, queues=("default",), limit=limit)
    moved = player.end("root", take=take, room=room)
    found = player.states()
    assert [found[n] for n in "ayz"] == states
    told = [(e.node_id, e.state) for e in moved.events[:3]]
    assert told == [("root", "succeeded"), ("x", "skipped"), ("a", states[0])]
    assert moved.ready == states.count("ready")


def test_paused_run_starts_nothing_in_place(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    player.claim("n0")
    rig.force(player.run_id, RunState.PAUSED)
    moved = player.end("n0", take=Take(owner=OWNER, queues=("default",), limit=4), room=4)
    assert (moved.claimed, moved.queued, moved.ready) == ((), (), 1)
    assert player.task("n1").state == "ready"
    assert player.queue("n1") is None
    rig.force(player.run_id, RunState.RUNNING)
    assert player.queue("n1")


def test_paused_run_ends_when_its_last_task_does(rig: Rig) -> None:
    player = Player(rig.store, chain(1))
    player.claim("n0")
    rig.force(player.run_id, RunState.PAUSED)
    player.end("n0")
    assert player.run().state is RunState.SUCCEEDED


def test_duplicate_settle_does_not_count_twice_into_a_join(rig: Rig) -> None:
    player = Player(rig.store, join_of(2))
    player.do("w0")
    player.end("w0")
    player.settle([player.ending("w0")], claim_id=uuid4())
    assert player.task("join").waits_for == 1
