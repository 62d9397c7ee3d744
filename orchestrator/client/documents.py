"""The documents of the HTTP API, as far as a client relies on their fields."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class WorkflowDoc(TypedDict):
    """A saved workflow, with its definition beside these fields where one was asked for."""

    id: str
    name: str
    version: int
    status: str
    description: NotRequired[str]
    created_at: NotRequired[str]
    updated_at: NotRequired[str]
    nodes: NotRequired[list[dict[str, Any]]]


class WhyDoc(TypedDict):
    """Why a run has not ended, as `GET /runs/{id}/why` tells: causes first."""

    run_id: str
    state: str
    reasons: list[dict[str, Any]]
    more: bool


class RunDoc(TypedDict):
    """A run, as `GET /runs/{id}` tells of it."""

    id: str
    workflow_id: str
    workflow_name: NotRequired[str]
    version: int
    state: str
    trigger: str
    input: NotRequired[Any]
    output: NotRequired[Any]
    error: NotRequired[dict[str, Any] | None]
    created_at: str
    started_at: str | None
    finished_at: str | None
    duration_ms: int | None
    counts: NotRequired[dict[str, int]]
    seq: NotRequired[int]


class TaskDoc(TypedDict):
    """A task, as `GET /runs/{id}/tasks` tells of it."""

    node_id: str
    map_index: int | None
    type: str
    state: str
    attempt: int
    max_attempts: int
    duration_ms: int | None
    worker: NotRequired[str | None]
    output: NotRequired[Any]
    error: NotRequired[dict[str, Any] | None]


class ArtifactDoc(TypedDict):
    """A file that a run left behind."""

    name: str
    content_type: str
    size_bytes: int
    node_id: str | None
