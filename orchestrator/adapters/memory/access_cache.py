"""What processes tell each other about sessions, for cores of one process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

from orchestrator.errors import ChannelUnavailable
from orchestrator.ports.runtime import Clock


class MemoryAccessCache:
    """Answers `ports.access.AccessCache`. `away` makes it behave like a Redis out of reach."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[str, datetime]] = {}
        self.away = False

    def marks(self, ids: Sequence[str]) -> tuple[str, ...] | None:
        """See the port."""
        if self.away:
            return None
        with self._lock:
            return tuple(self._read(f"mark:{one}") or "" for one in ids)

    def mark(self, ids: Sequence[str], value: str, *, ttl_s: float) -> None:
        """See the port."""
        with self._lock:
            for one in () if self.away else ids:
                self._keep(f"mark:{one}", value, ttl_s)

    def count(self, key: str, *, window_s: float) -> tuple[int, float] | None:
        """See the port."""
        if self.away:
            return None
        name = f"count:{key}"
        with self._lock:
            known = self._read(name)
            if known is None:
                self._keep(name, "0", window_s)
            _, until = self._kept[name]
            count = int(known or 0) + 1
            self._kept[name] = (str(count), until)
            return count, (until - self._clock.now()).total_seconds()

    def forget(self, key: str) -> None:
        """See the port."""
        with self._lock:
            if not self.away:
                self._kept.pop(f"count:{key}", None)

    def give_back(self, key: str) -> None:
        """See the port."""
        name = f"count:{key}"
        with self._lock:
            known = None if self.away else self._read(name)
            if known is not None:
                self._kept[name] = (str(max(0, int(known) - 1)), self._kept[name][1])

    def put_ticket(self, digest: str, value: str, *, ttl_s: float) -> None:
        """See the port."""
        if self.away:
            raise ChannelUnavailable
        with self._lock:
            self._keep(f"ticket:{digest}", value, ttl_s)

    def take_ticket(self, digest: str) -> str | None:
        """See the port."""
        if self.away:
            raise ChannelUnavailable
        with self._lock:
            found = self._read(f"ticket:{digest}")
            self._kept.pop(f"ticket:{digest}", None)
            return found

    def _read(self, name: str) -> str | None:
        value, until = self._kept.get(name, ("", None))
        return value if until is not None and until > self._clock.now() else None

    def _keep(self, name: str, value: str, ttl_s: float) -> None:
        self._kept[name] = (value, self._clock.now() + timedelta(seconds=ttl_s))
