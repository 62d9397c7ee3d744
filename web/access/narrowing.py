"""What grants on single workflows let in: lists show only those, and one is looked up by its id.

What a principal may not even read is answered as if it were not there.
"""

from __future__ import annotations

from uuid import UUID

from orchestrator.errors import Forbidden, NotFound
from orchestrator.models.access.permissions import Permission, Principal
from web.context import core, principal

__all__ = ["among", "demand", "demand_everywhere", "demand_run", "workflow_of"]


def among(permission: Permission) -> frozenset[UUID] | None:
    """Return the workflows that a list may show; None: all of the tenant."""
    who = principal()
    return None if who.may(permission) else who.somewhere(permission)


def demand(permission: Permission, workflow_id: UUID) -> None:
    """Let only those on who may do this with a workflow. Forbidden, or NotFound."""
    if not principal().may(permission, workflow_id):
        readable = principal().may(Permission.WORKFLOWS_READ, workflow_id)
        raise missing(permission) if readable else NotFound(f"there is no workflow {workflow_id}")


def demand_run(permission: Permission, run_id: UUID) -> None:
    """Let only those on who may do this with a run. Forbidden, or NotFound."""
    who = principal()
    if who.may(permission):
        return
    workflow_id = workflow_of(who, run_id)
    if not who.may(permission, workflow_id):
        readable = who.may(Permission.RUNS_READ, workflow_id)
        raise missing(permission) if readable else NotFound(f"there is no run {run_id}")


def demand_everywhere(permission: Permission) -> None:
    """Let only those on who may do this in the whole tenant. Forbidden."""
    if not principal().may(permission):
        raise missing(permission)


def missing(permission: Permission) -> Forbidden:
    """Return the refusal that names what is missing."""
    return Forbidden(f"this needs the permission {permission}")


def workflow_of(who: Principal, run_id: UUID) -> UUID | None:
    """Return the workflow of a run of the principal's tenant."""
    tenant_id, workflow_id = core().store.reads.owners([run_id]).get(run_id, (None, None))
    return workflow_id if tenant_id == who.tenant_id else None
