"""Log lines across runs: what a search finds in the record, and who may hear which live line."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from orchestrator.ports.log_lines import LogFilter, LogPage
from orchestrator.ports.reads import Reads

#: From the least to the most grave.
LEVELS = ("debug", "info", "warning", "error", "critical")
#: Looks at the record that one search for rare lines may take; then the client asks on.
_ROUNDS = 10
#: Seconds after which a search begins no further look: lines that are not in memory, or whose runs
#: have to be looked up, take many times as long as others.
_ENOUGH_S = 0.02
#: Runs of which a listener remembers whose they are.
_KNOWN = 10_000


def from_level(level: str) -> tuple[str, ...]:
    """Return the levels at least as grave as `level`; for the least, none: no filter at all."""
    return LEVELS[LEVELS.index(level) :] if level != LEVELS[0] else ()


def search(
    reads: Reads, wanted: LogFilter, *, clock: Callable[[], float] = time.monotonic
) -> LogPage:
    """Return lines, newest first, from as much of the record as one request may look at."""
    began = clock()
    found = reads.log_lines(wanted)
    lines, place = found.lines, found.place
    for _ in range(_ROUNDS - 1):
        left = wanted.limit - len(lines)
        if place is None or left <= 0 or clock() - began > _ENOUGH_S:
            break
        found = reads.log_lines(replace(wanted, before=place, limit=left))
        lines, place = lines + found.lines, found.place
    return LogPage(lines=lines, place=place)


def _is_id(text: object) -> bool:
    """False for what is no run's id: anything may be published to a Redis."""
    try:
        return isinstance(text, str) and str(UUID(text)) == text
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which live lines a listener wants; None and empty filter nothing."""

    tenant_id: UUID
    run_id: UUID | None = None
    workflow_id: UUID | None = None
    #: Only of runs of these workflows, whatever else is asked; None: of all.
    among: frozenset[UUID] | None = None
    node_id: str | None = None
    levels: tuple[str, ...] = ()
    text: str | None = None


class LineMatcher:
    """Lets through the log frames of one listener's tenant that fit. For one thread."""

    def __init__(self, reads: Reads, wanted: Wanted) -> None:
        self._reads = reads
        self._wanted = wanted
        self._text = (wanted.text or "").lower()
        self._mine: OrderedDict[str, bool] = OrderedDict()

    def fitting(self, frames: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the frames to send. StoreUnavailable where a run is new and the record away."""
        found = [dict(frame) for frame in frames if self._fits(frame)]
        self._learn({frame["run_id"] for frame in found} - self._mine.keys())
        return [frame for frame in found if self._mine.get(frame["run_id"])]

    def _fits(self, frame: Mapping[str, Any]) -> bool:
        wanted = self._wanted
        return (
            frame.get("kind") == "log"
            and _is_id(frame.get("run_id"))
            and wanted.node_id in (None, frame.get("node_id"))
            and (not wanted.levels or frame.get("level") in wanted.levels)
            and self._text in str(frame.get("message", "")).lower()
        )

    def _learn(self, new: set[str]) -> None:
        if not new:
            return
        owners = self._reads.owners([UUID(text) for text in new])
        for text in new:
            tenant_id, workflow_id = owners.get(UUID(text), (None, None))
            self._mine[text] = (
                tenant_id == self._wanted.tenant_id
                and self._wanted.run_id in (None, UUID(text))
                and self._wanted.workflow_id in (None, workflow_id)
                and (self._wanted.among is None or workflow_id in self._wanted.among)
            )
        while len(self._mine) > _KNOWN:
            self._mine.popitem(last=False)
