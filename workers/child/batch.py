"""What one message asks for beyond what is being worked on, and who gets it when there is no time.

A message may name several tasks. They are claimed a few at a time; what is unclaimed after a small
budget goes back to the queue, even while a task is running: a slow one never holds its neighbours.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

Attempt = tuple[int, int]


class Batch:
    """The attempts of a message that nobody has claimed. Two threads take from it."""

    def __init__(self, wanted: Sequence[Attempt]) -> None:
        self._lock = threading.Lock()
        self._rest = list(wanted)

    def __len__(self) -> int:
        return len(self._rest)

    def peek(self) -> int:
        """Return the task number that comes next, -1 when none does."""
        with self._lock:
            return self._rest[0][0] if self._rest else -1

    def take(self, most: int) -> list[Attempt]:
        """Return the next attempts to claim; nobody else gets them any more."""
        with self._lock:
            taken, self._rest = self._rest[:most], self._rest[most:]
            return taken

    def take_all(self) -> list[Attempt]:
        """Return all that is left, to be handed back."""
        with self._lock:
            taken, self._rest = self._rest, []
            return taken


class HandBack:
    """One thread a process that hands back what messages still hold when their budget is over."""

    def __init__(self, budget_s: float) -> None:
        self._budget_s = budget_s
        self._changed = threading.Condition()
        # All have the same budget, so that the first one is always due first.
        self._due: deque[tuple[float, Batch, Callable[[list[Attempt]], object]]] = deque()
        self._thread: threading.Thread | None = None

    def watch(self, batch: Batch, give: Callable[[list[Attempt]], object]) -> None:
        """Give away what `batch` still holds when the budget is over."""
        with self._changed:
            self._due.append((time.monotonic() + self._budget_s, batch, give))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hand-back", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due:
                    self._changed.wait()
                at, batch, give = self._due[0]
                if (left_s := at - time.monotonic()) > 0 and len(batch):
                    self._changed.wait(left_s)
                    continue
                self._due.popleft()
            if rest := batch.take_all():
                try:
                    give(rest)
                except Exception:
                    # Upkeep announces again what nobody claims.
                    log.exception("could not hand %s attempts back", len(rest))
