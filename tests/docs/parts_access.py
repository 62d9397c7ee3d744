"""Permissions as tables: what each built-in role may, and which routes that opens."""

from __future__ import annotations

from functools import cache

from orchestrator.models.access.permissions import GRANTABLE, ROLES, Permission
from tests.api.conftest import build_core
from tests.api.role_matrix import Route, routes_of
from web.app import create_app

_YES, _NO = "yes", "-"


@cache
def _routes() -> tuple[Route, ...]:
    return tuple(routes_of(create_app(build_core())))


def permissions() -> str:
    """Return each permission with the built-in roles that have it."""
    roles = list(ROLES)
    head = ["permission", *roles, "by a grant"]
    rows = [
        [
            f"`{permission}`",
            *(_YES if permission in ROLES[role] else _NO for role in roles),
            _YES if permission in GRANTABLE else _NO,
        ]
        for permission in Permission
    ]
    return _table(head, rows)


def role_matrix() -> str:
    """Return each route with its permission and who may call it."""
    roles = list(ROLES)
    rows = []
    for route in _routes():
        wanted = route.need.permission if route.need else None
        asked = f"`{wanted}`" if wanted else "signed in" if route.need else "nothing"
        opened = [_YES if route.open_to(ROLES[role]) else _NO for role in roles]
        path = route.rule.replace("<uuid:", "{").replace("<string:", "{")
        path = path.replace("<int(max=2147483647):", "{").replace(">", "}")
        rows.append([f"`{route.method} {path}`", asked, *opened, _by_grant(route)])
    return _table(["route", "needs", *roles, "by a grant"], rows)


def _by_grant(route: Route) -> str:
    """Say what a grant on one workflow opens of a route."""
    if route.need is None or route.need.permission is None:
        return _YES
    if not route.open_with(GRANTABLE):
        return _NO
    return "that workflow" if route.names_workflow else "of that workflow"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
