"""Every route of the application and who may call it: what the tests ask, and the documents show.

Said from the routes' declarations and the roles' permissions alone; the guard has no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask

from orchestrator.models.access.permissions import GRANTABLE, ROLES, Permission
from web.access.guard import PUBLIC
from web.access.needs import Need, need_of


@dataclass(frozen=True, slots=True)
class Route:
    """A method of a path, and what it demands; `need` is None for what is public."""

    method: str
    rule: str
    endpoint: str
    need: Need | None

    @property
    def name(self) -> str:
        """Return what a test is called."""
        return f"{self.method} {self.rule}"

    @property
    def names_workflow(self) -> bool:
        """Tell whether the path names a workflow or a run."""
        return "workflow_id>" in self.rule or "run_id>" in self.rule

    def open_to(self, permissions: frozenset[Permission]) -> bool:
        """Tell whether whoever has these in the whole tenant may call it."""
        wanted = self.need and self.need.permission
        return wanted is None or wanted in permissions

    def open_with(self, granted: frozenset[Permission]) -> bool:
        """Tell whether whoever has only these, on one workflow, may call it for that workflow."""
        if self.need is None or self.need.permission is None:
            return True
        reaches = self.names_workflow or self.need.narrowed
        return reaches and self.need.permission in granted & GRANTABLE


def routes_of(app: Flask) -> list[Route]:
    """Return every route, by path."""
    found = []
    for rule in app.url_map.iter_rules():
        need = None if rule.endpoint in PUBLIC else need_of(app, rule.endpoint)
        assert need is not None or rule.endpoint in PUBLIC, f"{rule.endpoint} is closed to all"
        methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        found += [Route(method, rule.rule, rule.endpoint, need) for method in methods]
    return sorted(found, key=lambda route: (route.rule, route.method))


def weakest(route: Route) -> str:
    """Return the first of the built-in roles that may call a route."""
    return next(name for name, allowed in ROLES.items() if route.open_to(allowed))
