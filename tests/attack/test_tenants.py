"""Rows R1 and R2 on a living server: what belongs to another tenant, and what a role may not do."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from orchestrator.models.access.permissions import ROLES
from tests.api.conftest import build_core
from tests.api.role_matrix import routes_of
from tests.attack.stack import CANARY, Stack, refused, tells_nothing
from tests.attack.tenants import MARK, Tenant
from tests.attack.test_credentials import person
from tests.integration.foreign import BODIES, INSTALLATION, ROUTES, arguments, nobodys, path_of
from web.app import create_app

_ANY_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ALL = routes_of(create_app(build_core()))


def _asked(
    stack: Stack, key: str, method: str, rule: str, endpoint: str, values: dict[str, Any]
) -> httpx.Response:
    body = {"json": BODIES[endpoint]} if endpoint in BODIES else {}
    path = path_of(rule, values).removeprefix("/api/v1")
    return stack.ask(method, path, key, **body)


def _told(answer: httpx.Response, values: dict[str, Any]) -> tuple[int, str]:
    text = answer.text.replace(answer.headers["X-Request-Id"], "<request>")
    for value in values.values():
        text = text.replace(str(value), "<name>")
    return answer.status_code, _ANY_ID.sub("<id>", text)


@pytest.mark.parametrize("method", sorted({method for _, method, _ in ROUTES}))
def test_r1_what_another_tenant_has_is_not_there(
    method: str, stack: Stack, victim: Tenant, stranger: str
) -> None:
    """The answer is the same as for what nobody has, and nothing of it changes."""
    before = stack.stored()
    tried = 0
    for endpoint, verb, rule in ROUTES:
        if verb != method:
            continue
        part = endpoint.partition(".")[0]
        names = arguments(rule)
        foreign = {n: victim.named.get(f"{part}.{n}", victim.named.get(n)) for n in names}
        foreign = {n: victim.id if n == "owner_id" else value for n, value in foreign.items()}
        assert None not in foreign.values(), f"teach tests/attack/tenants.py about {rule}"
        seen = []
        for values in (foreign, nobodys(foreign)):
            answer = _asked(stack, stranger, verb, rule, endpoint, values)
            refused(answer, 403 if INSTALLATION.match(endpoint) else 404)
            seen.append(_told(answer, values))
        assert seen[0] == seen[1]
        tried += 1
    assert tried
    assert stack.stored() == before


def test_r1_its_owner_has_it(stack: Stack, victim: Tenant) -> None:
    """The other half: a route that finds nothing for anybody would look safe."""
    for endpoint, verb, rule in ROUTES:
        if verb != "GET" or INSTALLATION.match(endpoint):
            continue
        part = endpoint.partition(".")[0]
        own = {n: victim.named.get(f"{part}.{n}", victim.named.get(n)) for n in arguments(rule)}
        answer = _asked(stack, victim.key, verb, rule, endpoint, own)
        assert answer.status_code in {200, 409}, (rule, answer.text)
        assert CANARY not in answer.text


def test_r1_lists_searches_and_exports_show_nothing(
    stack: Stack, victim: Tenant, stranger: str
) -> None:
    lists = [
        r.rule.removeprefix("/api/v1") for r in ALL
        if r.method == "GET" and "<" not in r.rule and r.rule.startswith("/api/v1")
        and not r.rule.endswith("/ws")
    ]  # fmt: skip
    assert "/runs" in lists
    words = [MARK, CANARY, *(str(victim.named[name]) for name in ("workflow_id", "run_id"))]
    for path in lists:
        for key in (stranger, stack.key("owner")):
            answer = stack.ask("GET", path, key)
            tells_nothing(answer)
            assert not [word for word in words if word in answer.text], path
    for path in ("/workflows", "/logs/history"):
        assert MARK not in stack.ask("GET", path, stranger, params={"q": MARK}).text


BULK: dict[str, tuple[str, dict[str, Any]]] = {
    "activate": ("/workflows/activate", {"workflow_ids": ["{workflow_id}"]}),
    "cancel": ("/runs/cancel", {"workflow_id": "{workflow_id}"}),
    "retry": ("/runs/retry", {"workflow_id": "{workflow_id}"}),
    "execute": ("/workflows/execute", {"workflow_id": "{workflow_id}"}),
    "lines": ("/logs/query", {"run_ids": ["{run_id}"]}),
}


@pytest.mark.parametrize("name", BULK)
def test_r1_one_foreign_id_among_many(
    name: str, stack: Stack, victim: Tenant, stranger: str
) -> None:
    path, body = BULK[name]
    before = stack.stored()

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(each) for each in value]
        return value.format(**victim.named)

    sent = {field: filled(value) for field, value in body.items()}
    answer = stack.ask("POST", path, stranger, json=sent)
    tells_nothing(answer)
    assert answer.status_code in {200, 404}, answer.text
    assert MARK not in answer.text
    assert stack.stored() == before


@pytest.mark.parametrize("role", ["viewer", "operator", "editor"])
def test_r2_a_role_opens_what_it_says(role: str, stack: Stack) -> None:
    """Bodies are texts, which no route takes, and ids nobody's: whoever is let in changes nothing.

    What ends all sessions is asked for with a key, which has none.
    """
    key = stack.key(role)
    before = stack.stored()
    for route in ALL:
        if not route.rule.startswith("/api/v1") or route.need is None:
            continue
        body = {"content": b"x", "headers": {"Content-Type": "text/plain"}}
        sent = body if route.method in {"POST", "PUT"} else {}
        path = path_of(route.rule, {}).removeprefix("/api/v1")
        answer = stack.ask(route.method, path, key, **sent)
        tells_nothing(answer)
        said_no = "this needs the permission" in answer.text
        assert said_no is not route.open_to(ROLES[role]), f"{role}: {route.name}: {answer.text}"
        assert not said_no or answer.status_code == 403
    assert stack.stored() == before


def test_r2_nobody_climbs(stack: Stack) -> None:
    one = person(stack, "viewer")
    change = {"name": "x", "roles": ["owner"], "state": "active"}
    for method, path, body in (
        ("PUT", f"/users/{one.id}", change),
        ("POST", "/api-keys", {"name": "k", "roles": ["owner"]}),
        ("POST", "/roles", {"name": "mine", "permissions": ["secrets:write"]}),
        ("POST", f"/users/{one.id}/reset", None),
        ("POST", "/users/invite", {"email": "new@example.org", "roles": ["owner"]}),
    ):
        refused(stack.ask(method, path, one.token, json=body), 403)
    admin = stack.key("admin")
    refused(stack.ask("PUT", f"/users/{one.id}", admin, json=change), 403)
    assert stack.ask("GET", "/auth/me", one.token).json()["principal"]["roles"] == ["viewer"]
