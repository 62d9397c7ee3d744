"""Roles on single workflows, for users and keys that have no such role in the whole tenant."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from uuid import UUID

from orchestrator.errors import Forbidden
from orchestrator.models.access.permissions import Permission, Principal
from orchestrator.ports.access import AccessStore, AccessWork, Grant
from orchestrator.ports.runtime import Clock
from orchestrator.ports.store import Store
from orchestrator.services.access.principals import Principals
from orchestrator.services.access.reporting import Reporting
from orchestrator.services.access.rules import checked_roles, custom_of, gone, granted

_KINDS = ("user", "key")


class Grants:
    """Answers for `core.access.grants`. Another tenant's workflow or principal is NotFound; a grant
    holds no more than who gives it may do with the workflow (Forbidden)."""

    def __init__(
        self,
        store: AccessStore,
        workflows: Store,
        principals: Principals,
        clock: Clock,
        reporting: Reporting,
    ) -> None:
        self._store = store
        self._workflows = workflows
        self._principals = principals
        self._clock = clock
        self._reporting = reporting

    def list(self, actor: Principal, workflow_id: UUID) -> list[Grant]:
        """Return the grants on a workflow, oldest first."""
        self._check_workflow(actor, workflow_id)
        with self._store.begin() as work:
            return work.grants.of_workflow(actor.tenant_id, workflow_id)

    def put(self, actor: Principal, workflow_id: UUID, principal_id: UUID, role: str) -> Grant:
        """Give a role on a workflow, in place of the one there was."""
        self._check_workflow(actor, workflow_id)
        with self._store.begin() as work:
            had = self._of(work, actor, workflow_id, principal_id)
            grant = self._give(work, actor, workflow_id, principal_id, role, had)
        self._changed(principal_id)
        return grant

    def replace(
        self, actor: Principal, workflow_id: UUID, roles: Mapping[UUID, str]
    ) -> builtins.list[Grant]:
        """Give these principals these roles on a workflow and nobody else one; all or nothing."""
        self._check_workflow(actor, workflow_id)
        with self._store.begin() as work:
            there = {
                grant.principal_id: grant
                for grant in work.grants.of_workflow(actor.tenant_id, workflow_id)
            }
            given = {
                one: role
                for one, role in roles.items()
                if one not in there or there[one].role != role
            }
            taken = there.keys() - roles.keys()
            for one, role in given.items():
                self._give(work, actor, workflow_id, one, role, there.get(one))
            for one in taken:
                self._take(work, actor, there[one])
            found: builtins.list[Grant] = work.grants.of_workflow(actor.tenant_id, workflow_id)
        self._changed(*given, *taken)
        return found

    def delete(self, actor: Principal, workflow_id: UUID, principal_id: UUID) -> None:
        """Take a grant away; NotFound when there is none."""
        self._check_workflow(actor, workflow_id)
        with self._store.begin() as work:
            found = self._of(work, actor, workflow_id, principal_id)
            if found is None:
                raise gone("grant")
            self._take(work, actor, found)
        self._changed(principal_id)

    def _give(
        self,
        work: AccessWork,
        actor: Principal,
        workflow_id: UUID,
        principal_id: UUID,
        role: str,
        had: Grant | None,
    ) -> Grant:
        if not _exists(work, actor.tenant_id, principal_id):
            raise gone("user or API key")
        custom = custom_of(work, actor.tenant_id)
        checked_roles((role,), custom)
        for name in filter(None, (had.role if had else "", role)):
            _no_more_than(actor, workflow_id, granted(name, custom))
        grant = Grant(
            workflow_id=workflow_id, principal_id=principal_id, tenant_id=actor.tenant_id,
            role=role, created_at=self._clock.now(),
        )  # fmt: skip
        before = {"role": had.role} if had else None
        self._reporting.changes("grant", grant.name, before, {"role": role})
        work.grants.put(grant)
        return grant

    def _take(self, work: AccessWork, actor: Principal, grant: Grant) -> None:
        gives = granted(grant.role, custom_of(work, actor.tenant_id))
        _no_more_than(actor, grant.workflow_id, gives)
        self._reporting.changes("grant", grant.name, before={"role": grant.role})
        work.grants.delete(actor.tenant_id, grant.workflow_id, grant.principal_id)

    def _of(
        self, work: AccessWork, actor: Principal, workflow_id: UUID, principal_id: UUID
    ) -> Grant | None:
        grants: builtins.list[Grant] = work.grants.of_workflow(actor.tenant_id, workflow_id)
        return next((one for one in grants if one.principal_id == principal_id), None)

    def _check_workflow(self, actor: Principal, workflow_id: UUID) -> None:
        with self._workflows.begin() as work:
            if work.workflows.get_workflow(actor.tenant_id, workflow_id) is None:
                raise gone("workflow")

    def _changed(self, *principal_ids: UUID) -> None:
        self._principals.changed(*(f"{kind}:{one}" for one in principal_ids for kind in _KINDS))


def _exists(work: AccessWork, tenant_id: UUID, principal_id: UUID) -> bool:
    if work.users.get_user(tenant_id, principal_id) is not None:
        return True
    return work.api_keys.get_key(tenant_id, principal_id) is not None


def _no_more_than(actor: Principal, workflow_id: UUID, wanted: frozenset[Permission]) -> None:
    if not all(actor.may(permission, workflow_id) for permission in wanted):
        raise Forbidden("a grant holds no more than what you may do with the workflow yourself")
