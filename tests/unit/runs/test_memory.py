"""What only the memory adapters have: a chord, queues and a channel that a test can look into."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.live import MemoryChannel
from orchestrator.adapters.memory.runtime import SettableClock
from orchestrator.adapters.memory.store import MemoryStore
from orchestrator.models.runs.event import Event, Kind
from orchestrator.ports.moves import Release
from tests.factories import beat, new_id

RUN, OTHER = new_id(), new_id()
AT = datetime(2026, 1, 1, tzinfo=UTC)


def event(seq: int, run_id: UUID = RUN) -> Event:
    """Return an event of a run."""
    return Event(run_id=run_id, seq=seq, kind=Kind.RUN, at=AT, state="running")


def release(task_no: int, priority: int = 5, queue: str = "default") -> Release:
    """Return an announcement."""
    return Release(run_id=RUN, task_no=task_no, attempt=1, queue=queue, priority=priority)


def test_clock_stands_until_told() -> None:
    clock = SettableClock(AT)
    assert clock.now() == clock.now() == AT
    clock.advance(1.5)
    assert clock.now() == AT + timedelta(seconds=1.5)
    clock.set(AT)
    assert clock.now() == AT


def test_chord_fires_once_when_every_part_is_in() -> None:
    finished: list[UUID] = []
    dispatcher = MemoryDispatcher(finished.append)
    assert dispatcher.open(RUN, 3)
    dispatcher.settled(RUN, [0, 1])
    dispatcher.settled(RUN, [1])
    assert finished == []
    dispatcher.settled(RUN, [2])
    dispatcher.settled(RUN, [0, 1, 2])
    assert finished == [RUN]
    assert dispatcher.parts[RUN] == {0, 1, 2}


def test_chord_that_was_never_opened_never_fires() -> None:
    finished: list[UUID] = []
    dispatcher = MemoryDispatcher(finished.append)
    dispatcher.settled(RUN, [0])
    assert finished == []


def test_queues_give_the_most_urgent_first() -> None:
    dispatcher = MemoryDispatcher()
    dispatcher.release([[release(0, 1), release(1, 9)], [release(2, 5, "gpu")]])
    assert (dispatcher.depth("default"), dispatcher.depth("gpu"), dispatcher.depth("io")) == (
        2,
        1,
        0,
    )
    first = dispatcher.next(["default", "gpu"], 0)
    assert first is not None
    assert first.task_no == 1
    assert [r.task_no for r in dispatcher.drain("default")] == [0]
    assert [r.task_no for r in dispatcher.drain()] == [2]
    assert dispatcher.next(["default", "gpu"], 0) is None


def test_next_wakes_up_for_an_announcement() -> None:
    dispatcher = MemoryDispatcher()
    found: list[Release | None] = []
    waiter = threading.Thread(target=lambda: found.append(dispatcher.next(["default"], 10)))
    waiter.start()
    dispatcher.release([[release(4)]])
    waiter.join(10)
    assert found == [release(4)]


def test_dispatcher_that_is_down_loses_everything_and_says_so() -> None:
    dispatcher = MemoryDispatcher()
    dispatcher.up = False
    assert not dispatcher.open(RUN, 1)
    assert not dispatcher.release([[release(0)]])
    assert not dispatcher.settled(RUN, [0])
    assert dispatcher.depth("default") is None
    dispatcher.up = True
    assert (dispatcher.drain(), dispatcher.sizes, dispatcher.fired) == ([], {}, [])


def test_every_subscriber_hears_its_run() -> None:
    channel = MemoryChannel()
    with (
        channel.subscribe(RUN) as one,
        channel.subscribe(RUN) as two,
        channel.subscribe(OTHER) as no,
    ):
        channel.notify([event(1), event(2)])
        channel.notify([event(3)])
        frames = [event(seq).frame() for seq in (1, 2, 3)]
        assert one.get(0) == two.get(0) == frames
        assert no.get(0) is None
    channel.notify([event(4)])
    assert one.get(0) is None, "nobody is subscribed any more"


def test_full_subscription_drops_and_tells() -> None:
    channel = MemoryChannel(bound=2)
    with channel.subscribe(RUN) as ear:
        channel.notify([event(1), event(2)])
        assert not ear.overflowed
        channel.notify([event(3)])
        assert ear.overflowed
        assert [f["seq"] for f in ear.get(0) or []] == [1, 2]
        assert ear.overflowed, "it belongs to the batch just read"
        channel.notify([event(4)])
        assert [f["seq"] for f in ear.get(0) or []] == [4]
        assert not ear.overflowed


@pytest.mark.parametrize("up", [True, False])
def test_channel_that_is_down(up: bool) -> None:
    channel = MemoryChannel()
    channel.up = up
    with channel.subscribe(RUN) as ear:
        channel.notify([event(1)])
        assert (ear.get(0) is not None) is channel.ping() is up


def test_restart_of_the_record_restarts_every_lease() -> None:
    clock = SettableClock(AT)
    store = MemoryStore(clock)
    store.fleet.beat(beat())
    store.tables.since = AT + timedelta(seconds=100)
    clock.advance(105)
    assert store.fleet.expire(lease_s=10) == 0
    clock.advance(10)
    assert store.fleet.expire(lease_s=10) == 1


def test_listen_returns_when_the_time_is_over() -> None:
    assert not MemoryStore(SettableClock()).listen(0.01)
