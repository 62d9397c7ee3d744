"""What a commit sends to Flower: one message, in Celery's words, and nothing when it is off."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
import redis

from orchestrator.adapters.celery.app import make_celery
from orchestrator.adapters.celery.dispatch import CeleryDispatcher
from orchestrator.adapters.celery.flower import CeleryEvents
from orchestrator.errors import StoreUnavailable
from orchestrator.models.definitions.plan import Plan
from orchestrator.models.definitions.plan import compile as compile_plan
from orchestrator.models.runs.event import Event, Kind
from orchestrator.ports.moves import Moved, Release
from orchestrator.services.definitions.reading import read_definition
from orchestrator.settings import Broker, Redis, Settings
from tests.factories import new_id
from tests.gate import Gate

PLAN = compile_plan(
    read_definition(
        {
            "name": "report",
            "nodes": [{"id": id, "type": "noop"} for id in ("a", "b", "c")],
            "edges": [{"source": "a", "target": "b"}, {"source": "b", "target": "c"}],
        }
    )
)


class Rig:
    """A dispatcher, and an ear on what Celery's watchers are told."""

    def __init__(self, url: str, shown: bool, through: str | None = None) -> None:
        self.prefix = f"events{os.getpid()}:"
        settings = Settings(
            redis=Redis(url=through or url, prefix=self.prefix), broker=Broker(flower_events=shown)
        )
        self.app = make_celery(settings)
        self.dispatcher = CeleryDispatcher(self.app)
        self.redis = redis.Redis.from_url(url)
        self.ear = self.redis.pubsub()
        self.ear.psubscribe(f"{self.prefix}*celeryev*")
        assert self.ear.get_message(timeout=5)

    def show(self, *events: Event) -> None:
        """Show a commit."""
        self.dispatcher.show(_moved(*events), lambda *_: PLAN)

    def heard(self, timeout_s: float = 5.0) -> list[dict[str, Any]] | None:
        """Return the events of the next message; None when there is none."""
        message = self.ear.get_message(timeout=timeout_s)
        if message is None:
            return None
        found: list[dict[str, Any]] = json.loads(
            base64.b64decode(json.loads(message["data"])["body"])
        )
        return found

    def close(self) -> None:
        """Give the connections back."""
        self.ear.close()
        self.redis.close()
        self.app.close()


@pytest.fixture(params=[True])
def rig(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Rig]:
    made = Rig(redis_url, request.param)
    yield made
    made.close()


@pytest.fixture
def gate(redis_url: str) -> Iterator[Gate]:
    """A gate in front of Redis."""
    url = urlsplit(redis_url)
    with Gate(url.hostname or "127.0.0.1", url.port or 6379) as made:
        yield made


@pytest.fixture
def gated(redis_url: str, gate: Gate) -> Iterator[Rig]:
    """A dispatcher that talks through the gate; the ear does not."""
    url = urlsplit(redis_url)
    mine = url.netloc.rpartition("@")[0]
    place = f"{mine}@127.0.0.1:{gate.port}" if mine else f"127.0.0.1:{gate.port}"
    made = Rig(redis_url, shown=True, through=url._replace(netloc=place).geturl())
    yield made
    made.close()


RUN = new_id()


def task(node_id: str, state: str, attempt: int = 1, **data: Any) -> Event:
    return Event(
        run_id=RUN, seq=1, kind=Kind.TASK, at=datetime(2026, 1, 1, tzinfo=UTC),
        node_id=node_id, state=state, attempt=attempt, data=data or None,
    )  # fmt: skip


def _moved(*events: Event) -> Moved:
    return Moved(
        run_id=RUN, tenant_id=UUID(int=1), workflow_id=UUID(int=2), version=1, events=events
    )


def test_a_hop_is_one_message(rig: Rig) -> None:
    rig.show(
        task("a", "succeeded", duration_ms=1500),
        task("b", "running", attempt=2),
        task("c", "queued"),
    )
    found = rig.heard()
    assert found is not None
    assert [(e["type"], e.get("uuid")) for e in found] == [
        ("task-succeeded", f"{RUN}:0:1"),
        ("task-received", f"{RUN}:1:2"),
        ("task-started", f"{RUN}:1:2"),
        ("task-sent", f"{RUN}:2:1"),
        ("worker-offline", None),
    ]
    assert (found[0]["runtime"], found[1]["name"], found[1]["retries"]) == (1.5, "report/b", 1)
    assert rig.heard(0.05) is None


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (task("a", "failed", error={"code": "x", "message": "y"}), "task-failed"),
        (task("a", "timed_out", error={"code": "timeout", "message": "y"}), "task-failed"),
        (task("a", "retrying", error={"code": "x", "message": "y"}), "task-retried"),
        (task("a", "waiting", delay_s=3), "task-retried"),
        (task("a", "skipped", reason="nothing to do"), "task-succeeded"),
        (task("a", "cancelled"), "task-revoked"),
    ],
)
def test_each_end_has_celerys_word_for_it(rig: Rig, event: Event, kind: str) -> None:
    rig.show(event)
    found = rig.heard()
    assert found is not None
    assert found[0]["type"] == kind


def test_many_moves_are_cut_into_messages(rig: Rig) -> None:
    rig.show(*(task("a", "queued", attempt=n) for n in range(1, 602)))
    found = [rig.heard() or [] for _ in range(3)]
    assert [len(batch) for batch in found] == [250, 250, 102]


def _types(rig: Rig, count: int) -> list[str]:
    """Return the first `count` events that are heard of attempts, by type."""
    found: list[str] = []
    while len(found) < count:
        heard = rig.heard()
        assert heard is not None, f"only {found}"
        found += [e["type"] for e in heard if e["type"].startswith("task-")]
    return found


def test_an_end_while_redis_is_away_is_told_when_it_is_back(gated: Rig, gate: Gate) -> None:
    gated.show(task("a", "running"))
    assert _types(gated, 2) == ["task-received", "task-started"]
    gate.shut()
    gated.show(task("a", "retrying", delay_s=0))
    # Redis is left alone for a while now: what is shown meanwhile is kept all the same.
    gated.show(task("b", "running", attempt=2))
    gated.show(task("b", "succeeded", attempt=2))
    assert gated.heard(0.2) is None
    gate.reopen()
    assert _types(gated, 4) == [
        "task-retried", "task-received", "task-started", "task-succeeded",
    ]  # fmt: skip
    gated.show(task("c", "failed"))
    assert _types(gated, 1) == ["task-failed"]


def test_the_newest_are_kept_and_sent_at_the_end(gated: Rig, gate: Gate) -> None:
    events = CeleryEvents(gated.app, pause_s=0.1, most_kept=6)
    gate.shut()
    for attempt in range(1, 9):
        events.send([task("a", "failed", attempt=attempt)], PLAN, away=True)
    events.flush(0.05)
    gate.reopen()
    events.flush(10)
    heard = gated.heard() or []
    # What was on its way meanwhile went by itself.
    while more := gated.heard(0.2):
        heard = [*heard, *more]
    ends = [e["uuid"] for e in heard if e["type"] == "task-failed"]
    assert ends[-3:] == [f"{RUN}:0:{attempt}" for attempt in (6, 7, 8)]


def test_what_was_no_attempt_here_is_not_told(rig: Rig) -> None:
    run = replace(task("a", "running"), kind=Kind.RUN)
    log = replace(task("a", "running"), kind=Kind.LOG)
    taken_over = task("a", "succeeded", origin_run_id="x")
    rig.show(run, log, taken_over, task("b", "skipped", attempt=0))
    assert rig.heard(0.05) is None


@pytest.mark.parametrize("rig", [False], indirect=True)
def test_nothing_at_all_when_it_is_off(rig: Rig) -> None:
    def plan(_workflow: UUID, _version: int) -> Plan:
        raise AssertionError("not needed")

    rig.dispatcher.show(_moved(task("a", "running")), plan)
    assert rig.heard(0.05) is None


def test_a_plan_that_cannot_be_read_is_no_trouble(rig: Rig) -> None:
    def plan(_workflow: UUID, _version: int) -> Plan:
        raise StoreUnavailable

    rig.dispatcher.show(_moved(task("a", "running")), plan)
    assert rig.heard(0.05) is None


def test_a_message_carries_the_name_of_what_it_announces(rig: Rig) -> None:
    rig.show(task("b", "queued"))
    released = Release(run_id=RUN, task_no=1, attempt=1, queue="default", priority=5)
    for shadow in ("report/b", None):
        assert rig.dispatcher.release([[released]])
        raw = rig.redis.lpop(f"{rig.prefix}default")
        assert isinstance(raw, bytes)
        headers = json.loads(raw)["headers"]
        assert (headers["id"], headers["shadow"]) == (f"{RUN}:1:1", shadow)
