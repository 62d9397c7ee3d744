"""Row M2: events that somebody else published in Redis. Watchers are shown the record alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest
import redis
import websocket

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.adapters.redis.channel import RedisChannel
from orchestrator.bootstrap import core as bootstrap
from orchestrator.models.runs.event import Event, Kind
from orchestrator.settings import Auth, Database, Redis, Settings
from tests.conftest import Databases
from tests.factories import SECRET_KEY, new_id
from tests.integration.serving import KEY, Hand, Web, frames, serving

#: Forgeries that a watcher could take for the next thing that happens.
FORGED: tuple[dict[str, Any], ...] = (
    {"kind": "run", "state": "failed", "error": "forged"},
    {"kind": "run", "state": "succeeded", "output": "forged"},
    {"kind": "task", "node_id": "first", "state": "failed", "attempt": 9, "map_index": None},
    {"kind": "log", "node_id": "first", "level": "error", "message": "forged"},
    {"kind": "gap", "from": 1, "to": 10**12},
)


@pytest.fixture(scope="module")
def database(databases: Databases) -> str:
    return databases.migrated()


@pytest.fixture(scope="module")
def web(database: str, redis_server_url: str) -> Iterator[Web]:
    with serving(database, redis_server_url, WEB__THREADS=4) as server:
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


@pytest.fixture(scope="module")
def client(redis_server_url: str) -> Iterator[redis.Redis]:
    made = redis.Redis.from_url(redis_server_url)
    yield made
    made.close()


Publish = Callable[[UUID, list[dict[str, Any]]], object]


@pytest.fixture(params=["plain", "a guessed key", "no key", "a mark of zeros"])
def publish(request: pytest.FixtureRequest, client: redis.Redis, redis_server_url: str) -> Publish:
    """Publish frames as somebody does who can write to Redis."""
    if request.param in {"plain", "a mark of zeros"}:
        before = bytes(16) if request.param == "a mark of zeros" else b""
        return lambda run, told: client.publish(f"zq:run:{run}", before + orjson.dumps(told))
    key = [b"secret"] if request.param == "a guessed key" else [b""]
    channel = RedisChannel(redis_server_url, prefix="zq:", timeout_s=2.0, keys=key)

    def send(run: UUID, told: list[dict[str, Any]]) -> None:
        for frame in told:
            kind = Kind.LOG if frame["kind"] == "log" else Kind.RUN
            event = Event(run_id=run, seq=frame["seq"], kind=kind, at=datetime.now(UTC),
                          message="forged", state=frame.get("state"))  # fmt: skip
            channel.notify([event])

    return send


def record(web: Web, run_id: UUID) -> list[Any]:
    """Return every event of a run as the record has it."""
    answer = httpx.get(f"{web.url}/api/v1/runs/{run_id}/events?limit=1000", headers=web.headers)
    items: list[Any] = answer.json()["items"]
    return items


def test_m2_the_stream_shows_the_record_only(web: Web, hand: Hand, publish: Publish) -> None:
    run_id = hand.start(2)
    line = web.socket(run_id)
    seen = list(frames(line, 2))
    for no, forged in enumerate(FORGED):
        after = seen[-1]["seq"] + 1
        publish(run_id, [{**forged, "seq": after + no, "run_id": str(run_id)}])
        publish(run_id, [{**forged, "seq": 10**12, "run_id": str(run_id)}])
    hand.finish(run_id)
    seen += list(frames(line))
    assert seen.pop() == {"closed": 1000}
    assert seen == record(web, run_id)
    assert "forged" not in str(seen)


def test_m2_the_log_socket_shows_no_forged_line(web: Web, hand: Hand, publish: Publish) -> None:
    address = f"{web.url.replace('http', 'ws', 1)}/api/v1/logs/ws"
    line = websocket.create_connection(
        address, header=[f"Authorization: Bearer {KEY}"], timeout=10, suppress_origin=True
    )
    web.lines.append(line)
    next(frames(line, 1))
    run_id = hand.start(1)
    (claim,) = hand.claims(run_id)
    forged = {**FORGED[3], "seq": 3, "run_id": str(run_id), "at": "2026-01-01T00:00:00.000Z"}
    publish(run_id, [forged])
    hand.say(claim, "true")
    heard = []
    for frame in frames(line):
        heard.append(frame)
        if frame.get("message") == "true":
            break
    assert "forged" not in str(heard)
    web.hang_up()


def test_m2_what_was_signed_for_one_run_is_nothing_for_another(
    web: Web, hand: Hand, client: redis.Redis
) -> None:
    """A true message of one run, published again on the topic of another."""
    one, other = hand.start(1), hand.start(1)
    with client.pubsub() as ear:
        ear.subscribe(f"zq:run:{one}")
        ear.get_message(timeout=5)
        line = web.socket(other)
        seen = list(frames(line, 2))
        hand.finish(one)
        heard = []
        while (message := ear.get_message(timeout=1.0)) is not None:
            heard.append(message["data"])
    assert heard
    for data in heard:
        client.publish(f"zq:run:{other}", data)
    hand.finish(other)
    seen += list(frames(line))
    assert seen.pop() == {"closed": 1000}
    assert seen == record(web, other)
    assert {f["run_id"] for f in seen} == {str(other)}


def test_m2_true_events_are_still_believed(hand: Hand, redis_server_url: str) -> None:
    """Who has the key is heard at once: else every test above would hold for a deaf watcher."""
    channel = hand.core.channel
    run_id = new_id()
    with channel.subscribe(run_id) as ear:
        channel.notify([Event(run_id=run_id, seq=1, kind=Kind.RUN, at=datetime.now(UTC))])
        heard = ear.get(5.0)
    assert [f["seq"] for f in heard or ()] == [1]
