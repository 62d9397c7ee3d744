"""Every route of the application as somebody else's tenant sees it: what it names, and how to ask.

The routes come from the application's own map, so that a new one cannot be forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from werkzeug.routing import Rule

from tests.api.conftest import ONE, build_core
from tests.factories import new_id
from web.app import create_app

#: What a body must hold for a request to get as far as looking for what its path names.
BODIES: Mapping[str, Any] = {
    "workflows.change_workflow": ONE,
    "workflows.roll_back": {"version": 1},
    "workflows.start_run": {},
    "runs.retry_run": {},
    "runs.mark_task": {"state": "succeeded"},
    "nodes.test_type": {"config": {}},
    "users.change_user": {"name": "x", "roles": ["viewer"], "state": "active"},
    "api-keys.rotate_key": {},
    "roles.change_role": {"description": "", "permissions": ["runs:read"]},
    "grants.put_grants": {"items": []},
    "secrets.set_secret": {"value": "x"},
    "variables.set_variable": {"value": "x"},
}
#: Routes whose arguments name nothing that belongs to a tenant, or that say so in another way.
NOT_OURS = {
    "docs.style": "a file of this release",
    "nodes.test_type": "a node type of this release",
    "oauth.start": "a provider of this installation",
    "oauth.callback": "a provider of this installation",
    # A write of a name that the tenant itself does not have makes it: its own, whoever else has it.
    "secrets.set_secret": "makes the tenant's own",
    "variables.set_variable": "makes the tenant's own",
}
#: Of the whole installation: refused to everybody else before anything is looked up.
INSTALLATION = re.compile(r"^(tenants|quotas)\.")
#: What is deleted is looked for no more: deepest paths first, and deleting last.
_CHANGING = {"GET": 0, "POST": 1, "PUT": 2, "DELETE": 3}
_ARGUMENT = re.compile(r"<(?:([^:>]*):)?(\w+)>")

MAP: list[Rule] = list(create_app(build_core()).url_map.iter_rules())
#: (endpoint, method, rule) of all that names something of a tenant, but for sockets.
ROUTES = sorted(
    {
        (rule.endpoint, method, rule.rule)
        for rule in MAP
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.arguments
        and rule.endpoint not in NOT_OURS
        and not rule.endpoint.startswith("stream.")
    },
    key=lambda one: (_CHANGING.get(one[1], 4), -one[2].count("/"), one),
)


def arguments(rule: str) -> list[str]:
    """Return the names of what a rule takes, in its order."""
    return [name for _, name in _ARGUMENT.findall(rule)]


def path_of(rule: str, values: Mapping[str, Any]) -> str:
    """Return a path with these values; where there is none, with one that nobody has."""

    def value(found: re.Match[str]) -> str:
        kind, name = found.groups()
        nobodys = {"uuid": new_id(), "int": 1}.get(kind, "a")
        return str(values.get(name, nobodys))

    return _ARGUMENT.sub(value, rule)


def nobodys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same, where the first name is one that nobody has; the rest is as good as it."""
    (first, value), *rest = values.items()
    is_id = isinstance(value, UUID) or re.fullmatch(r"[0-9a-f-]{36}", str(value)) is not None
    return {first: new_id() if is_id else f"t{new_id().hex}", **dict(rest)}


@dataclass(frozen=True)
class Named:
    """A place of a request, other than its path, that takes an id."""

    method: str
    path: str
    #: In the query, or in the body: the fields that lead there, `[]` for each item of a list.
    place: str
    field: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return what it names, as in a path: `workflow_id` also of `workflow_ids`."""
        names = [part for part in self.field if part != "[]"]
        return names[-1].removesuffix("s")

    @property
    def is_socket(self) -> bool:
        """Tell whether the request opens a socket."""
        return self.path.endswith(("/ws", "/stream"))

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.place} {'.'.join(self.field)}"

    def body(self, value: Any) -> Any:
        """Return a body with this id, and what else must stand beside it."""
        return _built(self.field, str(value), BESIDE.get((self.method, self.path), {}))


#: What must stand beside an id in the object that holds it.
BESIDE: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("PUT", "/workflows/{workflow_id}/grants"): {"role": "viewer"},
}


def _built(field: tuple[str, ...], value: str, beside: Mapping[str, Any]) -> Any:
    if not field:
        return value
    first, *rest = field
    inner = _built(tuple(rest), value, beside)
    if first == "[]":
        return [inner]
    return {first: inner, **(beside if set(rest) <= {"[]"} and not isinstance(inner, dict) else {})}


def named_elsewhere(document: Mapping[str, Any]) -> list[Named]:
    """Return every place of a query or a body that takes an id, by the API document."""
    found = []
    for path, item in document["paths"].items():
        short = path.removeprefix("/api/v1")
        for method in _CHANGING.keys() & {verb.upper() for verb in item}:
            operation = item[method.lower()]
            for one in (*item.get("parameters", ()), *operation.get("parameters", ())):
                is_id = one["schema"].get("format") == "uuid" or one["name"].endswith("_id")
                if one["in"] == "query" and is_id:
                    found.append(Named(method, short, "query", (one["name"],)))
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                schema = content["application/json"]["schema"]
                ids = _ids(document, schema, ())
                found += [Named(method, short, "body", field) for field in ids]
    return sorted(found, key=str)


def _ids(
    document: Mapping[str, Any], schema: Mapping[str, Any], seen: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
    if (reference := schema.get("$ref")) is not None:
        if reference in seen:
            return
        seen = (*seen, reference)
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    if schema.get("format") == "uuid":
        yield ()
    for kind in ("allOf", "oneOf", "anyOf"):
        for one in schema.get(kind, ()):
            yield from _ids(document, one, seen)
    for name, one in schema.get("properties", {}).items():
        yield from ((name, *rest) for rest in _ids(document, one, seen))
    if isinstance(schema.get("items"), dict):
        yield from (("[]", *rest) for rest in _ids(document, schema["items"], seen))
