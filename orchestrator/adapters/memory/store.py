"""The store in memory: for dry runs, tests of users, and as the oracle of the state machine.

Nothing outlives the object. Nobody has a quota here, and nothing is audited.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.adapters.memory.fleet import MemoryFleet
from orchestrator.adapters.memory.moves import MemoryMoves
from orchestrator.adapters.memory.quotas import NoQuotas
from orchestrator.adapters.memory.reads import MemoryReads
from orchestrator.adapters.memory.tables import Tables
from orchestrator.adapters.memory.unit_of_work import MemoryUnitOfWork
from orchestrator.models.definitions.saved import WorkflowStatus
from orchestrator.ports.moves import Moved, NewRun
from orchestrator.ports.runtime import Clock


class MemoryStore:
    """Answers `ports.store.Store`. Safe to share between threads; a transaction holds the one lock,
    so do nothing slow inside `begin()`."""

    def __init__(self, clock: Clock) -> None:
        self._tables = Tables(clock)
        self.moves = MemoryMoves(self._tables, self._start)
        self.reads = MemoryReads(self._tables)
        self.fleet = MemoryFleet(self._tables)
        self.quotas = NoQuotas()

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
            work = MemoryUnitOfWork(self._tables)
            started = work.store_run(new)
            work.commit()
            return started

    @contextmanager
    def begin(self) -> Iterator[MemoryUnitOfWork]:
        """See the port."""
        with self._tables.lock:
            work = MemoryUnitOfWork(self._tables)
            try:
                yield work
            except BaseException:
                work.roll_back()
                raise
            work.commit()

    def listen(self, timeout_s: float, stop: int | None = None) -> bool:
        """See the port."""
        if not self._tables.woken.wait(timeout_s):
            return False
        self._tables.woken.clear()
        return True

    def close(self) -> None:
        """See the port. The rows stay readable: they live as long as the object."""
