"""Retrying a run at another version of its workflow, or with another input."""

from __future__ import annotations

from copy import deepcopy
from typing import Any
from uuid import UUID

import pytest

from tests.api.conftest import Api, refused
from tests.api.runs.test_steering import fail

CHAIN: dict[str, Any] = {
    "name": "versions",
    "inputs": {"type": "object", "properties": {"day": {"type": "integer", "default": 1}}},
    "nodes": [
        {"id": "a", "type": "noop"},
        {"id": "b", "type": "transform", "data": {"config": {"expression": "inputs.day"}}},
        {"id": "c", "type": "noop"},
    ],
    "edges": [
        {"id": "1", "source": "a", "target": "b"},
        {"id": "2", "source": "b", "target": "c"},
    ],
}


def failed_at_c(api: Api) -> tuple[str, UUID]:
    workflow_id = api.workflow(CHAIN)
    answer = api.post(f"/workflows/{workflow_id}/runs", {})
    assert answer.status_code == 202
    run_id = UUID(answer.json["id"])
    for output in ({"n": 1}, {"n": 2}):
        (claim,) = api.claims(run_id)
        api.settle(claim, output)
    fail(api, run_id)
    return workflow_id, run_id


def second(api: Api, workflow_id: str, **changes: Any) -> None:
    definition = {**deepcopy(CHAIN), **changes}
    etag = api.get(f"/workflows/{workflow_id}").headers["ETag"]
    answer = api.put(f"/workflows/{workflow_id}", definition, headers={"If-Match": etag})
    assert answer.status_code == 200, answer.json


def _verdicts(api: Api, run_id: UUID, body: dict[str, Any]) -> dict[str, str]:
    answer = api.post(f"/runs/{run_id}/retry?dry_run=true", body)
    assert answer.status_code == 200, answer.json
    return {n["node_id"]: n["reason"] or n["verdict"] for n in answer.json["nodes"]}


def test_the_run_s_own_version_runs_and_the_answer_names_a_newer_one(api: Api) -> None:
    workflow_id, run_id = failed_at_c(api)
    assert api.post(f"/runs/{run_id}/retry").json["newer_version"] is None
    second(api, workflow_id, description="changed")
    answer = api.post(f"/runs/{run_id}/retry").json
    assert (answer["version"], answer["newer_version"], answer["taken_over"]) == (1, 2, 2)


def test_a_fix_runs_and_what_it_does_not_touch_is_taken_over(api: Api) -> None:
    workflow_id, run_id = failed_at_c(api)
    # The mended node has another number than before, as all have.
    nodes = [{"id": "z", "type": "noop"}, *deepcopy(CHAIN["nodes"])]
    nodes[3] = {"id": "c", "type": "transform", "data": {"config": {"expression": "1"}}}
    second(api, workflow_id, nodes=nodes)
    assert _verdicts(api, run_id, {"version": "latest"}) == {
        "z": "the run's version has no such node",
        "a": "taken over",
        "b": "taken over",
        "c": "it has failed",
    }
    for version in ("latest", 2):
        answer = api.post(f"/runs/{run_id}/retry", {"version": version}).json
        assert (answer["version"], answer["newer_version"]) == (2, None)
        tasks = api.get(f"/runs/{answer['id']}/tasks").json["items"]
        assert {t["node_id"]: t["state"] for t in tasks} == {
            "z": "queued", "a": "succeeded", "b": "succeeded", "c": "queued",
        }  # fmt: skip
        assert api.get(f"/runs/{answer['id']}/tasks/b").json["output"] == {"n": 2}
        api.finish(UUID(answer["id"]))
        assert api.get(f"/runs/{answer['id']}").json["state"] == "succeeded"


def test_a_node_that_means_another_thing_runs_again_with_what_depends_on_it(api: Api) -> None:
    workflow_id, run_id = failed_at_c(api)
    nodes = deepcopy(CHAIN["nodes"])
    nodes[1]["data"] = {"config": {"expression": "inputs.day + 1"}}
    nodes[0]["data"] = {"label": "A name for people"}
    second(api, workflow_id, nodes=nodes)
    found = _verdicts(api, run_id, {"version": 2})
    assert found["a"] == "taken over"
    assert found["b"] == "changed between the versions: config"


def test_another_input_runs_what_reads_it(api: Api) -> None:
    _, run_id = failed_at_c(api)
    found = _verdicts(api, run_id, {"input": {"day": 2}})
    assert found["a"] == "taken over"
    assert found["b"] == "it reads `inputs`, and the input is another one"
    assert _verdicts(api, run_id, {"input": {"day": 1}})["b"] == "taken over"
    answer = api.post(f"/runs/{run_id}/retry", {"input": {"day": 2}}).json
    assert (answer["input"], answer["taken_over"]) == ({"day": 2}, 1)
    assert api.post(f"/runs/{run_id}/retry").json["input"] == {"day": 1}


def test_a_new_version_s_default_is_another_input(api: Api) -> None:
    workflow_id, run_id = failed_at_c(api)
    more = {"type": "integer", "default": 5}
    inputs = {"type": "object", "properties": {"day": {"type": "integer"}, "more": more}}
    second(api, workflow_id, inputs=inputs)
    assert "it reads" in _verdicts(api, run_id, {"version": 2})["b"]
    assert api.post(f"/runs/{run_id}/retry", {"version": 2}).json["input"] == {"day": 1, "more": 5}


def test_nothing_is_started_by_a_check(api: Api) -> None:
    _, run_id = failed_at_c(api)
    before = api.stored()
    _verdicts(api, run_id, {"from": "b"})
    assert api.stored() == before


def test_what_the_new_version_does_not_have(api: Api) -> None:
    workflow_id, run_id = failed_at_c(api)
    second(api, workflow_id, nodes=CHAIN["nodes"][:2], edges=CHAIN["edges"][:1])
    body = {"from": "c", "version": "latest"}
    for query in ("", "?dry_run=true"):
        found = refused(api.post(f"/runs/{run_id}/retry{query}", body), 404)
        assert "version 2 has no node 'c'" in found["detail"]
    refused(api.post(f"/runs/{run_id}/retry", {"version": 3}), 404)
    refused(api.post(f"/runs/{run_id}/retry", {"input": {"day": "x"}}), 422)


@pytest.mark.parametrize("version", [0, -1, "newest", True, 1.5, [1], 2**31])
def test_versions_that_do_not_fit(api: Api, version: Any) -> None:
    _, run_id = failed_at_c(api)
    refused(api.post(f"/runs/{run_id}/retry", {"version": version}), 422)


def test_many_at_another_version(api: Api) -> None:
    workflow_id, _ = failed_at_c(api)
    second(api, workflow_id, description="changed")
    body = {"workflow_id": workflow_id, "version": "latest"}
    (item,) = api.post("/runs/retry", body).json["items"]
    assert api.get(f"/runs/{item['new_run_id']}").json["version"] == 2
    refused(api.post("/runs/cancel", body), 422)
