"""What a transaction may do to workflows, and the keys that keep it from being done twice."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from orchestrator.models.definitions.saved import SavedWorkflow, Version, WorkflowStatus


class Workflows(Protocol):
    """Workflows and their versions, inside one transaction."""

    def add_workflow(self, saved: SavedWorkflow, definition: Mapping[str, Any], plan: Any) -> None:
        """Store a new workflow with its first version; NameTaken when the name is in use."""

    def change(self, saved: SavedWorkflow, definition: Mapping[str, Any], plan: Any) -> None:
        """Store the next version; VersionMismatch unless `saved.version` follows the stored one."""

    def get_workflow(
        self, tenant_id: UUID, workflow_id: UUID, *, lock: bool = False
    ) -> SavedWorkflow | None:
        """Return one workflow, also an archived or ad hoc one; `lock` keeps others from it."""

    def named(self, tenant_id: UUID, name: str) -> SavedWorkflow | None:
        """Return the one live workflow of this name."""

    def list(
        self,
        tenant_id: UUID,
        *,
        before: UUID | None,
        limit: int,
        query: str | None,
        among: frozenset[UUID] | None = None,
        name: str | None = None,
        statuses: Collection[WorkflowStatus] = (),
    ) -> list[SavedWorkflow]:
        """Return workflows, newest first, never ad hoc ones; only `among` these.

        `statuses`: all but archived where none is given; `query`: a part of the name.
        """

    def version(self, workflow_id: UUID, version: int) -> Version | None:
        """Return one version of a workflow."""

    def versions(self, workflow_id: UUID, *, before: int | None, limit: int) -> Sequence[Version]:
        """Return versions of a workflow, newest first, without their definitions."""


class Keys(Protocol):
    """Idempotency keys, inside the transaction that creates what they stand for."""

    def take(self, tenant_id: UUID, key: str, digest: str, resource_id: UUID) -> UUID | None:
        """Reserve a key: None when it is new, else the id that its first use created.

        Two callers with one key wait for each other here. IdempotencyMismatch when the first use
        had another digest.
        """
