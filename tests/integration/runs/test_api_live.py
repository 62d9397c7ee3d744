"""The API with a worker behind it: trying a node, retrying a run, searching what was said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.live import Live
from tests.integration.serving import serving
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def api(installation: Live) -> Iterator[httpx.Client]:
    settings = installation.settings
    more = {"HOME": settings.home, "REDIS__PREFIX": settings.redis.prefix, "WEB__THREADS": 4}
    with (
        serving(settings.database.url, settings.redis.url, **more) as web,
        httpx.Client(base_url=f"{web.url}/api/v1", headers=web.headers, timeout=60) as client,
    ):
        yield client


def test_a_node_is_tried_on_a_worker(api: httpx.Client) -> None:
    body = {"config": {"expression": "inputs.n * 2"}, "input": {"n": 21}}
    found = api.post("/nodes/types/transform/test", json=body).json()
    assert (found["state"], found["output"], found["error"]) == ("succeeded", 42, None)
    assert found["duration_ms"] is not None
    body = {"config": {"expression": "1 / inputs.n"}, "input": {"n": 0}}
    found = api.post("/nodes/types/transform/test", json=body).json()
    assert (found["state"], found["output"]) == ("failed", None)
    assert "division by zero" in found["error"]["message"]


def test_a_failed_run_is_retried_from_where_it_failed(working: Live, api: httpx.Client) -> None:
    nodes = [
        {"id": "a", "type": "noop"},
        {"id": "b", "type": "transform", "data": {"config": {"expression": "1 / inputs.n"}}},
    ]
    definition = {"name": "r", "nodes": nodes, "edges": [{"source": "a", "target": "b"}]}
    body: dict[str, Any] = {"definition": definition, "input": {"n": 0}, "tags": ["retry me"]}
    run = api.post("/workflows/execute", params={"wait": 30}, json=body).json()
    assert run["state"] == "failed"
    again = api.post(f"/runs/{run['id']}/retry", params={"wait": 30}, json={"from": "b"})
    assert (again.status_code, again.json()["state"]) == (202, "failed")
    assert again.json()["origin_run_id"] == run["id"]
    many = api.post("/runs/retry", json={"tags": ["retry me"], "state": ["failed"]}).json()
    assert {item["run_id"] for item in many["items"]} == {run["id"], again.json()["id"]}
    for item in many["items"]:
        wait_for(
            lambda new=item["new_run_id"]: api.get(f"/runs/{new}").json()["state"] == "failed",
            timeout_s=30,
            what="the end of a retried run",
        )
    assert working.alive()


def test_what_handlers_say_is_found(working: Live, api: httpx.Client) -> None:
    config = {"function": "test.chatty", "args": {"lines": 3}}
    run_id = working.start([{"id": "speak", "type": "python", "config": config}])
    working.ended(run_id)
    query = {"run_id": str(run_id)}
    found = api.get("/logs/history", params=query).json()["items"]
    events = api.get(f"/runs/{run_id}/logs").json()["items"]
    assert len(found) == 4
    assert sorted(line["seq"] for line in found) == [line["seq"] for line in events]
    grave = api.post("/logs/query", json={**query, "level": "warning"}).json()["items"]
    assert [line["message"] for line in grave] == ["that was all"]
