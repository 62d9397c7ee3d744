"""Small things the services need from their surroundings: the time, and a place for large files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


class Clock(Protocol):
    """The time, injected so that tests can say what it is."""

    def now(self) -> datetime:
        """Return the present moment in UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file that a run left behind."""

    name: str
    content_type: str
    size_bytes: int
    node_id: str | None


class Artifacts(Protocol):
    """Files of runs. A name is 1-128 characters of A-Z a-z 0-9 . _ - and starts with no dot."""

    def put(
        self, run_id: UUID, name: str, data: bytes, content_type: str, node_id: str
    ) -> Artifact:
        """Store a file under its run; the same name again replaces it."""

    def get(self, run_id: UUID, name: str) -> tuple[Artifact, bytes]:
        """Return a file; NotFound when the run has none of this name."""

    def list(self, run_id: UUID) -> Sequence[Artifact]:
        """Return what the run has stored, by name."""

    def size(self, run_id: UUID, name: str) -> int:
        """Return the bytes of a file, 0 when there is none."""

    def copy(self, run_id: UUID, name: str, to: UUID, as_name: str | None = None) -> Artifact:
        """Store a run's file under another run of its tenant too; NotFound.

        That other one may be a run that is about to be stored. `as_name`: what it is called there.
        """

    def discard(self, run_id: UUID) -> None:
        """Remove all files of a run that was not stored after all."""

    def prune(self, before: datetime, gone: Callable[[UUID, int], None] | None = None) -> int:
        """Remove all files of runs that were started before a moment; return how many runs.

        `gone` is told of each run that was removed, and how many bytes its files had.
        """
