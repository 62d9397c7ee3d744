"""What people and services look at of runs; never a lock, never a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from orchestrator.models.runs.event import Event
from orchestrator.models.runs.run import Run, RunState, Trigger
from orchestrator.models.runs.task import Task
from orchestrator.ports.log_lines import LogFilter, LogPage


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs to list, newest first. `before` is the id after which the last page ended."""

    tenant_id: UUID
    workflow_id: UUID | None = None
    #: Only runs of these workflows, whatever else is asked; None: of all.
    among: frozenset[UUID] | None = None
    states: tuple[RunState, ...] = ()
    trigger: Trigger | None = None
    since: datetime | None = None
    until: datetime | None = None
    #: The run carries all of these.
    tags: tuple[str, ...] = ()
    before: UUID | None = None
    limit: int = 50


class Reads(Protocol):
    """What people and services look at; never a lock, never a change."""

    def run(self, tenant_id: UUID, run_id: UUID) -> Run | None:
        """Return one run with its counts."""

    def runs(self, wanted: RunFilter) -> list[Run]:
        """Return a page of runs, newest first, without their input and output."""

    def tasks(
        self, run_id: UUID, *, after: int = -1, limit: int = 200, node_id: str | None = None
    ) -> list[Task]:
        """Return tasks in `task_no` order."""

    def events(self, run_id: UUID, *, after: int, limit: int) -> list[Event]:
        """Return events with `seq > after`, in order and without gaps."""

    def log_lines(self, wanted: LogFilter) -> LogPage:
        """Return log lines of all runs of a tenant, newest first."""

    def owners(self, run_ids: Sequence[UUID]) -> dict[UUID, tuple[UUID, UUID]]:
        """Return (tenant, workflow) of each of the runs that is there."""

    def attempts(self, run_id: UUID, task_no: int) -> list[Mapping[str, Any]]:
        """Return the past attempts of a task, oldest first."""

    def outputs(self, run_id: UUID, task_nos: Sequence[int]) -> dict[int, Any]:
        """Return the outputs of those of the tasks that succeeded."""

    def large_outputs(self, run_id: UUID) -> dict[int, str]:
        """Return the files of the run that outputs are kept in, by `task_no`."""

    def input(self, run_id: UUID) -> Any:
        """Return the input of a run; None for an unknown one."""

    def pinned(self, run_id: UUID) -> tuple[UUID, int] | None:
        """Return the (workflow, version) a run is pinned to; None for an unknown one."""

    def unfinished(self, run_id: UUID) -> tuple[UUID, int] | None:
        """Return what `pinned` does, for a run that has not ended; None for one that has."""

    def unstarted(self, run_id: UUID) -> int | None:
        """Return the number of tasks of a run none of which has been touched; else None.

        A run that took over tasks of another one has reported parts: its chord is not reopened.
        """

    def definition(self, workflow_id: UUID, version: int) -> Mapping[str, Any] | None:
        """Return a version's definition; it never changes, so keep it."""

    def ping(self) -> int:
        """Return the record's schema revision number; raises when it cannot be reached."""
