"""What is stored of a workflow: the row people see, and each immutable version of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class WorkflowStatus(StrEnum):
    """Draft and published workflows can be started; an archived one only keeps its history."""

    DRAFT = "draft"
    PUBLISHED = "published"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedWorkflow:
    """A workflow as it is listed. `version` is the newest; runs stay pinned to theirs."""

    id: UUID
    tenant_id: UUID
    name: str
    description: str
    status: WorkflowStatus
    version: int
    created_at: datetime
    updated_at: datetime
    #: Came with its run (`POST /workflows/execute`): kept for the run's sake, not listed.
    ad_hoc: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One immutable definition, in the JSON form of the API."""

    workflow_id: UUID
    version: int
    definition: Mapping[str, Any]
    created_at: datetime
