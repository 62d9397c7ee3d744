"""Servers that are away, and mistakes of ours: what a client is told, and what it is not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from uuid import uuid4

import pytest

from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.adapters.redis.channel import RedisChannel
from orchestrator.errors import StoreUnavailable
from tests.api.conftest import ONE, Api, build_core, refused
from tests.servers import Servers
from web.app import create_app


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def postgres_away(closed_port: int) -> Iterator[Api]:
    store = PostgresStore(f"postgresql://zq:secret@127.0.0.1:{closed_port}/zq")
    core = build_core(store=store)
    yield Api(create_app(core).test_client(), core)
    store.close()


@pytest.fixture
def redis_away(servers: Servers, closed_port: int) -> Api:
    channel = RedisChannel(f"redis://127.0.0.1:{closed_port}/0", prefix="zq:", timeout_s=0.2)
    core = build_core(servers, channel=channel)
    core.dispatcher.up = False  # type: ignore[attr-defined]
    return Api(create_app(core).test_client(), core)


def test_postgres_away_is_503_with_a_time_to_come_back(postgres_away: Api) -> None:
    an_id = uuid4()
    for answer in (
        postgres_away.get("/workflows"),
        postgres_away.get("/runs"),
        postgres_away.get(f"/runs/{an_id}/events"),
        postgres_away.post("/workflows", ONE),
        postgres_away.post("/workflows/execute", {"definition": ONE}),
        postgres_away.put(f"/workflows/{an_id}", ONE),
        postgres_away.call("DELETE", f"/workflows/{an_id}"),
        postgres_away.post(f"/runs/{an_id}/cancel"),
        postgres_away.client.get("/readyz"),
    ):
        assert refused(answer, 503)["code"] == "store_unavailable"
        assert int(answer.headers["Retry-After"]) > 0
        assert "secret" not in answer.text


def test_postgres_away_leaves_what_needs_no_record(postgres_away: Api) -> None:
    assert postgres_away.client.get("/healthz").status_code == 200
    assert postgres_away.get("/nodes/types").status_code == 200
    assert postgres_away.post("/workflows/validate", ONE).json["valid"] is True
    refused(postgres_away.client.get("/api/v1/runs"), 401)
    refused(postgres_away.post("/workflows", {**ONE, "nodes": 1}), 422)


@pytest.mark.parametrize("saved", [False, True], ids=["execute", "a workflow's"])
def test_a_run_that_was_stored_is_answered_though_it_cannot_be_read(
    api: Api, monkeypatch: pytest.MonkeyPatch, saved: bool
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable

    path = f"/workflows/{api.workflow(ONE)}/runs" if saved else "/workflows/execute"
    with monkeypatch.context() as patch:
        patch.setattr(api.core.store.reads, "run", away)
        answer = api.post(f"{path}?wait=30", {} if saved else {"definition": ONE})
    assert answer.status_code == 202
    assert answer.json["state"] == "queued"
    assert api.get(f"/runs/{answer.json['id']}").json["state"] == "queued"


def test_redis_away_fails_no_request(redis_away: Api) -> None:
    run_id = redis_away.run(ONE)
    assert redis_away.get(f"/runs/{run_id}").json["state"] == "queued"
    waited = redis_away.post("/workflows/execute?wait=1", {"definition": ONE})
    assert waited.status_code == 202
    assert redis_away.post(f"/runs/{run_id}/cancel").status_code == 202
    ready = redis_away.client.get("/readyz")
    assert (ready.status_code, ready.json["status"], ready.json["redis"]) == (
        200,
        "degraded",
        False,
    )


def test_an_older_schema_is_not_ready(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.api.health.newest_revision", lambda: 10_000)
    answer = api.client.get("/readyz")
    assert refused(answer, 503)["code"] == "wrong_schema"
    assert "zq migrate" in answer.text


def test_a_mistake_of_ours_tells_nothing_but_its_id(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(type(api.core.engine), "run", broken)
    answer = api.get(f"/runs/{uuid4()}", headers={"X-Request-Id": "find-me"})
    assert refused(answer, 500)["code"] == "internal"
    assert "swordfish" not in answer.text
    assert any("find-me" in r.message and r.exc_info for r in caplog.records)


def test_a_process_that_stops_is_not_ready(api: Api) -> None:
    api.client.application.extensions["zq"].stopping.set()
    assert refused(api.client.get("/readyz"), 503)["code"] == "stopping"
    assert api.client.get("/healthz").status_code == 200
