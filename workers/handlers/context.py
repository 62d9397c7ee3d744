"""What a handler is given besides its config, and the exception that asks it to stop."""

from __future__ import annotations

import logging
import mimetypes
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from orchestrator.errors import HandlerError, TooLarge
from orchestrator.models.egress import Egress
from orchestrator.models.runs.large_output import is_ours
from orchestrator.ports.runtime import Artifacts
from orchestrator.services.secrets.masking import Masker


class StopRequested(BaseException):
    """Raised inside a handler from a signal; passes through `except Exception` on purpose.

    `reason` is `timeout`, `cancelled` (nobody wants the outcome) or `lost` (somebody else owns the
    attempt). A handler that swallows it is killed after the worker's grace.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TaskArtifacts:
    """The artifacts of one run, as one of its tasks may write them."""

    def __init__(
        self, artifacts: Artifacts, run_id: UUID, node_id: str, masker: Masker | None = None
    ) -> None:
        self._masker = masker
        self._artifacts = artifacts
        self._run_id = run_id
        self._node_id = node_id

    def put(self, name: str, data: bytes | str, content_type: str | None = None) -> str:
        """Store a file under the run and return its name; the same name again replaces it.

        Text is stored as UTF-8; a secret that the node was given is masked in any of it. Without
        `content_type` the name's ending decides. Raises HandlerError: `bad_artifact_name` and
        `artifact_too_large` for good, `artifact_failed` (a full disk, say) worth another attempt.
        """
        if is_ours(name):
            why = f"{name} is the name of an output kept in a file; choose another"
            raise HandlerError("bad_artifact_name", why, retryable=False)
        kind = content_type or mimetypes.guess_type(name)[0]
        content: object = data
        if isinstance(content, str):
            kind, content = kind or "text/plain", content.encode("utf-8", "replace")
        if not isinstance(content, bytes | bytearray | memoryview):
            why = f"artifact {name}: give bytes or text, not {type(content).__name__}"
            raise HandlerError("bad_artifact", why, retryable=False)
        kind = kind or "application/octet-stream"
        if self._masker is not None:
            if self._masker.text(name) != name:
                why = "the name of an artifact holds a secret"
                raise HandlerError("bad_artifact_name", why, retryable=False)
            content = self._masker.data(bytes(content))
        try:
            stored = self._artifacts.put(self._run_id, name, bytes(content), kind, self._node_id)
        except TooLarge as error:
            raise HandlerError("artifact_too_large", error.detail, retryable=False) from None
        except OSError as error:
            raise HandlerError("artifact_failed", f"artifact {name}: {error.strerror}") from error
        return stored.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One call of a handler: which attempt it is, what it may read, until when it may work."""

    run_id: UUID
    node_id: str
    attempt: int
    map_index: int | None
    type: str
    #: What expressions see: `inputs`, `nodes`, `run`, `now`.
    scope: Mapping[str, Any]
    #: The memo of the Wait that this call continues; None on the attempt's first call.
    resumed: Mapping[str, Any] | None
    #: When the attempt's first call began.
    started_at: datetime
    now: datetime
    #: A `time.monotonic()` value; the handler must be done by then.
    deadline: float
    log: logging.Logger
    artifacts: TaskArtifacts
    #: Where requests may go.
    egress: Egress = Egress()

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of the task: give it to systems that drop duplicates."""
        place = "" if self.map_index is None else self.map_index
        return f"{self.run_id}:{self.node_id}:{place}"

    @property
    def attempt_key(self) -> str:
        """Another one for each attempt."""
        return f"{self.idempotency_key}:{self.attempt}"

    def remaining_s(self) -> float:
        """Seconds until the deadline, never below 0."""
        return max(0.0, self.deadline - time.monotonic())
