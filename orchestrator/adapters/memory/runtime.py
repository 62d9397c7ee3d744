"""Surroundings in memory: a clock that stands until it is told to go on, and files of runs."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from orchestrator.errors import HandlerError, NotFound
from orchestrator.models.ids import time_of
from orchestrator.ports.runtime import Artifact

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


class SettableClock:
    """Answers `ports.runtime.Clock` with the moment it was given last."""

    def __init__(self, at: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._at = at
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """See the port."""
        return self._at

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self._at += timedelta(seconds=seconds)

    def set(self, at: datetime) -> None:
        """Jump to a moment, which must carry a time zone."""
        with self._lock:
            self._at = at.astimezone(UTC)


class MemoryArtifacts:
    """Answers `ports.runtime.Artifacts`."""

    def __init__(self) -> None:
        self._files: dict[tuple[UUID, str], tuple[Artifact, bytes]] = {}
        self._lock = threading.Lock()

    def put(
        self, run_id: UUID, name: str, data: bytes, content_type: str, node_id: str
    ) -> Artifact:
        """See the port. HandlerError `bad_artifact_name` for a name outside the rule."""
        if not _NAME.fullmatch(name):
            raise HandlerError(
                "bad_artifact_name",
                f"{name[:200]!r} cannot name an artifact: use 1-128 of A-Z a-z 0-9 . _ - and no "
                "dot at the start",
                retryable=False,
            )
        stored = Artifact(
            name=name, content_type=content_type, size_bytes=len(data), node_id=node_id
        )
        with self._lock:
            self._files[run_id, name] = stored, bytes(data)
        return stored

    def get(self, run_id: UUID, name: str) -> tuple[Artifact, bytes]:
        """See the port."""
        with self._lock:
            found = self._files.get((run_id, name))
        if found is None:
            raise NotFound(f"the run has no artifact {name[:200]!r}")
        return found

    def list(self, run_id: UUID) -> Sequence[Artifact]:
        """See the port."""
        with self._lock:
            found = [a for (run, _), (a, _) in self._files.items() if run == run_id]
        return sorted(found, key=lambda a: a.name)

    def size(self, run_id: UUID, name: str) -> int:
        """See the port."""
        with self._lock:
            found = self._files.get((run_id, name))
        return found[0].size_bytes if found else 0

    def copy(self, run_id: UUID, name: str, to: UUID, as_name: str | None = None) -> Artifact:
        """See the port."""
        found, data = self.get(run_id, name)
        return self.put(to, as_name or name, data, found.content_type, found.node_id or "")

    def discard(self, run_id: UUID) -> None:
        """See the port."""
        with self._lock:
            self._files = {key: file for key, file in self._files.items() if key[0] != run_id}

    def prune(self, before: datetime, gone: Callable[[UUID, int], None] | None = None) -> int:
        """See the port."""
        with self._lock:
            old = {run for run, _ in self._files if time_of(run) < before}
            held = dict.fromkeys(old, 0)
            for (run, _), (artifact, _) in self._files.items():
                if run in old:
                    held[run] += artifact.size_bytes
            self._files = {key: file for key, file in self._files.items() if key[0] not in old}
        for run, size_bytes in held.items():
            if gone is not None:
                gone(run, size_bytes)
        return len(old)
