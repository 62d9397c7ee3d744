"""What goes to Redis later: in order, together, and never in the way of the one who says it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from orchestrator.adapters.celery.outbox import Outbox
from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.models.runs.event import Event, Kind
from tests.factories import new_id
from tests.waiting import wait_for


class Listener:
    """Hears what is announced; may be told to hold the line, or to fail."""

    def __init__(self) -> None:
        self.heard: list[tuple[UUID, list[int]]] = []
        self.free = threading.Event()
        self.free.set()
        self.fails = False

    def notify(self, events: Sequence[Event]) -> None:
        self.free.wait(10)
        if self.fails:
            self.fails = False
            raise ValueError("no")
        self.heard.append((events[0].run_id, [e.seq for e in events]))


class Counting(MemoryDispatcher):
    """Keeps which parts were reported together."""

    def __init__(self) -> None:
        super().__init__()
        self.reported: list[tuple[UUID, list[int], bool]] = []
        self.flushed: list[float] = []

    def settled(self, run_id: UUID, task_nos: Sequence[int], *, ended: bool = False) -> bool:
        self.reported.append((run_id, list(task_nos), ended))
        return super().settled(run_id, task_nos, ended=ended)

    def flush(self, timeout_s: float) -> None:
        self.flushed.append(timeout_s)


def event(run_id: UUID, seq: int) -> Event:
    return Event(
        run_id=run_id, seq=seq, kind=Kind.RUN, at=datetime.now(UTC), state="running",
        node_id=None, map_index=None, attempt=None,
    )  # fmt: skip


def test_what_is_said_meanwhile_goes_together_and_in_order() -> None:
    listener, dispatcher, one, two = Listener(), Counting(), new_id(), new_id()
    listener.free.clear()
    outbox = Outbox(dispatcher, listener, linger_s=0.001)
    outbox.notify([event(one, 1)])
    wait_for(lambda: outbox._sender and not outbox._sender._waiting, what="the first is on its way")
    for seq in range(2, 6):
        outbox.notify([event(one, seq)])
        outbox.notify([event(two, seq)])
        outbox.settled(one, [seq])
    outbox.settled(two, [1], ended=True)
    listener.free.set()
    outbox.flush(10)
    assert listener.heard == [(one, [1]), (one, [2, 3, 4, 5]), (two, [2, 3, 4, 5])]
    assert dispatcher.reported == [(one, [2, 3, 4, 5], False), (two, [1], True)]


def test_a_failure_does_not_silence_the_next(caplog: object) -> None:
    listener, run_id = Listener(), new_id()
    listener.fails = True
    outbox = Outbox(MemoryDispatcher(), listener, linger_s=0.001)
    outbox.notify([event(run_id, 1)])
    outbox.flush(10)
    outbox.notify([event(run_id, 2)])
    outbox.flush(10)
    assert listener.heard == [(run_id, [2])]


def test_nothing_said_starts_no_thread() -> None:
    before = threading.active_count()
    outbox = Outbox(MemoryDispatcher(), Listener(), linger_s=0.001)
    outbox.notify([])
    outbox.flush(10)
    assert threading.active_count() == before


def test_a_flush_reaches_what_the_dispatcher_keeps() -> None:
    dispatcher = Counting()
    Outbox(dispatcher, Listener(), linger_s=0.001).flush(0.5)
    assert dispatcher.flushed == [0.5]
