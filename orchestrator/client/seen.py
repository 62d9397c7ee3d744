"""What a client sees of workflows, runs, tasks and events: typed values, read from documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from typing import Any, Self

from orchestrator.models.runs.run import ENDS


class _Document:
    """A value that is read from a document of the API."""

    __slots__ = ()

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read the API's document; what the server does not tell keeps its default."""
        found: dict[str, Any] = {}
        for each in fields(cls):  # type: ignore[arg-type]
            value: Any = document.get(each.name)
            if value is None and not (each.default is MISSING and each.default_factory is MISSING):
                continue
            if each.name.endswith("_at"):
                value = _moment(value)
            found[each.name] = tuple(value) if each.name == "tags" else value
        return cls(**found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved(_Document):
    """A workflow as the server keeps it; `version` is the newest."""

    id: str
    name: str
    version: int
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(_Document):
    """A run as it stood when it was read; read it again for news."""

    id: str
    workflow_id: str
    workflow_name: str = ""
    version: int
    state: str
    trigger: str
    input: Any = None
    output: Any = None
    error: Mapping[str, Any] | None = None
    tags: tuple[str, ...] = ()
    origin_run_id: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_ms: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    #: Number of its last event.
    seq: int = 0

    @property
    def ended(self) -> bool:
        """Whether it has come to its end; it never moves again then."""
        return self.state in ENDS

    @property
    def succeeded(self) -> bool:
        """Whether every task succeeded or was skipped."""
        return self.state == "succeeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(_Document):
    """One node inside one run, as it stood when it was read."""

    run_id: str
    node_id: str
    map_index: int | None
    type: str
    state: str
    attempt: int
    max_attempts: int
    reason: str | None = None
    output: Any = None
    error: Mapping[str, Any] | None = None
    worker: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A move or a log line of a run; `kind` is `run`, `task`, `log`, or `gap`.

    A line that one may not read has no level and no message, and `withheld` in its frame.
    A gap stands for events that retention has dropped: `seq` is the last of them.
    """

    seq: int
    kind: str
    at: datetime | None = None
    node_id: str | None = None
    map_index: int | None = None
    state: str | None = None
    attempt: int | None = None
    level: str | None = None
    message: str | None = None
    #: The whole frame, with what else is known: error, reason, delay_s, worker.
    frame: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: Mapping[str, Any]) -> Self:
        """Read a frame of the socket."""
        names = ("node_id", "map_index", "state", "attempt", "level", "message")
        return cls(
            **{name: frame.get(name) for name in names},
            seq=frame["to"] if frame["kind"] == "gap" else frame["seq"],
            kind=frame["kind"],
            at=_moment(frame.get("at")),
            frame=dict(frame),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact(_Document):
    """A file that a run left behind; `node_id` says which node."""

    name: str
    content_type: str
    size_bytes: int
    node_id: str | None = None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
