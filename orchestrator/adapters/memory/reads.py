"""What people and services look at, read from memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from orchestrator.adapters.memory.tables import RunRow, Tables, unpack
from orchestrator.models.ids import lowest_uuid7
from orchestrator.models.runs.event import Event, Kind
from orchestrator.models.runs.large_output import file_of
from orchestrator.models.runs.run import Run, RunState
from orchestrator.models.runs.task import Task, TaskState
from orchestrator.ports.log_lines import LinePlace, LogFilter, LogPage
from orchestrator.ports.reads import RunFilter

#: There is no schema to migrate here: it fits every release.
REVISION = 9999


class MemoryReads:
    """Answers `ports.reads.Reads`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def run(self, tenant_id: UUID, run_id: UUID) -> Run | None:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
            if run is None or run.tenant_id != tenant_id:
                return None
            return self._read(run, large=True)

    def runs(self, wanted: RunFilter) -> list[Run]:
        """See the port."""
        with self._tables.lock:
            found = [r for r in self._tables.runs.values() if _matches(r, wanted)]
            found.sort(key=lambda r: r.id, reverse=True)
            return [self._read(r, large=False) for r in found[: wanted.limit]]

    def _read(self, run: RunRow, *, large: bool) -> Run:
        return run.read(self._tables.workflows[run.workflow_id].name, large=large)

    def tasks(
        self, run_id: UUID, *, after: int = -1, limit: int = 200, node_id: str | None = None
    ) -> list[Task]:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
            rows = sorted(run.tasks.values(), key=lambda t: t.task_no) if run else []
            found = [t for t in rows if t.task_no > after and node_id in (None, t.node_id)]
            return [t.read(run_id, self._tables.worker_name(t.worker_id)) for t in found[:limit]]

    def events(self, run_id: UUID, *, after: int, limit: int) -> list[Event]:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
            start = max(0, after)
            return run.events[start : start + limit] if run else []

    def log_lines(self, wanted: LogFilter) -> LogPage:
        """See the port."""
        with self._tables.lock:
            runs = [r for r in self._tables.runs.values() if r.tenant_id == wanted.tenant_id]
            lines = [
                (_place(event), run, event)
                for run in runs
                if not wanted.run_ids or run.id in wanted.run_ids
                for event in run.events
                if event.kind is Kind.LOG
            ]
        lines.sort(key=lambda line: line[0], reverse=True)
        looked_at = [line for line in lines if _in_time(line[2], wanted)]
        if wanted.before is not None:
            looked_at = [line for line in looked_at if line[0] < wanted.before]
        more, looked_at = len(looked_at) >= wanted.scan, looked_at[: wanted.scan]
        found = [event for _, run, event in looked_at if _fits(run, event, wanted)][: wanted.limit]
        place = looked_at[-1][0] if more else None
        if len(found) == wanted.limit:
            place = _place(found[-1]) if found else wanted.before
        return LogPage(lines=tuple(found), place=place)

    def owners(self, run_ids: Sequence[UUID]) -> dict[UUID, tuple[UUID, UUID]]:
        """See the port."""
        with self._tables.lock:
            found = (self._tables.runs.get(run_id) for run_id in run_ids)
            return {run.id: (run.tenant_id, run.workflow_id) for run in found if run}

    def attempts(self, run_id: UUID, task_no: int) -> list[Mapping[str, Any]]:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
            rows = [a for a in run.attempts if a.task_no == task_no] if run else []
            return [
                {
                    "attempt": row.attempt,
                    "state": row.state,
                    "queued_at": row.queued_at,
                    "started_at": row.started_at,
                    "finished_at": row.finished_at,
                    "error": unpack(row.error),
                    "worker": self._tables.worker_name(row.worker_id),
                }
                for row in rows
            ]

    def outputs(self, run_id: UUID, task_nos: Sequence[int]) -> dict[int, Any]:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
            found = (run.tasks[no] for no in task_nos if no in run.tasks) if run else ()
            return {t.task_no: unpack(t.output) for t in found if t.state is TaskState.SUCCEEDED}

    def large_outputs(self, run_id: UUID) -> dict[int, str]:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
            tasks = list(run.tasks.values()) if run else []
            named = ((t.task_no, file_of(run_id, unpack(t.output))) for t in tasks)
            return {no: name for no, name in named if name is not None}

    def input(self, run_id: UUID) -> Any:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
        return unpack(run.input) if run else None

    def pinned(self, run_id: UUID) -> tuple[UUID, int] | None:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
        return (run.workflow_id, run.version) if run else None

    def unfinished(self, run_id: UUID) -> tuple[UUID, int] | None:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
            return (run.workflow_id, run.version) if run and run.finished_at is None else None

    def unstarted(self, run_id: UUID) -> int | None:
        """See the port."""
        with self._tables.lock:
            run = self._tables.runs.get(run_id)
            fresh = run and run.state is RunState.QUEUED and run.origin_run_id is None
            return run.open if run and fresh else None

    def definition(self, workflow_id: UUID, version: int) -> Mapping[str, Any] | None:
        """See the port."""
        with self._tables.lock:
            row = self._tables.versions.get((workflow_id, version))
        found: Mapping[str, Any] | None = unpack(row.definition) if row else None
        return found

    def ping(self) -> int:
        """See the port."""
        return REVISION


def _place(event: Event) -> LinePlace:
    return event.at, event.run_id, event.seq


def _in_time(event: Event, wanted: LogFilter) -> bool:
    late = wanted.until is not None and event.at >= wanted.until
    return not late and (wanted.since is None or event.at >= wanted.since)


def _fits(run: RunRow, event: Event, wanted: LogFilter) -> bool:
    return (
        wanted.workflow_id in (None, run.workflow_id)
        and (wanted.among is None or run.workflow_id in wanted.among)
        and wanted.node_id in (None, event.node_id)
        and (not wanted.levels or event.level in wanted.levels)
        and (not wanted.text or wanted.text.lower() in (event.message or "").lower())
    )


def _matches(run: RunRow, wanted: RunFilter) -> bool:
    return (
        run.tenant_id == wanted.tenant_id
        and wanted.workflow_id in (None, run.workflow_id)
        and (wanted.among is None or run.workflow_id in wanted.among)
        and (not wanted.states or run.state in wanted.states)
        and wanted.trigger in (None, run.trigger)
        and (wanted.since is None or run.id >= lowest_uuid7(wanted.since))
        and (wanted.until is None or run.id < lowest_uuid7(wanted.until))
        and set(wanted.tags) <= set(run.tags)
        and (wanted.before is None or run.id < wanted.before)
    )
