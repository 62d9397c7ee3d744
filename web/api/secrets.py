"""Routes of secrets: set, list by name, forget. No route gives a value back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response

from orchestrator.models.access.permissions import Permission
from orchestrator.models.secret import Secret
from web.api.paging import page
from web.context import core, tenant_id
from web.openapi.document import Routes
from web.schemas.secrets import NamesQuery, SecretBody, SecretPage, SecretSchema, names_cursor

routes = Routes("secrets", __name__, description="Values that only workers read.")


@routes.at("/secrets")
@routes.needs(Permission.SECRETS_READ)
@routes.query(NamesQuery)
@routes.gives(200, SecretPage)
def list_secrets(query: Mapping[str, Any]) -> dict[str, Any]:
    """List secrets by name, without their values."""
    limit = query["limit"]
    after, _ = query["cursor"] or ("", "")
    found = core().secrets.list(tenant_id(), after=after, limit=limit + 1)
    return page(found, limit, lambda each: names_cursor(each.name))


@routes.at("/secrets/<string:name>", "PUT")
@routes.needs(Permission.SECRETS_WRITE)
@routes.body(SecretBody)
@routes.also(201, SecretSchema, description="It is new.")
@routes.gives(200, SecretSchema)
def set_secret(body: Mapping[str, Any], name: str) -> tuple[Secret, int]:
    """Set a secret: a new one, or the next value of one that is there."""
    secret, new = core().secrets.put(
        tenant_id(), name, body["value"], description=body["description"]
    )
    return secret, 201 if new else 200


@routes.at("/secrets/<string:name>", "DELETE")
@routes.needs(Permission.SECRETS_WRITE)
@routes.gives(204)
def delete_secret(name: str) -> Response:
    """Forget a secret; workers may use its value for another 30 s."""
    core().secrets.remove(tenant_id(), name)
    return Response(status=204)
