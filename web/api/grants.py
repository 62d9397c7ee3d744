"""Routes of the grants on a workflow: who may do more with it than their roles say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from flask import Response

from orchestrator.errors import InvalidDefinition, Problem
from orchestrator.models.access.permissions import Permission
from orchestrator.ports.access import Grant
from web.context import core, principal
from web.openapi.document import Routes
from web.responses import etags
from web.schemas.access import GrantList, GrantsBody

routes = Routes("grants", __name__, description="Roles on single workflows.")
_PATH = "/workflows/<uuid:workflow_id>/grants"


@routes.at(_PATH)
@routes.needs(Permission.WORKFLOWS_GRANT)
@routes.tagged()
@routes.gives(200, GrantList)
def list_grants(workflow_id: UUID) -> Response:
    """List the grants on a workflow, oldest first."""
    return _shown(core().access.grants.list(principal(), workflow_id))


@routes.at(_PATH, "PUT")
@routes.needs(Permission.WORKFLOWS_GRANT)
@routes.matched()
@routes.body(GrantsBody)
@routes.gives(200, GrantList)
def put_grants(body: Mapping[str, Any], workflow_id: UUID) -> Response:
    """Say who has which role on a workflow; others lose theirs. All of it is done, or nothing.

    A grant holds no more than whoever gives it may do with the workflow.
    """
    grants, who = core().access.grants, principal()
    wanted = {item["principal_id"]: item["role"] for item in body["items"]}
    if len(wanted) < len(body["items"]):
        raise InvalidDefinition([Problem("items", "twice", "name each user or key once")])
    etags.expect(_tag(grants.list(who, workflow_id)))
    return _shown(grants.replace(who, workflow_id, wanted))


def _tag(grants: Sequence[Grant]) -> str:
    return etags.tag_of([[grant.principal_id, grant.role] for grant in grants])


def _shown(grants: Sequence[Grant]) -> Response:
    shown = GrantList().dump({"items": grants, "next_cursor": None})
    return etags.answer(shown, _tag(grants))
