"""Places that the requests of a process share, such as its sockets: nobody takes the last ones who
has some already.

A quarter is kept for principals that have none, of tenants that have less than half. So one who is
alone gets three quarters, and one who comes later finds a place.
"""

from __future__ import annotations

import threading
from collections import Counter
from uuid import UUID

from orchestrator.models.access.permissions import Principal


class Shares:
    """Some places; safe to share between threads."""

    def __init__(self, places: int) -> None:
        self._places = self._free = places
        #: One place is for whoever comes first.
        self._kept = max(1, places // 4) if places > 1 else 0
        self._lock = threading.Lock()
        self._of: Counter[UUID] = Counter()

    def take(self, who: Principal) -> bool:
        """Take a place; False when none is free, or those that are free are for others."""
        with self._lock:
            newcomer = not self._of[who.id] and self._of[who.tenant_id] < self._places / 2
            if self._free <= (0 if newcomer else self._kept):
                return False
            self._free -= 1
            self._of.update((who.id, who.tenant_id))
            return True

    def give_back(self, who: Principal) -> None:
        """Give a place back."""
        with self._lock:
            self._free += 1
            self._of.subtract((who.id, who.tenant_id))
            # Whoever has none is forgotten: their number has no bound.
            self._of += Counter()


class OneEach:
    """A place for each principal, and no second one; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: set[UUID] = set()

    def take(self, who: Principal) -> bool:
        """Take the place; False when it is taken."""
        with self._lock:
            if who.id in self._taken:
                return False
            self._taken.add(who.id)
            return True

    def give_back(self, who: Principal) -> None:
        """Give it back."""
        with self._lock:
            self._taken.discard(who.id)
