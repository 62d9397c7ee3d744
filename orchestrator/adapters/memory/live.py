"""The channel in memory: every subscriber has its own bounded queue of frames."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from uuid import UUID

from orchestrator.models.runs.event import Event


class MemorySubscription:
    """Answers `ports.live.Subscription`. When the queue is full, new frames are dropped."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._frames: deque[dict[str, Any]] = deque()
        self._changed = threading.Condition()
        self._dropped = False
        self._overflowed = False

    def put(self, frames: Sequence[dict[str, Any]]) -> None:
        """Queue what fits and remember whether something did not."""
        with self._changed:
            fits = self._bound - len(self._frames)
            self._frames.extend(frames[: max(0, fits)])
            self._dropped = self._dropped or len(frames) > fits
            self._changed.notify_all()

    def get(self, timeout_s: float) -> list[dict[str, Any]] | None:
        """See the port."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._dropped, timeout_s)
            batch = list(self._frames)
            self._frames.clear()
            self._overflowed, self._dropped = self._dropped, False
            return batch or None

    @property
    def overflowed(self) -> bool:
        """See the port. Tells of the last batch and of what came after it."""
        with self._changed:
            return self._overflowed or self._dropped


class MemoryChannel:
    """Answers `ports.live.Channel`. With `up = False` it behaves as a server that is away."""

    def __init__(self, bound: int = 1000) -> None:
        self.up = True
        self._bound = bound
        #: By run; None hears all of them.
        self._subscriptions: dict[UUID | None, list[MemorySubscription]] = {}
        self._lock = threading.Lock()

    def notify(self, events: Sequence[Event]) -> None:
        """See the port."""
        if not events or not self.up:
            return
        with self._lock:
            found = [
                *self._subscriptions.get(events[0].run_id, ()),
                *self._subscriptions.get(None, ()),
            ]
        for subscription in found:
            subscription.put([event.frame() for event in events])

    def subscribe(self, run_id: UUID) -> AbstractContextManager[MemorySubscription]:
        """See the port."""
        return self._listen(run_id)

    def subscribe_all(self) -> AbstractContextManager[MemorySubscription]:
        """See the port."""
        return self._listen(None)

    @contextmanager
    def _listen(self, run_id: UUID | None) -> Iterator[MemorySubscription]:
        subscription = MemorySubscription(self._bound)
        with self._lock:
            self._subscriptions.setdefault(run_id, []).append(subscription)
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions[run_id].remove(subscription)
                if not self._subscriptions[run_id]:
                    del self._subscriptions[run_id]

    def ping(self) -> bool:
        """See the port."""
        return self.up
