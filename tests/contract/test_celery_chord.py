"""What is relied on of Celery's semi-private chord methods, on a real Redis.

Parts are settled tasks: however often one is reported, whatever becomes of messages, attempts or
processes, the body is sent once when all are there, or not at all.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from uuid import UUID

import pytest
import redis

from orchestrator.adapters.celery_app import make_celery
from orchestrator.adapters.celery_dispatch import CeleryDispatcher
from orchestrator.ports.dispatch import EXECUTE, FINISH_QUEUE, FINISH_RUN
from orchestrator.ports.store import Release
from orchestrator.settings import Redis, Settings
from tests.factories import new_id


class Rig:
    """A dispatcher, and a look at what it left in Redis."""

    def __init__(self, url: str) -> None:
        self.prefix = f"chord{os.getpid()}:"
        settings = Settings(redis=Redis(url=url, prefix=self.prefix))
        self.app = make_celery(settings)
        self.dispatcher = CeleryDispatcher(self.app)
        self.redis = redis.Redis.from_url(url)

    def bodies(self) -> int:
        """Return how many chord bodies have been sent."""
        return self.redis.llen(f"{self.prefix}{FINISH_QUEUE}")  # type: ignore[return-value]

    def chord_keys(self, run_id: UUID) -> list[bytes]:
        """Return the keys of a run's chord that have no end to their life."""
        keys = self.redis.keys(f"{self.prefix}*{run_id}*")
        return [k for k in keys if self.redis.ttl(k) < 0]  # type: ignore[union-attr,operator]


@pytest.fixture
def rig(redis_url: str) -> Iterator[Rig]:
    made = Rig(redis_url)
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


def test_the_body_is_told_the_run_and_no_results(rig: Rig) -> None:
    run_id = new_id()
    rig.dispatcher.open(run_id, 1)
    rig.dispatcher.settled(run_id, [0])
    (message,) = rig.redis.lrange(f"{rig.prefix}{FINISH_QUEUE}", 0, -1)  # type: ignore[misc]
    assert FINISH_RUN.encode() in message
    assert len(message) < 2048


def test_nothing_raises_and_nothing_hangs_while_redis_is_away() -> None:
    settings = Settings(redis=Redis(url="redis://127.0.0.1:1/0", timeout_s=0.5))
    dispatcher = CeleryDispatcher(make_celery(settings))
    run_id = new_id()
    release = Release(run_id=run_id, task_no=0, attempt=1, queue="default", priority=5)
    assert dispatcher.open(run_id, 1) is False
    assert dispatcher.release([[release]]) is False
    assert dispatcher.settled(run_id, [0]) is False
    assert dispatcher.depth("default") is None
