"""Why a run is where it is, and when its attempts took place."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.run import RunState
from orchestrator.models.runs.task import Failure, TaskError, Wait
from orchestrator.ports.fleet import Beat
from tests.api.conftest import TWO, Api, refused
from tests.factories import beat


def _codes(api: Api, run_id: object) -> list[tuple[str | None, str]]:
    answer = api.get(f"/runs/{run_id}/why").json
    return [(r["node_id"], r["code"]) for r in answer["reasons"]]


def _message(api: Api, run_id: object) -> str:
    return str(api.get(f"/runs/{run_id}/why").json["reasons"][0]["message"])


def test_without_a_worker_it_says_which_queue_wants_one(api: Api) -> None:
    run_id = api.run(TWO)
    assert _codes(api, run_id) == [("a", "no_worker"), ("b", "upstream")]
    assert "ZQ_WORKER__QUEUES=default" in _message(api, run_id)
    assert api.get(f"/runs/{run_id}/why").json["reasons"][1]["message"] == "it waits for a"


def test_with_a_free_worker_it_is_announced(api: Api) -> None:
    run_id = api.run(TWO)
    api.core.store.fleet.beat(beat(slots=1))
    assert _codes(api, run_id)[0] == ("a", "announced")


def test_with_every_slot_taken_it_says_so(api: Api) -> None:
    run_id = api.run(TWO)
    api.core.store.fleet.beat(beat(slots=0))
    assert _codes(api, run_id)[0] == ("a", "workers_busy")


def test_what_runs_what_waits_and_what_is_tried_again(api: Api) -> None:
    run_id = api.run(TWO)
    (claim,) = api.claims(run_id)
    assert _codes(api, run_id)[0] == ("a", "running")
    plan = api.core.engine.plan_of_run(run_id)
    assert plan is not None
    api.core.engine.report(claim, Wait(seconds=60), plan)
    assert _codes(api, run_id)[0] == ("a", "timer")


def test_a_failed_attempt_names_its_error_and_its_next_time(api: Api) -> None:
    node = {"id": "a", "type": "noop", "data": {"retry": {"max_attempts": 2, "delay_s": 60}}}
    run_id = api.run({"name": "again", "nodes": [node]})
    (claim,) = api.claims(run_id)
    plan = api.core.engine.plan_of_run(run_id)
    assert plan is not None
    failure = Failure(error=TaskError(code="boom", message="it went wrong"))
    api.core.engine.report(claim, failure, plan)
    assert _codes(api, run_id) == [("a", "retry")]
    assert "it went wrong" in _message(api, run_id)


def test_a_paused_an_ended_and_an_unknown_run(api: Api) -> None:
    run_id = api.run(TWO)
    api.claims(run_id)
    api.core.steering.pause(DEFAULT_TENANT, run_id)
    assert _codes(api, run_id)[0] == (None, "run_paused")
    api.core.steering.cancel(DEFAULT_TENANT, run_id)
    assert _codes(api, run_id)[0] == (None, "run_cancelling")
    done = api.run(TWO)
    api.finish(done)
    assert _codes(api, done) == [(None, "ended")]
    assert api.get(f"/runs/{done}/why").json["state"] == RunState.SUCCEEDED
    refused(api.get(f"/runs/{uuid4()}/why"), 404)


def test_the_timeline_has_every_attempt_in_pages(api: Api) -> None:
    node = {"id": "a", "type": "noop", "data": {"retry": {"max_attempts": 2, "delay_s": 0}}}
    after = {"id": "b", "type": "noop"}
    edges = [{"id": "e", "source": "a", "target": "b"}]
    run_id = api.run({"name": "again", "nodes": [node, after], "edges": edges})
    (claim,) = api.claims(run_id)
    plan = api.core.engine.plan_of_run(run_id)
    assert plan is not None
    failure = Failure(error=TaskError(code="boom", message="it went wrong"))
    api.core.engine.report(claim, failure, plan)
    api.core.engine.queue(run_id, [0])
    api.finish(run_id)
    page = api.get(f"/runs/{run_id}/timeline?limit=1").json
    assert [(s["node_id"], s["attempt"], s["state"]) for s in page["items"]] == [
        ("a", 1, "failed"), ("a", 2, "succeeded"),
    ]  # fmt: skip
    page = api.get(f"/runs/{run_id}/timeline?limit=1&cursor={page['next_cursor']}").json
    assert [(s["node_id"], s["attempt"]) for s in page["items"]] == [("b", 1)]
    assert page["next_cursor"] is None
    assert page["items"][0]["finished_at"] >= page["items"][0]["started_at"]


def test_a_worker_that_refuses_to_work_is_the_reason(api: Api) -> None:
    run_id = api.run()
    beat = Beat(
        id=uuid4(), name="w@h", host="h", pid=1, version="1", queues=("default",), slots=0,
        children=(),
    )  # fmt: skip
    why = "ZQ_WORKER__MODULES: tasks cannot be imported: SyntaxError"
    api.core.store.fleet.refuse(beat, why)
    (first, *_) = api.get(f"/runs/{run_id}/why").json["reasons"]
    assert first["code"] == "no_worker"
    assert first["message"].endswith(f"the one on h does not start: {why}")
    # One that works takes its place.
    api.core.store.fleet.beat(replace(beat, id=uuid4(), slots=1, children=(2,)))
    (first, *_) = api.get(f"/runs/{run_id}/why").json["reasons"]
    assert first["code"] == "announced"
