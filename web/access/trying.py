"""What trying things out may read of secrets and variables: less than a saved workflow may.

A preview never sees a secret. A tested node does, and could send it anywhere: that is for those
who may set secrets, and so know them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.errors import ExpressionError
from orchestrator.models.access.permissions import Permission
from orchestrator.models.definitions.node import Node
from orchestrator.models.definitions.validation import findings
from orchestrator.models.expressions import expression
from orchestrator.models.expressions.expression import Reference
from orchestrator.services.secrets.masking import MASK
from web.access.narrowing import demand_everywhere
from web.context import core, principal, tenant_id


class _Masked(Mapping[str, str]):
    """Every secret there may be; each is the mask."""

    def __getitem__(self, name: str) -> str:
        return MASK

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def demand_for_test(kind: str, config: Mapping[str, Any]) -> None:
    """Let only those test a node that reads secrets who may set them. Forbidden."""
    node = Node(id="test", type=kind, config=dict(config))
    roots = {root for _, reads, _ in findings(node) for root, _ in reads}
    if "secrets" in roots:
        demand_everywhere(Permission.SECRETS_WRITE)
    if "vars" in roots:
        demand_everywhere(Permission.VARIABLES_READ)


def preview_scope(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a preview reads beside its own scope, which comes first: `***` for each secret,
    the tenant's variables for those who may read them."""
    names = sorted(name for root, name in _reads(body) if root == "vars" and name is not None)
    variables: Mapping[str, Any] = {}
    if names and "vars" not in body["scope"] and principal().may(Permission.VARIABLES_READ):
        variables = core().variables.values(tenant_id(), names)
    return {"secrets": _Masked(), "vars": variables, **body["scope"]}


def _reads(body: Mapping[str, Any]) -> frozenset[Reference]:
    try:
        if "expression" in body:
            return expression.expression_references(body["expression"])
        return expression.references(body["template"])
    except ExpressionError:
        return frozenset()
