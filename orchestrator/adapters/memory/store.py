"""The record's front door in memory: for tests and dry runs. Nothing outlives the object."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.adapters.memory.audit import MemoryAudit
from orchestrator.adapters.memory.fleet import MemoryFleet
from orchestrator.adapters.memory.moves import MemoryMoves
from orchestrator.adapters.memory.quotas import MemoryQuotas
from orchestrator.adapters.memory.reads import MemoryReads
from orchestrator.adapters.memory.secrets import MemorySecrets, MemoryVariables
from orchestrator.adapters.memory.tables import Tables
from orchestrator.adapters.memory.unit_of_work import MemoryUnitOfWork
from orchestrator.models.definitions.saved import WorkflowStatus
from orchestrator.ports.acting import acting
from orchestrator.ports.moves import Moved, NewRun
from orchestrator.ports.runtime import Clock


class MemoryStore:
    """Answers `ports.store.Store`. Safe to share between threads; a transaction holds the one lock,
    so do nothing slow inside `begin()`."""

    def __init__(self, clock: Clock) -> None:
        self._tables = Tables(clock)
        self.audit = MemoryAudit(clock)
        self.moves = MemoryMoves(self._tables, self.audit, self._start)
        self.reads = MemoryReads(self._tables)
        self.fleet = MemoryFleet(self._tables)
        self.secrets = MemorySecrets(self._tables, self.audit)
        self.variables = MemoryVariables(clock, self.audit)
        self.quotas = MemoryQuotas(self._tables, self.moves)

    @property
    def tables(self) -> Tables:
        """The rows themselves, for tests that must bring about what no move does."""
        return self._tables

    def _start(self, new: NewRun) -> Moved | None:
        with self._tables.lock:
            saved = self._tables.workflows.get(new.workflow_id)
            if saved is None or (saved.tenant_id, saved.version) != (new.tenant_id, new.version):
                return None
            if saved.status is WorkflowStatus.ARCHIVED and not saved.ad_hoc:
                return None
            work, one = MemoryUnitOfWork(self._tables), acting()
            started = work.store_run(new)
            self.audit.record(one, wrote=work.wrote)
            work.commit()
            return started

    @contextmanager
    def begin(self) -> Iterator[MemoryUnitOfWork]:
        """See the port."""
        one = acting()
        with self._tables.lock:
            if one is not None:
                one.changes.clear()
            work = MemoryUnitOfWork(self._tables)
            try:
                yield work
            except BaseException:
                work.roll_back()
                raise
            self.audit.record(one, wrote=work.wrote)
            work.commit()

    def listen(self, timeout_s: float, stop: int | None = None) -> bool:
        """See the port."""
        if not self._tables.woken.wait(timeout_s):
            return False
        self._tables.woken.clear()
        return True

    def close(self) -> None:
        """See the port. The rows stay readable: they live as long as the object."""
