"""What the functions of the database return, read by name; nobody else takes their arrays apart.

They return compact arrays, since a move may tell of thousands of tasks: the names are said here
once, in the order of `jsonb_build_array` in `migrations/functions`. An array with more or fewer
fields is a TypeError. A test compares each shape with the rows that its move has written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from orchestrator.models.runs.event import Event, Kind
from orchestrator.models.runs.task import Claim
from orchestrator.ports.moves import LogLine, Moved, Release

#: To call an enumeration costs more than to look its members up.
_KINDS = {str(kind): kind for kind in Kind}


def moved(
    run_id: UUID,
    row: Mapping[str, Any] | None,
    *,
    claim_id: UUID | None = None,
    logs: Sequence[LogLine] = (),
    stored_bytes: int = 0,
) -> Moved | None:
    """Read what a move returned; `logs` are the lines that it was given. None for none."""
    if row is None:
        return None
    at = datetime.fromtimestamp(row["at"], UTC)
    return Moved(
        run_id=run_id,
        tenant_id=UUID(row["tenant"]),
        workflow_id=UUID(row["workflow"]),
        version=row["version"],
        events=(
            *(_logged(run_id, at, logs, *x) for x in row.get("logged") or ()),
            *(_event(run_id, at, *x) for x in row["events"]),
        ),
        accepted=tuple(row.get("accepted") or ()),
        settled=tuple(row.get("settled") or ()),
        claimed=tuple(_claimed(run_id, claim_id, *x) for x in row.get("claimed") or () if claim_id),
        queued=tuple(_queued(run_id, *x) for x in row.get("queued") or ()),
        ready=row.get("ready") or 0,
        open=row.get("open"),
        size=row.get("size"),
        input=row.get("input"),
        was=row.get("was"),
        stored_bytes=stored_bytes,
    )


def by_name(cursor: Any) -> list[dict[str, Any]]:
    """Read all rows of a statement by the names of its columns."""
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


# The parameters after the first ones are the fields of an array, by name and in its order: to build
# a named tuple first costs a tenth more.


def _event(
    run_id: UUID,
    at: datetime,
    seq: int,
    kind: str,
    node_id: str | None,
    map_index: int | None,
    state: str | None,
    attempt: int | None,
    data: Mapping[str, Any] | None,
) -> Event:
    return Event(
        run_id=run_id, seq=seq, kind=_KINDS[kind], at=at, node_id=node_id, map_index=map_index,
        state=state, attempt=attempt, data=data,
    )  # fmt: skip


def _logged(
    run_id: UUID,
    at: datetime,
    logs: Sequence[LogLine],
    line: int,
    seq: int,
    node_id: str,
    map_index: int | None,
    attempt: int,
) -> Event:
    """`line` is a place among the lines that the move was given."""
    said = logs[line]
    return Event(
        run_id=run_id, seq=seq, kind=Kind.LOG, at=at - timedelta(seconds=said.age_s),
        node_id=node_id, map_index=map_index, attempt=attempt, level=said.level,
        message=said.message,
    )  # fmt: skip


def _claimed(
    run_id: UUID,
    claim_id: UUID,
    task_no: int,
    attempt: int,
    losses: int,
    resumed: Mapping[str, Any] | None,
    started_s: float | None,
) -> Claim:
    """`started_s` is in seconds since 1970."""
    return Claim(
        run_id=run_id, task_no=task_no, attempt=attempt, claim_id=claim_id, losses=losses,
        resumed=resumed, started_at=datetime.fromtimestamp(started_s, UTC) if started_s else None,
    )  # fmt: skip


def _queued(run_id: UUID, task_no: int, attempt: int, queue: str, priority: int) -> Release:
    return Release(run_id=run_id, task_no=task_no, attempt=attempt, queue=queue, priority=priority)
