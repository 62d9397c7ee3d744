"""The documents of the HTTP API, as far as a client relies on their fields."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

#: An event of a run: `seq`, `kind` (run, task, log, gap), and what belongs to the kind.
Frame = dict[str, Any]


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
    edges: NotRequired[list[dict[str, Any]]]
    inputs: NotRequired[dict[str, Any]]


class VersionDoc(TypedDict):
    """A version in a list."""

    version: int
    created_at: str


DiffDoc = TypedDict(
    "DiffDoc",
    {
        "from": int, "to": int, "text": str | None, "nodes": list[dict[str, Any]],
        "edges": list[dict[str, Any]], "settings": list[dict[str, Any]],
        "inputs": list[dict[str, Any]], "about": list[dict[str, Any]],
    },
)  # fmt: skip


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
    #: Only in what `retry` answers.
    newer_version: NotRequired[int | None]
    taken_over: NotRequired[int]


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


class SteeredDoc(TypedDict):
    """What became of one run that was steered with others."""

    run_id: str
    state: str | None
    new_run_id: NotRequired[str | None]
    error: NotRequired[dict[str, Any] | None]


class MeDoc(TypedDict):
    """Who asks, and what it may do."""

    principal: dict[str, Any]
    tenant: dict[str, Any]
    permissions: list[str]
    grants: list[dict[str, Any]]
    csrf_token: str | None


class SignedInDoc(TypedDict):
    """What a sign-in brings."""

    token_type: str
    access_token: str | None
    refresh_token: str | None
    expires_in_s: int
    csrf_token: str | None


class SessionDoc(TypedDict):
    """A sign-in that is open."""

    id: str
    address: str
    agent: str
    created_at: str
    used_at: str
    expires_at: str


class UserDoc(TypedDict):
    """A person."""

    id: str
    email: str
    name: str
    roles: list[str]
    state: str
    has_password: bool
    created_at: str
    updated_at: str
    signed_in_at: str | None


class InvitationDoc(TypedDict):
    """A user, and the token with which it sets a password: once, until `expires_at`."""

    user: UserDoc
    token: str
    expires_at: str


class KeyDoc(TypedDict):
    """A key, without the key itself."""

    id: str
    name: str
    prefix: str
    roles: list[str]
    scopes: list[str] | None
    created_by: str | None
    rotated_to: str | None
    created_at: str
    expires_at: str | None
    used_at: str | None
    revoked_at: str | None


class NewKeyDoc(KeyDoc):
    """A new key, with itself in `key`."""

    key: str


class RoleDoc(TypedDict):
    """A role."""

    name: str
    description: str
    permissions: list[str]
    built_in: bool
    created_at: str | None
    updated_at: str | None


class TenantDoc(TypedDict):
    """An owner of rows."""

    id: str
    name: str
    created_at: str


class GrantDoc(TypedDict):
    """A role that a user or key has on one workflow."""

    principal_id: str
    role: str
    created_at: str


class SecretDoc(TypedDict):
    """A secret without its value; what is None is not known where it is kept."""

    name: str
    description: str
    version: int | None
    created_at: str | None
    updated_at: str | None


class VariableDoc(TypedDict):
    """A variable."""

    name: str
    environment: str
    value: Any
    description: str
    created_at: str
    updated_at: str


class QuotaDoc(TypedDict):
    """One quota of a tenant; a `limit` of 0 is none."""

    name: str
    limit: int
    default: bool
    used: int


class AuditDoc(TypedDict):
    """One entry of the audit log."""

    no: int
    at: str
    principal_id: str | None
    principal_kind: str
    principal: str
    action: str
    resource: str
    resource_id: str
    before: str | None
    after: str | None
    detail: str
    address: str
    request_id: str
    digest: str


class VerdictDoc(TypedDict):
    """Whether the audit log is as it was written; `head` is its newest entry."""

    valid: bool
    entries: int
    first_bad: int | None
    reason: str | None
    head: dict[str, Any] | None
