"""Workflows: save, change, look up, validate. Every change makes a new immutable version."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any
from uuid import UUID

import orjson

from orchestrator.errors import NotFound, VersionMismatch
from orchestrator.models.definitions.plan import Plan
from orchestrator.models.definitions.plan import compile as compile_plan
from orchestrator.models.definitions.saved import SavedWorkflow, Version, WorkflowStatus
from orchestrator.models.definitions.workflow import Workflow
from orchestrator.models.ids import uuid7
from orchestrator.models.text import normal_name
from orchestrator.ports.runtime import Clock
from orchestrator.ports.store import Store, UnitOfWork
from orchestrator.services.auditing import note_workflow
from orchestrator.services.definitions.diff import Difference, compare
from orchestrator.services.definitions.reading import read_definition, shape_of
from orchestrator.services.quotas import Quotas

#: Differences of versions that are remembered, as text: to make one may take seconds.
KNOWN_TEXTS = 16


class Workflows:
    """The use cases around definitions. `tenant_id` always comes from the caller's credential."""

    def __init__(self, store: Store, clock: Clock, quotas: Quotas | None = None) -> None:
        self._store = store
        self._quotas = quotas or Quotas(store, {}, clock)
        self._clock = clock
        self._known_lock = Lock()
        self._known_texts: dict[tuple[UUID, int, int, str], str | None] = {}

    def create(
        self,
        tenant_id: UUID,
        document: Mapping[str, Any],
        *,
        status: WorkflowStatus = WorkflowStatus.PUBLISHED,
        key: tuple[str, str] | None = None,
    ) -> tuple[SavedWorkflow, Version]:
        """Store a new workflow. InvalidDefinition with every problem; NameTaken.

        `key` is (Idempotency-Key, digest of the request): a second use returns the first's result.
        """
        workflow = read_definition(document)
        self._quotas.admit_record(tenant_id)
        now = self._clock.now()
        saved = SavedWorkflow(
            id=uuid7(now), tenant_id=tenant_id, name=workflow.name, version=1, status=status,
            description=workflow.description, created_at=now, updated_at=now,
        )  # fmt: skip
        with self._store.begin() as unit:
            if key is not None:
                earlier = unit.keys.take(tenant_id, key[0], key[1], saved.id)
                if earlier is not None:
                    return self._current(unit, tenant_id, earlier)
            definition = shape_of(workflow)
            self._quotas.admit_workflow(unit.quotas, tenant_id)
            unit.workflows.add_workflow(saved, definition, stored_plan(workflow))
            note_workflow(saved, definition)
        self._quotas.count_record(tenant_id, len(orjson.dumps(definition)))
        version = Version(workflow_id=saved.id, version=1, definition=definition, created_at=now)
        return saved, version

    def change(
        self,
        tenant_id: UUID,
        workflow_id: UUID,
        document: Mapping[str, Any],
        *,
        status: WorkflowStatus | None = None,
        expected_versions: Collection[int] | None = None,
    ) -> tuple[SavedWorkflow, Version]:
        """Store the next version; an equal definition makes none. Live runs keep theirs.

        VersionMismatch unless the newest one is among `expected_versions`, where they are given.
        """
        workflow = read_definition(document)
        self._quotas.admit_record(tenant_id)
        with self._store.begin() as unit:
            saved, version = self._held(unit, tenant_id, workflow_id, expected_versions)
            done = self._next(unit, saved, version, workflow, status or saved.status)
        return self._counted(version, *done)

    def _counted(
        self, before: Version, saved: SavedWorkflow, now: Version
    ) -> tuple[SavedWorkflow, Version]:
        """Count a definition that has been stored, after its transaction."""
        if now is not before:
            self._quotas.count_record(saved.tenant_id, len(orjson.dumps(now.definition)))
        return saved, now

    def _held(
        self,
        unit: UnitOfWork,
        tenant_id: UUID,
        workflow_id: UUID,
        expected_versions: Collection[int] | None,
    ) -> tuple[SavedWorkflow, Version]:
        """Return a workflow that nobody else changes before this transaction ends."""
        saved, version = self._current(unit, tenant_id, workflow_id, lock=True)
        if expected_versions is not None and saved.version not in expected_versions:
            changed = " or ".join(map(str, sorted(expected_versions)))
            raise VersionMismatch(
                f"the workflow is at version {saved.version}, you changed {changed};"
                " read it again and repeat your change"
            )
        return saved, version

    def _next(
        self,
        unit: UnitOfWork,
        saved: SavedWorkflow,
        version: Version,
        workflow: Workflow,
        status: WorkflowStatus,
    ) -> tuple[SavedWorkflow, Version]:
        """Store the next version of a workflow that is held; what is equal makes none."""
        definition, now = shape_of(workflow), self._clock.now()
        if version.definition == definition and status is saved.status:
            return saved, version
        changed = replace(
            saved, name=workflow.name, description=workflow.description, updated_at=now,
            version=saved.version + 1, status=status,
        )  # fmt: skip
        if saved.status is WorkflowStatus.ARCHIVED and status is not saved.status:
            self._quotas.admit_workflow(unit.quotas, saved.tenant_id)
        unit.workflows.change(changed, definition, stored_plan(workflow))
        note_workflow(changed, definition, was=(saved, version.definition))
        return changed, Version(
            workflow_id=saved.id, version=changed.version, definition=definition, created_at=now
        )

    def get(self, tenant_id: UUID, workflow_id: UUID) -> tuple[SavedWorkflow, Version]:
        """Return a workflow with its newest version; NotFound."""
        with self._store.begin() as unit:
            return self._current(unit, tenant_id, workflow_id)

    def find(self, tenant_id: UUID, name_or_id: str) -> tuple[SavedWorkflow, Version]:
        """Return a workflow by its name or its id; NotFound."""
        with self._store.begin() as unit:
            saved = unit.workflows.named(tenant_id, normal_name(name_or_id))
            if saved is None:
                try:
                    workflow_id = UUID(name_or_id)
                except ValueError:
                    raise NotFound(f"there is no workflow named {name_or_id!r}") from None
                return self._current(unit, tenant_id, workflow_id)
            return self._current(unit, tenant_id, saved.id)

    def version(self, tenant_id: UUID, workflow_id: UUID, number: int) -> Version:
        """Return one version; NotFound."""
        with self._store.begin() as unit:
            self._current(unit, tenant_id, workflow_id)
            found = unit.workflows.version(workflow_id, number)
        if found is None:
            raise NotFound(f"workflow {workflow_id} has no version {number}")
        return found

    def versions(
        self, tenant_id: UUID, workflow_id: UUID, *, before: int | None, limit: int
    ) -> Sequence[Version]:
        """Return a page of versions, newest first, without their definitions; NotFound."""
        with self._store.begin() as unit:
            self._current(unit, tenant_id, workflow_id)
            return unit.workflows.versions(workflow_id, before=before, limit=limit)

    def diff(
        self, tenant_id: UUID, workflow_id: UUID, older: int | None, newer: int | None
    ) -> tuple[int, int, Difference]:
        """Return (from, to, what changed); by default of the newest version to the one before.

        NotFound for a workflow or version that is not there.
        """
        saved, _ = self.get(tenant_id, workflow_id)
        to = saved.version if newer is None else newer
        start = max(1, to - 1) if older is None else older
        one = self.version(tenant_id, workflow_id, start)
        two = self.version(tenant_id, workflow_id, to)
        key = (workflow_id, start, to, saved.name)
        with self._known_lock:
            text = self._known_texts.get(key, ...)
        found = compare(
            one.definition, two.definition, (f"{saved.name} v{start}", f"{saved.name} v{to}"), text
        )
        if text is ...:
            # Versions never change; whose they are was asked above.
            with self._known_lock:
                while len(self._known_texts) >= KNOWN_TEXTS:
                    self._known_texts.pop(next(iter(self._known_texts)))
                self._known_texts[key] = found.text
        return start, to, found

    def roll_back(
        self,
        tenant_id: UUID,
        workflow_id: UUID,
        number: int,
        *,
        expected_versions: Collection[int] | None = None,
    ) -> tuple[SavedWorkflow, Version]:
        """Save an earlier version again as the newest; where nothing differs, no version is made.

        NotFound; VersionMismatch as in `change`; InvalidDefinition where this release reads the
        old definition no more; NameTaken where another workflow has the old name by now.
        """
        version = self.version(tenant_id, workflow_id, number)
        return self.change(
            tenant_id, workflow_id, version.definition, expected_versions=expected_versions
        )

    def set_status(
        self,
        tenant_id: UUID,
        workflow_id: UUID,
        status: WorkflowStatus,
        *,
        expected_versions: Collection[int] | None = None,
    ) -> tuple[SavedWorkflow, Version]:
        """Publish or archive a workflow as it is; the status it has already makes no version."""
        with self._store.begin() as unit:
            saved, version = self._held(unit, tenant_id, workflow_id, expected_versions)
            done = self._next(unit, saved, version, read_definition(version.definition), status)
        return self._counted(version, *done)

    def list(
        self,
        tenant_id: UUID,
        *,
        before: UUID | None,
        limit: int,
        query: str | None = None,
        among: frozenset[UUID] | None = None,
        name: str | None = None,
        statuses: Collection[WorkflowStatus] = (),
    ) -> list[SavedWorkflow]:
        """Return a page of workflows, newest first; with `among`, only of these.

        Without `statuses`, all that are not archived.
        """
        with self._store.begin() as unit:
            return unit.workflows.list(
                tenant_id, before=before, limit=limit, among=among, statuses=statuses,
                query=query and normal_name(query), name=name and normal_name(name),
            )  # fmt: skip

    def named(self, tenant_id: UUID, name: str) -> SavedWorkflow | None:
        """Return the live workflow of this name, if there is one."""
        with self._store.begin() as unit:
            return unit.workflows.named(tenant_id, normal_name(name))

    def of_name(self, tenant_id: UUID, name: str) -> SavedWorkflow | None:
        """Return the live workflow of this name, else the newest archived one."""
        archived = self.list(
            tenant_id, before=None, limit=1, name=name, statuses=[WorkflowStatus.ARCHIVED]
        )
        return self.named(tenant_id, name) or next(iter(archived), None)

    @staticmethod
    def _current(
        unit: UnitOfWork, tenant_id: UUID, workflow_id: UUID, *, lock: bool = False
    ) -> tuple[SavedWorkflow, Version]:
        saved = unit.workflows.get_workflow(tenant_id, workflow_id, lock=lock)
        version = unit.workflows.version(workflow_id, saved.version) if saved else None
        if saved is None or version is None:
            raise NotFound(f"there is no workflow {workflow_id}")
        return saved, version


def stored_plan(workflow: Workflow) -> dict[str, Any]:
    """Return what the record needs of a plan to start a run without reading the definition."""
    plan: Plan = compile_plan(workflow)
    return {
        "rows": plan.start_rows(),
        "leaves": list(plan.leaves),
        "output": plan.output,
        "timeout_s": plan.timeout_s,
    }
