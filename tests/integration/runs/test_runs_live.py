"""Runs on real Postgres, Redis and workers: order, retries, branches, waits, logs, ends."""

from __future__ import annotations

import json
from uuid import UUID

import psutil
import psycopg2

from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.event import Kind
from orchestrator.models.runs.run import Run, RunState, StartRequest
from orchestrator.models.runs.task import TaskState
from tests.factories import new_id
from tests.integration.live import Live
from tests.waiting import wait_for


def _order(live: Live, run_id: object) -> list[tuple[str, str]]:
    return [
        (e.node_id or "run", e.state or "")
        for e in live.events(run_id)  # type: ignore[arg-type]
        if e.kind is not Kind.LOG
    ]


def test_a_diamond_runs_in_dependency_order_and_ends_once(working: Live) -> None:
    nodes = [{"id": i} for i in "abcd"]
    run_id = working.start(nodes, ["a>b", "a>c", "b>d", "c>d"])
    run = working.ended(run_id)
    assert run.state is RunState.SUCCEEDED
    assert run.output == {"d": {}}
    order = _order(working, run_id)
    started = {node: order.index((node, "running")) for node in "abcd"}
    done = {node: order.index((node, "succeeded")) for node in "abcd"}
    assert done["a"] < min(started["b"], started["c"])
    assert max(done["b"], done["c"]) < started["d"]
    assert order.count(("run", "succeeded")) == 1
    assert order[-1] == ("run", "succeeded")


def test_values_travel_from_node_to_node(working: Live) -> None:
    run_id = working.start(
        [
            {
                "id": "rows",
                "type": "transform",
                "config": {"expression": "inputs.rows.map(r, r * 2)"},
            },
            {
                "id": "total",
                "type": "transform",
                "config": {"expression": "sum(nodes.rows.output)"},
            },
            working.calling("note", "test.note", args={"value": "{{ nodes.total.output }}"}),
        ],
        ["rows>total", "total>note"],
        input={"rows": [1, 2, 3]},
        settings={"output": "{'total': nodes.note.output.value, 'of': inputs.rows}"},
    )
    run = working.ended(run_id)
    assert run.output == {"total": 12, "of": [1, 2, 3]}


def test_an_attempt_that_fails_is_tried_again_after_its_delay(working: Live) -> None:
    retry = {"max_attempts": 3, "delay_s": 0.1, "jitter": False}
    run_id = working.start(
        [working.calling("flaky", "test.flaky", args={"good_from": 3}, retry=retry)]
    )
    assert working.ended(run_id).state is RunState.SUCCEEDED
    assert [attempt for attempt, _ in working.traces("flaky")] == [1, 2, 3]
    past = working.core.store.reads.attempts(run_id, 0)
    assert [(a["attempt"], a["state"]) for a in past] == [(1, "failed"), (2, "failed")]
    assert past[0]["error"]["code"] == "flaky"


def test_a_task_without_attempts_left_fails_its_run_and_skips_what_waits(working: Live) -> None:
    run_id = working.start(
        [
            working.calling("flaky", "test.flaky", args={"good_from": 9}),
            {"id": "after"},
            {"id": "always", "trigger_rule": "all_done"},
        ],
        ["flaky>after", "after>always"],
    )
    run = working.ended(run_id)
    assert run.state is RunState.FAILED
    assert run.error is not None
    assert run.error["node_id"] == "flaky"
    assert working.states(run_id) == {"flaky": "failed", "after": "skipped", "always": "succeeded"}


def test_a_branch_takes_one_way_and_the_join_goes_on(working: Live) -> None:
    cases = [{"when": "inputs.n > 10", "handle": "big"}]
    run_id = working.start(
        [
            {"id": "size", "type": "branch", "config": {"cases": cases, "default": "small"}},
            {"id": "big"},
            {"id": "small"},
            {"id": "join", "trigger_rule": "none_failed_min_one_success"},
        ],
        ["size:big>big", "size:small>small", "big>join", "small>join"],
        input={"n": 11},
    )
    assert working.ended(run_id).state is RunState.SUCCEEDED
    assert working.states(run_id) == {
        "size": "succeeded", "big": "succeeded", "small": "skipped", "join": "succeeded",
    }  # fmt: skip


def test_a_waiting_task_holds_no_slot(working: Live) -> None:
    run_id = working.start(
        [{"id": f"w{i}", "type": "wait", "config": {"seconds": 0.5}} for i in range(6)]
    )
    wait_for(lambda: list(working.states(run_id).values()).count("waiting") == 6, what="all parked")
    run = working.ended(run_id)
    assert run.state is RunState.SUCCEEDED
    assert all(t.attempt == 1 for t in working.core.store.reads.tasks(run_id))


def test_an_attempt_past_its_timeout_is_stopped(working: Live) -> None:
    run_id = working.start([working.holding(timeout_s=1)])
    run = working.ended(run_id)
    assert run.state is RunState.FAILED
    assert working.states(run_id) == {"hold": "timed_out"}


def test_a_handler_that_does_not_listen_is_killed_at_its_timeout(working: Live) -> None:
    run_id = working.start([working.holding(args={"stubborn": True}, timeout_s=1), {"id": "other"}])
    assert working.ended(run_id).state is RunState.FAILED
    assert working.states(run_id) == {"hold": "timed_out", "other": "succeeded"}
    again = working.start([{"id": "next"}])
    assert working.ended(again).state is RunState.SUCCEEDED


def test_a_cancelled_run_stops_its_handlers_and_starts_nothing(working: Live) -> None:
    run_id = working.start([working.holding(), {"id": "after"}], ["hold>after"])
    wait_for(lambda: working.traces("hold"), what="the handler to start")
    working.core.steering.cancel(DEFAULT_TENANT, run_id)
    assert working.ended(run_id).state is RunState.CANCELLED
    assert working.states(run_id) == {"hold": "cancelled", "after": "cancelled"}
    assert not working.gate.exists()
    _nothing_was_lost(working, run_id)


def test_a_cancelled_handler_that_does_not_listen_is_cancelled_all_the_same(working: Live) -> None:
    run_id = working.start([working.holding(args={"stubborn": True})])
    wait_for(lambda: working.traces("hold"), what="the handler to start")
    working.core.steering.cancel(DEFAULT_TENANT, run_id)
    assert working.ended(run_id).state is RunState.CANCELLED
    assert working.states(run_id) == {"hold": "cancelled"}
    _nothing_was_lost(working, run_id)


def test_tasks_of_a_run_that_timed_out_are_cancelled_with_it(working: Live) -> None:
    run_id = working.start([working.holding()], settings={"timeout_s": 1})
    assert working.ended(run_id).state is RunState.TIMED_OUT
    assert working.states(run_id) == {"hold": "cancelled"}
    _nothing_was_lost(working, run_id)


def _nothing_was_lost(live: Live, run_id: UUID) -> None:
    """Demand that nobody says of a task that was stopped that its worker was gone."""
    (task,) = live.core.store.reads.tasks(run_id, node_id="hold")
    assert (task.error, task.reason, task.state) == (None, None, "cancelled")
    assert live.core.store.reads.attempts(run_id, 0) == []
    said = [e.data for e in live.events(run_id)]
    assert "worker_lost" not in str(said)
    assert "worker_lost" not in str(live.core.explaining.why(live.run(run_id)))


def test_a_task_that_is_marked_leaves_its_worker(working: Live) -> None:
    nodes = [working.holding("listens"), working.holding("stubborn", args={"stubborn": True})]
    run_id = working.start([*nodes, {"id": "after"}], ["listens>after", "stubborn>after"])
    traces = working.traces
    wait_for(lambda: traces("listens") and traces("stubborn"), what="the handlers to start")
    for name in ("listens", "stubborn"):
        working.core.steering.mark(DEFAULT_TENANT, run_id, name, TaskState.SUCCEEDED, output=name)
    # Both slots of the worker were held: it leaves the one handler, and the other is killed.
    more = working.start([working.holding("h1"), working.holding("h2")])
    wait_for(lambda: traces("h1") and traces("h2"), what="free slots")
    alive = {name: psutil.pid_exists(traces(name)[0][1]) for name in ("listens", "stubborn")}
    assert alive == {"listens": True, "stubborn": False}
    assert [len(traces(name)) for name in alive] == [1, 1]
    working.let_go()
    for one in (run_id, more):
        assert working.ended(one).state is RunState.SUCCEEDED


def test_a_run_past_its_own_deadline_times_out(working: Live) -> None:
    run_id = working.start([working.holding()], settings={"timeout_s": 1})
    assert working.ended(run_id).state is RunState.TIMED_OUT


def test_every_line_a_handler_says_is_recorded_in_order(working: Live) -> None:
    run_id = working.start(
        [{"id": "chatty", "type": "python",
          "config": {"function": "test.chatty", "args": {"lines": 500}}}]
    )  # fmt: skip
    working.ended(run_id)
    logs = [e for e in working.events(run_id) if e.kind is Kind.LOG]
    assert [e.message for e in logs] == [*(f"line {n}" for n in range(500)), "that was all"]
    assert logs[-1].level == "warning"
    assert {e.node_id for e in logs} == {"chatty"}


def test_a_plain_celery_worker_does_all_of_it_too(live: Live) -> None:
    live.plain_worker()
    run_id = live.start([{"id": "a"}, live.holding(timeout_s=1)], ["a>hold"])
    assert live.ended(run_id).state is RunState.FAILED
    assert live.states(run_id) == {"a": "succeeded", "hold": "timed_out"}


def test_what_is_announced_on_the_channel_is_what_is_recorded(working: Live) -> None:
    run_id = working.start([working.holding(), {"id": "b"}], ["hold>b"])
    with working.core.channel.subscribe(run_id) as channel:
        wait_for(lambda: working.traces("hold"), what="the handler to start")
        after = working.run(run_id).seq
        working.let_go()
        working.ended(run_id)
        recorded = [e.frame() for e in working.events(run_id) if e.seq > after]
        heard: list[dict[str, object]] = []

        def all_heard() -> bool:
            heard.extend(f for f in channel.get(0.2) or () if int(f["seq"]) > after)
            return len(heard) >= len(recorded)

        wait_for(all_heard, what="every frame")
    assert json.dumps(sorted(heard, key=lambda f: int(str(f["seq"])))) == json.dumps(recorded)


def test_a_window_keeps_the_backlog_in_postgres(live: Live) -> None:
    from dataclasses import replace

    from orchestrator.bootstrap import core as bootstrap

    small = replace(live.settings, broker=replace(live.settings.broker, window=5))
    live.core = bootstrap.build(small)
    live.environment["ZQ_BROKER__WINDOW"] = "5"
    run_id = live.start([{"id": f"n{i}"} for i in range(60)])
    assert list(live.states(run_id).values()).count("queued") == 5
    assert list(live.states(run_id).values()).count("ready") == 55
    live.worker()
    assert live.ended(run_id).state is RunState.SUCCEEDED


def test_no_tenant_reads_the_large_output_of_another(working: Live) -> None:
    """What a transform or an HTTP reply says is a value, also where it looks like a file's name."""
    theirs = working.start(
        [{"id": "large", "type": "transform", "config": {"expression": "inputs.rows"}}],
        input={"rows": ["secret of the victim"] * 20_000},
    )
    kept = {"$artifact": f"{theirs}/output-0-1.json"}
    assert working.ended(theirs).output == {"large": kept}
    with psycopg2.connect(working.settings.database.url) as connection:
        stranger, name = new_id(), f"t{new_id().hex}"
        connection.cursor().execute(
            "INSERT INTO tenants (id, name) VALUES (%s, %s)", (str(stranger), name)
        )
    document = {
        "name": "asks",
        "nodes": [
            {"id": "a", "type": "transform", "data": {"config": {"expression": "inputs.x"}}},
            {"id": "b", "type": "transform", "data": {"config": {"expression": "nodes.a.output"}}},
        ],
        "edges": [{"source": "a", "target": "b"}],
    }
    engine = working.core.engine
    for asked in (kept, {"$artifact": 5}):
        run_id, _ = engine.execute(stranger, document, StartRequest(input={"x": asked}))
        run = wait_for(lambda id=run_id: _at_end(engine.run(stranger, id)))
        assert run.output == {"b": {"$artifact": f"{run_id}/output-1-1.json"}}
        for name in ("output-0-1.json", "output-1-1.json"):
            assert json.loads(working.core.artifacts.get(run_id, name)[1]) == asked


def _at_end(run: Run) -> Run | None:
    return run if run.state.ended else None
