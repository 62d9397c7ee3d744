"""Routes of workflows: what is saved, what comes back, and what stands in the way."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest

from tests.api.conftest import KEY, ONE, TWO, Api, refused
from web.app import create_app


def test_save_and_read(api: Api) -> None:
    made = api.post("/workflows", {**TWO, "description": "d", "status": "draft"})
    assert made.status_code == 201
    assert made.headers["Location"] == f"/api/v1/workflows/{made.json['id']}"
    assert made.headers["ETag"] == '"1"'
    read = api.client.get(made.headers["Location"], headers={"Authorization": f"Bearer {KEY}"})
    assert read.json == made.json
    assert read.json["status"] == "draft"
    assert read.json["version"] == 1
    assert UUID(read.json["id"]).version == 7
    assert read.json["created_at"].endswith("Z")
    assert [n["id"] for n in read.json["nodes"]] == ["a", "b"]
    assert read.json["edges"][0]["sourceHandle"] is None
    assert (
        api.get(f"/workflows/{read.json['id']}", headers={"If-None-Match": '"1"'}).status_code
        == 304
    )


def test_every_problem_is_named(api: Api) -> None:
    wrong = {
        "name": "x",
        "nodes": [
            {"id": "a", "type": "nope"},
            {"id": "b", "type": "transform", "data": {"config": {"expression": "1 +"}}},
        ],
        "edges": [{"source": "a", "target": "zz"}],
    }
    body = refused(api.post("/workflows", wrong), 422)
    assert body["code"] == "invalid"
    assert {p["node"] for p in body["problems"]} >= {"a", "b"}
    judged = api.post("/workflows/validate", wrong)
    assert judged.status_code == 200
    assert judged.json == {"valid": False, "problems": body["problems"]}
    assert api.stored() == (0, 0)


def test_a_name_is_used_once(api: Api) -> None:
    api.workflow(ONE)
    assert refused(api.post("/workflows", ONE), 409)["code"] == "name_taken"


def test_change_makes_versions_that_stay(api: Api) -> None:
    path = f"/workflows/{api.workflow(TWO)}"
    changed = api.put(path, {**TWO, "description": "new"}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.json["version"]) == (200, 2)
    assert changed.headers["ETag"] == '"2"'
    assert api.put(path, {**TWO, "description": "new"}).json["version"] == 2
    stale = api.put(path, TWO, headers={"If-Match": '"1"'})
    assert refused(stale, 412)["code"] == "version_mismatch"
    assert api.put(path, TWO, headers={"If-Match": "*"}).json["version"] == 3
    first = api.get(f"{path}/versions/1").json
    assert (first["version"], first["description"]) == (1, "")
    assert api.get(f"{path}/versions/2").json["description"] == "new"
    refused(api.get(f"{path}/versions/4"), 404)
    refused(api.get(f"{path}/versions/0"), 404)


def test_an_archived_workflow_keeps_its_history_only(api: Api) -> None:
    path = f"/workflows/{api.workflow(ONE)}"
    run_id = api.post(f"{path}/runs").json["id"]
    refused(api.call("DELETE", path, headers={"If-Match": '"7"'}), 412)
    for _ in range(2):
        gone = api.call("DELETE", path)
        assert (gone.status_code, gone.data) == (204, b"")
    assert api.get("/workflows").json["items"] == []
    assert api.get(path).json["status"] == "archived"
    assert refused(api.post(f"{path}/runs"), 409)["code"] == "illegal_move"
    assert [r["id"] for r in api.get(f"{path}/history").json["items"]] == [run_id]
    assert api.workflow(ONE)


def test_lists_come_in_pages(api: Api) -> None:
    ids = [api.workflow({**ONE, "name": f"wf {i}"}) for i in range(5)]
    found: list[str] = []
    query = "?limit=2"
    for _ in range(3):
        page = api.get(f"/workflows{query}").json
        found += [w["id"] for w in page["items"]]
        query = f"?limit=2&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert found == ids[::-1]
    assert "nodes" not in page["items"][0]
    assert [w["name"] for w in api.get("/workflows?q=F 3").json["items"]] == ["wf 3"]
    assert api.get("/workflows?q=%25").json["items"] == []


def test_ad_hoc_workflows_are_not_listed(api: Api) -> None:
    api.run(ONE)
    api.run(ONE)
    assert api.get("/workflows").json["items"] == []


def test_one_key_makes_one_workflow(api: Api) -> None:
    headers = {"Idempotency-Key": "k" * 200}
    first = api.post("/workflows", ONE, headers=headers)
    again = api.post("/workflows", dict(reversed(ONE.items())), headers=headers)
    assert (again.status_code, again.json) == (201, first.json)
    other = api.post("/workflows", {**ONE, "name": "other"}, headers=headers)
    assert refused(other, 409)["code"] == "idempotency_mismatch"
    elsewhere = api.post("/workflows/execute", {"definition": ONE}, headers=headers)
    refused(elsewhere, 409)
    assert api.stored() == (1, 0)


def test_a_hundred_at_once_with_one_key_start_one_run(api: Api) -> None:
    # An application of its own: it has counted nothing yet.
    api = Api(create_app(api.core).test_client(), api.core)
    path = f"/workflows/{api.workflow(ONE)}/runs"

    def start(_: int) -> str:
        client = Api(api.client.application.test_client(), api.core)
        answer = client.post(path, {}, headers={"Idempotency-Key": "once"})
        assert answer.status_code == 202
        return str(answer.json["id"])

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(start, range(100)))) == 1
    assert api.stored() == (1, 1)
    told = api.get("//metrics").text
    assert "zq_runs_started_total 1.0" in told
    assert 'zq_store_seconds_count{operation="reads.run"}' in told


@pytest.mark.parametrize("how", ["runs", "execute by id", "execute by definition"])
def test_ways_to_start(api: Api, how: str) -> None:
    inputs = {"type": "object", "properties": {"day": {"type": "string"}}}
    definition = {**TWO, "inputs": inputs}
    saved = api.workflow(definition)
    body: dict[str, Any] = {"input": {"day": "x"}, "tags": ["a", "b"]}
    if how == "runs":
        answer = api.post(f"/workflows/{saved}/runs", body)
    elif how == "execute by id":
        answer = api.post("/workflows/execute", {**body, "workflow_id": saved})
    else:
        answer = api.post("/workflows/execute", {**body, "definition": definition})
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/v1/runs/{answer.json['id']}"
    run = answer.json
    assert (run["input"], run["tags"], run["state"]) == ({"day": "x"}, ["a", "b"], "queued")
    assert (run["trigger"], run["version"], run["output"], run["error"]) == ("api", 1, None, None)
    assert run["counts"] == {"queued": 1, "pending": 1}
    assert api.get(f"/runs/{run['id']}").json == run
    wrong = api.post(f"/workflows/{saved}/runs", {"input": {"day": 1}})
    assert refused(wrong, 422)["problems"][0]["path"]


def test_who_starts_a_run_may_say_that_a_person_did(api: Api) -> None:
    saved = api.workflow(TWO)
    one = api.post(f"/workflows/{saved}/runs", {"trigger": "manual"}).json
    two = api.post("/workflows/execute", {"definition": TWO, "trigger": "manual"}).json
    api.post(f"/workflows/{saved}/runs", {"trigger": "api"})
    found = api.get("/runs?trigger=manual").json["items"]
    assert [run["id"] for run in found] == [two["id"], one["id"]]
    for trigger in ("retry", "schedule", ""):
        refused(api.post(f"/workflows/{saved}/runs", {"trigger": trigger}), 422)


def test_node_types_are_a_cacheable_catalogue(api: Api) -> None:
    answer = api.get("/nodes/types")
    assert {t["type"] for t in answer.json["items"]} >= {"noop", "http", "transform", "branch"}
    for kind in answer.json["items"]:
        assert kind["config_schema"]["type"] == "object"
    assert "max-age" in answer.headers["Cache-Control"]
    known = {"If-None-Match": answer.headers["ETag"]}
    assert api.get("/nodes/types", headers=known).status_code == 304


def test_every_example_of_the_catalogue_validates(api: Api) -> None:
    sources = ("fetch", "total")
    for kind, source in itertools.product(api.get("/nodes/types").json["items"], sources):
        node = {"id": "x", "type": kind["type"], "data": {"config": kind["example"]}}
        inputs = {"type": "object", "properties": {"day": {"type": "string"}}}
        up = [{"id": s, "type": "noop"} for s in sources]
        edges = [{"source": s, "target": "x"} for s in sources]
        judged = api.post(
            "/workflows/validate",
            {"name": source, "inputs": inputs, "nodes": [*up, node], "edges": edges},
        )
        assert judged.json == {"valid": True, "problems": []}


def test_names_that_look_alike_are_not_the_same_and_two_forms_of_one_are(api: Api) -> None:
    """Homoglyphs are other names, kept as they were sent; NFC and NFD are one."""
    latin, cyrillic, wide = "payroll", "p\u0430yroll", "\uff50ayroll"
    ids = {name: api.workflow({**ONE, "name": name}) for name in (latin, cyrillic, wide)}
    for name, id in ids.items():
        found = api.get(f"/workflows?name={quote(name)}").json["items"]
        assert [(row["id"], row["name"]) for row in found] == [(id, name)]
    api.workflow({**ONE, "name": "cafe\u0301"})
    assert api.get(f"/workflows?name={quote('caf' + chr(0xE9))}").json["items"]
    refused(api.post("/workflows", {**ONE, "name": "caf\u00e9"}), 409)


def test_if_match_takes_a_list(api: Api) -> None:
    path = f"/workflows/{api.workflow()}"
    listed = {"If-Match": '"7", "1:gzip", W/"3", "x"'}
    assert api.put(path, {**TWO, "description": "new"}, headers=listed).json["version"] == 2
    refused(api.put(path, TWO, headers={"If-Match": '"1", "3"'}), 412)
    refused(api.put(path, TWO, headers={"If-Match": 'W/"2"'}), 412)
    refused(api.put(path, TWO, headers={"If-Match": ""}), 412)
