"""Routes of variables: plain values by name, for one environment or for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response

from orchestrator.models.access.permissions import Permission
from orchestrator.models.secret import Variable
from web.api.paging import page
from web.context import core, tenant_id
from web.openapi.document import Routes
from web.schemas.secrets import (
    EnvironmentQuery,
    VariableBody,
    VariablePage,
    VariableSchema,
    VariablesQuery,
    names_cursor,
)

routes = Routes("variables", __name__, description="Plain values that expressions read.")
_ONE = "/variables/<string:name>"


@routes.at("/variables")
@routes.needs(Permission.VARIABLES_READ)
@routes.query(VariablesQuery)
@routes.gives(200, VariablePage)
def list_variables(query: Mapping[str, Any]) -> dict[str, Any]:
    """List variables by name and environment."""
    limit = query["limit"]
    found = core().variables.list(
        tenant_id(), environment=query["environment"], after=query["cursor"], limit=limit + 1
    )
    return page(found, limit, lambda each: names_cursor(each.name, each.environment))


@routes.at(_ONE)
@routes.needs(Permission.VARIABLES_READ)
@routes.query(EnvironmentQuery)
@routes.gives(200, VariableSchema)
def get_variable(query: Mapping[str, Any], name: str) -> Variable:
    """Read a variable of exactly this environment."""
    return core().variables.get(tenant_id(), name, environment=query["environment"])


@routes.at(_ONE, "PUT")
@routes.needs(Permission.VARIABLES_WRITE)
@routes.body(VariableBody)
@routes.also(201, VariableSchema, description="It is new.")
@routes.gives(200, VariableSchema)
def set_variable(body: Mapping[str, Any], name: str) -> tuple[Variable, int]:
    """Set a variable of one environment, or of all."""
    variable, new = core().variables.put(
        tenant_id(),
        name,
        body["value"],
        environment=body["environment"],
        description=body["description"],
    )
    return variable, 201 if new else 200


@routes.at(_ONE, "DELETE")
@routes.needs(Permission.VARIABLES_WRITE)
@routes.query(EnvironmentQuery)
@routes.gives(204)
def delete_variable(query: Mapping[str, Any], name: str) -> Response:
    """Remove a variable of exactly this environment."""
    core().variables.remove(tenant_id(), name, environment=query["environment"])
    return Response(status=204)
