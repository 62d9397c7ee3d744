"""Which log lines people look for, and a page of them. What answers is `store.Reads`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from orchestrator.models.runs.event import Event

#: Where a page of log lines ended: (at, run, seq) of its last line.
LinePlace = tuple[datetime, UUID, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Which log lines to list, newest first. Empty tuples and None filter nothing."""

    tenant_id: UUID
    run_ids: tuple[UUID, ...] = ()
    workflow_id: UUID | None = None
    #: Only lines of runs of these workflows, whatever else is asked; None: of all.
    among: frozenset[UUID] | None = None
    node_id: str | None = None
    levels: tuple[str, ...] = ()
    #: Part of the message, in any case.
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: LinePlace | None = None
    limit: int = 100
    #: The most lines that one call looks at: a rare word must not read a whole history.
    scan: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Log lines, newest first. `place` is where the next page goes on; None at the oldest line.

    A page may be empty and still have a `place`: what was looked at did not fit.
    """

    lines: tuple[Event, ...]
    place: LinePlace | None
