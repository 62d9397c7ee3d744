"""Log lines across runs: search in the record, and who hears which live line."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.services.runs.log_search import LineMatcher, Wanted, from_level
from tests.api.conftest import ONE, Api, refused
from tests.factories import take_all


@pytest.fixture
def runs(api: Api) -> list[str]:
    """Two runs of two workflows that have said something; the second is of `saved`."""
    first = api.run(ONE)
    (claim,) = api.claims(first)
    api.settle(claim, says=(("info", "Hello there"), ("error", "it broke")))
    api.saved = api.workflow(ONE)
    second = api.post(f"/workflows/{api.saved}/runs").json["id"]
    (claim,) = api.claims(UUID(second))
    api.settle(claim, says=(("debug", "quiet"), ("warning", "hello again")))
    return [str(first), second]


def said(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return sorted(line["message"] for line in answer.json["items"])


def test_history_and_query_filter_alike(api: Api, runs: list[str]) -> None:
    for given, expected in (
        ({}, ["Hello there", "hello again", "it broke", "quiet"]),
        ({"q": "HELLO"}, ["Hello there", "hello again"]),
        ({"level": "warning"}, ["hello again", "it broke"]),
        ({"run_id": runs[0]}, ["Hello there", "it broke"]),
        ({"workflow_id": api.saved}, ["hello again", "quiet"]),
        ({"node": "a", "level": "error"}, ["it broke"]),
        ({"node": "zz"}, []),
        ({"since": "9998-01-01T00:00:00Z"}, []),
        ({"until": "1999-01-01T00:00:00Z"}, []),
    ):
        assert said(api.get("/logs/history", query_string=given)) == expected
        assert said(api.post("/logs/query", given)) == expected
    assert said(api.post("/logs/query", {"run_ids": [runs[1], str(uuid4())]})) == [
        "hello again",
        "quiet",
    ]


def test_lines_are_the_sockets_frames_newest_first(api: Api, runs: list[str]) -> None:
    line = api.get("/logs/history?q=it broke").json["items"][0]
    frames = api.get(f"/runs/{runs[0]}/events").json["items"]
    assert line in frames
    times = [i["at"] for i in api.get("/logs/history").json["items"]]
    assert times == sorted(times, reverse=True)
    assert said(api.get(f"/runs/{runs[0]}/logs?q=BROKE")) == ["it broke"]


@pytest.mark.parametrize("limit", [1, 3])
def test_pages(api: Api, runs: list[str], limit: int) -> None:
    assert runs
    whole = api.get("/logs/history").json["items"]
    found: list[Any] = []
    cursor = None
    while True:
        page = api.post("/logs/query", {"limit": limit, "cursor": cursor} if cursor else
                        {"limit": limit}).json  # fmt: skip
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == whole


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=x", "level=loud", "run_id=1", "workflow_id=x", "node=",
     "q=", "q=" + "x" * 201, "since=now", "cursor=x", "cursor=bA", "cursor=" + "A" * 4000,
     "order=asc", "q=a%00b", "cursor=bH_____________________________________________8"],
)  # fmt: skip
def test_queries_that_do_not_fit(api: Api, query: str) -> None:
    refused(api.get(f"/logs/history?{query}"), 400)


@pytest.mark.parametrize(
    "body",
    [{"limit": 0}, {"limit": "5"}, {"limit": True}, {"run_ids": "x"}, {"run_ids": [1]},
     {"run_ids": [str(uuid4())] * 101}, {"level": 1}, {"q": 5}, {"cursor": 5}, {"x": 1},
     {"since": 1}],
)  # fmt: skip
def test_bodies_that_do_not_fit(api: Api, body: dict[str, Any]) -> None:
    refused(api.post("/logs/query", body), 422)


def test_words_are_taken_as_they_are(api: Api, runs: list[str]) -> None:
    assert runs
    for word in ("%", "_", "' OR 1=1--", "\\", "%_%_%_%_%_%_", "$$;select pg_sleep(5)"):
        assert said(api.get("/logs/history", query_string={"q": word})) == []


def test_the_sieve_lets_through_what_fits(api: Api, runs: list[str]) -> None:
    reads = api.core.store.reads
    frames = [f for run in runs for f in api.get(f"/runs/{run}/events").json["items"]]
    junk = [{"kind": "log", "run_id": text, "message": "x", "seq": 1} for text in ("", "zz", 5)]

    def heard(**more: Any) -> list[str]:
        wanted = Wanted(**{"tenant_id": DEFAULT_TENANT, **more})
        return [f["message"] for f in LineMatcher(reads, wanted).fitting([*junk, *frames])]

    assert heard() == ["Hello there", "it broke", "quiet", "hello again"]
    assert heard(tenant_id=uuid4()) == []
    assert heard(run_id=UUID(runs[0])) == ["Hello there", "it broke"]
    assert heard(workflow_id=UUID(api.saved)) == ["quiet", "hello again"]
    assert heard(levels=from_level("warning")) == ["it broke", "hello again"]
    assert heard(text="HELLO", node_id="a") == ["Hello there", "hello again"]
    assert heard(node_id="zz") == heard(run_id=uuid4()) == []


SOCKET = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize("query", ["level=loud", "run_id=1", "after=1", "q=", "since=now"])
def test_a_socket_with_a_bad_filter_is_refused(api: Api, query: str) -> None:
    refused(api.get(f"/logs/ws?{query}", headers=SOCKET), 400)


def test_the_log_socket_is_guarded_like_the_other(api: Api) -> None:
    refused(api.client.get("/api/v1/logs/ws", headers=SOCKET), 401)
    refused(api.get("/logs/ws", headers={**SOCKET, "Origin": "https://evil.example"}), 403)
    refused(api.get("/logs/ws"), 426)
    take_all(api.client.application.extensions["zq"].sockets)
    refused(api.get("/logs/ws", headers=SOCKET), 503)
