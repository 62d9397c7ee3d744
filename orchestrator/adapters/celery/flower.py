"""What Flower sees: committed moves of tasks as Celery events, one Celery task an attempt.

Celery's own events tell of messages: a child that goes on in place would be one long task, a loser
of a claim would stay STARTED, and a failed node would be a success. So messages send none.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from celery import Celery
from celery.events import Event as CeleryEvent
from celery.events.event import get_exchange
from celery.utils.time import utcoffset
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from orchestrator.models.definitions.plan import Plan
from orchestrator.models.runs.event import Event, Kind
from orchestrator.models.runs.task import TaskState
from orchestrator.ports.dispatch import EXECUTE

log = logging.getLogger(__name__)

#: Events of one message to Flower: a run may start with thousands of roots.
_BATCH = 250
#: Events kept while Redis is away, about 500 bytes each; the oldest go beyond it.
_MOST_KEPT = 10_000
#: Seconds between two tries.
_PAUSE_S = 1.0

_AWAY = (KombuError, RedisError, OSError)

Fields = dict[str, Any]


def moves(events: tuple[Event, ...]) -> list[Event]:
    """Return those that Flower should hear of: attempts that moved here, not in an origin run."""
    return [
        e
        for e in events
        if e.kind is Kind.TASK and e.attempt and "origin_run_id" not in (e.data or {})
    ]


def celery_id(event: Event, plan: Plan) -> str:
    """Return the id of an attempt: the same as its message's."""
    place = "" if event.map_index is None else f".{event.map_index}"
    return f"{event.run_id}:{plan.numbers[event.node_id or '']}{place}:{event.attempt}"


def celery_name(event: Event, plan: Plan) -> str:
    """Return a name that helps: `weather-report/fetch_days`, with `[3]` behind a mapped one."""
    place = "" if event.map_index is None else f"[{event.map_index}]"
    return f"{plan.workflow.name}/{event.node_id}{place}"


class CeleryEvents:
    """Sends events in Celery's format, in the order of the commits; who listens is not known.

    What Redis does not take is kept, the newest of it, and sent when Redis is back: the last word
    on an attempt is not lost to a short absence. Safe to share between threads.
    """

    def __init__(
        self, app: Celery, *, pause_s: float = _PAUSE_S, most_kept: int = _MOST_KEPT
    ) -> None:
        self._app = app
        self._most_kept = most_kept
        self._pause_s = pause_s
        self._elsewhere = f"zq@{socket.gethostname()}"
        self._hostname = self._elsewhere
        self._waiting: deque[tuple[str, list[Fields]]] = deque()
        self._count = 0
        self._changed = threading.Condition()
        #: A thread has taken some out and has not got rid of them yet.
        self._busy = False
        self._thread: threading.Thread | None = None

    def send(self, moved: list[Event], plan: Plan, *, away: bool = False) -> None:
        """Publish the moves of one commit, in order, as one message (or more, each of 250).

        In a pool child a thread does it, so that a hop in place does not wait for Redis; moves to
        `queued` are published before this returns, since another child may be faster otherwise.
        `away`: Redis is known to be away, so nothing waits for it. Raises what Redis raises, and
        keeps what it did not take.
        """
        task = self._app.current_worker_task
        if task is not None and task.request.hostname:
            # Other threads of a pool child do not see the task it works on.
            self._hostname = task.request.hostname
        hostname = self._hostname
        found = [self._event(kind, event, fields, hostname)
                 for event in moved for kind, fields in _translated(event, plan)]  # fmt: skip
        if hostname == self._elsewhere:
            # Flower takes whoever tells of a task for a worker: this one is no worker.
            found.append(self._event("worker-offline", moved[-1], {}, hostname))
        at_once = hostname == self._elsewhere or any(e.state == TaskState.QUEUED for e in moved)
        if not at_once or away or self._count or self._busy:
            self._keep(hostname, found)
            return
        try:
            self._publish(hostname, found)
        except _AWAY:
            self._keep(hostname, found)
            raise

    def flush(self, timeout_s: float) -> None:
        """Wait until what is kept is sent, for a process that is about to end."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._count or self._busy), timeout_s)

    def _keep(self, hostname: str, found: list[Fields]) -> None:
        with self._changed:
            self._waiting.append((hostname, found))
            self._count += len(found)
            self._drop()
            # A fork leaves the parent's thread behind.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="flower", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _drop(self) -> None:
        """Forget the oldest beyond the limit."""
        while self._count > self._most_kept:
            hostname, found = self._waiting.popleft()
            gone = min(len(found), self._count - self._most_kept)
            self._count -= gone
            if found[gone:]:
                self._waiting.appendleft((hostname, found[gone:]))

    def _run(self) -> None:
        while True:
            hostname, found = self._take()
            try:
                self._publish(hostname, found)
            except _AWAY as error:
                log.debug("not shown to Flower yet: %s", error)
                self._put_back(hostname, found)
                time.sleep(self._pause_s)
            except Exception:
                # What cannot be said must not silence what comes after it.
                log.exception("not shown to Flower")
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _take(self) -> tuple[str, list[Fields]]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            self._busy = True
            hostname, found = self._waiting.popleft()
            while self._waiting and len(found) < _BATCH and self._waiting[0][0] == hostname:
                found = found + self._waiting.popleft()[1]
            self._count -= len(found)
            return hostname, found

    def _put_back(self, hostname: str, found: list[Fields]) -> None:
        with self._changed:
            self._waiting.appendleft((hostname, found))
            self._count += len(found)
            self._drop()

    def _publish(self, hostname: str, found: list[Fields]) -> None:
        with self._app.producer_or_acquire() as producer:
            exchange = get_exchange(producer.connection, name=self._app.conf.event_exchange)
            for start in range(0, len(found), _BATCH):
                producer.publish(
                    found[start : start + _BATCH],
                    routing_key="task.multi",
                    exchange=exchange.name,
                    declare=[exchange],
                    serializer=self._app.conf.event_serializer,
                    headers={"hostname": hostname},
                    delivery_mode=1,
                    retry=False,
                )

    def _event(self, kind: str, event: Event, fields: Fields, hostname: str) -> Fields:
        made: Fields = CeleryEvent(
            kind,
            hostname=hostname,
            utcoffset=utcoffset(),
            pid=os.getpid(),
            timestamp=event.at.timestamp(),
            **fields,
        )
        return made


def _translated(event: Event, plan: Plan) -> Iterator[tuple[str, Fields]]:
    """Yield Celery's words for a move. RETRY is the one state of Celery's that others may follow,
    so it also stands for an attempt that waits."""
    uuid, data = celery_id(event, plan), event.data or {}
    match event.state:
        case TaskState.QUEUED:
            queue = plan.by_id(event.node_id or "").node.queue
            yield "task-sent", {**_about(event, plan), "queue": queue, "routing_key": queue}
        case TaskState.RUNNING:
            yield "task-received", _about(event, plan)
            yield "task-started", {"uuid": uuid}
        case TaskState.SUCCEEDED:
            yield "task-succeeded", {"uuid": uuid, "result": None, "runtime": _runtime_s(data)}
        case TaskState.SKIPPED:
            result = f"skipped: {data.get('reason', '')}"
            yield "task-succeeded", {"uuid": uuid, "result": result, "runtime": _runtime_s(data)}
        case TaskState.FAILED | TaskState.TIMED_OUT:
            yield "task-failed", {"uuid": uuid, "exception": _error(data), "traceback": None}
        case TaskState.RETRYING:
            yield "task-retried", {"uuid": uuid, "exception": _error(data), "traceback": None}
        case TaskState.WAITING:
            why = f"waits, at most {data.get('delay_s', 0):g} s"
            yield "task-retried", {"uuid": uuid, "exception": why, "traceback": None}
        case TaskState.CANCELLED:
            gone = {"terminated": False, "signum": None, "expired": False}
            yield "task-revoked", {"uuid": uuid, **gone}


def _about(event: Event, plan: Plan) -> Fields:
    number = plan.numbers[event.node_id or ""]
    return {
        "uuid": celery_id(event, plan),
        "name": celery_name(event, plan),
        "args": f"({EXECUTE}: '{event.run_id}', [[{number}, {event.attempt}]])",
        "kwargs": "{}",
        "root_id": str(event.run_id),
        "parent_id": None,
        "retries": (event.attempt or 1) - 1,
        "eta": None,
        "expires": None,
    }


def _runtime_s(data: Mapping[str, Any]) -> float:
    return float(data.get("duration_ms") or 0) / 1000


def _error(data: Mapping[str, Any]) -> str:
    error = data.get("error") or {}
    return f"{error.get('code', data.get('reason', 'error'))}: {error.get('message', '')}"
