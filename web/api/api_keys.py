"""Routes of a tenant's API keys. A key's plain text is in the answer that makes it, and nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response, jsonify

from orchestrator.models.access.permissions import Permission
from orchestrator.ports.access import ApiKey
from web.api.paging import page
from web.context import core, principal
from web.openapi.document import Routes
from web.responses.idempotency import once
from web.schemas.access import KeyBody, KeyPage, KeySchema, NewKeySchema, RotateBody
from web.schemas.fields import PageQuery, cursor

routes = Routes("api-keys", __name__, description="Credentials of machines.")
_ONE = "/api-keys/<uuid:key_id>"


@routes.at("/api-keys")
@routes.needs(Permission.KEYS_READ)
@routes.query(PageQuery)
@routes.gives(200, KeyPage)
def list_keys(query: Mapping[str, Any]) -> dict[str, Any]:
    """List API keys, oldest first, revoked ones too."""
    limit = query["limit"]
    found = core().access.keys.page(principal(), after=query["cursor"], limit=limit + 1)
    return page(found, limit, lambda each: cursor(each.id))


@routes.at("/api-keys", "POST")
@routes.needs(Permission.KEYS_WRITE)
@routes.keyed()
@routes.body(KeyBody)
@routes.gives(201, NewKeySchema)
def create_key(body: Mapping[str, Any]) -> Response:
    """Make an API key. It may do no more than whoever makes it.

    A repeated Idempotency-Key is a 409: the key was shown once, and is not shown again.
    """
    with once(body):
        record, plain = core().access.keys.create(principal(), **body)
    return _made(record, plain)


@routes.at(_ONE)
@routes.needs(Permission.KEYS_READ)
@routes.gives(200, KeySchema)
def get_key(key_id: UUID) -> Any:
    """Read what is known of a key."""
    return core().access.keys.get(principal(), key_id)


@routes.at(f"{_ONE}/rotate", "POST")
@routes.needs(Permission.KEYS_WRITE)
@routes.keyed()
@routes.body(RotateBody, required=False)
@routes.gives(201, NewKeySchema)
def rotate_key(body: Mapping[str, Any], key_id: UUID) -> Response:
    """Make the next key with the same rights; the old one works for `overlap_s` more seconds."""
    with once(body):
        record, plain = core().access.keys.rotate(
            principal(), key_id, overlap_s=float(body["overlap_s"])
        )
    return _made(record, plain)


@routes.at(_ONE, "DELETE")
@routes.needs(Permission.KEYS_WRITE)
@routes.gives(204)
def revoke_key(key_id: UUID) -> Response:
    """Make a key void at once. It stays in the list."""
    core().access.keys.revoke(principal(), key_id)
    return Response(status=204)


def _made(record: ApiKey, plain: str) -> Response:
    answer = jsonify({**KeySchema().dump(record), "key": plain})
    answer.status_code = 201
    answer.headers["Location"] = f"/api/v1/api-keys/{record.id}"
    return answer
