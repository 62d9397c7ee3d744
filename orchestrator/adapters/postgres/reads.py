"""What people and services look at, by SQLAlchemy Core; never a lock, never a change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Column, ColumnElement, Select, Table, Text, cast, func, select, text

from orchestrator.adapters.postgres.connections.pool import Pool, guarded
from orchestrator.adapters.postgres.log_lines import log_lines
from orchestrator.adapters.postgres.tables import (
    attempts,
    events,
    run_counters,
    run_tags,
    runs,
    tasks,
    workflow_versions,
    workflows,
)
from orchestrator.adapters.postgres.tables import workers as worker_table
from orchestrator.models.ids import lowest_uuid7
from orchestrator.models.runs.event import Event, Kind
from orchestrator.models.runs.large_output import file_of
from orchestrator.models.runs.run import Run, RunState, Trigger
from orchestrator.models.runs.task import Task, TaskState
from orchestrator.ports.log_lines import LogFilter, LogPage
from orchestrator.ports.reads import RunFilter

_LARGE = (runs.c.input, runs.c.output)


class PostgresReads:
    """Answers `ports.reads.Reads`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def _all(self, statement: Select[Any]) -> list[Mapping[str, Any]]:
        with guarded(), self._pool.engine.connect() as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]

    def run(self, tenant_id: UUID, run_id: UUID) -> Run | None:
        """See the port."""
        found = self._all(
            select(*_RUN_COLUMNS, *_LARGE).where(runs.c.id == run_id, runs.c.tenant_id == tenant_id)
        )
        return self._runs(found)[0] if found else None

    def runs(self, wanted: RunFilter) -> list[Run]:
        """See the port."""
        query = select(*_RUN_COLUMNS).where(*_asked_for(wanted))
        if wanted.tags:
            query = select(*_RUN_COLUMNS).where(
                runs.c.tenant_id == wanted.tenant_id, runs.c.id.in_(_with_tags(wanted))
            )
        return self._runs(self._all(query.order_by(runs.c.id.desc()).limit(wanted.limit)))

    def _runs(self, rows: Sequence[Mapping[str, Any]]) -> list[Run]:
        counts = self._counts([row["id"] for row in rows])
        return [
            Run(
                **{
                    "input": None,
                    "output": None,
                    **row,
                    "state": RunState(row["state"]),
                    "trigger": Trigger(row["trigger"]),
                    "tags": tuple(row["tags"]),
                    "counts": counts[row["id"]],
                }
            )
            for row in rows
        ]

    def _counts(self, run_ids: Sequence[UUID]) -> dict[UUID, dict[str, int]]:
        found: dict[UUID, dict[str, int]] = defaultdict(dict)
        if run_ids:
            rows = self._all(
                select(tasks.c.run_id, tasks.c.state, func.count().label("n"))
                .where(tasks.c.run_id.in_(run_ids))
                .group_by(tasks.c.run_id, tasks.c.state)
            )
            for row in rows:
                found[row["run_id"]][row["state"]] = row["n"]
        return found

    def tasks(
        self, run_id: UUID, *, after: int = -1, limit: int = 200, node_id: str | None = None
    ) -> list[Task]:
        """See the port."""
        query = (
            select(*_TASK_COLUMNS, worker_table.c.name.label("worker"))
            .outerjoin(worker_table, worker_table.c.id == tasks.c.worker_id)
            .where(tasks.c.run_id == run_id, tasks.c.task_no > after)
        )
        if node_id is not None:
            query = query.where(tasks.c.node_id == node_id)
        rows = self._all(query.order_by(tasks.c.task_no).limit(limit))
        return [Task(**{**row, "state": TaskState(row["state"])}) for row in rows]

    def events(self, run_id: UUID, *, after: int, limit: int) -> list[Event]:
        """See the port."""
        rows = self._all(
            select(*(c for c in events.c if c.name != "tenant_id"))
            .where(events.c.run_id == run_id, events.c.seq > after)
            .order_by(events.c.seq)
            .limit(limit)
        )
        return [Event(**{**row, "kind": Kind(row["kind"])}) for row in rows]

    def log_lines(self, wanted: LogFilter) -> LogPage:
        """See the port."""
        with guarded(), self._pool.engine.connect() as connection:
            return log_lines(connection, wanted)

    def owners(self, run_ids: Sequence[UUID]) -> dict[UUID, tuple[UUID, UUID]]:
        """See the port."""
        if not run_ids:
            return {}
        rows = self._all(
            select(runs.c.id, runs.c.tenant_id, runs.c.workflow_id).where(runs.c.id.in_(run_ids))
        )
        return {row["id"]: (row["tenant_id"], row["workflow_id"]) for row in rows}

    def attempts(self, run_id: UUID, task_no: int) -> list[Mapping[str, Any]]:
        """See the port."""
        return self._all(
            select(
                attempts.c.attempt,
                attempts.c.state,
                attempts.c.queued_at,
                attempts.c.started_at,
                attempts.c.finished_at,
                attempts.c.error,
                worker_table.c.name.label("worker"),
            )
            .outerjoin(worker_table, worker_table.c.id == attempts.c.worker_id)
            .where(attempts.c.run_id == run_id, attempts.c.task_no == task_no)
            .order_by(attempts.c.attempt)
        )

    def outputs(self, run_id: UUID, task_nos: Sequence[int]) -> dict[int, Any]:
        """See the port."""
        if not task_nos:
            return {}
        with self._pool.cursor() as cursor:
            cursor.execute(
                "SELECT task_no, output FROM tasks"
                " WHERE run_id = %s AND task_no = ANY (%s) AND state = 'succeeded'",
                (run_id, list(task_nos)),
            )
            return dict(cursor.fetchall())

    def large_outputs(self, run_id: UUID) -> dict[int, str]:
        """See the port."""
        with self._pool.cursor() as cursor:
            cursor.execute(
                "SELECT task_no, output FROM tasks WHERE run_id = %s AND output ? '$artifact'",
                (run_id,),
            )
            named = ((no, file_of(run_id, output)) for no, output in cursor.fetchall())
            return {no: name for no, name in named if name is not None}

    def input(self, run_id: UUID) -> Any:
        """See the port."""
        rows = self._all(select(runs.c.input).where(runs.c.id == run_id))
        return rows[0]["input"] if rows else None

    def pinned(self, run_id: UUID) -> tuple[UUID, int] | None:
        """See the port."""
        return self._pinned(runs.c.id == run_id)

    def unfinished(self, run_id: UUID) -> tuple[UUID, int] | None:
        """See the port."""
        return self._pinned(runs.c.id == run_id, runs.c.finished_at.is_(None))

    def _pinned(self, *where: ColumnElement[bool]) -> tuple[UUID, int] | None:
        rows = self._all(select(runs.c.workflow_id, runs.c.version).where(*where))
        return (rows[0]["workflow_id"], rows[0]["version"]) if rows else None

    def unstarted(self, run_id: UUID) -> int | None:
        """See the port."""
        rows = self._all(
            select(run_counters.c.open)
            .join(runs, runs.c.id == run_counters.c.run_id)
            .where(
                runs.c.id == run_id,
                runs.c.state == str(RunState.QUEUED),
                runs.c.origin_run_id.is_(None),
            )
        )
        return rows[0]["open"] if rows else None

    def definition(self, workflow_id: UUID, version: int) -> Mapping[str, Any] | None:
        """See the port."""
        rows = self._all(
            select(workflow_versions.c.definition).where(
                workflow_versions.c.workflow_id == workflow_id,
                workflow_versions.c.version == version,
            )
        )
        found: Iterable[Mapping[str, Any]] = (row["definition"] for row in rows)
        return next(iter(found), None)

    def ping(self) -> int:
        """See the port."""
        with guarded(), self._pool.engine.connect() as connection:
            return int(
                connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
            )


def _asked_for(wanted: RunFilter) -> Iterator[ColumnElement[bool]]:
    """What a filter asks of runs, their tags left out."""
    yield runs.c.tenant_id == wanted.tenant_id
    if wanted.workflow_id:
        yield runs.c.workflow_id == wanted.workflow_id
    if wanted.among is not None:
        yield runs.c.workflow_id.in_(wanted.among)
    if wanted.states:
        yield runs.c.state.in_([str(s) for s in wanted.states])
    if wanted.trigger:
        yield runs.c.trigger == str(wanted.trigger)
    yield from _within(runs.c.id, wanted)


def _within(run_id: ColumnElement[UUID], wanted: RunFilter) -> Iterator[ColumnElement[bool]]:
    """Bounds of a run's id; the planner does not carry them from one table to another."""
    if wanted.since:
        yield run_id >= lowest_uuid7(wanted.since)
    if wanted.until:
        yield run_id < lowest_uuid7(wanted.until)
    if wanted.before:
        yield run_id < wanted.before


def _with_tags(wanted: RunFilter) -> Select[Any]:
    """Return the ids of a page of runs that carry all tags.

    Nothing but ids, so that the lists of tags, states and workflows meet within their indexes; all
    of them are in the order of the page, so that it ends when it is full. Runs themselves come in
    only where more than tags is asked of them: else the planner may walk along all of them.
    """
    tags = list(dict.fromkeys(wanted.tags))
    lists = [run_tags.alias() for _ in tags[:_JOINED]]
    ids = lists[0].c.run_id
    query = select(ids)
    for one, tag in zip(lists, tags, strict=False):
        if one is not lists[0]:
            query = query.join(one, one.c.run_id == ids)
        query = query.where(one.c.tenant_id == wanted.tenant_id, one.c.tag == tag)
        query = query.where(*_within(one.c.run_id, wanted))
    more = [wanted.workflow_id, wanted.states, wanted.trigger, tags[_JOINED:]]
    if any(more) or wanted.among is not None:
        query = query.join(runs, runs.c.id == ids).where(*_asked_for(wanted))
    if len(tags) > _JOINED:
        query = query.where(runs.c.tags.op("@>")(cast(tags, ARRAY(Text))))
    return query.order_by(ids.desc()).limit(wanted.limit)


#: Tags whose lists are joined; each more doubles the time of planning, so others are looked at.
_JOINED = 4


def _shared(table: Table, model: type) -> list[Column[Any]]:
    """Return the columns that a model has a field for."""
    names = {each.name for each in fields(model)}
    return [column for column in table.c if column.name in names]


_TASK_COLUMNS = _shared(tasks, Task)
#: What is kept elsewhere comes by look-ups: behind their policies, joined tables let the planner
#: expect so few rows that it walks through all workflows, or sorts all runs of the tenant.
_NAME = select(workflows.c.name).where(workflows.c.id == runs.c.workflow_id).scalar_subquery()
_SEQ = select(run_counters.c.seq).where(run_counters.c.run_id == runs.c.id).scalar_subquery()
_RUN_COLUMNS = (
    *(column for column in _shared(runs, Run) if column.name not in {"input", "output"}),
    _NAME.label("workflow_name"),
    _SEQ.label("seq"),
)
