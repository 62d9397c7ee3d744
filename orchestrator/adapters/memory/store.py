"""The record's front door in memory: for tests and dry runs. Nothing outlives the object."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.adapters.memory.fleet import MemoryFleet
from orchestrator.adapters.memory.moves import MemoryMoves
from orchestrator.adapters.memory.reads import MemoryReads
from orchestrator.adapters.memory.tables import Tables
from orchestrator.adapters.memory.unit_of_work import MemoryUnitOfWork
from orchestrator.ports.runtime import Clock


class MemoryStore:
    """Answers `ports.store.Store`. Safe to share between threads; a transaction holds the one lock,
    so do nothing slow inside `begin()`."""

    def __init__(self, clock: Clock) -> None:
        self._tables = Tables(clock)
        self.moves = MemoryMoves(self._tables)
        self.reads = MemoryReads(self._tables)
        self.fleet = MemoryFleet(self._tables)

    @property
    def tables(self) -> Tables:
        """The rows themselves, for tests that must bring about what no move does."""
        return self._tables

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

    def listen(self, timeout_s: float) -> bool:
        """See the port."""
        if not self._tables.bell.wait(timeout_s):
            return False
        self._tables.bell.clear()
        return True

    def close(self) -> None:
        """See the port. The rows stay readable: they live as long as the object."""
