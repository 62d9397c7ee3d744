"""Two tenants, every route: what belongs to another one is answered as if it had never been.

Row security is on, and the same questions are asked of ids that nobody has: the answers must be
the same, and so must the statements behind them, word for word and in the same order. The routes
come from the application's own map, so that a new one cannot be forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
import websocket
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.live import MemoryChannel
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.adapters.postgres.connections.row_security import Role
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.bootstrap import core as bootstrap
from orchestrator.bootstrap.core import Core
from orchestrator.models.runs.run import StartRequest
from orchestrator.settings import Auth, Redis, Settings
from tests.api.conftest import KEY, ONE, TWO, build_core
from tests.conftest import Databases
from tests.contract.player import Player
from tests.contract.rigs import PostgresRig
from tests.factories import chain, new_id
from tests.integration.foreign import (
    BODIES,
    INSTALLATION,
    MAP,
    ROUTES,
    Named,
    arguments,
    named_elsewhere,
    nobodys,
    path_of,
)
from tests.integration.serving import frames, serving
from tests.integration.statements import hearing
from tests.integration.tenants import OWNED, fill, whoever
from web.app import create_app
from web.schemas.fields import cursor

_SECRET_KEY = "a-secret-key-of-tests-that-is-long-enough"
_ANY_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_VARYING = re.compile(r"'[0-9a-f]{32}'|'\d{4}-\d\d-\d\d[T ][^']*'|\d{10,}(\.\d+)?|[0-9a-f]{64}")


@dataclass
class Here:
    """A web process with row security on; somebody's rows, and the credentials of two tenants."""

    rig: PostgresRig
    client: FlaskClient
    heard: list[str]
    victim: UUID
    workflow_id: UUID
    run_id: UUID
    keys: Mapping[UUID, str]
    stranger: UUID
    #: One that the victim does not ask with.
    spare_key: UUID
    #: What the stranger has.
    own_workflow_id: UUID

    def call(self, tenant_id: UUID, method: str, path: str, **options: Any) -> TestResponse:
        """Send a request as an owner of a tenant."""
        headers = {"Authorization": f"Bearer {self.keys[tenant_id]}"}
        headers |= options.pop("headers", {})
        self.heard.clear()
        return self.client.open(path, method=method, headers=headers, **options)

    def named(self, rule: str, endpoint: str) -> dict[str, Any]:
        """Return what the victim has for each argument of a route."""
        return {name: self._one(name, endpoint.partition(".")[0]) for name in arguments(rule)}

    def id_of(self, name: str) -> UUID:
        """Return the victim's id that an argument of this name could be."""
        other = {"principal_id": "user_id", "resource_id": "workflow_id"}
        return UUID(str(self._one(other.get(name, name), "")))

    def _one(self, name: str, part: str) -> Any:
        rows = {
            "user_id": "SELECT id FROM users",
            "roles.name": "SELECT name FROM roles",
            "secrets.name": "SELECT name FROM secrets",
            "variables.name": "SELECT name FROM variables",
        }
        fixed = {
            "run_id": self.run_id,
            "workflow_id": self.workflow_id,
            "tenant_id": self.victim,
            "owner_id": self.victim,
            "number": 1,
            "node_id": "a",
            "runs.name": "there.txt",
            "key_id": self.spare_key,
        }
        for key in (f"{part}.{name}", name):
            if key in fixed:
                return fixed[key]
            if key in rows:
                return self.rig.run(f"{rows[key]} WHERE tenant_id = %s", self.victim)[0][0]
        raise AssertionError(f"teach this test what <{name}> of {part} names")

    def rows(self) -> list[Any]:
        """Return a digest of everything the victim has, by table."""
        key = {"tenants": "id"}
        return [
            self.rig.run(
                f"SELECT '{table}', count(*), md5(string_agg(t::text, ' ' ORDER BY t::text))"
                f" FROM {table} t WHERE {key.get(table, 'tenant_id')} = %s",
                self.victim,
            )[0]
            for table in OWNED
            # Its own requests are recorded, and its own key notes its use.
            if table not in {"audit_log", "audit_heads", "api_keys"}
        ]


def _core(store: PostgresStore, redis_url: str, artifacts: MemoryArtifacts) -> Core:
    clock = bootstrap.SystemClock()
    return bootstrap.build(
        Settings(
            auth=Auth(admin_key="an-admin-key-of-tests", secret_key=_SECRET_KEY),
            redis=Redis(url=redis_url, prefix=f"matrix{new_id().hex}:"),
        ),
        store=store, channel=MemoryChannel(), dispatcher=MemoryDispatcher(), artifacts=artifacts,
        clock=clock,
    )  # fmt: skip


@pytest.fixture(scope="module")
def here(databases: Databases, redis_server_url: str) -> Iterator[Here]:
    artifacts = MemoryArtifacts()
    with hearing() as heard:
        rig = PostgresRig(databases.migrated())
        engine = _core(rig.store, redis_server_url, artifacts)
        store = PostgresStore(rig.url, pool_size=2, role=Role.API)
        victim, stranger = rig.tenant(), rig.tenant()
        saved, _ = engine.workflows.create(victim, TWO)
        run_id, _ = engine.engine.start(
            victim, saved.id, StartRequest(input={"a": "secret of the victim"})
        )
        artifacts.put(run_id, "there.txt", b"of the victim", "text/plain", "a")
        own, _ = engine.workflows.create(stranger, ONE)
        keys = {
            tenant_id: engine.access.keys.create(
                whoever(tenant_id), name="matrix", roles=["owner"]
            )[1]
            for tenant_id in (victim, stranger)
        }
        player = Player(rig.store, chain(2), tenant_id=victim)
        fill(rig, player)
        client = create_app(_core(store, redis_server_url, artifacts)).test_client()
        spare, _ = engine.access.keys.create(whoever(victim), name="spare", roles=["viewer"])
        made = Here(rig, client, heard, victim, saved.id, run_id, keys, stranger, spare.id, own.id)
        # What a process remembers of the victim's must tell a stranger nothing either.
        for path in (f"workflows/{saved.id}/runs", f"workflows/{saved.id}/runs"):
            assert made.call(victim, "POST", f"/api/v1/{path}", json={}).status_code == 202
        assert made.call(victim, "GET", f"/api/v1/runs/{run_id}/why").status_code == 200
        yield made
        store.close()
        rig.close()


def _told(answer: TestResponse, values: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what an answer says, without the name that was asked for."""
    text = answer.text.replace(answer.headers["X-Request-Id"], "<request>")
    for value in values.values():
        text = text.replace(str(value), "<name>")
    text = _ANY_ID.sub("<id>", text)
    headers = {k: v for k, v in answer.headers if k not in {"X-Request-Id", "Date"}}
    kept = {k: v for k, v in headers.items() if not k.lower().startswith(("ratelimit", "x-rate"))}
    return answer.status_code, text, kept


def _ran(heard: list[str], values: Mapping[str, Any]) -> list[str]:
    found = []
    for statement in heard:
        for value in values.values():
            statement = statement.replace(str(value), "<name>")
        found.append(_VARYING.sub("<varying>", _ANY_ID.sub("<id>", statement)))
    return found


@pytest.mark.parametrize(("endpoint", "method", "rule"), ROUTES)
def test_what_another_tenant_has_is_not_there(
    here: Here, endpoint: str, method: str, rule: str
) -> None:
    foreign = here.named(rule, endpoint)
    before = here.rows()
    seen = []
    # Once before, so that neither of the two compared is the first to fill a cache.
    for values in (nobodys(foreign), foreign, nobodys(foreign)):
        body = {"json": BODIES[endpoint]} if endpoint in BODIES else {}
        answer = here.call(here.stranger, method, path_of(rule, values), **body)
        assert answer.status_code == (403 if INSTALLATION.match(endpoint) else 404), answer.text
        assert "victim" not in answer.text
        seen.append((_told(answer, values), _ran(here.heard, values)))
    assert seen[1][0] == seen[2][0]
    assert seen[1][1] == seen[2][1]
    assert here.rows() == before


_DOCUMENT = (
    create_app(build_core())
    .test_client()
    .get("/api/v1/openapi.json", headers={"Authorization": f"Bearer {KEY}"})
    .json
)
ELSEWHERE = [one for one in named_elsewhere(_DOCUMENT) if not one.is_socket]
#: Pages after something of somebody else.
_CURSORS = {"/runs": "run_id", "/workflows": "workflow_id", "/users": "user_id"}


def test_places_of_ids_are_found_in_lists_objects_and_queries() -> None:
    found = {str(one) for one in ELSEWHERE}
    assert {
        "PUT /workflows/{workflow_id}/grants body items.[].principal_id",
        "POST /logs/query body run_ids.[]", "POST /workflows/execute body workflow_id",
        "GET /runs query workflow_id",
    } <= found  # fmt: skip


def _same_for_both(here: Here, foreign: UUID, ask: Callable[[UUID], TestResponse]) -> None:
    """Check that an id of the victim is answered, word by word, like one that nobody has."""
    # Made in the same moment, so that a page after one is a page after the other.
    beside = UUID(int=foreign.int ^ 1)
    before = here.rows()
    seen = []
    for value in (beside, foreign, beside):
        answer = ask(value)
        assert answer.status_code in {200, 404, 422}, answer.text
        assert "victim" not in answer.text
        seen.append((_told(answer, {"id": value}), _ran(here.heard, {"id": value})))
    assert seen[1] == seen[2]
    assert here.rows() == before


@pytest.mark.parametrize("one", ELSEWHERE, ids=str)
def test_an_id_in_a_body_or_a_query_is_as_good_as_nobody_s(here: Here, one: Named) -> None:
    path = one.path.replace("{workflow_id}", str(here.own_workflow_id))
    assert "{" not in path, f"teach this test what the stranger has for {path}"

    def ask(value: UUID) -> TestResponse:
        in_query = one.place == "query"
        more = {"query_string": {one.name: value}} if in_query else {"json": one.body(value)}
        return here.call(here.stranger, one.method, f"/api/v1{path}", **more)

    _same_for_both(here, here.id_of(one.name), ask)


@pytest.mark.parametrize("path", _CURSORS)
def test_a_cursor_of_another_tenant_is_as_good_as_nobody_s(here: Here, path: str) -> None:
    _same_for_both(
        here, here.id_of(_CURSORS[path]),
        lambda value: here.call(here.stranger, "GET", f"/api/v1{path}?cursor={cursor(value)}"),
    )  # fmt: skip


@pytest.mark.parametrize(("endpoint", "method", "rule"), ROUTES)
def test_its_owner_has_it(here: Here, endpoint: str, method: str, rule: str) -> None:
    """The other half: without it a route that finds nothing for anybody would look safe.

    Reading routes come first and deleting ones last, as they are sorted.
    """
    body = {"json": BODIES[endpoint]} if endpoint in BODIES else {}
    answer = here.call(here.victim, method, path_of(rule, here.named(rule, endpoint)), **body)
    allowed = {403} if INSTALLATION.match(endpoint) else {200, 201, 202, 204, 409, 422}
    assert answer.status_code in allowed, answer.text


def test_lists_hold_nothing_of_another_tenant(here: Here) -> None:
    """Every list, and the answers that tell of the whole installation."""
    mine = {str(here.victim), str(here.workflow_id), str(here.run_id), "secret of the victim"}
    lists = [
        rule.rule for rule in MAP
        if "GET" in (rule.methods or ()) and not rule.arguments and rule.rule.startswith("/api/v1")
        and not rule.endpoint.startswith("stream.")
    ]  # fmt: skip
    assert "/api/v1/runs" in lists
    for path in lists:
        answer = here.call(here.stranger, "GET", path)
        assert answer.status_code < 500
        assert not [word for word in mine if word in answer.text], path


def test_a_key_that_both_use_makes_each_its_own(here: Here) -> None:
    headers = {"Idempotency-Key": "the same word"}
    ids = set()
    for tenant_id in (here.victim, here.stranger):
        answer = here.call(
            tenant_id, "POST", "/api/v1/workflows/execute", json={"definition": ONE},
            headers=headers,
        )  # fmt: skip
        assert answer.status_code == 202, answer.text
        ids.add(answer.get_json()["id"])
    assert len(ids) == 2


def test_every_socket_that_names_something_is_tried() -> None:
    """By the test below; their statements are those of `GET /runs/{id}`."""
    sockets = {(r.endpoint, *r.arguments) for r in MAP if r.endpoint.startswith("stream.")}
    assert sockets == {("stream.run_stream", "run_id"), ("stream.log_stream",)}


def test_sockets_know_nothing_of_another_tenant(here: Here, redis_server_url: str) -> None:
    """On a real server, whose connections are under row security too."""
    with serving(here.rig.url, redis_server_url, AUTH__SECRET_KEY=_SECRET_KEY) as web:

        def told(path: str, tenant_id: UUID) -> list[Any]:
            header = [f"Authorization: Bearer {here.keys[tenant_id]}"]
            address = f"{web.url.replace('http', 'ws', 1)}/api/v1{path}"
            line = websocket.create_connection(
                address, header=header, timeout=10, suppress_origin=True
            )
            web.lines.append(line)
            return list(frames(line, upto=1))

        queries = [one for one in named_elsewhere(_DOCUMENT) if one.is_socket]
        assert {one.name for one in queries} == {"run_id", "workflow_id"}
        paths = {f"{one.path}?{one.name}={{}}": one.name for one in queries}
        for path, name in {"/runs/{}/stream": "run_id", **paths}.items():
            foreign, unknown = here.id_of(name), new_id()
            seen = [
                [{k: v for k, v in each.items() if k != "at"} for each in found]
                for found in (told(path.format(id), here.stranger) for id in (foreign, unknown))
            ]
            assert str(seen[0]).replace(str(foreign), "") == str(seen[1]).replace(str(unknown), "")
            # A filter that nothing fits is none that tells; a run is looked up.
            assert seen[1] == [{"closed": 4404}] or name == "workflow_id"
            (own,) = told(path.format(foreign), here.victim)
            assert own != {"closed": 4404}
