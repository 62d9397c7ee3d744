"""Routes of runs: how one is looked at, waited for, paged through and stopped."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.api.conftest import ONE, TWO, Api, refused
from tests.factories import take_all
from tests.waiting import wait_for


def test_a_run_from_start_to_end(api: Api) -> None:
    run_id = api.run(TWO)
    api.finish(run_id)
    run = api.get(f"/runs/{run_id}").json
    assert run["state"] == "succeeded"
    assert run["output"] == {"b": {"no": 1}}
    assert run["counts"] == {"succeeded": 2}
    assert run["duration_ms"] >= 0
    assert run["finished_at"] >= run["started_at"] >= run["created_at"]
    assert set(run) == {
        "id", "workflow_id", "workflow_name", "version", "state", "trigger", "tags", "input",
        "output", "error", "origin_run_id", "created_at", "started_at", "finished_at",
        "duration_ms", "counts", "seq",
    }  # fmt: skip


def test_tasks_and_their_attempts(api: Api) -> None:
    run_id = api.run(TWO)
    tasks = api.get(f"/runs/{run_id}/tasks").json["items"]
    assert [(t["node_id"], t["state"], t["waiting_for"]) for t in tasks] == [
        ("a", "queued", {"worker": True}),
        ("b", "pending", {"upstream": 1}),
    ]
    assert api.get(f"/runs/{run_id}/tasks/b/attempts").json["items"] == []
    api.finish(run_id)
    task = api.get(f"/runs/{run_id}/tasks/b").json
    assert (task["state"], task["output"], task["attempt"]) == ("succeeded", {"no": 1}, 1)
    assert (task["run_id"], task["map_index"], task["waiting_for"]) == (str(run_id), None, None)
    attempts = api.get(f"/runs/{run_id}/tasks/b/attempts").json["items"]
    assert [(a["attempt"], a["state"]) for a in attempts] == [(1, "succeeded")]
    refused(api.get(f"/runs/{run_id}/tasks/zz"), 404)
    refused(api.get(f"/runs/{run_id}/tasks/b?map_index=0"), 404)
    refused(api.get(f"/runs/{run_id}/tasks/b?map_index=-1"), 400)


def test_tasks_come_in_pages(api: Api) -> None:
    nodes = [{"id": f"n{i}", "type": "noop"} for i in range(5)]
    run_id = api.run({"name": "wide", "nodes": nodes})
    found: list[str] = []
    query = "?limit=2"
    for _ in range(3):
        page = api.get(f"/runs/{run_id}/tasks{query}").json
        found += [t["node_id"] for t in page["items"]]
        query = f"?limit=2&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert found == [f"n{i}" for i in range(5)]


def test_events_are_the_sockets_frames(api: Api) -> None:
    run_id = api.run(TWO)
    first = api.get(f"/runs/{run_id}/events").json
    assert [e["seq"] for e in first["items"]] == [1, 2]
    assert first["next_cursor"] == 2
    assert api.get(f"/runs/{run_id}/events?after=2").json == {"items": [], "next_cursor": 2}
    api.finish(run_id)
    seen: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = api.get(f"/runs/{run_id}/events?after={after}&limit=3").json
        seen, after = seen + page["items"], page["next_cursor"]
    assert [e["seq"] for e in seen] == list(range(1, len(seen) + 1))
    assert (seen[-1]["kind"], seen[-1]["state"]) == ("run", "succeeded")
    assert seen[:2] == first["items"]


def test_log_lines_are_filtered_and_paged(api: Api) -> None:
    run_id = api.run(TWO)
    says = (("info", "one"), ("error", "two"), ("debug", "three"))
    for _ in range(2):
        for claim in api.claims(run_id):
            api.settle(claim, says=says)

    def messages(query: str = "") -> list[tuple[str, str]]:
        items = api.get(f"/runs/{run_id}/logs{query}").json["items"]
        return [(i["node_id"], i["message"]) for i in items]

    assert messages() == [(n, m) for n in "ab" for m in ("one", "two", "three")]
    assert messages("?level=warning") == [("a", "two"), ("b", "two")]
    assert messages("?level=info&node=b") == [("b", "one"), ("b", "two")]
    page = api.get(f"/runs/{run_id}/logs?limit=4").json
    rest = api.get(f"/runs/{run_id}/logs?after={page['next_cursor']}").json
    assert [i["message"] for i in rest["items"]] == ["two", "three"]
    assert rest["next_cursor"] is None
    refused(api.get(f"/runs/{run_id}/logs?level=loud"), 400)


def test_lists_are_filtered(api: Api) -> None:
    saved = api.workflow(ONE)
    done = api.post(f"/workflows/{saved}/runs").json["id"]
    api.finish(UUID(done))
    other, live = str(api.run(TWO)), api.post(f"/workflows/{saved}/runs").json["id"]

    def ids(query: str) -> list[str]:
        return [r["id"] for r in api.get(f"/runs{query}").json["items"]]

    assert ids("") == [live, other, done]
    assert ids("?state=succeeded") == [done]
    assert ids("?state=succeeded,queued&limit=1") == [live]
    assert ids("?state=queued&state=succeeded") == [live, other, done]
    assert ids(f"?workflow_id={saved}") == [live, done]
    assert ids("?trigger=api") == [live, other, done]
    assert ids("?trigger=manual") == []
    hour = timedelta(hours=1)
    later = (datetime.now(UTC) + hour).isoformat().replace("+00:00", "Z")
    earlier = (datetime.now(UTC) - hour).isoformat().replace("+00:00", "Z")
    assert ids(f"?since={earlier}&until={later}") == [live, other, done]
    assert ids(f"?since={later}") == ids(f"?until={earlier}") == []
    assert ids("?since=9998-01-01T00:00:00Z") == []
    first = api.get("/runs?limit=2").json
    assert ids(f"?limit=2&cursor={first['next_cursor']}") == [done]
    assert not {"input", "output"} & set(first["items"][0])
    history = api.get(f"/workflows/{saved}/history?state=queued").json
    assert [r["id"] for r in history["items"]] == [live]


def test_cancel(api: Api) -> None:
    run_id = api.run(TWO)
    answer = api.post(f"/runs/{run_id}/cancel")
    assert (answer.status_code, answer.json["state"]) == (202, "cancelled")
    assert refused(api.post(f"/runs/{run_id}/cancel"), 409)["code"] == "illegal_move"


def test_cancel_waits_for_what_is_running(api: Api) -> None:
    run_id = api.run(TWO)
    (claim,) = api.claims(run_id)
    for _ in range(2):
        answer = api.post(f"/runs/{run_id}/cancel")
        assert (answer.status_code, answer.json["state"]) == (202, "cancelling")
    api.settle(claim)
    assert api.get(f"/runs/{run_id}").json["state"] == "cancelled"


def test_wait_answers_when_the_run_has_ended(api: Api) -> None:
    path = f"/workflows/{api.workflow(ONE)}/runs"

    def work() -> None:
        wait_for(lambda: api.stored()[1], what="the run")
        listed = Api(api.client.application.test_client(), api.core).get("/runs").json["items"]
        api.finish(UUID(listed[0]["id"]))

    worker = threading.Thread(target=work)
    worker.start()
    answer = api.post(f"{path}?wait=30")
    worker.join()
    assert (answer.status_code, answer.json["state"]) == (202, "succeeded")


@pytest.mark.parametrize("channel_up", [True, False])
def test_wait_ends_with_its_time(api: Api, *, channel_up: bool) -> None:
    api.core.channel.up = channel_up  # type: ignore[attr-defined]
    started = time.monotonic()
    answer = api.post("/workflows/execute?wait=1", {"definition": ONE})
    assert (answer.status_code, answer.json["state"]) == (202, "queued")
    assert 0.9 < time.monotonic() - started < 5


def test_those_who_wait_never_take_every_thread(api: Api) -> None:
    take_all(api.client.application.extensions["zq"].waiters)
    started = time.monotonic()
    answer = api.post("/workflows/execute?wait=60", {"definition": ONE})
    assert (answer.status_code, answer.json["state"]) == (202, "queued")
    assert time.monotonic() - started < 5


def test_artifacts_are_attachments(api: Api) -> None:
    run_id = api.run(ONE)
    artifacts = api.core.artifacts
    artifacts.put(run_id, "report.html", b"<script>1</script>", "text/html", "a")
    artifacts.put(run_id, "odd.bin", b"\x00\x01", "text/html\r\nSet-Cookie: a=b", "a")
    listed = api.get(f"/runs/{run_id}/artifacts").json["items"]
    assert [(a["name"], a["size_bytes"], a["node_id"]) for a in listed] == [
        ("odd.bin", 2, "a"),
        ("report.html", 18, "a"),
    ]
    answer = api.get(f"/runs/{run_id}/artifacts/report.html")
    assert (answer.status_code, answer.data) == (200, b"<script>1</script>")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="report.html"'
    assert answer.headers["Content-Security-Policy"].startswith("sandbox")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    odd = api.get(f"/runs/{run_id}/artifacts/odd.bin")
    assert odd.content_type == "application/octet-stream"
    assert "Set-Cookie" not in odd.headers
    refused(api.get(f"/runs/{run_id}/artifacts/none.txt"), 404)
    refused(api.get(f"/runs/{uuid4()}/artifacts/report.html"), 404)
