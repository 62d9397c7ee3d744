"""The dispatcher in memory: announced attempts wait in queues until a loop or a test takes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import chain
from uuid import UUID

from orchestrator.models.definitions.plan import Plan
from orchestrator.ports.moves import Moved, Release


class MemoryDispatcher:
    """Answers `ports.dispatch.Dispatcher`. With `up = False` it loses everything and says so.

    `finish` is the chord's body: called once a run, when as many parts were reported as it opened
    with and the run has not ended by itself. It runs in the caller's thread, outside this object's
    lock.
    """

    def __init__(self, finish: Callable[[UUID], object] | None = None) -> None:
        self.up = True
        self.sizes: dict[UUID, int] = {}
        self.parts: dict[UUID, set[int]] = {}
        self.fired: list[UUID] = []
        #: Chords that will fire no more.
        self._down: set[UUID] = set()
        self._finish = finish
        self._queues: dict[str, list[Release]] = {}
        self._changed = threading.Condition()

    def tell(
        self, moved: Moved, messages: Sequence[Sequence[Release]], plan: Callable[[UUID, int], Plan]
    ) -> None:
        """See the port. Of Celery's own tools none watches."""
        if moved.size is not None and not self.open(moved.run_id, moved.size):
            return
        if moved.settled:
            self.settled(moved.run_id, moved.settled, ended=moved.ended_run)
        if messages:
            self.release(messages)

    def open(self, run_id: UUID, size: int) -> bool:
        """See the port."""
        if self.up:
            with self._changed:
                self.sizes.setdefault(run_id, size)
        return self.up

    def finish(self, run_id: UUID) -> bool:
        """See the port. The caller's thread is the worker."""
        if self.up:
            self.fired.append(run_id)
            if self._finish:
                self._finish(run_id)
        return self.up

    def release(self, messages: Sequence[Sequence[Release]], *, again: bool = False) -> bool:
        """See the port. What shares a message waits one by one here."""
        if self.up:
            with self._changed:
                for release in chain.from_iterable(messages):
                    self._queues.setdefault(release.queue, []).append(release)
                self._changed.notify_all()
        return self.up

    def settled(self, run_id: UUID, task_nos: Sequence[int], *, ended: bool = False) -> bool:
        """Report settled tasks as the chord's parts."""
        if not self.up:
            return False
        with self._changed:
            parts = self.parts.setdefault(run_id, set())
            parts.update(task_nos)
            complete = len(parts) == self.sizes.get(run_id)
            if ended:
                self._down.add(run_id)
            last = complete and run_id not in self._down
            if last:
                self._down.add(run_id)
                self.fired.append(run_id)
        if last and self._finish:
            self._finish(run_id)
        return True

    def flush(self, timeout_s: float) -> None:
        """Nothing is kept."""

    def depth(self, queue: str) -> int | None:
        """See the port."""
        with self._changed:
            return len(self._queues.get(queue, ())) if self.up else None

    def drain(self, *queues: str) -> list[Release]:
        """Take everything that waits in these queues, or in all; most urgent first."""
        with self._changed:
            taken = [r for q in queues or tuple(self._queues) for r in self._queues.pop(q, ())]
        return sorted(taken, key=lambda r: -r.priority)

    def next(self, queues: Sequence[str], timeout_s: float) -> Release | None:
        """Take the most urgent announcement of these queues, or None when none comes in time."""
        with self._changed:
            self._changed.wait_for(lambda: any(self._queues.get(q) for q in queues), timeout_s)
            waiting = [r for q in queues for r in self._queues.get(q, ())]
            if not waiting:
                return None
            first = max(waiting, key=lambda r: r.priority)
            self._queues[first.queue].remove(first)
            return first
