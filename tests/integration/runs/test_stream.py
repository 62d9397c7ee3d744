"""The stream against a real server: every `seq` once and in order, whatever breaks on the way."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import psycopg2
import pytest
import websocket
from sqlalchemy.engine import make_url

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.bootstrap import core as bootstrap
from orchestrator.settings import Auth, Database, Redis, Settings
from tests.factories import SECRET_KEY, new_id
from tests.gate import Gate
from tests.integration.serving import Hand, Web, frames, serving
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def module_database_url(databases: Any) -> str:
    url: str = databases.migrated()
    return url


@pytest.fixture(scope="module")
def gates(module_database_url: str, redis_server_url: str) -> Iterator[dict[str, Gate]]:
    """Gates in front of the servers, for the web process only."""
    database, redis = make_url(module_database_url), make_url(redis_server_url)
    with (
        Gate(database.host or "127.0.0.1", database.port or 5432) as postgres,
        Gate(redis.host or "127.0.0.1", redis.port or 6379) as gate,
    ):
        yield {"postgres": postgres, "redis": gate}


def _through(url: str, gate: Gate) -> str:
    changed = make_url(url).set(host="127.0.0.1", port=gate.port)
    return changed.render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def web(module_database_url: str, redis_server_url: str, gates: dict[str, Gate]) -> Iterator[Web]:
    database = _through(module_database_url, gates["postgres"])
    redis = _through(redis_server_url, gates["redis"])
    with serving(database, redis, WEB__SOCKETS=4, WEB__THREADS=4) as server:
        yield server


@pytest.fixture(autouse=True)
def all_open(gates: dict[str, Gate], web: Web) -> Iterator[None]:
    """Leave the servers reachable and every slot free for the next test."""
    yield
    web.hang_up()
    for gate in gates.values():
        gate.reopen()
    wait_for(lambda: watchers(web) == 0, what="the slots to be given back")


@pytest.fixture(scope="module")
def hand(module_database_url: str, redis_server_url: str) -> Iterator[Hand]:
    settings = replace(
        Settings(auth=Auth(secret_key=SECRET_KEY)),
        database=Database(url=module_database_url),
        redis=Redis(url=redis_server_url),
    )
    core = bootstrap.build(settings, dispatcher=MemoryDispatcher(), artifacts=MemoryArtifacts())
    yield Hand(core)
    core.store.close()


@pytest.fixture
def mute(hand: Hand, module_database_url: str) -> Iterator[Hand]:
    """A worker whose announcements nobody hears."""
    settings = replace(hand.core.settings, redis=Redis(url="redis://127.0.0.1:1/0"))
    core = bootstrap.build(settings, dispatcher=MemoryDispatcher(), artifacts=MemoryArtifacts())
    yield Hand(core)
    core.store.close()


def watchers(web: Web) -> int:
    text = httpx.get(f"{web.url}/metrics", headers=web.headers).text
    return int(float(text.split("\nzq_stream_clients ")[1].split()[0]))


def seqs(found: list[Any]) -> list[int]:
    return [f["seq"] for f in found if "seq" in f]


def test_history_live_events_and_the_end(web: Web, hand: Hand) -> None:
    run_id = hand.start(3)
    hand.step(run_id)
    line = web.socket(run_id)
    first = list(frames(line, 5))
    last = hand.finish(run_id)
    found = first + list(frames(line))
    assert seqs(found) == list(range(1, last + 1))
    assert found[-1] == {"closed": 1000}
    assert found[-2]["kind"] == "run"
    assert found[-2]["state"] == "succeeded"
    page = httpx.get(f"{web.url}/api/v1/runs/{run_id}/events", headers=web.headers).json()
    assert page["items"] == found[:-1]
    assert page["next_cursor"] is None


@pytest.mark.parametrize("redis", ["there", "frozen"])
def test_a_place_at_or_beyond_the_end_is_the_end(
    web: Web, hand: Hand, gates: dict[str, Gate], redis: str
) -> None:
    run_id = hand.start(1)
    live = list(frames(web.socket(run_id, after=10**6)))
    assert live == [{"closed": 4400}], "it may have been meant for another run"
    last = hand.finish(run_id)
    if redis == "frozen":
        gates["redis"].freeze()
    for after in (last, last + 1, 10**15):
        assert list(frames(web.socket(run_id, after=after))) == [{"closed": 1000}]
        page = httpx.get(
            f"{web.url}/api/v1/runs/{run_id}/events?after={after}", headers=web.headers
        )
        assert page.json() == {"items": [], "next_cursor": None}


def test_two_cut_connections_lose_and_repeat_nothing(web: Web, hand: Hand) -> None:
    run_id = hand.start(50)
    seen: list[int] = []
    worker = threading.Thread(target=hand.finish, args=(run_id,))
    for take in (7, 60):
        line = web.socket(run_id, after=len(seen))
        if not seen:
            worker.start()
        seen += seqs(list(frames(line, take)))
        line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.sock.close()
    rest = list(frames(web.socket(run_id, after=len(seen))))
    worker.join()
    seen += seqs(rest)
    assert rest[-1] == {"closed": 1000}
    assert seen == list(
        range(1, hand.core.store.reads.events(run_id, after=0, limit=9999)[-1].seq + 1)
    )


def test_lost_announcements_are_read_from_the_record(web: Web, hand: Hand, mute: Hand) -> None:
    run_id = hand.start(2)
    line = web.socket(run_id)
    found = list(frames(line, 2))
    mute.step(run_id)
    claims = hand.claims(run_id)
    mute.say(claims[0], "nobody hears this")
    hand.say(claims[0], "but this")
    for claim in claims:
        mute.settle(claim)
    last = mute.finish(run_id)
    found += list(frames(line))
    assert seqs(found) == list(range(1, last + 1))
    assert found[-1] == {"closed": 1000}


def test_without_redis_the_record_is_streamed(web: Web, hand: Hand, gates: dict[str, Gate]) -> None:
    gates["redis"].shut()
    run_id = hand.start(2)
    line = web.socket(run_id)
    found = list(frames(line, 2))
    last = hand.finish(run_id)
    found += list(frames(line))
    assert seqs(found) == list(range(1, last + 1))
    started = httpx.post(
        f"{web.url}/api/v1/workflows/execute",
        headers=web.headers,
        json={"definition": {"name": "x", "nodes": [{"id": "a", "type": "noop"}]}},
    )
    assert started.status_code == 202
    ready = httpx.get(f"{web.url}/readyz")
    assert (ready.status_code, ready.json()["redis"]) == (200, False)


def test_without_postgres_sockets_are_kept_and_requests_get_503(
    web: Web, hand: Hand, gates: dict[str, Gate]
) -> None:
    run_id = hand.start(2)
    line = web.socket(run_id)
    found = list(frames(line, 2))
    gates["postgres"].shut()
    answer = httpx.get(f"{web.url}/api/v1/runs/{run_id}", headers=web.headers)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.json()["code"] == "store_unavailable"
    assert httpx.get(f"{web.url}/healthz").status_code == 200
    assert httpx.get(f"{web.url}/readyz").status_code == 503
    last = hand.finish(run_id)
    gates["postgres"].reopen()
    found += list(frames(line))
    assert seqs(found) == list(range(1, last + 1))
    assert found[-1] == {"closed": 1000}


def test_after_the_end_there_is_nothing_but_a_close(web: Web, hand: Hand) -> None:
    run_id = hand.start(1)
    last = hand.finish(run_id)
    assert list(frames(web.socket(run_id, after=last))) == [{"closed": 1000}]
    assert list(frames(web.socket(run_id, after=last + 5))) == [{"closed": 1000}]
    assert seqs(list(frames(web.socket(run_id, after=last - 1)))) == [last]


def test_an_unknown_run_and_an_after_that_never_was(web: Web, hand: Hand) -> None:
    assert list(frames(web.socket(new_id()))) == [{"closed": 4404}]
    assert list(frames(web.socket(hand.start(1), after=10**9))) == [{"closed": 4400}]


def test_what_retention_dropped_is_one_gap(web: Web, hand: Hand, module_database_url: str) -> None:
    run_id = hand.start(2)
    last = hand.finish(run_id)
    connection = psycopg2.connect(module_database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM events WHERE run_id = %s AND seq <= 4", (str(run_id),))
    found = list(frames(web.socket(run_id)))
    assert found[0] == {"kind": "gap", "from": 1, "to": 4}
    assert seqs(found) == list(range(5, last + 1))
    with connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM events WHERE run_id = %s", (str(run_id),))
    connection.close()
    found = list(frames(web.socket(run_id, after=2)))
    assert found == [{"kind": "gap", "from": 3, "to": last}, {"closed": 1000}]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Origin: https://evil.example"], 403),
        (["Origin: null"], 403),
        (["Authorization: Bearer wrong"], 401),
    ],
)
def test_who_may_not_come_in_gets_no_socket(
    web: Web, hand: Hand, headers: list[str], status: int
) -> None:
    run_id = hand.start(1)
    address = f"{web.url.replace('http', 'ws', 1)}/api/v1/runs/{run_id}/stream"
    if status == 403:
        headers = [*headers, f"Authorization: {web.headers['Authorization']}"]
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(address, header=headers, timeout=5, suppress_origin=True)
    assert refused.value.status_code == status
    web.socket(run_id, origin=web.url, suppress_origin=False).close()


@pytest.mark.parametrize("after", ["-1", "x", "", "1e3", "%00", "9" * 30])
def test_a_bad_after_is_refused_before_the_upgrade(web: Web, hand: Hand, after: str) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        web.socket(hand.start(1), after=after)  # type: ignore[arg-type]
    assert refused.value.status_code == 400


def test_the_socket_beyond_the_last_slot_gets_503_and_the_api_goes_on(web: Web, hand: Hand) -> None:
    run_id = hand.start(1)
    with contextlib.ExitStack() as stack:
        # The fourth is kept for somebody else.
        for _ in range(3):
            line = stack.enter_context(contextlib.closing(web.socket(run_id)))
            list(frames(line, 1))
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            web.socket(run_id)
        assert refused.value.status_code == 503
        assert httpx.get(f"{web.url}/api/v1/runs/{run_id}", headers=web.headers).status_code == 200
        assert watchers(web) == 3

    def free() -> bool:
        try:
            web.socket(run_id).close()
        except websocket.WebSocketBadStatusException:
            return False
        return True

    wait_for(free, what="a slot to be given back")


def test_a_client_that_does_not_read_is_closed_with_4408_and_resumes(web: Web, hand: Hand) -> None:
    run_id = hand.start(1)
    claim = hand.claims(run_id)[0]
    small = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)]
    slow, brisk = web.socket(run_id, sockopt=small), web.socket(run_id)
    for _ in range(40):
        hand.say(claim, *["x" * 1000] * 100)
    assert len(list(frames(brisk, 4000))) == 4000
    wait_for(lambda: watchers(web) == 1, timeout_s=20, what="the slow client to be dropped")
    found = list(frames(slow))
    assert found[-1] == {"closed": 4408}
    taken = seqs(found)
    assert taken == list(range(1, len(taken) + 1))
    hand.settle(claim)
    last = hand.finish(run_id)
    rest = list(frames(web.socket(run_id, after=taken[-1])))
    assert seqs(rest) == list(range(taken[-1] + 1, last + 1))
    assert seqs(list(frames(brisk)))[-1] == last


def test_a_client_that_talks_is_closed_and_a_long_message_too(web: Web, hand: Hand) -> None:
    run_id = hand.start(1)
    line = web.socket(run_id)
    with contextlib.suppress(OSError):
        for _ in range(5000):
            line.send("hello " * 100)
    assert [f for f in frames(line) if "closed" in f] == [{"closed": 1008}]
    line = web.socket(run_id)
    with contextlib.suppress(OSError):
        line.send("x" * 70_000)
    assert [f for f in frames(line) if "closed" in f] == [{"closed": 1009}]


@pytest.mark.parametrize(
    ("raw", "codes"),
    [
        (b"\x81\x05hello", {1002}),
        (b"\x81\x82\x00\x00\x00\x00\xff\xfe", {1007}),
        (b"\x83\x80\x00\x00\x00\x00", {1002}),
        (b"\xc1\x80\x00\x00\x00\x00", {1002}),
        (
            b"\x01\xfe\xff\xff\x00\x00\x00\x00" + b"x" * 65_535 + b"\x00\x82\x00\x00\x00\x00xx",
            {1009},
        ),
        (b"\x89\x80\x00\x00\x00\x00" * 20_000 + b"\x88\x80\x00\x00\x00\x00", {0}),
        (b"\x88\x82\x00\x00\x00\x00\x03\xe8", {1000}),
    ],
    ids=["unmasked", "bad text", "opcode", "compressed", "fragments", "pings", "goodbye"],
)
def test_what_is_no_websocket_ends_it(web: Web, hand: Hand, raw: bytes, codes: set[int]) -> None:
    line = web.socket(hand.start(1))
    list(frames(line, 2))

    def send() -> None:
        with contextlib.suppress(OSError):
            line.sock.sendall(raw)

    sending = threading.Thread(target=send)
    sending.start()
    closed = [f["closed"] for f in frames(line) if "closed" in f]
    sending.join()
    assert closed, "it hung up without a word"
    assert closed[0] in codes, closed
    wait_for(lambda: watchers(web) == 0, what="the slot to be given back")


def test_sigterm_closes_sockets_at_once(
    module_database_url: str, redis_server_url: str, hand: Hand
) -> None:
    run_id = hand.start(1)
    with serving(module_database_url, redis_server_url, "--only", "sockets") as server:
        line = server.socket(run_id)
        list(frames(line, 2))
        missing = httpx.get(f"{server.url}/api/v1/runs", headers=server.headers)
        assert missing.status_code == 404
        server.process.terminate()
        assert list(frames(line)) == [{"closed": 1012}]
        server.process.wait(10)
