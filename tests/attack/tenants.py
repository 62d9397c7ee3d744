"""A tenant under attack: one of everything, which nobody else may find, change or hear of."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tests.attack.stack import CANARY, Stack
from tests.waiting import wait_for

#: In names and values of the tenant: no answer to anybody else holds it.
MARK = "of-the-victim"


@dataclass(frozen=True)
class Tenant:
    """A tenant, its owner's key, and what it has for each argument of a path.

    An argument that means different things is named with its part of the API: `secrets.name`.
    """

    id: UUID
    key: str
    named: Mapping[str, Any]


def furnished(stack: Stack) -> Tenant:
    """Make a tenant that has one of everything."""
    tenant_id = stack.tenant()
    key = stack.key("owner", tenant_id=tenant_id)

    def made(method: str, path: str, body: Any) -> Any:
        answer = stack.ask(method, path, key, json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    config = {"function": "attack.artifact", "args": {"name": "there.txt", "kind": "text/plain"}}
    nodes = [{"id": "a", "type": "python", "data": {"config": config}}]
    workflow = made("POST", "/workflows", {"name": MARK, "nodes": nodes})
    run = made("POST", f"/workflows/{workflow['id']}/runs", {"input": {"a": MARK}})
    wait_for(lambda: stack.ask("GET", f"/runs/{run['id']}", key).json()["finished_at"])
    email = f"{time.monotonic_ns()}@{MARK}.example"
    user = made("POST", "/users", {"email": email, "roles": ["viewer"]})
    spare = made("POST", "/api-keys", {"name": MARK, "roles": ["viewer"]})
    made("POST", "/roles", {"name": MARK, "permissions": ["runs:read"]})
    made("PUT", "/secrets/of_somebody_else", {"value": CANARY})
    made("PUT", "/variables/of_somebody_else", {"value": MARK})
    return Tenant(tenant_id, key, {
        "tenant_id": tenant_id, "workflow_id": workflow["id"], "run_id": run["id"],
        "user_id": user["id"], "key_id": spare["id"], "number": 1, "node_id": "a",
        "runs.name": "there.txt", "roles.name": MARK, "secrets.name": "of_somebody_else",
        "variables.name": "of_somebody_else",
    })  # fmt: skip
