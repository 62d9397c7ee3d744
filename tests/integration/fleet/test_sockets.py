"""Who may open a socket and keep it (rows W1-W3, W5): tickets, Origins, limits, second thoughts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import copy_context
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import psutil
import psycopg2
import pytest
import websocket

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.runtime import MemoryArtifacts, SettableClock
from orchestrator.bootstrap import core as bootstrap
from orchestrator.models.access.permissions import ADMIN, Permission
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.settings import Auth, Database, Redis, Settings
from tests.api.conftest import build_core
from tests.conftest import Databases
from tests.factories import SECRET_KEY, new_id
from tests.integration.serving import KEY, Hand, Web, frames, serving
from tests.servers import Servers
from tests.waiting import wait_for
from web.app import create_app
from web.sockets.admission import AccessRecheck

PASSWORD = "correct-horse-battery-staple"
PREFIX = "zq-sockets:"
Open = Callable[..., websocket.WebSocket]


@pytest.fixture(scope="module")
def module_database_url(databases: Databases) -> str:
    return databases.migrated()


@pytest.fixture(scope="module")
def web(module_database_url: str, redis_server_url: str) -> Iterator[Web]:
    limits = {"LIMITS__SOCKETS_EACH": 4, "REDIS__PREFIX": PREFIX}
    with serving(module_database_url, redis_server_url, WEB__SOCKETS=16, **limits) as server:
        yield server


@pytest.fixture(scope="module")
def hand(module_database_url: str, redis_server_url: str) -> Iterator[Hand]:
    settings = Settings(
        auth=Auth(secret_key=SECRET_KEY),
        database=Database(url=module_database_url),
        redis=Redis(url=redis_server_url, prefix=PREFIX),
    )
    core = bootstrap.build(settings, dispatcher=MemoryDispatcher(), artifacts=MemoryArtifacts())
    yield Hand(core)
    core.store.close()


@pytest.fixture
def run_id(hand: Hand) -> str:
    """A run that goes on for as long as the test does."""
    return str(hand.start(1))


@pytest.fixture
def opens(web: Web, run_id: str) -> Iterator[Open]:
    """Opens a stream of the run with nothing but the headers it is given."""

    def connect(query: str = "", *, path: str = "", **headers: str) -> websocket.WebSocket:
        where = path or f"/runs/{run_id}/stream"
        address = f"{web.url.replace('http', 'ws', 1)}/api/v1{where}{query}"
        origin = headers.pop("Origin", None)
        line = websocket.create_connection(
            address, header=[f"{k}: {v}" for k, v in headers.items()], timeout=40,
            origin=origin, suppress_origin=origin is None,
        )  # fmt: skip
        web.lines.append(line)
        return line

    yield connect
    web.hang_up()
    wait_for(lambda: _held(web) == 0, what="the leases to be given back")


def _bearer(key: str = KEY) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _call(web: Web, method: str, path: str, **options: Any) -> Any:
    headers = {**_bearer(), **options.pop("headers", {})}
    answer = httpx.request(method, f"{web.url}/api/v1{path}", headers=headers, **options)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def _held(web: Web) -> int:
    items = _call(web, "GET", "/quotas")["items"]
    return next(int(item["used"]) for item in items if item["name"] == "sockets")


def _refused(opens: Open, *args: str, **more: str) -> tuple[int, str]:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        opens(*args, **more)
    found = refused.value
    body = found.resp_body or b""
    return found.status_code, body.decode()


def _signed_in(web: Web, roles: list[str]) -> tuple[str, str]:
    """Make a user and sign in with cookies; return (user id, Cookie header)."""
    email = f"{new_id()}@example.org"
    body = {"email": email, "password": PASSWORD, "roles": roles}
    user = _call(web, "POST", "/users", json=body)
    body = {"email": email, "password": PASSWORD, "cookie": True}
    answer = httpx.post(f"{web.url}/api/v1/auth/login", json=body)
    assert answer.status_code == 200, answer.text
    return user["id"], "; ".join(f"{name}={value}" for name, value in answer.cookies.items())


def test_a_ticket_opens_one_socket_once(web: Web, opens: Open) -> None:
    ticket = _call(web, "POST", "/auth/ticket")["ticket"]
    (first,) = frames(opens(f"?after=0&ticket={ticket}"), 1)
    assert first["seq"] == 1
    status, body = _refused(opens, f"?ticket={ticket}")
    assert status == 401
    assert ticket not in body
    logs = _call(web, "POST", "/auth/ticket")["ticket"]
    (first,) = frames(opens(f"?level=info&ticket={logs}", path="/logs/ws"), 1)
    # What was sent as a filter comes back, the ticket does not.
    assert first["kind"] == "listening"
    assert "ticket" not in first["filters"]
    assert logs not in str(first)


@pytest.mark.parametrize(
    "query",
    [
        f"?access_token={KEY}", f"?token={KEY}", f"?key={KEY}", f"?ticket={KEY}", "?ticket=",
        f"?authorization=Bearer%20{KEY}", f"?ticket={KEY}&ticket={KEY}",
    ],
)  # fmt: skip
def test_w2_no_other_credential_in_the_address(opens: Open, query: str) -> None:
    status, body = _refused(opens, query)
    assert status == 401
    assert KEY not in body


def test_w2_no_credential_of_an_address_is_logged(
    module_database_url: str, redis_server_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(module_database_url, redis_server_url, LOG_LEVEL="DEBUG") as server:
        for name in ("ticket", "token"):
            url = f"{server.url}/api/v1/logs/ws?{name}=zqt_canary-in-the-address"
            assert httpx.get(url, headers={"Upgrade": "websocket"}).status_code == 401
            assert httpx.get(url, headers=_bearer()).status_code in {400, 426}
    said = capfd.readouterr()
    assert "canary-in-the-address" not in said.out + said.err


def test_w1_a_cookie_needs_this_servers_own_origin(web: Web, opens: Open) -> None:
    _, cookie = _signed_in(web, ["viewer"])
    host = urlsplit(web.url).netloc
    port = urlsplit(web.url).port or 0
    foreign = [
        "https://evil.example", "null", f"http://{host}.evil.example", f"http://evil{host}",
        f"http://127.0.0.1:{port + 1}", f"http://{host}@evil.example", "http://127.0.0.1",
        f"ftp://{host}", f"http://{host}\\.evil.example", f"http://localhost:{port}", "http://",
    ]  # fmt: skip
    for origin in foreign:
        assert _refused(opens, Cookie=cookie, Origin=origin)[0] == 403, origin
    assert _refused(opens, Cookie=cookie)[0] == 403
    assert opens(Cookie=cookie, Origin=f"http://{host}").connected
    # A page of another server has no cookie of ours, but may have stolen no key either.
    assert _refused(opens, Origin="https://evil.example", **_bearer())[0] == 403
    assert opens(**_bearer()).connected


def _seq(web: Web, run_id: str) -> int:
    return int(_call(web, "GET", f"/runs/{run_id}")["seq"])


def test_w2_second_thoughts_close_within_30_s(
    web: Web, hand: Hand, run_id: str, opens: Open
) -> None:
    body = {"name": "watchers", "permissions": ["runs:read", "logs:read"]}
    _call(web, "POST", "/roles", json=body)
    kept, gone = (
        _call(web, "POST", "/api-keys", json={"name": name, "roles": ["watchers"]})
        for name in ("kept", "gone")
    )
    user_id, cookie = _signed_in(web, ["viewer"])
    own = {"Cookie": cookie, "Origin": web.url}
    ticket = _call(web, "POST", "/auth/ticket", headers=_bearer(kept["key"]))["ticket"]
    _call(web, "POST", "/roles", json={**body, "name": "readers"})
    reader = _call(web, "POST", "/api-keys", json={"name": "reader", "roles": ["readers"]})
    (claim,) = hand.claims(UUID(run_id))
    hand.say(claim, "said before")
    reads = opens(**_bearer(reader["key"]))
    assert "said before" in str(list(frames(reads, _seq(web, run_id))))
    lines = {
        "revoked": opens(**_bearer(gone["key"])),
        "changed": opens(**_bearer(kept["key"])),
        "logs": opens(path="/logs/ws", **_bearer(kept["key"])),
        "ticket": opens(f"?ticket={ticket}"),
        "disabled": opens(**own),
        "fine": opens(**_bearer()),
    }
    _call(web, "DELETE", f"/api-keys/{gone['id']}")
    _call(
        web, "PUT", "/roles/watchers", json={"description": "", "permissions": ["workflows:read"]}
    )
    _call(web, "PUT", "/roles/readers", json={"description": "", "permissions": ["runs:read"]})
    user = _call(web, "GET", f"/users/{user_id}")
    _call(
        web, "PUT", f"/users/{user_id}",
        json={"name": "x", "roles": user["roles"], "state": "disabled"},
    )  # fmt: skip
    codes = {}
    for name in ("revoked", "disabled", "changed", "logs", "ticket"):
        lines[name].settimeout(30)
        codes[name] = next(f["closed"] for f in frames(lines[name]) if "closed" in f)
    assert codes == {
        "revoked": 4401, "disabled": 4401, "changed": 4403, "logs": 4403, "ticket": 4403,
    }  # fmt: skip
    assert lines["fine"].connected
    # The reader stays, and of lines that it may not read any more it hears that there are some.
    told: list[Any] = []

    def withheld() -> bool:
        hand.say(claim, "said after")
        told.extend(frames(reads, 1))
        return "withheld" in told[-1]

    wait_for(withheld, timeout_s=30, what="lines to be withheld")
    assert not {"level", "message"} & set(told[-1])
    assert told[-1]["seq"] == _seq(web, run_id)
    assert _held(web) == 2


def test_w2_a_keys_token_that_has_ended_closes_what_it_opened(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock of the test's own: a token is good for minutes. A user's socket goes on."""
    monkeypatch.setattr("web.sockets.admission._LOOK_S", 0.0)
    clock = SettableClock(datetime(2026, 5, 4, tzinfo=UTC))
    core = build_core(servers, clock=clock)
    app, access = create_app(core), core.access
    _, key = access.keys.create(ADMIN, name="ci", roles=["viewer"])
    user = access.users.create(ADMIN, email="ada@example.org", roles=["viewer"])
    token = access.exchange_key(key, address="").access_token
    own = access.sessions.open(user.id, address="", agent="").access_token
    handshake = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                 "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip

    def recheck(bearer: str, query: str = "") -> AccessRecheck:
        # In a context of its own, as each request has: who acts in it is forgotten with it.
        return copy_context().run(opened, bearer, query)

    def opened(bearer: str, query: str) -> AccessRecheck:
        headers = _bearer(bearer) if bearer else {}
        path = f"/api/v1/runs/{new_id()}/stream{query}"
        with app.test_request_context(path, headers={**handshake, **headers}):
            app.preprocess_request()
            return AccessRecheck(lambda who: who.may(Permission.RUNS_READ))

    clock.advance(core.settings.auth.access_s - 1)
    ticket = access.ticket(access.principal_of(token, ""))
    ending = [recheck(token), recheck("", f"?ticket={ticket}")]
    going_on = [recheck(own), recheck(key)]
    assert [one.objection() for one in (*ending, *going_on)] == [None] * 4
    clock.advance(1)
    assert [one.objection() for one in going_on] == [None] * 2
    assert [one.objection() for one in ending] == [(4401, "signed out")] * 2


def test_w3_another_tenants_run_is_not_there(
    web: Web, hand: Hand, opens: Open, module_database_url: str
) -> None:
    tenant_id = new_id()
    connection = psycopg2.connect(module_database_url)
    with connection, connection.cursor() as cursor:
        values = (str(tenant_id), str(tenant_id))
        cursor.execute("INSERT INTO tenants (id, name) VALUES (%s, %s)", values)
    connection.close()
    document = {"name": "theirs", "nodes": [{"id": "a", "type": "noop"}], "edges": []}
    theirs, _ = hand.core.engine.execute(tenant_id, document)
    unknown = new_id()
    for run_id in (theirs, unknown):
        line = opens(path=f"/runs/{run_id}/stream", **_bearer())
        assert list(frames(line)) == [{"closed": 4404}]
    for name in ("*", "%2a", "..", f"{theirs}*", "all"):
        assert _refused(opens, path=f"/runs/{name}/stream", **_bearer())[0] == 404


def test_w5_each_principal_has_so_many_sockets(web: Web, opens: Open) -> None:
    lines = [opens(**_bearer()) for _ in range(4)]
    status, body = _refused(opens, **_bearer())
    assert status == 429
    assert "rate_limited" in body
    # Somebody else still may, and whoever closes one may open one.
    made = _call(web, "POST", "/api-keys", json={"name": "other", "roles": ["viewer"]})
    assert opens(**_bearer(made["key"])).connected
    lines.pop().shutdown()
    wait_for(lambda: _held(web) == 4, what="the place to be free")
    assert opens(**_bearer()).connected


def test_w5_each_tenant_has_so_many_sockets(web: Web, opens: Open) -> None:
    home = f"/quotas/{DEFAULT_TENANT}"
    _call(web, "PUT", home, json={"sockets": 2})
    try:
        assert all(opens(**_bearer()).connected for _ in range(2))
        status, body = _refused(opens, **_bearer())
        assert status == 429
        assert "quota_exceeded" in body
    finally:
        _call(web, "PUT", home, json={"sockets": None})
    assert opens(**_bearer()).connected
    assert psutil.pid_exists(web.process.pid)
