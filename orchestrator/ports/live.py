"""Who is told of what has been committed: the channel, metrics, traces."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol
from uuid import UUID

from orchestrator.models.runs.event import Event


class Observer(Protocol):
    """Is told of events after their commit, in `seq` order per run. It must not raise or block."""

    def notify(self, events: Sequence[Event]) -> None:
        """Take note of one run's events."""


class Subscription(Protocol):
    """An open subscription to one run's channel, or to all of them."""

    def get(self, timeout_s: float) -> list[dict[str, Any]] | None:
        """Return the next batch of frames, or None when nothing came in time."""

    @property
    def overflowed(self) -> bool:
        """True when frames were dropped since the last read: read the record instead."""


class Channel(Observer, Protocol):
    """Announces events on the run's channel. The record is what counts."""

    def subscribe(self, run_id: UUID) -> AbstractContextManager[Subscription]:
        """Open a subscription; frames published from now on are seen, or missed and repaired."""

    def subscribe_all(self) -> AbstractContextManager[Subscription]:
        """Open a subscription to every run of every tenant: whoever reads it must sort them out.

        A batch holds frames of one run; batches of different runs come in any order.
        """

    def ping(self) -> bool:
        """True when the channel's server answers."""
