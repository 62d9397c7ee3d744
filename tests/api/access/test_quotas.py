"""Quotas through the API: shown, set by the installation's owner only, and kept to the last one."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from flask import Flask

from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.quota import LARGEST, Quota
from tests.api.conftest import ONE, Api, refused

HOME = f"/quotas/{DEFAULT_TENANT}"


def _set(api: Api, **values: int | None) -> dict[str, dict[str, Any]]:
    answer = api.put(HOME, values)
    assert answer.status_code == 200, answer.text
    return {item["name"]: item for item in answer.json["items"]}


def test_every_quota_is_listed_with_its_use(api: Api) -> None:
    api.workflow(dict(ONE, name="kept"))
    api.run(ONE)
    body = api.get("/quotas").json
    shown = {item["name"]: item for item in body["items"]}
    assert set(shown) == {str(name) for name in Quota}
    assert body["next_cursor"] is None
    assert shown["workflows"] == {"name": "workflows", "limit": 0, "default": True, "used": 1}
    assert shown["runs_per_minute"]["used"] == 1
    assert shown["concurrent_tasks"]["used"] == 1
    assert shown["schedules"]["used"] == 0


def test_a_value_is_set_kept_and_taken_back(api: Api) -> None:
    assert _set(api, workflows=2, secrets=7)["workflows"]["limit"] == 2
    after = _set(api, workflows=None)
    assert (after["workflows"]["limit"], after["workflows"]["default"]) == (0, True)
    assert (after["secrets"]["limit"], after["secrets"]["default"]) == (7, False)
    assert api.get(HOME).json["items"] == list(after.values())


@pytest.mark.parametrize(
    "body",
    [
        {"workflows": -1}, {"workflows": 1.0}, {"workflows": "3"}, {"workflows": True},
        {"workflows": LARGEST + 1}, {"workflow": 3}, {"tenant_id": str(uuid4())}, [],
    ],
)  # fmt: skip
def test_what_is_no_quota_is_refused(api: Api, body: Any) -> None:
    refused(api.put(HOME, body), 400, 422)
    assert all(item["default"] for item in api.get("/quotas").json["items"])


def test_the_last_workflow_fits_and_the_next_does_not(api: Api) -> None:
    _set(api, workflows=2)
    first = api.workflow(dict(ONE, name="w1"))
    api.workflow(dict(ONE, name="w2"))
    over = api.post("/workflows", dict(ONE, name="w3"))
    assert refused(over, 429)["code"] == "quota_exceeded"
    assert int(over.headers["Retry-After"]) >= 1
    assert api.call("DELETE", f"/workflows/{first}").status_code == 204
    api.workflow(dict(ONE, name="w3"))
    # What was archived comes back only where there is room.
    assert refused(api.post(f"/workflows/{first}/activate"), 429)["code"] == "quota_exceeded"


def test_a_start_over_the_minute_is_refused_and_stores_nothing(api: Api) -> None:
    _set(api, runs_per_minute=2)
    saved = api.workflow(ONE)
    assert api.post(f"/workflows/{saved}/runs", {}).status_code == 202
    assert api.post("/workflows/execute", {"definition": ONE}).status_code == 202
    before = api.stored()
    for path, body in (
        (f"/workflows/{saved}/runs", {}),
        ("/workflows/execute", {"definition": ONE}),
        ("/workflows/execute", {"workflow_id": saved}),
    ):
        over = api.post(path, body)
        assert refused(over, 429)["code"] == "quota_exceeded"
        assert 1 <= int(over.headers["Retry-After"]) <= 60
    assert api.stored() == before


def test_a_repeated_start_is_not_counted_twice(api: Api) -> None:
    _set(api, runs_per_minute=1)
    saved = api.workflow(ONE)
    headers = {"Idempotency-Key": "once"}
    first = api.post(f"/workflows/{saved}/runs", {}, headers=headers)
    again = api.post(f"/workflows/{saved}/runs", {}, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json["id"] == again.json["id"]


def test_retries_count_as_starts(api: Api) -> None:
    runs = [api.run(ONE) for _ in range(3)]
    for run_id in runs:
        assert api.post(f"/runs/{run_id}/cancel").status_code == 202
    _set(api, runs_per_minute=5)
    # Two more fit: a call over all of them ends where the quota does, and says where to go on.
    batch = api.post("/runs/retry", {"state": ["cancelled"]}).json
    assert len(batch["items"]) == 2
    assert batch["more"]
    assert batch["next_cursor"]
    assert refused(api.post(f"/runs/{runs[0]}/retry"), 429)["code"] == "quota_exceeded"
    over = api.post("/runs/retry", {"state": ["cancelled"]})
    assert refused(over, 429)["code"] == "quota_exceeded"


def test_only_as_many_tasks_are_queued_as_the_quota_allows(api: Api) -> None:
    _set(api, concurrent_tasks=2)
    nodes = [{"id": f"n{i}", "type": "noop"} for i in range(5)]
    run_id = api.run({"name": "five", "nodes": nodes, "edges": []})
    counts = api.get(f"/runs/{run_id}").json["counts"]
    assert counts == {"queued": 2, "ready": 3}
    reasons = api.get(f"/runs/{run_id}/why").json["reasons"]
    waiting = [r for r in reasons if r["code"] == "quota"]
    assert len(waiting) == 3
    assert "2 of its 2" in waiting[0]["message"]
    api.finish(run_id)
    assert api.get(f"/runs/{run_id}").json["state"] == "succeeded"


def test_strangers_learn_nothing(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/api/v1/quotas").status_code == 401
    assert client.put(f"/api/v1{HOME}", json={"workflows": 1}).status_code == 401
