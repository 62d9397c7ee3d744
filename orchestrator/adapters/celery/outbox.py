"""What nobody waits for goes to Redis later: notifications and chord parts, gathered briefly.

Both are hints that may be lost: watchers read the record, and the last settle ends a run by itself.
So a move is over when it is committed, and one round trip carries what several moves have to say.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from uuid import UUID

from orchestrator.adapters.celery.dispatch import CeleryDispatcher
from orchestrator.models.definitions.plan import Plan
from orchestrator.models.runs.event import Event
from orchestrator.ports.live import Observer
from orchestrator.ports.moves import Moved, Release

log = logging.getLogger(__name__)

#: Seconds for which a queue's depth is believed: older, a thread measures it; much older, at once.
_FRESH_S, _STALE_S = 0.05, 1.0
#: What may wait while Redis is slow; older things are dropped beyond it.
_MOST = 10_000


class Outbox:
    """Answers `ports.dispatch.Dispatcher` and `ports.live.Observer` in front of those that talk.

    In `seq` order per run, as `notify` demands, since one thread a process sends. Safe to carry
    over a fork; what the parent had gathered stays with the parent.
    """

    def __init__(self, dispatcher: CeleryDispatcher, channel: Observer, *, linger_s: float) -> None:
        self._dispatcher = dispatcher
        self._channel = channel
        self._linger_s = linger_s
        self._lock = threading.Lock()
        self._sender: _Sender | None = None

    def notify(self, events: Sequence[Event]) -> None:
        """See `Observer`."""
        if events:
            self._here().put(events[0].run_id, events, ())

    def tell(
        self, moved: Moved, messages: Sequence[Sequence[Release]], plan: Callable[[UUID, int], Plan]
    ) -> None:
        """See `Dispatcher`. Only parts wait here: for messages a worker waits."""
        self._dispatcher.tell(moved, messages, plan, self.settled)

    def settled(self, run_id: UUID, task_nos: Sequence[int], *, ended: bool = False) -> None:
        """Take parts of a chord; whether Redis took them shows later, in its log line."""
        self._here().put(run_id, (), task_nos, ended=ended)

    def open(self, run_id: UUID, size: int) -> bool:
        """See `Dispatcher`."""
        return self._dispatcher.open(run_id, size)

    def finish(self, run_id: UUID) -> bool:
        """See `ports.dispatch.Dispatcher`."""
        return self._dispatcher.finish(run_id)

    def release(self, messages: Sequence[Sequence[Release]], *, again: bool = False) -> bool:
        """See `Dispatcher`."""
        return self._dispatcher.release(messages, again=again)

    def depth(self, queue: str) -> int | None:
        """See `Dispatcher`. A recent answer is repeated while a thread fetches a newer one."""
        return self._here().depth(queue)

    def flush(self, timeout_s: float) -> None:
        """See `Dispatcher`."""
        sender = self._sender
        if sender is not None and sender.pid == os.getpid():
            sender.flush(timeout_s)
        self._dispatcher.flush(timeout_s)

    def _here(self) -> _Sender:
        sender = self._sender
        if sender is None or sender.pid != os.getpid():
            with self._lock:
                sender = self._sender
                if sender is None or sender.pid != os.getpid():
                    sender = _Sender(self._dispatcher, self._channel, self._linger_s)
                    self._sender = sender
        return sender


class _Sender:
    """The thread of one process, and what waits for it."""

    def __init__(self, dispatcher: CeleryDispatcher, channel: Observer, linger_s: float) -> None:
        self.pid = os.getpid()
        self._dispatcher = dispatcher
        self._channel = channel
        self._linger_s = linger_s
        self._waiting: deque[tuple[UUID, Sequence[Event], Sequence[int], bool]] = deque(
            maxlen=_MOST
        )
        self._some = threading.Event()
        self._busy = False
        self._depths: dict[str, tuple[float, int | None]] = {}
        self._asked: set[str] = set()
        threading.Thread(target=self._run, name="zq-outbox", daemon=True).start()

    def put(
        self,
        run_id: UUID,
        events: Sequence[Event],
        task_nos: Sequence[int],
        *,
        ended: bool = False,
    ) -> None:
        self._waiting.append((run_id, events, task_nos, ended))
        if not self._some.is_set():
            self._some.set()

    def depth(self, queue: str) -> int | None:
        known = self._depths.get(queue)
        age_s = time.monotonic() - known[0] if known else _STALE_S
        if known is None or age_s >= _STALE_S:
            return self._measure(queue)
        if age_s >= _FRESH_S:
            self._asked.add(queue)
            self._some.set()
        return known[1]

    def _measure(self, queue: str) -> int | None:
        depth = self._dispatcher.depth(queue)
        self._depths[queue] = (time.monotonic(), depth)
        return depth

    def flush(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while (self._waiting or self._busy) and time.monotonic() < deadline:
            time.sleep(self._linger_s)

    def _run(self) -> None:
        while True:
            self._some.wait()
            self._busy = True
            time.sleep(self._linger_s)
            self._some.clear()
            try:
                self._send()
            except Exception:
                # A notification that cannot be sent must not keep the next one.
                log.exception("what was gathered could not be sent")
            self._busy = False

    def _send(self) -> None:
        """Send everything that waits, what belongs to one run together."""
        events: dict[UUID, list[Event]] = {}
        parts: dict[UUID, list[int]] = {}
        over: set[UUID] = set()
        while self._waiting:
            run_id, some, task_nos, ended = self._waiting.popleft()
            if some:
                events.setdefault(run_id, []).extend(some)
            if task_nos:
                parts.setdefault(run_id, []).extend(task_nos)
            if ended:
                over.add(run_id)
        while self._asked:
            self._measure(self._asked.pop())
        for of_one in events.values():
            self._channel.notify(of_one)
        for run_id, task_nos in parts.items():
            self._dispatcher.settled(run_id, task_nos, ended=run_id in over)
