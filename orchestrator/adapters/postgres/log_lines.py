"""Log lines across runs, newest first: two statements that never look at more than `scan` lines."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select, tuple_

from orchestrator.adapters.postgres.tables import events, runs
from orchestrator.models.ids import lowest_uuid7
from orchestrator.models.runs.event import Event, Kind
from orchestrator.ports.log_lines import LinePlace, LogFilter, LogPage

_PLACE = (events.c.at, events.c.run_id, events.c.seq)
_NEWEST_FIRST = tuple(column.desc() for column in _PLACE)
_COLUMNS = tuple(c for c in events.c if c.name != "tenant_id")
#: By a look-up for each line: of a join the planner may first gather all of a workflow's runs.
_its_workflow = select(runs.c.workflow_id).where(runs.c.id == events.c.run_id).scalar_subquery()


def log_lines(connection: Connection, wanted: LogFilter) -> LogPage:
    """Return a page. The end of what is looked at comes from the index `ix_events_logs` alone."""
    if wanted.limit < 1:
        return LogPage(lines=(), place=wanted.before)
    looked_at = _looked_at(wanted)
    last = connection.execute(
        select(*_PLACE).where(looked_at).order_by(*_NEWEST_FIRST).offset(wanted.scan - 1).limit(1)
    ).one_or_none()
    fits = and_(looked_at, *_fits(wanted))
    if last is not None:
        fits = and_(fits, tuple_(*_PLACE) >= tuple_(*last))
    rows = connection.execute(
        select(*_COLUMNS).where(fits).order_by(*_NEWEST_FIRST).limit(wanted.limit)
    )
    lines = tuple(_event(row) for row in rows.mappings())
    place: LinePlace | None = None
    if len(lines) == wanted.limit:
        place = lines[-1].at, lines[-1].run_id, lines[-1].seq
    elif last is not None:
        place = last.at, last.run_id, last.seq
    return LogPage(lines=lines, place=place)


def _looked_at(wanted: LogFilter) -> ColumnElement[bool]:
    """What the index bounds: whose lines, when, and after which place."""
    found = [events.c.tenant_id == wanted.tenant_id, events.c.kind == str(Kind.LOG)]
    if wanted.run_ids:
        found.append(events.c.run_id.in_(wanted.run_ids))
    if wanted.since:
        found.append(events.c.at >= wanted.since)
    if wanted.until:
        # A run begins before its lines (with room for clocks): later partitions stay closed.
        began = events.c.run_id < lowest_uuid7(wanted.until + timedelta(hours=1))
        found += [events.c.at < wanted.until, began]
    if wanted.before:
        found.append(tuple_(*_PLACE) < tuple_(*wanted.before))
    return and_(*found)


def _fits(wanted: LogFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.node_id is not None:
        found.append(events.c.node_id == wanted.node_id)
    if wanted.levels:
        found.append(events.c.level.in_(wanted.levels))
    if wanted.text:
        found.append(events.c.message.icontains(wanted.text, autoescape=True))
    if wanted.workflow_id:
        found.append(_its_workflow == wanted.workflow_id)
    if wanted.among is not None:
        found.append(_its_workflow.in_(wanted.among))
    return found


def _event(row: Any) -> Event:
    return Event(**{**row, "kind": Kind(row["kind"])})
