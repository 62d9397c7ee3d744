"""What a client sees of workflows, runs, tasks and events: typed values, read from documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from orchestrator.models.runs.run import ENDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A workflow as the server keeps it; `version` is the newest."""

    id: str
    name: str
    version: int
    status: str

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read the API's document."""
        names = ("id", "name", "version", "status")
        return cls(**{name: document[name] for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as it stood when it was read; read it again for news."""

    id: str
    workflow_id: str
    workflow_name: str
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

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read the API's document."""
        plain = (
            "id", "workflow_id", "version", "state", "trigger", "input", "output", "error",
            "origin_run_id", "duration_ms",
        )  # fmt: skip
        return cls(
            **{name: document.get(name) for name in plain},  # type: ignore[arg-type]
            workflow_name=document.get("workflow_name") or "",
            tags=tuple(document.get("tags") or ()),
            created_at=datetime.fromisoformat(document["created_at"]),
            started_at=_moment(document.get("started_at")),
            finished_at=_moment(document.get("finished_at")),
            counts=dict(document.get("counts") or {}),
            seq=document.get("seq") or 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
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

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read the API's document."""
        plain = (
            "run_id", "node_id", "map_index", "type", "state", "attempt", "max_attempts", "reason",
            "output", "error", "worker", "duration_ms",
        )  # fmt: skip
        return cls(
            **{name: document.get(name) for name in plain},  # type: ignore[arg-type]
            started_at=_moment(document.get("started_at")),
            finished_at=_moment(document.get("finished_at")),
        )


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
class Artifact:
    """A file that a run left behind; `node_id` says which node."""

    name: str
    content_type: str
    size_bytes: int
    node_id: str | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read the API's document."""
        names = ("name", "content_type", "size_bytes", "node_id")
        return cls(**{name: document.get(name) for name in names})  # type: ignore[arg-type]


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
