"""Routes that steer runs: pause, resume, retry, and many at once."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from orchestrator.errors import TooLarge
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.quota import Quota
from orchestrator.models.runs.task import Claim, Failure, TaskError, TaskState
from tests.api.conftest import ONE, TWO, Api, refused


def fail(api: Api, run_id: UUID) -> None:
    """Let a run fail at its first node."""
    (claim,) = api.claims(run_id)
    run = api.core.engine.run(DEFAULT_TENANT, run_id)
    plan = api.core.engine.plan(run.workflow_id, run.version)
    failure = Failure(error=TaskError(code="boom", message="broken"), retryable=False)
    assert api.core.engine.report(claim, failure, plan) is not None


def test_pause_and_resume(api: Api) -> None:
    run_id = api.run(TWO)
    refused(api.post(f"/runs/{run_id}/pause"), 409)
    (claim,) = api.claims(run_id)
    for _ in range(2):
        answer = api.post(f"/runs/{run_id}/pause")
        assert (answer.status_code, answer.json["state"]) == (202, "paused")
    api.settle(claim)
    assert api.claims(run_id) == []
    answer = api.post(f"/runs/{run_id}/resume")
    assert (answer.status_code, answer.json["state"]) == (202, "running")
    api.finish(run_id)
    assert api.get(f"/runs/{run_id}").json["state"] == "succeeded"
    for verb in ("pause", "resume"):
        assert refused(api.post(f"/runs/{run_id}/{verb}"), 409)["code"] == "illegal_move"
        refused(api.post(f"/runs/{uuid4()}/{verb}"), 404)


def test_a_task_is_marked(api: Api) -> None:
    run_id = api.run(TWO)
    path = f"/runs/{run_id}/tasks/a/mark"
    assert "running or paused" in refused(api.post(path, {"state": "skipped"}), 409)["detail"]
    (claim,) = api.claims(run_id)
    other = f"/runs/{run_id}/tasks/b/mark"
    assert "upstream" in refused(api.post(other, {"state": "skipped"}), 409)["detail"]
    body = {"state": "succeeded", "output": {"n": 7}, "reason": "done by phone"}
    answer = api.post(path, body)
    assert answer.status_code == 200
    assert (answer.json["state"], answer.json["output"]) == ("succeeded", {"n": 7})
    events = api.get(f"/runs/{run_id}/events").json["items"]
    (told,) = [e for e in events if e["kind"] == "task" and e["state"] == "succeeded"]
    assert (told["marked_by"], told["reason"]) == ("admin", "done by phone")
    api.settle(claim, {"n": 8})
    assert api.get(f"/runs/{run_id}/tasks/a").json["output"] == {"n": 7}
    assert "never moves again" in refused(api.post(path, body), 409)["detail"]
    api.finish(run_id)
    assert api.get(f"/runs/{run_id}").json["state"] == "succeeded"
    assert "the run has succeeded" in refused(api.post(other, body), 409)["detail"]
    refused(api.post(f"/runs/{run_id}/tasks/zz/mark", body), 404)
    refused(api.post(f"{path}?map_index=0", body), 404)
    refused(api.post(f"{path}?map_index=x", body), 400)
    refused(api.post(f"/runs/{uuid4()}/tasks/a/mark", body), 404)


@pytest.mark.parametrize(
    "body",
    [{}, {"state": "running"}, {"state": "cancelled"}, {"state": 1}, {"state": None},
     {"state": "failed", "output": 1}, {"state": "skipped", "output": {"a": 1}},
     {"state": "failed", "reason": ""}, {"state": "failed", "reason": "  "},
     {"state": "failed", "reason": "x" * 501}, {"state": "failed", "reason": "a\x1b[2J"},
     {"state": "failed", "reason": 1}, {"state": "failed", "why": "x"},
     {"state": "succeeded", "output": {"$artifact": "x/y"}}],
)  # fmt: skip
def test_marks_that_do_not_fit(api: Api, body: dict[str, Any]) -> None:
    run_id = api.run(ONE)
    api.claims(run_id)
    refused(api.post(f"/runs/{run_id}/tasks/a/mark", body), 422)
    assert api.get(f"/runs/{run_id}/tasks/a").json["state"] == "running"


def test_an_output_that_is_too_large_is_not_marked(api: Api) -> None:
    run_id = api.run(ONE)
    api.claims(run_id)
    mark = partial(api.core.steering.mark, DEFAULT_TENANT, run_id, "a", TaskState.SUCCEEDED)
    with pytest.raises(TooLarge, match="262145 bytes of JSON and 262144 are allowed"):
        mark(output="x" * 262_143)
    assert mark(output="x" * 262_142).state is TaskState.SUCCEEDED


def test_retry_is_a_new_run(api: Api) -> None:
    run_id = api.run(TWO, tags=["mine"])
    refused(api.post(f"/runs/{run_id}/retry"), 409)
    (claim,) = api.claims(run_id)
    api.settle(claim, {"kept": 1})
    fail(api, run_id)
    answer = api.post(f"/runs/{run_id}/retry")
    assert answer.status_code == 202
    new = answer.json
    assert answer.headers["Location"] == f"/api/v1/runs/{new['id']}"
    assert (new["origin_run_id"], new["tags"], new["trigger"]) == (str(run_id), ["mine"], "retry")
    assert api.get(f"/runs/{new['id']}/tasks/a").json["output"] == {"kept": 1}
    api.finish(UUID(new["id"]))
    assert api.get(f"/runs/{new['id']}").json["state"] == "succeeded"
    again = api.post(f"/runs/{new['id']}/retry", {"from": "a"}).json
    assert again["counts"] == {"queued": 1, "pending": 1}
    refused(api.post(f"/runs/{new['id']}/retry", {"from": "zz"}), 404)
    refused(api.post(f"/runs/{uuid4()}/retry"), 404)
    for body in ({"from": 1}, {"from": ""}, {"form": "a"}):
        refused(api.post(f"/runs/{new['id']}/retry", body), 422)


def test_a_key_retries_once(api: Api) -> None:
    run_id = api.run(ONE)
    fail(api, run_id)
    headers = {"Idempotency-Key": "again"}
    first, second = (api.post(f"/runs/{run_id}/retry", headers=headers).json for _ in range(2))
    assert first["id"] == second["id"]
    body = {"from": "a"}
    found = refused(api.post(f"/runs/{run_id}/retry", body, headers=headers), 409)
    assert found["code"] == "idempotency_mismatch"


def test_many_are_cancelled_by_filter(api: Api) -> None:
    live = [api.run(ONE, tags=["x"]) for _ in range(3)]
    done, other = api.run(ONE, tags=["x"]), api.run(ONE)
    api.finish(done)
    dry = api.post("/runs/cancel", {"tags": ["x"], "dry": True}).json
    assert [i["run_id"] for i in dry["items"]] == [str(r) for r in reversed(live)]
    assert {i["state"] for i in dry["items"]} == {"queued"}
    assert (dry["dry"], dry["more"]) == (True, False)
    first = api.post("/runs/cancel", {"tags": ["x"], "limit": 2}).json
    assert (len(first["items"]), first["more"]) == (2, True)
    assert {i["state"] for i in first["items"]} == {"cancelled"}
    rest = api.post("/runs/cancel", {"tags": ["x"], "cursor": first["next_cursor"]}).json
    assert ([i["run_id"] for i in rest["items"]], rest["more"]) == ([str(live[0])], False)
    assert api.get(f"/runs/{other}").json["state"] == "queued"
    assert api.post("/runs/cancel", {"state": ["succeeded"]}).json["items"] == []


def test_many_are_retried_once_a_key(api: Api) -> None:
    failed = [api.run(ONE, tags=["x"]) for _ in range(2)]
    for run_id in failed:
        fail(api, run_id)
    fine = api.run(ONE, tags=["x"])
    api.finish(fine)
    headers, body = {"Idempotency-Key": "k" * 200}, {"tags": ["x"]}
    one, two = (api.post("/runs/retry", body, headers=headers).json["items"] for _ in range(2))
    assert one == two
    assert [i["run_id"] for i in one] == [str(r) for r in reversed(failed)]
    for item in one:
        assert api.get(f"/runs/{item['new_run_id']}").json["origin_run_id"] == item["run_id"]
    assert len(api.get("/runs?tags=x").json["items"]) == 5
    chosen = api.post("/runs/retry", {"tags": ["x"], "state": ["succeeded"]}).json["items"]
    assert [i["run_id"] for i in chosen] == [str(fine)]


def test_one_that_cannot_be_is_told_and_the_others_go_on(api: Api) -> None:
    runs = [api.run(ONE, tags=["x", "one"]), api.run(ONE, tags=["x"])]
    for run_id in runs:
        fail(api, run_id)
    headers = {"Idempotency-Key": "k"}
    api.post("/runs/retry", {"tags": ["one"]}, headers=headers)
    items = api.post("/runs/retry", {"tags": ["x"]}, headers=headers).json["items"]
    assert [i["run_id"] for i in items] == [str(r) for r in reversed(runs)]
    assert items[0]["error"] is None
    assert items[0]["new_run_id"]
    assert (items[1]["error"]["code"], items[1]["new_run_id"]) == ("idempotency_mismatch", None)


@pytest.mark.parametrize("path", ["/runs/cancel", "/runs/retry"])
@pytest.mark.parametrize(
    "body",
    [{}, {"dry": True}, {"limit": 5}, {"state": []}, {"state": "running"}, {"state": ["happy"]},
     {"tags": ["x"], "limit": 0}, {"tags": ["x"], "limit": 1001}, {"tags": ["x"], "limit": "5"},
     {"tags": ["x"], "dry": 1}, {"tags": ["x"], "dry": "yes"}, {"tags": ["x"], "cursor": "x"},
     {"tags": ["x"], "cursor": 7}, {"since": 5}, {"since": "now"}, {"all": True}],
)  # fmt: skip
def test_bodies_that_do_not_fit(api: Api, path: str, body: dict[str, Any]) -> None:
    refused(api.post(path, body), 422)


def test_runs_are_filtered_by_tags(api: Api) -> None:
    both, one = api.run(ONE, tags=["a", "b,c"]), api.run(ONE, tags=["a"])

    def ids(query: str) -> list[str]:
        return [r["id"] for r in api.get(f"/runs?{query}").json["items"]]

    assert ids("tags=a") == [str(one), str(both)]
    assert ids("tags=a&tags=b,c") == [str(both)]
    assert ids("tags=b") == []
    refused(api.get("/runs?tags="), 400)


def _large(api: Api, claim: Claim) -> str:
    """End an attempt with an output that is kept in a file, as a worker does; return its name."""
    name = f"output-{claim.task_no}-{claim.attempt}.json"
    api.core.artifacts.put(claim.run_id, name, b"[1]", "application/json", "a")
    api.settle(claim, {"$artifact": f"{claim.run_id}/{name}"})
    return name


def _stored_bytes(api: Api) -> int:
    found = api.core.quotas.of(DEFAULT_TENANT)
    return next(q.used for q in found if q.name is Quota.STORAGE_BYTES)


def test_a_retried_run_has_the_files_of_its_outputs_itself(api: Api) -> None:
    run_id = api.run(TWO)
    (claim,) = api.claims(run_id)
    name = _large(api, claim)
    fail(api, run_id)
    headers = {"Idempotency-Key": "once"}
    new = api.post(f"/runs/{run_id}/retry", headers=headers).json["id"]
    assert api.post(f"/runs/{run_id}/retry", headers=headers).json["id"] == new
    assert _stored_bytes(api) == 6
    # The origin's may go: it is older.
    api.core.artifacts.discard(run_id)
    output = api.get(f"/runs/{new}/tasks/a").json["output"]
    assert output == {"$artifact": f"{new}/{name}"}
    assert [a["name"] for a in api.get(f"/runs/{new}/artifacts").json["items"]] == [name]
    assert api.get(f"/runs/{new}/artifacts/{name}").data == b"[1]"
    # And from run to run.
    fail(api, UUID(new))
    third = api.post(f"/runs/{new}/retry").json["id"]
    assert api.get(f"/runs/{third}/artifacts/{name}").data == b"[1]"


def test_a_retry_needs_the_files_of_the_outputs_it_takes_over(api: Api) -> None:
    run_id = api.run(TWO)
    (claim,) = api.claims(run_id)
    _large(api, claim)
    fail(api, run_id)
    api.core.artifacts.discard(run_id)
    told = refused(api.post(f"/runs/{run_id}/retry"), 409)
    assert (told["code"], "from a" in told["detail"]) == ("illegal_move", True)
    again = api.post(f"/runs/{run_id}/retry", {"from": "a"}).json
    assert again["counts"] == {"queued": 1, "pending": 1}
    assert _stored_bytes(api) == 0
