"""One recorded move or log line of a run, and the frame that clients see of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class Kind(StrEnum):
    """What an event tells of."""

    RUN = "run"
    TASK = "task"
    LOG = "log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An immutable line of a run's history. `seq` counts from 1 without gaps, in commit order."""

    run_id: UUID
    seq: int
    kind: Kind
    at: datetime
    node_id: str | None = None
    map_index: int | None = None
    state: str | None = None
    attempt: int | None = None
    level: str | None = None
    message: str | None = None
    #: More about the move: error {code, message}, reason, delay_s, worker.
    data: Mapping[str, Any] | None = None

    def frame(self) -> dict[str, Any]:
        """Return the JSON frame of the socket and of `GET /runs/{id}/events`."""
        frame: dict[str, Any] = {
            "seq": self.seq,
            "kind": str(self.kind),
            "run_id": str(self.run_id),
        }
        if self.kind is Kind.LOG:
            frame |= {"node_id": self.node_id, "map_index": self.map_index}
            frame |= {"attempt": self.attempt, "level": self.level, "message": self.message}
        elif self.kind is Kind.TASK:
            frame |= {"node_id": self.node_id, "map_index": self.map_index}
            frame |= {"state": self.state, "attempt": self.attempt}
        else:
            frame["state"] = self.state
        if self.data:
            frame |= self.data
        frame["at"] = rfc3339(self.at)
        return frame


def withheld(frame: Mapping[str, Any]) -> dict[str, Any]:
    """Return a frame as whoever may not read log lines sees it: of a line only that there is one.

    Its `seq` stays, so that a reader misses nothing and can tell where it is.
    """
    if frame["kind"] != Kind.LOG:
        return dict(frame)
    names = ("seq", "kind", "run_id", "node_id", "map_index", "attempt", "at")
    return {name: frame[name] for name in names if name in frame} | {"withheld": True}


def moment(at: datetime | None) -> str | None:
    """Return a time as it leaves the product, if there is one."""
    return None if at is None else rfc3339(at)


def took_ms(started_at: datetime | None, finished_at: datetime | None) -> int | None:
    """Return the milliseconds from a start to its end; None while one of them is missing."""
    if started_at is None or finished_at is None:
        return None
    return max(0, round((finished_at - started_at).total_seconds() * 1000))


def rfc3339(at: datetime) -> str:
    """Return UTC with milliseconds and a Z, the only time format that leaves the product."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
