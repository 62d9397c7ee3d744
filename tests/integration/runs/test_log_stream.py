"""The socket of log lines against a real server: who hears what, and that gaps are told."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import orjson
import pytest
import websocket
from sqlalchemy.engine import make_url

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.bootstrap import core as bootstrap
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.settings import Auth, Database, Redis, Settings
from tests.factories import SECRET_KEY, new_id
from tests.gate import Gate
from tests.integration.serving import KEY, Hand, Web, frames, serving
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def redis_gate(redis_server_url: str) -> Iterator[Gate]:
    """A gate in front of Redis, for the web process only."""
    url = make_url(redis_server_url)
    with Gate(url.host or "127.0.0.1", url.port or 6379) as gate:
        yield gate


@pytest.fixture(scope="module")
def database(databases: Any) -> str:
    url: str = databases.migrated()
    return url


@pytest.fixture(scope="module")
def web(database: str, redis_server_url: str, redis_gate: Gate) -> Iterator[Web]:
    through = make_url(redis_server_url).set(host="127.0.0.1", port=redis_gate.port)
    address = through.render_as_string(hide_password=False)
    with serving(database, address, WEB__SOCKETS=3, WEB__THREADS=4) as server:
        yield server


@pytest.fixture(scope="module")
def hand(database: str, redis_server_url: str) -> Iterator[Hand]:
    settings = Settings(
        auth=Auth(secret_key=SECRET_KEY),
        database=Database(url=database),
        redis=Redis(url=redis_server_url),
    )
    core = bootstrap.build(settings, dispatcher=MemoryDispatcher(), artifacts=MemoryArtifacts())
    yield Hand(core)
    core.store.close()


@pytest.fixture(autouse=True)
def hung_up(web: Web) -> Iterator[None]:
    yield
    web.hang_up()


def listen(web: Web, query: str = "") -> websocket.WebSocket:
    """Open the socket; return once it listens."""
    address = f"{web.url.replace('http', 'ws', 1)}/api/v1/logs/ws{query}"

    def connected() -> websocket.WebSocket | None:
        try:
            return websocket.create_connection(
                address,
                header=[f"Authorization: Bearer {KEY}", "Accept-Encoding: gzip, zstd"],
                timeout=10,
                suppress_origin=True,
            )
        except websocket.WebSocketBadStatusException:
            # The slot of a socket that has just been closed is free in a moment.
            return None

    line = wait_for(connected, what="a free socket")
    web.lines.append(line)
    return line


def first(line: websocket.WebSocket) -> Mapping[str, Any]:
    found: dict[str, Any] = orjson.loads(line.recv())
    assert found["kind"] == "listening"
    return found


def said(line: websocket.WebSocket, count: int) -> list[str]:
    """Return the messages of the next log lines, gaps left out."""
    found: list[str] = []
    while len(found) < count:
        frame = orjson.loads(line.recv())
        if frame["kind"] == "log":
            found.append(frame["message"])
    return found


def test_lines_of_all_runs_are_heard(web: Web, hand: Hand) -> None:
    line = listen(web)
    assert first(line)["filters"] == {
        "run_id": None, "workflow_id": None, "node": None, "level": "debug", "q": None,
    }  # fmt: skip
    runs = [hand.start(1), hand.start(1)]
    for run_id in runs:
        (claim,) = hand.claims(run_id)
        hand.say(claim, f"of {run_id}")
        hand.settle(claim)
    assert said(line, 2) == [f"of {run_id}" for run_id in runs]


def test_filters_are_told_and_hold(web: Web, hand: Hand) -> None:
    run_id, other = hand.start(1), hand.start(1)
    workflow_id = hand.core.engine.run(DEFAULT_TENANT, run_id).workflow_id
    one = listen(web, f"?workflow_id={workflow_id}&level=info&q=KEEP")
    two = listen(web, f"?run_id={run_id}&node=first")
    assert first(one)["filters"]["workflow_id"] == str(workflow_id)
    assert first(two)["filters"]["run_id"] == str(run_id)
    for run in (other, run_id):
        (claim,) = hand.claims(run)
        hand.say(claim, f"keep {run}", f"drop {run}")
        hand.settle(claim)
    assert said(one, 1) == [f"keep {run_id}"]
    assert said(two, 2) == [f"keep {run_id}", f"drop {run_id}"]
    hand.finish(run_id)
    assert list(frames(two))[-1] == {"closed": 1000}


def test_a_run_that_has_ended_or_is_not_there_closes(web: Web, hand: Hand) -> None:
    run_id = hand.start(1)
    hand.finish(run_id)
    assert list(frames(listen(web, f"?run_id={run_id}")))[-1] == {"closed": 1000}
    assert list(frames(listen(web, f"?run_id={new_id()}"))) == [{"closed": 4404}]


def test_missed_lines_are_told_as_a_gap(web: Web, hand: Hand, redis_gate: Gate) -> None:
    line = listen(web)
    first(line)
    redis_gate.shut()
    run_id = hand.start(1)
    (claim,) = hand.claims(run_id)
    hand.say(claim, "into the void")
    redis_gate.reopen()
    deadline = time.monotonic() + 20
    while orjson.loads(line.recv())["kind"] != "gap":
        assert time.monotonic() < deadline

    numbers = iter(range(1000))

    def heard_again() -> bool:
        hand.say(claim, f"again {next(numbers)}")
        line.settimeout(0.5)
        try:
            return bool(said(line, 1))
        except websocket.WebSocketTimeoutException:
            return False

    wait_for(heard_again, timeout_s=20, what="lines after the gap")


def test_who_writes_to_it_is_closed(web: Web) -> None:
    line = listen(web)
    first(line)
    for _ in range(50):
        line.send("x")
    assert list(frames(line))[-1] == {"closed": 1008}


def test_sockets_are_few_and_come_free(web: Web) -> None:
    # The third is kept for somebody else.
    for _ in range(2):
        first(listen(web))
    address = f"{web.url.replace('http', 'ws', 1)}/api/v1/logs/ws"
    with pytest.raises(websocket.WebSocketBadStatusException, match="503"):
        websocket.create_connection(
            address, header=[f"Authorization: Bearer {KEY}"], timeout=10, suppress_origin=True
        )
    web.hang_up()
    first(listen(web))


def test_forged_announcements_are_nobodys(web: Web, hand: Hand, redis_server_url: str) -> None:
    """What is published about a run that the record does not have reaches no listener."""
    import redis

    line = listen(web)
    first(line)
    forged = {"seq": 1, "kind": "log", "message": "forged", "node_id": "a", "level": "info"}
    client = redis.Redis.from_url(redis_server_url)
    for run_id in (str(new_id()), "x", "../x", ""):
        client.publish(f"zq:run:{run_id}", orjson.dumps([{**forged, "run_id": run_id}]))
    client.close()
    run_id: UUID = hand.start(1)
    (claim,) = hand.claims(run_id)
    hand.say(claim, "true")
    assert said(line, 1) == ["true"]
