"""Workers and their leases, timers and backlogs: what upkeep and supervisors ask the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from orchestrator.models.quota import EVERYBODY, TenantFilter
from orchestrator.models.runs.task import Claim
from orchestrator.ports.moves import Owner, Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A worker's sign of life, every few seconds."""

    id: UUID
    name: str
    host: str
    pid: int
    version: str
    queues: tuple[str, ...]
    slots: int
    children: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A running attempt and who holds it, for those who watch over owners."""

    claim: Claim
    owner: Owner
    #: Why it must stop: `lost`, `timeout`, `cancelled`, or `taken` when somebody has settled it by
    #: hand; None while all is well.
    verdict: str | None = None
    #: Seconds past its deadline, where that is the verdict.
    overdue_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What a beat brings back."""

    #: False when the fleet gave this worker up: it must stop its work and take a new identity.
    alive: bool
    held: tuple[Held, ...] = field(default=())


class Fleet(Protocol):
    """Workers, leases, timers and backlogs: what upkeep and supervisors ask. All times are the
    record's own clock."""

    def beat(self, beat: Beat) -> Pulse:
        """Store a sign of life; learn which of its attempts must stop."""

    def refuse(self, beat: Beat, reason: str) -> None:
        """Note that a worker does not start to work, and why; it takes the place of what the same
        worker's last start has left."""

    def leave(self, worker_id: UUID) -> None:
        """Mark a worker as stopped; its attempts, if any are left, are lost at once."""

    def workers(self) -> list[Mapping[str, Any]]:
        """Return the workers that are not long gone, with `age_s` since their last beat.

        One whose `state` is `refused` has a `refusal`, the reason.
        """

    def expire(self, lease_s: float) -> int:
        """Give up workers without a beat for `lease_s` (and `lease_s` of a running record)."""

    def ownerless(self, limit: int, lease_s: float = 10.0) -> list[Held]:
        """Return running attempts whose worker is lost or stopped, whose child is not among the
        living ones of a later beat, or that are far past their deadline."""

    def of_child(self, worker_id: UUID, pid: int) -> list[Held]:
        """Return the running attempts of one child."""

    def due(self, limit: int, of: TenantFilter = EVERYBODY) -> dict[UUID, list[int]]:
        """Return tasks of these tenants whose timer has come, by run."""

    def backlog(
        self, queue: str, limit: int, of: TenantFilter = EVERYBODY
    ) -> dict[UUID, list[int]]:
        """Return ready tasks of a queue, most urgent first, by run; only of these tenants."""

    def ready_queues(self) -> list[str]:
        """Return the queues that have ready tasks."""

    def waiting_queues(self) -> list[str]:
        """Return the queues that have announced attempts nobody has claimed yet."""

    def unclaimed(self, queues: Sequence[str], older_s: float, limit: int) -> list[Release]:
        """Return queued attempts nobody claimed although a worker of the queue had room, and count
        the announcement that the caller is about to repeat. The pause doubles each time."""

    def passed_over(self, queues: Sequence[str], older_s: float, limit: int) -> list[Release]:
        """Return queued attempts of which one that was announced later was claimed before them, and
        count the announcement as `unclaimed` does, with its pauses. No worker need have room."""

    def overdue_runs(self, limit: int) -> list[UUID]:
        """Return live runs past their own deadline."""

    def settled_runs(self, limit: int, but: Sequence[UUID] = ()) -> list[tuple[UUID, UUID, int]]:
        """Return (run, workflow, version) of live runs without an open task, but for these."""

    def oldest_needed(self) -> UUID | None:
        """Return the oldest run that is live, or that a live one took tasks over from."""

    def next_due_s(self, lease_s: float | None = None) -> float | None:
        """Return the seconds until something is due; None when no run is live.

        With `lease_s`, the end of a worker's lease is due as well.
        """

    def tidy(self, now: datetime, keys_older_s: float) -> None:
        """Make the coming partitions; drop old idempotency keys and long-gone workers."""
