"""A run's events as clients page through them: frames in `seq` order, and log lines among them."""

from __future__ import annotations

from typing import Any

from orchestrator.models.access.permissions import Permission
from orchestrator.models.runs.event import Kind, withheld
from orchestrator.models.runs.run import Run
from orchestrator.services.runs.log_search import LEVELS, from_level
from web.context import core, principal

_PAGE = 1000
#: Pages that one request for log lines looks through; then the client asks on.
_PAGES = 10


def frames_after(run: Run, after: int, limit: int) -> dict[str, Any]:
    """Return up to `limit` frames with `seq > after`, and where to go on.

    Of log lines only that they are there, for whoever may not read these.
    """
    events = core().store.reads.events(run.id, after=after, limit=limit)
    last = events[-1].seq if events else after
    frames = [event.frame() for event in events]
    if not principal().may(Permission.LOGS_READ, run.workflow_id):
        frames = [withheld(frame) for frame in frames]
    return {"items": frames, "next_cursor": _next(run, last)}


def lines_after(
    run: Run,
    after: int,
    limit: int,
    *,
    level: str = LEVELS[0],
    node_id: str | None = None,
    text: str | None = None,
) -> dict[str, Any]:
    """Return up to `limit` log lines that are at least as grave as `level`, and where to go on.

    `text` is part of the message, in any case.
    """
    grave, items, last = from_level(level), list[dict[str, Any]](), after
    part = (text or "").lower()
    for _ in range(_PAGES):
        events = core().store.reads.events(run.id, after=last, limit=_PAGE)
        for event in events:
            last = event.seq
            fits = event.kind is Kind.LOG and node_id in (None, event.node_id)
            fits = fits and (not grave or event.level in grave)
            if fits and part in (event.message or "").lower():
                items.append(event.frame())
                if len(items) == limit:
                    return {"items": items, "next_cursor": _next(run, last)}
        if len(events) < _PAGE:
            break
    return {"items": items, "next_cursor": _next(run, last)}


def _next(run: Run, last: int) -> int | None:
    """Return the next `after`; None when the run had ended before and nothing can follow."""
    return None if run.state.ended and last >= run.seq else last
