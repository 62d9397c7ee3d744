"""Rows W1 to W5 on a living server: who opens a socket, and what may be sent into it.

What floods cost in memory, and what slow readers cost, is measured in `tests/integration`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import websocket

from tests.attack.stack import Stack, refused
from tests.attack.tenants import Tenant
from tests.attack.test_credentials import EVERYWHERE_S, PASSWORD, person
from tests.integration.serving import KEY, frames
from tests.integration.socket_attacks import ATTACKS, close_code, upgraded
from tests.waiting import wait_for

Open = Callable[..., websocket.WebSocket]


@pytest.fixture(scope="module")
def run_id(stack: Stack) -> str:
    """A run that has ended long before anybody watches."""
    return str(stack.run({"id": "a", "type": "noop"})["id"])


@pytest.fixture
def paused(stack: Stack) -> Iterator[str]:
    """A run that waits while it is watched."""
    node = {"id": "a", "type": "wait", "data": {"config": {"seconds": 300}}}
    body = {"definition": {"name": f"paused {uuid4()}", "nodes": [node]}}
    run = stack.http.post("/workflows/execute", json=body).json()
    yield run["id"]
    assert stack.http.post(f"/runs/{run['id']}/cancel").is_success
    wait_for(lambda: stack.http.get(f"/runs/{run['id']}").json()["finished_at"])


@pytest.fixture
def opens(stack: Stack) -> Iterator[Open]:
    """Opens sockets with nothing but the headers it is given."""
    lines: list[websocket.WebSocket] = []

    def connect(path: str, **headers: str) -> websocket.WebSocket:
        origin = headers.pop("Origin", None)
        line = websocket.create_connection(
            f"{stack.url.replace('http', 'ws', 1)}/api/v1{path}",
            header=[f"{k}: {v}" for k, v in headers.items()], timeout=EVERYWHERE_S,
            origin=origin, suppress_origin=origin is None,
        )  # fmt: skip
        lines.append(line)
        return line

    yield connect
    for line in lines:
        line.shutdown()
    wait_for(lambda: held(stack) == 0, what="the places to be given back")


def held(stack: Stack) -> int:
    items = stack.http.get("/quotas").json()["items"]
    return next(int(item["used"]) for item in items if item["name"] == "sockets")


def bearer(key: str = KEY) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def status(opens: Open, path: str, **headers: str) -> int:
    """Return how a socket is refused before it is one."""
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        opens(path, **headers)
    assert KEY not in str(caught.value.resp_body)
    return int(caught.value.status_code)


def closed(line: websocket.WebSocket) -> int:
    return next(int(each["closed"]) for each in frames(line) if "closed" in each)


def test_w1_a_cookie_opens_for_our_own_page_alone(stack: Stack, paused: str, opens: Open) -> None:
    body = {"email": person(stack).email, "password": PASSWORD, "cookie": True}
    cookies = stack.ask("POST", "/auth/login", json=body).cookies
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    host = urlsplit(stack.url).netloc
    foreign = (
        "https://evil.example", "null", f"http://{host}.evil.example", f"http://evil{host}",
        f"http://{host}@evil.example", "http://127.0.0.1", f"ftp://{host}", "http://", "*",
    )  # fmt: skip
    path = f"/runs/{paused}/stream"
    assert [status(opens, path, Cookie=cookie, Origin=each) for each in foreign] == [403] * 9
    assert status(opens, path, Cookie=cookie) == 403
    assert status(opens, path, Origin="https://evil.example", **bearer()) == 403
    assert opens(path, Cookie=cookie, Origin=stack.url).connected


@pytest.mark.parametrize("name", ["access_token", "token", "key", "ticket", "authorization"])
def test_w2_no_credential_in_the_address(name: str, run_id: str, opens: Open) -> None:
    assert status(opens, f"/runs/{run_id}/stream?{name}={KEY}") == 401
    assert status(opens, f"/logs/ws?{name}={KEY}") == 401


def test_w2_an_end_closes_what_is_open(stack: Stack, paused: str, opens: Open) -> None:
    path = f"/runs/{paused}/stream"
    gone = stack.http.post("/api-keys", json={"name": "w2", "roles": ["viewer"]}).json()
    one, two = person(stack, "viewer"), person(stack, "viewer")
    lines = [opens(path, **bearer(key)) for key in (gone["key"], one.token, two.token)]
    stack.http.delete(f"/api-keys/{gone['id']}")
    stack.http.delete(f"/users/{one.id}")
    stack.http.put(f"/users/{two.id}", json={"name": "", "roles": [], "state": "active"})
    assert [closed(line) for line in lines][:2] == [4401, 4401]


def test_w3_no_run_of_another_tenant(
    stack: Stack, victim: Tenant, stranger: str, opens: Open
) -> None:
    for path in ("/runs/{}/stream", "/logs/ws?run_id={}", "/logs/ws?workflow_id={}"):
        name = "workflow_id" if "workflow" in path else "run_id"
        told = [
            next(iter(frames(opens(path.format(each), **bearer(stranger)))))
            for each in (victim.named[name], uuid4())
        ]
        shown = [str(each).replace(victim.named[name], "") for each in told]
        assert told[0].keys() == told[1].keys(), shown
        assert told[0].get("closed") == told[1].get("closed")
    for name in ("*", "%2a", "..", "all", "zq:run:*"):
        assert status(opens, f"/runs/{name}/stream", **bearer()) in {400, 404}


#: These take seconds; `tests/integration/fleet/test_socket_floods.py` has them each time.
FLOODS = {"100k messages", "100 MB frame", "endless fragments", "ping flood", "pong flood"}
QUICK = [name for name in ATTACKS if name not in FLOODS or "ZQ_ATTACK_MINUTES" in os.environ]


@pytest.mark.parametrize("name", QUICK)
def test_w4_a_hostile_client_is_closed(name: str, stack: Stack, paused: str) -> None:
    make, codes = ATTACKS[name]
    offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if "deflate" in name else ""
    with contextlib.closing(upgraded(stack.url, paused, offer)) as line:
        assert close_code(line, make()) in codes
    wait_for(lambda: held(stack) == 0, what="the place to be given back")


def test_w5_each_has_so_many_idle_ones(stack: Stack, paused: str, opens: Open) -> None:
    path = f"/runs/{paused}/stream"
    assert all(opens(path, **bearer()).connected for _ in range(4))
    assert [status(opens, path, **bearer()) for _ in range(3)] == [429] * 3
    assert opens(path, **bearer(stack.key("viewer"))).connected


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "1e3", "%00", "9" * 30, ""])
def test_w5_no_other_place_to_go_on_from(
    after: str, stack: Stack, run_id: str, opens: Open
) -> None:
    assert status(opens, f"/runs/{run_id}/stream?after={after}", **bearer()) in {400, 422}
    refused(stack.http.get(f"/runs/{run_id}/events?after={after}"), 400, 422)


def test_w5_a_place_beyond_the_end_is_the_end(run_id: str, stack: Stack, opens: Open) -> None:
    path = f"/runs/{run_id}/stream?after={10**15}"
    assert list(frames(opens(path, **bearer()))) == [{"closed": 1000}]
