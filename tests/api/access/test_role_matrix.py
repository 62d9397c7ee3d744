"""Row R2: every route, for every role, key, grant and stranger; and nobody gets above their own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from orchestrator.bootstrap.core import Core
from orchestrator.models.access.permissions import ADMIN, ROLES, Permission
from orchestrator.models.ids import DEFAULT_TENANT
from tests.api.access.test_guard import SOCKET
from tests.api.conftest import ONE, Api, build_core
from tests.api.people import unlimited
from tests.api.role_matrix import Route, routes_of
from tests.servers import Servers
from web.app import create_app

_P = Permission
_CUSTOM = frozenset({_P.RUNS_READ, _P.USERS_READ, _P.AUDIT_READ, _P.KEYS_WRITE})
_SCOPES = frozenset({_P.WORKFLOWS_READ, _P.RUNS_START, _P.USERS_WRITE})
_SMALLER = frozenset({_P.RUNS_START})
ROUTES = routes_of(create_app(build_core()))


@dataclass(frozen=True)
class Caller:
    """Somebody with a credential, and what it may do everywhere and on one workflow."""

    name: str
    permissions: frozenset[Permission]
    user_id: UUID | None = None
    key: str = ""
    granted: frozenset[Permission] = frozenset()


@dataclass
class World:
    """One application for all cells, with a workflow and run that are granted, and others."""

    core: Core
    app: Flask
    client: FlaskClient
    callers: dict[str, Caller] = field(default_factory=dict)
    mine: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)
    nobodys: Mapping[str, Any] = field(default_factory=dict)

    def user(self, name: str, *roles: str, tenant_id: UUID = DEFAULT_TENANT) -> Caller:
        """Make a user of these roles, signed in."""
        access = self.core.access
        made = access.users.create(
            ADMIN, email=f"{name}@example.org", roles=roles, tenant_id=tenant_id
        )
        allowed = frozenset[Permission]().union(*(ROLES.get(role, _CUSTOM) for role in roles))
        return self.keep(Caller(name, allowed, made.id))

    def session(self, user_id: UUID) -> str:
        """Return an access token of a new session."""
        return self.core.access.sessions.open(user_id, address="192.0.2.9", agent="").access_token

    def keep(self, caller: Caller) -> Caller:
        """Remember a caller."""
        self.callers[caller.name] = caller
        return caller

    def call(self, route: Route, caller: Caller | None, names: Mapping[str, Any]) -> TestResponse:
        """Ask for a route: what has a body gets one that no view takes."""
        rule = next(r for r in self.app.url_map.iter_rules(route.endpoint) if r.rule == route.rule)
        built = rule.build({name: names[name] for name in rule.arguments})
        assert built is not None
        headers = {"Authorization": f"Bearer {self.bearer(caller)}"} if caller else {}
        body: dict[str, Any] = {}
        if rule.websocket:
            # Of a version that there is not: whoever is let in gets a 400, and no socket.
            headers |= {**SOCKET, "Sec-WebSocket-Version": "12"}
        if route.method in {"POST", "PUT"}:
            body = {"data": b"x", "content_type": "text/plain"}
        return self.client.open(built[1], method=route.method, headers=headers, **body)

    def bearer(self, caller: Caller) -> str:
        """Return a credential; of users one of a new session, for some routes end all sessions."""
        return self.session(caller.user_id) if caller.user_id else caller.key


@pytest.fixture(scope="module")
def world(module_servers: Servers) -> World:
    core = unlimited(build_core(module_servers))
    app = create_app(core)
    made = World(core, app, app.test_client())
    access = core.access
    for role in ROLES:
        made.user(role, role)
    access.roles.create(ADMIN, name="auditor", permissions=sorted(_CUSTOM))
    made.user("custom", "auditor")
    _, key = access.keys.create(ADMIN, name="key", roles=["editor"], scopes=sorted(_SCOPES))
    made.keep(Caller("scoped key", ROLES["editor"] & _SCOPES, key=key))
    token = access.exchange_key(key, address="192.0.2.9", scopes=_SMALLER).access_token
    made.keep(Caller("narrowed token", _SMALLER, key=token))
    api = Api(made.client, core)
    fixed: dict[str, Any] = {"number": 1, "node_id": "a", "name": "a", "kind": "noop"}
    fixed |= {"digest": "a", "provider": "a"}
    for name in ("mine", "others", "nobodys"):
        workflow = UUID(api.workflow({**ONE, "name": name}))
        run = UUID(api.post(f"/workflows/{workflow}/runs", {}).json["id"])
        if name == "nobodys":
            workflow, run = uuid4(), uuid4()
        ids = dict.fromkeys(("tenant_id", "user_id", "key_id"), uuid4())
        setattr(made, name, {**fixed, **ids, "workflow_id": workflow, "run_id": run})
    granted = made.user("granted")
    assert granted.user_id is not None
    access.grants.put(ADMIN, made.mine["workflow_id"], granted.user_id, "operator")
    made.keep(replace(granted, granted=ROLES["operator"]))
    other = access.tenants.create(ADMIN, name="elsewhere").id
    made.user("elsewhere", "owner", tenant_id=other)
    made.keep(replace(made.callers["elsewhere"], permissions=ROLES["admin"]))
    return made


def said_no(answer: TestResponse, route: Route) -> bool:
    """Tell whether the guard refused: its words name the permission."""
    assert answer.status_code != 500, answer.text
    wanted = route.need and route.need.permission
    told = answer.status_code == 403 and f"this needs the permission {wanted}" in answer.text
    return told or answer.status_code == 401


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_r2_a_role_opens_what_it_says_and_nothing_else(route: Route, world: World) -> None:
    wrong = []
    for caller in world.callers.values():
        if caller.granted:
            continue
        answer = world.call(route, caller, world.nobodys)
        if said_no(answer, route) is route.open_to(caller.permissions) and route.need:
            wrong.append((caller.name, answer.status_code, answer.text))
    assert wrong == []


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_r2_a_grant_opens_its_workflow_alone(route: Route, world: World) -> None:
    if route.need is None:
        return
    caller = world.callers["granted"]
    mine = world.call(route, caller, world.mine)
    assert said_no(mine, route) is not route.open_with(caller.granted), mine.text
    if route.names_workflow:
        there = world.call(route, caller, world.others)
        assert there.status_code == 404, there.text
        nowhere = world.call(route, caller, world.nobodys)
        assert nowhere.status_code == 404, nowhere.text
        assert mine.status_code != 404 or "artifacts/" in route.rule or "workflow" in mine.text


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_r2_a_stranger_comes_in_nowhere(route: Route, world: World) -> None:
    answer = world.call(route, None, world.mine)
    assert answer.status_code != 403
    if route.need is not None:
        assert answer.status_code == 401
        assert answer.json["code"] == "unauthorized"


def test_r2_the_roles_are_what_they_are_called(world: World) -> None:
    """Written down by hand: what a viewer can send, and what is an owner's alone."""
    changing = [r for r in ROUTES if r.method != "GET" and r.need and r.need.permission]
    viewer = {r.endpoint for r in changing if r.open_to(ROLES["viewer"])}
    assert viewer == {"nodes.preview", "logs.query_logs", "workflows.validate_workflow"}
    operator = {r.endpoint for r in changing if r.open_to(ROLES["operator"])} - viewer
    assert operator == {
        "workflows.start_run", "workflows.execute", "runs.cancel_run", "runs.pause_run",
        "runs.resume_run", "runs.retry_run", "runs.cancel_runs", "runs.retry_runs",
        "runs.mark_task",
    }  # fmt: skip
    # What makes a run needs the permission for that, also where it begins with another run.
    starts = {r.endpoint for r in changing if r.open_to(frozenset({_P.RUNS_START}))}
    assert starts == {
        "workflows.start_run", "workflows.execute", "runs.retry_run", "runs.retry_runs",
    }  # fmt: skip
    parts = {r.endpoint.partition(".")[0] for r in changing if r.open_to(ROLES["editor"])}
    assert parts == {"nodes", "logs", "workflows", "runs", "variables"}
    above = {r.rule for r in ROUTES if not r.open_to(ROLES["admin"])}
    assert above
    # What concerns every tenant: the counters of /metrics are the whole installation's.
    assert "/metrics" in above
    installation = ("/api/v1/tenants", "/api/v1/quotas/<", "/metrics")
    assert all(rule.startswith(installation) for rule in above)


def test_r2_nobody_is_let_in_by_a_route_that_says_nothing(servers: Servers) -> None:
    core = build_core(servers)
    app = create_app(core)
    app.add_url_rule("/api/v1/new", "new.route", lambda: "come in", methods=["GET", "POST"])
    owner = core.access.users.create(ADMIN, email="o@example.org", roles=["owner"])
    token = core.access.sessions.open(owner.id, address="192.0.2.9", agent="").access_token
    for method in ("GET", "POST"):
        headers = {"Authorization": f"Bearer {token}"}
        assert app.test_client().open("/api/v1/new", method=method).status_code == 401
        answer = app.test_client().open("/api/v1/new", method=method, headers=headers)
        assert answer.status_code == 403


def _user(role: str) -> Mapping[str, Any]:
    return {"name": "n", "roles": [role], "state": "active"}


def _new(role: str) -> Mapping[str, Any]:
    return {"email": "new@example.org", "roles": [role]}


#: Who asks for what; `{name}` is the id of somebody or something.
ABOVE: Mapping[str, tuple[str, str, Any]] = {
    "own role, as a viewer": ("viewer", "PUT /users/{viewer}", _user("owner")),
    "own role, as an admin": ("admin", "PUT /users/{admin}", _user("owner")),
    "own role, as a keeper of users": ("keeper", "PUT /users/{keeper}", _user("admin")),
    "another's role": ("admin", "PUT /users/{viewer}", _user("owner")),
    "an owner's": ("admin", "PUT /users/{owner}", _user("viewer")),
    "a new owner": ("admin", "POST /users", _new("owner")),
    "an invited owner": ("admin", "POST /users/invite", _new("owner")),
    "a new admin by a keeper": ("keeper", "POST /users", _new("admin")),
    "a reset of an owner": ("admin", "POST /users/{owner}/reset", None),
    "the end of an owner": ("admin", "DELETE /users/{owner}", None),
    "an owner's sessions": ("admin", "DELETE /users/{owner}/sessions", None),
    "an owner's key": ("admin", "POST /api-keys", {"name": "k", "roles": ["owner"]}),
    "a key with more": ("keeper", "POST /api-keys", {"name": "k", "roles": ["viewer"]}),
    "a role with more": (
        "keeper", "POST /roles", {"name": "more", "permissions": ["secrets:write"]},
    ),
    "a role with what is the installation's": (
        "admin", "POST /roles", {"name": "more", "permissions": ["tenants:write"]},
    ),
    "a role that is one's own": (
        "keeper", "PUT /roles/keeper", {"description": "", "permissions": ["secrets:read"]},
    ),
    "a grant with more": (
        "granter", "PUT /workflows/{workflow}/grants",
        {"items": [{"principal_id": "{viewer}", "role": "editor"}]},
    ),
    "a tenant": ("admin", "POST /tenants", {"name": "new"}),
    "a grant, by a reset": ("keeper", "POST /users/{holder}/reset", None),
    "a grant, by a reset with a scoped key": ("users' key", "POST /users/{holder}/reset", None),
    "a grant, by an end": ("keeper", "DELETE /users/{holder}", None),
    "a grant, by its sessions": ("keeper", "DELETE /users/{holder}/sessions", None),
    "a grant, by a change": (
        "keeper", "PUT /users/{holder}", {"name": "n", "roles": [], "state": "disabled"},
    ),
    "a grant, by a key's next": ("keeper", "POST /api-keys/{bot}/rotate", {}),
    "a grant, by a key's end": ("keeper", "DELETE /api-keys/{bot}", None),
    "a key's scopes, by its narrowed token": ("keys' token", "POST /api-keys/{keys}/rotate", {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def climbers(world: World) -> Mapping[str, Any]:
    """Roles that may give, without what they would like to give."""
    roles = world.core.access.roles
    keeper = ["users:write", "users:read", "keys:write", "roles:write"]
    roles.create(ADMIN, name="keeper", permissions=keeper)
    roles.create(ADMIN, name="granter", permissions=["workflows:grant", "workflows:read"])
    names = {name: world.user(name, name).user_id for name in ("keeper", "granter")}
    names |= {role: world.callers[role].user_id for role in ROLES}
    access, workflow = world.core.access, world.mine["workflow_id"]
    # Without a role, but with a grant.
    names["holder"] = access.users.create(ADMIN, email="holder@example.org").id
    names["bot"] = access.keys.create(ADMIN, name="bot", roles=[])[0].id
    for one in (names["holder"], names["bot"]):
        access.grants.put(ADMIN, workflow, one, "editor")
    _, scoped = access.keys.create(ADMIN, name="s", roles=["owner"], scopes=["users:write"])
    world.keep(Caller("users' key", frozenset(), key=scoped))
    kept, key = access.keys.create(ADMIN, name="keys", roles=["admin"])
    names["keys"] = kept.id
    few = frozenset({_P.KEYS_WRITE})
    token = access.exchange_key(key, address="192.0.2.9", scopes=few).access_token
    world.keep(Caller("keys' token", few, key=token))
    return {**names, "workflow": workflow}


@pytest.mark.parametrize("name", ABOVE)
def test_r2_nobody_gives_or_takes_what_is_above_them(
    name: str, world: World, climbers: Mapping[str, Any]
) -> None:
    who, request, body = ABOVE[name]
    method, path = request.format(**climbers).split()
    text = re.sub(r"\{(\w+)\}", lambda found: str(climbers[found[1]]), json.dumps(body))
    before = _standing(world)
    answer = world.client.open(
        f"/api/v1{path}", method=method, json=None if body is None else json.loads(text),
        headers={"Authorization": f"Bearer {world.bearer(world.callers[who])}"},
    )  # fmt: skip
    assert answer.status_code == 403, answer.text
    assert _standing(world) == before


def _standing(world: World) -> Any:
    """Return everything that could have been given."""
    access = world.core.access
    return (
        [(u.id, u.roles, u.valid_from) for u in access.users.page(ADMIN, limit=1000)],
        [replace(key, used_at=None) for key in access.keys.page(ADMIN, limit=1000)],
        access.roles.list(ADMIN),
        access.tenants.page(ADMIN, limit=1000),
        access.grants.list(ADMIN, world.mine["workflow_id"]),
    )
