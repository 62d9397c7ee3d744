"""What every dispatcher makes of a commit that it is told of: a chord, its parts, messages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import redis

from orchestrator.adapters.celery.app import make_celery
from orchestrator.adapters.celery.dispatch import CeleryDispatcher
from orchestrator.adapters.celery.outbox import Outbox
from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.live import MemoryChannel
from orchestrator.errors import NotFound
from orchestrator.models.definitions.plan import Plan
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.event import Event, Kind
from orchestrator.ports.dispatch import FINISH_QUEUE, Dispatcher
from orchestrator.ports.moves import Moved, Release
from orchestrator.settings import Redis, Settings
from tests.factories import new_id
from tests.waiting import wait_for

QUEUE = "default"
AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Rig:
    """A dispatcher, and what it has left."""

    dispatcher: Dispatcher
    #: Whoever opens its chords.
    opener: Dispatcher
    bodies: Callable[[], int]
    messages: Callable[[], int]


def no_plan(workflow_id: UUID, version: int) -> Plan:
    raise NotFound("there is none")


@pytest.fixture(params=["memory", "celery", "outbox"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if request.param == "memory":
        memory = MemoryDispatcher()
        yield Rig(
            dispatcher=memory,
            opener=memory,
            bodies=lambda: len(memory.fired),
            messages=lambda: memory.depth(QUEUE) or 0,
        )
        return
    url, prefix = request.getfixturevalue("redis_url"), f"telling{os.getpid()}:"
    app = make_celery(Settings(redis=Redis(url=url, prefix=prefix)))
    client: Any = redis.Redis.from_url(url)
    celery = CeleryDispatcher(app)
    yield Rig(
        dispatcher=(
            Outbox(celery, MemoryChannel(), linger_s=0.001) if request.param == "outbox" else celery
        ),
        opener=celery,
        bodies=lambda: client.llen(f"{prefix}{FINISH_QUEUE}"),
        messages=lambda: client.llen(f"{prefix}{QUEUE}"),
    )
    app.close()
    client.close()


def moved(run_id: UUID, *, ends: bool = False, queued: int = 0, **more: Any) -> Moved:
    state = "succeeded" if ends else "running"
    event = Event(run_id=run_id, seq=1, kind=Kind.RUN, at=AT, state=state)
    return Moved(
        run_id=run_id, tenant_id=DEFAULT_TENANT, workflow_id=run_id, version=1, events=(event,),
        queued=tuple(
            Release(run_id=run_id, task_no=no, attempt=1, queue=QUEUE, priority=5)
            for no in range(queued)
        ),
        **more,
    )  # fmt: skip


def tell(rig: Rig, move: Moved) -> None:
    rig.dispatcher.tell(move, [[release] for release in move.queued], no_plan)
    rig.dispatcher.flush(10)


def test_a_run_that_starts_with_settled_tasks_has_its_size_before_its_parts(rig: Rig) -> None:
    tell(rig, moved(new_id(), size=2, settled=(0, 1), queued=1))
    wait_for(rig.bodies, what="the body of a chord whose parts were all in at once")
    assert (rig.bodies(), rig.messages()) == (1, 1)


def test_a_chord_fires_once_over_several_commits(rig: Rig) -> None:
    run_id = new_id()
    tell(rig, moved(run_id, size=3, queued=2))
    tell(rig, moved(run_id, settled=(0, 1), queued=1))
    assert (rig.bodies(), rig.messages()) == (0, 3)
    tell(rig, moved(run_id, settled=(1, 2)))
    tell(rig, moved(run_id, settled=(2,)))
    wait_for(rig.bodies, what="the body")
    assert rig.bodies() == 1


def test_a_run_that_has_ended_takes_its_chord_down(rig: Rig) -> None:
    run_id = new_id()
    tell(rig, moved(run_id, size=2))
    tell(rig, moved(run_id, settled=(0, 1), ends=True))
    tell(rig, moved(run_id, settled=(0, 1)))
    assert rig.bodies() == 0


def test_a_chord_that_cannot_be_opened_leaves_parts_and_messages_to_upkeep(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = new_id()
    monkeypatch.setattr(rig.opener, "open", lambda *_: False)
    tell(rig, moved(run_id, size=1, settled=(0,), queued=1))
    monkeypatch.undo()
    rig.dispatcher.open(run_id, 1)
    assert (rig.bodies(), rig.messages()) == (0, 0)
    tell(rig, moved(run_id, settled=(0,)))
    wait_for(rig.bodies, what="the body")
