"""What is relied on of Celery's semi-private chord methods, on a real Redis.

Parts are settled tasks: however often one is reported, whatever becomes of messages, attempts or
processes, the body is sent once when all are there, or not at all.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
import redis

from orchestrator.adapters.celery.app import make_celery
from orchestrator.adapters.celery.dispatch import CeleryDispatcher
from orchestrator.adapters.memory.runtime import MemoryArtifacts, SettableClock
from orchestrator.adapters.memory.store import MemoryStore
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.task import Claim, Failure, Outcome, TaskError, Value
from orchestrator.ports.dispatch import EXECUTE, FINISH_QUEUE, FINISH_RUN
from orchestrator.ports.moves import Owner, Release
from orchestrator.services.runs.engine import WorkflowEngine
from orchestrator.settings import Redis, Settings
from tests.factories import new_id


class Rig:
    """A dispatcher, and a look at what it left in Redis."""

    def __init__(self, url: str, *, finish_always: bool = False, pipelined: bool = True) -> None:
        self.prefix = f"chord{os.getpid()}:"
        settings = Settings(redis=Redis(url=url, prefix=self.prefix))
        self.app = make_celery(settings)
        self.dispatcher = CeleryDispatcher(
            self.app, finish_always=finish_always, pipelined=pipelined
        )
        self.redis = redis.Redis.from_url(url)

    def bodies(self) -> int:
        """Return how many chord bodies have been sent."""
        return self.redis.llen(f"{self.prefix}{FINISH_QUEUE}")  # type: ignore[return-value]

    def chord_keys(self, run_id: UUID) -> list[bytes]:
        """Return the keys of a run's chord that have no end to their life."""
        keys = self.redis.keys(f"{self.prefix}*{run_id}*")
        return [k for k in keys if self.redis.ttl(k) < 0]  # type: ignore[union-attr,operator]


@pytest.fixture
def rig(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Rig]:
    made = Rig(redis_url, finish_always=getattr(request, "param", False))
    yield made
    made.app.close()
    made.redis.close()


def test_the_body_is_sent_when_the_last_part_is_in(rig: Rig) -> None:
    run_id = new_id()
    assert rig.dispatcher.open(run_id, 3)
    rig.dispatcher.settled(run_id, [2])
    rig.dispatcher.settled(run_id, [0])
    assert rig.bodies() == 0
    rig.dispatcher.settled(run_id, [1])
    assert rig.bodies() == 1


def test_a_slice_of_parts_counts_like_single_ones(rig: Rig) -> None:
    run_id = new_id()
    rig.dispatcher.open(run_id, 100)
    rig.dispatcher.settled(run_id, list(range(60)))
    rig.dispatcher.settled(run_id, list(range(40, 99)))
    assert rig.bodies() == 0
    rig.dispatcher.settled(run_id, [99])
    assert rig.bodies() == 1


def test_a_part_reported_twice_counts_once(rig: Rig) -> None:
    run_id = new_id()
    rig.dispatcher.open(run_id, 2)
    for _ in range(3):
        rig.dispatcher.settled(run_id, [0])
    assert rig.bodies() == 0
    rig.dispatcher.settled(run_id, [1])
    rig.dispatcher.settled(run_id, [1])
    rig.dispatcher.settled(run_id, [0, 1])
    assert rig.bodies() == 1


def test_a_lost_chord_sends_no_body_and_raises_nothing(rig: Rig) -> None:
    run_id = new_id()
    rig.dispatcher.open(run_id, 2)
    rig.dispatcher.settled(run_id, [0])
    rig.redis.flushdb()
    assert rig.dispatcher.settled(run_id, [1])
    assert rig.bodies() == 0


def test_an_ended_run_takes_its_chord_down_and_late_parts_change_nothing(rig: Rig) -> None:
    run_id = new_id()
    rig.dispatcher.open(run_id, 3)
    rig.dispatcher.settled(run_id, [0])
    rig.dispatcher.settled(run_id, [1, 2], ended=True)
    (left,) = rig.redis.keys(f"{rig.prefix}*{run_id}*")  # type: ignore[misc]
    rig.dispatcher.settled(run_id, [0, 1])
    rig.dispatcher.settled(run_id, [2])
    assert rig.redis.keys(f"{rig.prefix}*{run_id}*") == [left]
    assert rig.redis.ttl(left) > 0  # type: ignore[operator]
    assert rig.bodies() == 0


def test_the_size_may_be_set_again_while_no_part_is_in(rig: Rig) -> None:
    run_id = new_id()
    rig.dispatcher.open(run_id, 2)
    rig.dispatcher.open(run_id, 2)
    rig.dispatcher.settled(run_id, [0, 1])
    assert rig.bodies() == 1


def test_every_key_of_a_chord_ends_by_itself(rig: Rig) -> None:
    run_id = new_id()
    rig.dispatcher.open(run_id, 2)
    rig.dispatcher.settled(run_id, [0])
    assert rig.chord_keys(run_id) == []
    rig.dispatcher.settled(run_id, [1])
    assert rig.chord_keys(run_id) == []


def test_a_message_is_small_and_says_ids_only(rig: Rig) -> None:
    run_id = new_id()
    release = Release(run_id=run_id, task_no=9_999, attempt=3, queue="default", priority=5)
    rig.dispatcher.release([[release]])
    (message,) = rig.redis.lrange(f"{rig.prefix}default", 0, -1)  # type: ignore[misc]
    assert len(message) < 2048
    assert str(run_id).encode() in message
    assert EXECUTE.encode() in message
    args, kwargs, embedded = json.loads(base64.b64decode(json.loads(message)["body"]))
    assert (args, kwargs) == ([str(run_id), [[9_999, 3]]], {})
    assert embedded["chord"] is None


def test_an_announcement_is_what_celery_itself_would_publish(rig: Rig) -> None:
    run_id = new_id()
    release = Release(run_id=run_id, task_no=3, attempt=1, queue="default", priority=5)
    rig.app.send_task(
        EXECUTE, args=(str(run_id), [[3, 1]]), task_id=f"{run_id}:3:1", queue="default",
        group_id=str(run_id), ignore_result=True,
    )  # fmt: skip
    rig.dispatcher.release([[release]])
    rig.dispatcher.release([[release], [release]])
    rig.dispatcher.open(run_id, 1, [[release]])
    sent, *ours = map(json.loads, rig.redis.lrange(f"{rig.prefix}default", 0, -1)[::-1])  # type: ignore[index]
    assert len(ours) == 4
    for message in (sent, *ours):
        assert message["properties"].pop("delivery_tag")
        # Where a result would go: nobody waits for one.
        assert message["properties"].pop("reply_to") is not None
        # Pictures of the arguments, for Flower: it hears of attempts in another way.
        for picture in ("argsrepr", "kwargsrepr"):
            assert message["headers"].pop(picture) is not None
    for message in ours:
        assert message == sent


def test_the_body_is_told_the_run_and_no_results(rig: Rig) -> None:
    run_id = new_id()
    rig.dispatcher.open(run_id, 1)
    rig.dispatcher.settled(run_id, [0])
    (message,) = rig.redis.lrange(f"{rig.prefix}{FINISH_QUEUE}", 0, -1)  # type: ignore[misc]
    assert FINISH_RUN.encode() in message
    assert len(message) < 2048


@pytest.mark.parametrize("pipelined", [True, False])
def test_the_first_messages_of_a_run_and_later_ones_arrive_in_order(
    redis_url: str, pipelined: bool
) -> None:
    rig = Rig(redis_url, pipelined=pipelined)
    run_id = new_id()
    some = [
        [Release(run_id=run_id, task_no=no, attempt=1, queue="default", priority=5)]
        for no in range(4)
    ]
    assert rig.dispatcher.open(run_id, 4, some[:2])
    assert rig.dispatcher.release(some[2:])
    waiting = rig.redis.lrange(f"{rig.prefix}default", 0, -1)
    ids = [f"{run_id}:{no}:1".encode() for no in range(4)]
    assert [next(i for i in ids if i in m) for m in reversed(waiting)] == ids  # type: ignore[union-attr,arg-type]
    for no in range(4):
        assert rig.bodies() == 0
        rig.dispatcher.settled(run_id, [no])
    assert rig.bodies() == 1
    rig.app.close()
    rig.redis.close()


def test_nothing_raises_and_nothing_hangs_while_redis_is_away() -> None:
    settings = Settings(redis=Redis(url="redis://127.0.0.1:1/0", timeout_s=0.5))
    dispatcher = CeleryDispatcher(make_celery(settings))
    run_id = new_id()
    release = Release(run_id=run_id, task_no=0, attempt=1, queue="default", priority=5)
    assert dispatcher.open(run_id, 1) is False
    assert dispatcher.release([[release]]) is False
    assert dispatcher.settled(run_id, [0]) is False
    assert dispatcher.depth("default") is None


class Playing:
    """A run of a -> b, c -> d played by hand: memory keeps the record, Redis the chord."""

    def __init__(self, rig: Rig) -> None:
        self.clock = SettableClock()
        self.store = MemoryStore(self.clock)
        self.engine = WorkflowEngine(self.store, rig.dispatcher, (), self.clock, MemoryArtifacts())
        retry = {"max_attempts": 2, "delay_s": 0}
        nodes = [{"id": i, "type": "noop", "data": {"retry": retry}} for i in "abcd"]
        edges = [{"source": s, "target": t} for s, t in ("ab", "ac", "bd", "cd")]
        document = {"name": "chord", "nodes": nodes, "edges": edges}
        self.run_id, _ = self.engine.execute(DEFAULT_TENANT, document)
        plan = self.engine.plan_of_run(self.run_id)
        assert plan is not None
        self.plan = plan

    def claim(self, node_id: str) -> Claim:
        """Claim a node's present attempt."""
        (task,) = self.store.reads.tasks(self.run_id, node_id=node_id)
        owner = Owner(worker_id=new_id(), pid=1)
        moved = self.store.moves.claim_attempts(
            self.run_id, [(task.task_no, task.attempt)], claim_id=new_id(), owner=owner
        )
        assert moved is not None, f"{node_id} is {task.state}"
        return moved.claimed[0]

    def do(self, node_id: str, outcome: Outcome | None = None) -> Claim:
        """Claim and settle; an outcome of None is a success."""
        claim = self.claim(node_id)
        self.engine.report(claim, outcome or Value(output={}), self.plan)
        return claim

    def again(self, node_id: str) -> None:
        """Let a task have its next attempt, which without a delay is queued already."""
        self.clock.advance(1)
        number = self.plan.numbers[node_id]
        queued = self.engine.queue(self.run_id, [number])
        (task,) = self.store.reads.tasks(self.run_id, node_id=node_id)
        assert queued == 1 or task.state == "queued"

    def state(self) -> str:
        """Return the run's state."""
        return str(self.engine.run(DEFAULT_TENANT, self.run_id).state)


BROKEN = Failure(error=TaskError(code="x", message="y"))


def _retried(playing: Playing) -> None:
    playing.do("a", BROKEN)
    playing.again("a")
    for node_id in "abcd":
        playing.do(node_id)


def _skipped(playing: Playing) -> None:
    playing.do("a")
    playing.do("b")
    playing.do("c", BROKEN)
    playing.again("c")
    playing.do("c", BROKEN)


def _lost(playing: Playing) -> None:
    playing.engine.give_up(playing.claim("a"))
    playing.again("a")
    for node_id in "abcd":
        playing.do(node_id)


def _settled_twice(playing: Playing) -> None:
    for node_id in "abcd":
        claim = playing.do(node_id)
        playing.engine.report(claim, Value(output={}), playing.plan)


@pytest.mark.parametrize(
    ("story", "end"),
    [
        (_retried, "succeeded"),
        (_skipped, "failed"),
        (_lost, "succeeded"),
        (_settled_twice, "succeeded"),
    ],
)
@pytest.mark.parametrize(("rig", "bodies"), [(True, 1), (False, 0)], indirect=["rig"])
def test_whatever_becomes_of_attempts_the_body_is_sent_once_or_has_nothing_to_do(
    rig: Rig, bodies: int, story: Callable[[Playing], None], end: str
) -> None:
    playing = Playing(rig)
    story(playing)
    assert playing.state() == end
    assert rig.bodies() == bodies


def test_a_lost_chord_delays_no_run(rig: Rig) -> None:
    playing = Playing(rig)
    playing.do("a")
    rig.redis.flushdb()
    for node_id in "bcd":
        playing.do(node_id)
    assert playing.state() == "succeeded"
    assert rig.bodies() == 0
