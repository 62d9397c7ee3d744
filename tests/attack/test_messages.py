"""Row M1: messages that somebody else wrote straight into Redis. They are dropped, work goes on."""

from __future__ import annotations

import base64
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg2
import pytest
import redis

from orchestrator.adapters.celery.app import make_celery
from orchestrator.models.runs.run import RunState
from orchestrator.ports.dispatch import EXECUTE, FINISH_RUN
from tests.conftest import Databases
from tests.integration.invariants import violations
from tests.integration.live import Live, living
from tests.waiting import wait_for

LONG = "ZQ_ATTACK_MINUTES" in os.environ
NO_MORE = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class Evil:
    """Would touch a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def called(*arguments: Any) -> list[Any]:
    """Return a body as Celery writes it."""
    return [list(arguments), {}, NO_MORE]


def message(
    body: Any, task: Any = EXECUTE, *, properties: Any = None, top: Any = None, **headers: Any
) -> bytes:
    """Return an envelope as kombu writes it, but for what is given."""
    if isinstance(body, dict | list):
        body = base64.b64encode(json.dumps(body).encode()).decode()
    elif isinstance(body, bytes):
        body = base64.b64encode(body).decode()
    all_headers = {
        "lang": "py", "task": task, "id": str(uuid4()), "root_id": None, "parent_id": None,
        "group": None, "argsrepr": "", "kwargsrepr": "", "origin": "x", "retries": 0,
        "timelimit": [None, None], "eta": None, "expires": None, **headers,
    }  # fmt: skip
    all_properties = {
        "correlation_id": "x", "delivery_mode": 2, "priority": 0, "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": "default"},
        "delivery_tag": str(uuid4()), **(properties or {}),
    }  # fmt: skip
    envelope = {
        "body": body, "content-encoding": "utf-8", "content-type": "application/json",
        "headers": all_headers, "properties": all_properties, **(top or {}),
    }  # fmt: skip
    return json.dumps(envelope).encode()


PICKLES = ("application/x-python-serialize", "pickle", "application/json")
NOWHERE = str(uuid4())
HOSTILE: dict[str, bytes] = {
    "an unknown task": message(called("x"), "os.system"),
    "a task of Celery": message([["g", {"a": 1}], {}, {}], "celery.chord_unlock"),
    "a map of Celery": message([["os.system", ["x"]], {}, {}], "celery.map"),
    "a task that is no name": message(called(), ["x"]),
    "YAML": message(b"!!python/object/apply:os.system [ls]", top={"content-type": "text/x-yaml"}),
    "no content type": message(called(), top={"content-type": None}),
    "an unknown charset": message(called(), top={"content-encoding": "klingon"}),
    "an unknown encoding": message(called(), properties={"body_encoding": "rot13"}),
    "a compressed body": message(called(), compression="application/x-bz2"),
    "bad base64": message("!!!!"),
    "half a base64": message("a"),
    "a body of a number": message(5),
    "no body": message(None),
    "a body that is no JSON": message(b"{"),
    "an object as body": message({"a": 1}),
    "a list of one as body": message([1]),
    "a body too deep": message(b"[" * 40_000),
    "something to run after it": message([[NOWHERE, []], {}, {"callbacks": [{"task": "x"}]}]),
    "a chord to fire": message([[NOWHERE, []], {}, {"chord": {"task": "x"}}]),
    "arguments by name": message([[], {"run_id": 1}, NO_MORE]),
    "no run id": message(called("x", [[0, 1]])),
    "arguments of other types": message(called(5, {"a": 1})),
    "attempts that are none": message(called(NOWHERE, [["a", "b"], [1], []])),
    "huge numbers": message(called(NOWHERE, [[10**30, -1]])),
    "no arguments": message(called()),
    "the end of nonsense": message(called("x", 5), FINISH_RUN),
    "a nonsense time": message(called(NOWHERE, []), eta="nonsense"),
    "a time far away": message(called(NOWHERE, []), eta="9999-01-01T00:00:00"),
    "a nonsense limit": message(called(NOWHERE, []), timelimit=["a", -1]),
    "an id of lists": message(called(NOWHERE, []), id=["x"], root_id={}),
    "no id": message(called(NOWHERE, []), id=None),
    "a tag of lists": message(called(NOWHERE, []), properties={"delivery_tag": ["x"]}),
    "no headers": message(called(), top={"headers": None}),
    "no properties": message(called(), top={"properties": None}),
    "a type to revive": message({"__type__": "datetime", "__value__": "x"}),
    "an envelope to revive": b'{"__type__": "decimal", "__value__": "x"}',
    "no JSON": b"hello", "no text": b"\xff\xfe{", "nothing": b"", "a list": b"[]", "null": b"null",
    "a number": b"5", "too deep": b"[" * 100_000,
    "a huge body": message("x" * (100_000_000 if LONG else 10_000_000)),
}  # fmt: skip
#: In the form of ours; Postgres decides that there is nothing to claim.
WELL_FORMED: dict[str, bytes] = {
    "a run that is not": message(called(NOWHERE, [[0, 1]])),
    "the end of no run": message(called(NOWHERE), FINISH_RUN),
}


@pytest.fixture(scope="module")
def live(
    databases: Databases, redis_server_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    with living(
        databases.migrated(), redis_server_url, tmp_path_factory.mktemp("messages")
    ) as made:
        made.scheduler()
        made.worker()
        yield made


@pytest.fixture(scope="module")
def queue(live: Live) -> Iterator[Any]:
    """Return a way to write into the queue, past everything."""
    client = redis.Redis.from_url(live.settings.redis.url)
    yield lambda data: client.lpush(f"{live.settings.redis.prefix}default", data)
    left = client.hlen(f"{live.settings.redis.prefix}unacked")
    client.close()
    assert left == 0, "messages that were dropped must not come again"


def pids(live: Live) -> tuple[int, ...]:
    """Return Celery's main process and the children of its pool."""
    supervisor = live.processes[1]
    (main,) = psutil.Process(supervisor.pid).children()
    return main.pid, *sorted(live.children(supervisor))


def dropped(live: Live) -> int:
    """Return how many messages the worker says it has dropped."""
    (log,) = live.folder.glob("worker-*.log")
    return log.read_text().count("was dropped")


def test_m1_a_pickle_is_never_unpacked(live: Live, queue: Any, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    before = pids(live)
    for kind in PICKLES:
        for encoding in ("binary", "utf-8"):
            data = pickle.dumps(Evil(canary))
            queue(message(data, top={"content-type": kind, "content-encoding": encoding}))
    assert live.ended(live.start([{"id": "a"}])).state is RunState.SUCCEEDED
    assert pids(live) == before
    assert not canary.exists()


@pytest.mark.parametrize("name", HOSTILE)
def test_m1_what_is_not_ours_is_dropped(name: str, live: Live, queue: Any) -> None:
    before, count = pids(live), dropped(live)
    queue(HOSTILE[name])
    # The queue is first in, first out: when this run has ended, the message was read.
    assert live.ended(live.start([{"id": "a"}])).state is RunState.SUCCEEDED
    assert pids(live) == before
    assert dropped(live) == count + 1


@pytest.mark.parametrize("name", WELL_FORMED)
def test_m1_what_looks_like_ours_claims_nothing(name: str, live: Live, queue: Any) -> None:
    before = pids(live)
    queue(WELL_FORMED[name])
    assert live.ended(live.start([{"id": "a"}])).state is RunState.SUCCEEDED
    assert pids(live) == before


def test_m1_attempts_of_another_run_stay_as_they_are(live: Live, queue: Any) -> None:
    """An ended run, a later attempt, and tasks that are still waiting: nothing of it moves."""
    ended = live.start([{"id": "a"}])
    live.ended(ended)
    running = live.start([live.holding(), {"id": "after"}], ["hold>after"])
    wait_for(lambda: live.states(running)["hold"] == "running", timeout_s=20)
    events = live.events(ended)
    queue(message(called(str(ended), [[0, 1], [0, 2], [7, 1]])))
    queue(message(called(str(running), [[1, 1], [0, 2], [0, 9]])))
    queue(message(called(str(running)), FINISH_RUN))
    assert live.ended(live.start([{"id": "a"}])).state is RunState.SUCCEEDED
    assert live.events(ended) == events
    assert live.states(running)["after"] == "pending"
    assert live.run(running).state is RunState.RUNNING
    live.let_go()
    assert live.ended(running).state is RunState.SUCCEEDED


COMMANDS: dict[str, dict[str, Any]] = {
    "shutdown": {}, "pool_shrink": {"n": 2}, "pool_grow": {"n": 50}, "pool_restart": {},
    "add_consumer": {"queue": "elsewhere"}, "cancel_consumer": {"queue": "default"},
    "rate_limit": {"task_name": EXECUTE, "rate_limit": "1/h"}, "autoscale": {"max": 1, "min": 1},
    "time_limit": {"task_name": EXECUTE, "hard": 1}, "revoke": {"task_id": "x", "terminate": True},
    "terminate": {"task_id": "x", "signal": "KILL"}, "disable_events": {}, "election": {},
}  # fmt: skip


def test_m1_nobody_commands_a_worker_through_redis(live: Live) -> None:
    """Flower may look; whoever can write to Redis can neither stop nor change a worker."""
    before = pids(live)
    app = make_celery(live.settings)
    for name, arguments in COMMANDS.items():
        answers = app.control.broadcast(name, arguments=arguments, reply=True, timeout=0.3)
        assert all("ok" not in said for answer in answers for said in answer.values()), name
    assert app.control.broadcast("ping", reply=True, timeout=5, limit=1)
    assert live.ended(live.start([{"id": "a"}])).state is RunState.SUCCEEDED
    assert pids(live) == before
    app.close()


def test_m1_nothing_is_broken_afterwards(live: Live) -> None:
    connection = psycopg2.connect(live.settings.database.url)
    try:
        assert violations(connection) == []
    finally:
        connection.close()
