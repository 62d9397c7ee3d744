"""The record: its parts, and one transaction over several of them.

`Store` is what runs need, and answered by Postgres and by memory; `Record` only Postgres answers.


Every method raises `StoreUnavailable` when the record cannot be reached; then nothing was changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from orchestrator.ports.audit import Audit
from orchestrator.ports.fleet import Fleet
from orchestrator.ports.moves import Moved, Moves, NewRun
from orchestrator.ports.quotas import QuotaChecks, QuotaRecord
from orchestrator.ports.reads import Reads
from orchestrator.ports.secrets import SecretRows, VariableRows
from orchestrator.ports.workflows import Keys, Workflows


class UnitOfWork(Protocol):
    """One transaction: everything in it is stored, or nothing."""

    @property
    def workflows(self) -> Workflows:
        """Workflows and their versions."""

    @property
    def keys(self) -> Keys:
        """Idempotency keys."""

    @property
    def quotas(self) -> QuotaChecks:
        """What counts against a tenant's quotas."""

    def store_run(self, new: NewRun) -> Moved:
        """Store a run with its tasks and first events."""

    def store_rerun(self, new: NewRun, kept: Mapping[int, int]) -> Moved:
        """Store a run of `new.version` that takes tasks over from `new.origin_run_id`.

        `kept` names them: number of a task of the new run -> its number in the origin. They are as
        they ended, with their outputs; one kept in a file is said to be in the new run's file,
        named by the new number. It must hold every upstream task of its tasks, else a task would
        be taken over that depends on one that runs. All others run. An input of None is the
        origin's. IllegalMove while the origin has not ended. Roots that run are left `ready`.
        """


class Store(Protocol):
    """Workflows and their runs."""

    @property
    def moves(self) -> Moves:
        """The moves of runs and tasks."""

    @property
    def reads(self) -> Reads:
        """What people and services look at."""

    @property
    def fleet(self) -> Fleet:
        """Workers, leases, timers and backlogs."""

    @property
    def quotas(self) -> QuotaRecord:
        """What tenants may use, and what they do use."""

    def begin(self) -> AbstractContextManager[UnitOfWork]:
        """Open a transaction: it commits on a clean exit and rolls back on an error."""

    def listen(self, timeout_s: float, stop: int | None = None) -> bool:
        """Sleep until something becomes due sooner than was known (True), or the time is over.

        It may return early when `stop`, a file descriptor, becomes readable.
        """

    def close(self) -> None:
        """Give the connections back."""


class Record(Store, Protocol):
    """The record's front door: the store, and what is kept beside runs."""

    @property
    def secrets(self) -> SecretRows:
        """Secrets, sealed."""

    @property
    def variables(self) -> VariableRows:
        """Plain values by name and environment."""

    @property
    def audit(self) -> Audit:
        """Who did what: the audit log."""
