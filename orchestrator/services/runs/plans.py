"""Compiled plans of workflow versions, kept by a process: versions never change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from orchestrator.errors import InvalidDefinition, NotFound
from orchestrator.models.definitions.plan import Plan
from orchestrator.models.definitions.plan import compile as compile_plan
from orchestrator.ports.reads import Reads
from orchestrator.ports.store import UnitOfWork
from orchestrator.services.definitions.reading import read_stored

#: Plans a process keeps; a plan of 10,000 nodes is some 20 MB.
_KEPT = 32


class Plans:
    """Finds plans by (workflow, version). Safe to share between threads."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._kept: OrderedDict[tuple[UUID, int], Plan] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, workflow_id: UUID, version: int) -> Plan | None:
        """Return a plan that is at hand."""
        with self._lock:
            found = self._kept.get((workflow_id, version))
            if found is not None:
                self._kept.move_to_end((workflow_id, version))
            return found

    def get(self, workflow_id: UUID, version: int) -> Plan:
        """Return a version's plan. NotFound; InvalidDefinition when it can be read no more."""
        found = self.known(workflow_id, version)
        if found is not None:
            return found
        return self._read(workflow_id, version, self._reads.definition(workflow_id, version))

    def within(self, unit: UnitOfWork, workflow_id: UUID, version: int) -> Plan:
        """As `get`, on the transaction's own connection: a burst that wants two each hangs."""
        found = self.known(workflow_id, version)
        if found is not None:
            return found
        stored = unit.workflows.version(workflow_id, version)
        return self._read(workflow_id, version, stored.definition if stored else None)

    def keep(self, workflow_id: UUID, version: int, plan: Plan) -> Plan:
        """Remember a plan, and return it."""
        with self._lock:
            self._kept[workflow_id, version] = plan
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return plan

    def _read(self, workflow_id: UUID, version: int, definition: Mapping[str, Any] | None) -> Plan:
        if definition is None:
            raise NotFound(f"workflow {workflow_id} has no version {version}")
        try:
            plan = compile_plan(read_stored(definition))
        except (LookupError, TypeError, ValueError) as error:
            raise InvalidDefinition([], f"a stored definition cannot be read: {error!r}") from error
        return self.keep(workflow_id, version, plan)
