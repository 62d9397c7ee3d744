"""Several web servers beside each other hold no state: any of them answers anything at any time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import orjson
import pytest

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.bootstrap import core as bootstrap
from orchestrator.settings import Auth, Database, Redis, Settings
from tests.factories import SECRET_KEY
from tests.integration.serving import KEY, Hand, Web, frames, serving

ONE = {"name": "one", "nodes": [{"id": "a", "type": "noop"}]}


@pytest.fixture(scope="module")
def database(databases: Any) -> str:
    url: str = databases.migrated()
    return url


@pytest.fixture(scope="module")
def pair(database: str, redis_server_url: str) -> Iterator[tuple[Web, Web]]:
    """Two servers of one installation; the second has two processes."""
    with (
        serving(database, redis_server_url, WEB__THREADS=4, WEB__SOCKETS=4) as one,
        serving(database, redis_server_url, WEB__THREADS=4, WEB__PROCESSES=2) as two,
    ):
        yield one, two


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
def http(pair: tuple[Web, Web]) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(headers=headers, timeout=60) as client:
        yield client


def api(web: Web, path: str) -> str:
    return f"{web.url}/api/v1{path}"


def test_two_hundred_clients_with_keys_start_one_run_a_key(
    pair: tuple[Web, Web], http: httpx.Client
) -> None:
    made = http.post(api(pair[0], "/workflows"), json={**ONE, "name": "keys"}).json()
    keys = [f"order-{no}" for no in range(50)]

    def start(no: int) -> tuple[str, str]:
        """Each client has a connection of its own."""
        key = keys[no % len(keys)]
        address = urlsplit(pair[no % 2].url)
        line = HTTPConnection(address.hostname or "", address.port, timeout=60)
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        headers["Authorization"] = f"Bearer {KEY}"
        with contextlib.closing(line):
            line.request("POST", f"/api/v1/workflows/{made['id']}/runs", '{"input": {}}', headers)
            answer = line.getresponse()
            body = answer.read()
            assert answer.status == 202, body
            return key, orjson.loads(body)["id"]

    with ThreadPoolExecutor(200) as pool:
        found = set(pool.map(start, range(200)))
    assert len(found) == len(keys)
    assert len({run_id for _, run_id in found}) == len(keys)
    listed = http.get(api(pair[1], f"/runs?workflow_id={made['id']}&limit=200")).json()["items"]
    assert {run["id"] for run in listed} == {run_id for _, run_id in found}


def test_a_key_of_one_instance_holds_on_the_other(
    pair: tuple[Web, Web], http: httpx.Client
) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    body = {"definition": ONE}
    one, two = (
        http.post(api(web, "/workflows/execute"), json=body, headers=headers) for web in pair
    )
    assert one.json()["id"] == two.json()["id"]
    other = {"definition": {**ONE, "name": "other"}}
    again = http.post(api(pair[1], "/workflows/execute"), json=other, headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_mismatch")


def test_pages_and_tags_go_from_one_to_the_other(pair: tuple[Web, Web], http: httpx.Client) -> None:
    for no in range(3):
        http.post(api(pair[0], "/workflows"), json={**ONE, "name": f"page {no}"})
    found: list[str] = []
    cursor, turn = "", 0
    while True:
        page = http.get(api(pair[turn % 2], f"/workflows?limit=1{cursor}")).json()
        found += [w["id"] for w in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor, turn = f"&cursor={page['next_cursor']}", turn + 1
    assert len(found) == len(set(found)) >= 3
    path = f"/workflows/{found[0]}"
    tag = http.get(api(pair[0], path)).headers["ETag"]
    assert http.get(api(pair[1], path), headers={"If-None-Match": tag}).status_code == 304
    docs = {http.get(f"{web.url}/api/docs").headers["ETag"] for web in pair}
    assert len(docs) == 1


def test_a_socket_goes_on_at_the_other(pair: tuple[Web, Web], hand: Hand) -> None:
    run_id = hand.start(2)
    with_first = pair[0].socket(run_id)
    hand.step(run_id)
    seen = list(frames(with_first, upto=3))
    pair[0].hang_up()
    last = hand.finish(run_id)
    rest = list(frames(pair[1].socket(run_id, after=seen[-1]["seq"])))
    assert [f["seq"] for f in (*seen, *rest[:-1])] == list(range(1, last + 1))
    assert rest[-1] == {"closed": 1000}
