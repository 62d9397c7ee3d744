"""Notifications on Redis pub/sub: one topic a run, one hub thread a process for all who listen.
One pattern covers the topics of all runs.

Frames are signed with their topic: who can write to Redis but does not have the secret key can only
notify; what happened is then read from the record. A frame that is lost here is repaired from the
record by whoever streams; nothing is retried.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from hashlib import blake2b
from hmac import compare_digest
from typing import Any
from uuid import UUID, uuid4

import orjson
import redis

from orchestrator.adapters.redis.connection import connect
from orchestrator.models.runs.event import Event

#: Batches a slow listener may have waiting; then all are dropped and it reads the record.
BATCHES = 256
#: How often the hub looks around while nothing arrives, seconds.
_TURN_S = 1.0
_MARK_BYTES = 16
#: What Redis takes for a pattern in `PSUBSCRIBE`.
_GLOB = re.compile(r"[*?\[\\]")

log = logging.getLogger(__name__)


class TopicQueue:
    """Answers `ports.live.Subscription`: a bounded queue between the hub and one listener."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._batches: deque[list[dict[str, Any]]] = deque()
        self._dropped = False
        self._overflowed = False
        #: Set once Redis has confirmed the topic.
        self.open = threading.Event()

    def get(self, timeout_s: float) -> list[dict[str, Any]] | None:
        """See the port. Returns early, with None, when frames were dropped."""
        with self._changed:
            self._changed.wait_for(lambda: self._batches or self._dropped, timeout_s)
            self._overflowed, self._dropped = self._dropped, False
            return self._batches.popleft() if self._batches else None

    @property
    def overflowed(self) -> bool:
        """True when frames were dropped between the last two calls of `get`."""
        return self._overflowed

    def put(self, frames: list[dict[str, Any]]) -> None:
        """Queue a batch; a full queue is emptied, since the record has to be read anyway."""
        with self._changed:
            if len(self._batches) >= BATCHES:
                self._batches.clear()
                self._dropped = True
            else:
                self._batches.append(frames)
            self._changed.notify()

    def lose(self) -> None:
        """Note that frames may have been missed."""
        with self._changed:
            self._dropped = True
            self._changed.notify()


class RedisChannel:
    """Answers `ports.live.Channel`. Safe to share between threads and to carry over a fork."""

    def __init__(
        self, url: str, *, prefix: str, timeout_s: float, keys: Sequence[bytes] = (b"",)
    ) -> None:
        """Sign with the first key, at most 64 bytes long, and believe what any of them signed."""
        self._keys = tuple(keys)
        self._url = url
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._process: _Process | None = None
        #: Until then (monotonic) nothing is published: a dead Redis costs one timeout, not each.
        self._quiet_until = 0.0

    def notify(self, events: Sequence[Event]) -> None:
        """See the port. One PUBLISH; lost without a word while Redis is away."""
        if not events or time.monotonic() < self._quiet_until:
            return
        topic = self._topic(events[0].run_id)
        try:
            frames = orjson.dumps([event.frame() for event in events])
            mark = _mark(self._keys[0], topic.encode(), frames)
            self._here().client.publish(topic, mark + frames)
        except (redis.RedisError, OSError) as error:
            self._quiet_until = time.monotonic() + max(1.0, self._timeout_s)
            log.warning("channel: Redis is away, watchers read the record instead: %s", error)
        except (TypeError, ValueError):
            log.exception("channel: an event of run %s is no JSON", events[0].run_id)

    def subscribe(self, run_id: UUID) -> AbstractContextManager[TopicQueue]:
        """See the port. Open before it returns, or, while Redis is away, after the timeout."""
        return self._listen(self._topic(run_id).encode())

    def subscribe_all(self) -> AbstractContextManager[TopicQueue]:
        """See the port. Open as `subscribe` says."""
        prefix = _GLOB.sub(r"\\\g<0>", self._prefix)
        return self._listen(f"{prefix}run:*".encode())

    @contextmanager
    def _listen(self, topic: bytes) -> Iterator[TopicQueue]:
        hub = self._here().hub
        queue = hub.add(topic)
        try:
            if not queue.open.wait(self._timeout_s):
                queue.lose()
            yield queue
        finally:
            hub.remove(topic, queue)

    def ping(self) -> bool:
        """See the port."""
        try:
            return bool(self._here().client.ping())
        except (redis.RedisError, OSError):
            return False

    def _topic(self, run_id: UUID) -> str:
        return f"{self._prefix}run:{run_id}"

    def _here(self) -> _Process:
        if self._process is None or self._process.pid != os.getpid():
            with self._lock:
                if self._process is None or self._process.pid != os.getpid():
                    self._process = _Process(self._url, self._prefix, self._timeout_s, self._keys)
        return self._process


class _Process:
    """What one process has: its client, and its hub once somebody listens."""

    def __init__(self, url: str, prefix: str, timeout_s: float, keys: Sequence[bytes]) -> None:
        self.pid = os.getpid()
        self.client = connect(url, timeout_s)
        self.hub = _Hub(self.client, f"{prefix}hub:{uuid4()}".encode(), keys)


class _Hub:
    """One thread and one connection that hear every topic somebody in this process listens to.

    Only the thread touches the connection; others change `_wanted` and ring the hub's own topic.
    """

    def __init__(self, client: redis.Redis, wake: bytes, keys: Sequence[bytes]) -> None:
        self._client = client
        self._keys = keys
        self._wake = wake
        self._lock = threading.Lock()
        self._wanted: dict[bytes, list[TopicQueue]] = {}
        #: Topics that Redis has confirmed on the present connection.
        self._open: set[bytes] = set()
        self._thread: threading.Thread | None = None
        self._awake = threading.Event()

    def add(self, topic: bytes) -> TopicQueue:
        """Listen to a topic; the queue is `open` once Redis has confirmed it."""
        queue = TopicQueue()
        with self._lock:
            self._wanted.setdefault(topic, []).append(queue)
            if topic in self._open:
                queue.open.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="channel-hub", daemon=True)
                self._thread.start()
        if not queue.open.is_set():
            self._ring()
        return queue

    def remove(self, topic: bytes, queue: TopicQueue) -> None:
        """Stop listening; the topic is closed at the hub's next turn."""
        with self._lock:
            queues = self._wanted[topic]
            queues.remove(queue)
            if not queues:
                del self._wanted[topic]

    def _ring(self) -> None:
        self._awake.set()
        with self._lock:
            ready = self._wake in self._open
        if ready:
            try:
                self._client.publish(self._wake, b"")
            except (redis.RedisError, OSError):
                log.debug("channel: the hub looks around by itself")

    def _run(self) -> None:
        pause_s = 0.05
        while True:
            with self._lock:
                idle = not self._wanted
            if idle:
                self._awake.wait()
            self._awake.clear()
            try:
                with self._client.pubsub() as line:  # type: ignore[no-untyped-call]
                    line.subscribe(self._wake)
                    self._hear(line)
            except (redis.RedisError, OSError) as error:
                heard = bool(self._open)
                level = logging.WARNING if heard else logging.DEBUG
                log.log(level, "channel: listening stopped, trying again: %s", error)
            pause_s = 0.05 if heard else min(1.0, pause_s * 2)
            self._lost()
            self._awake.wait(pause_s)

    def _lost(self) -> None:
        with self._lock:
            self._open.clear()
            for queues in self._wanted.values():
                for queue in queues:
                    queue.lose()

    def _hear(self, line: Any) -> None:
        asked: set[bytes] = set()
        while True:
            message = line.get_message(timeout=_TURN_S)
            if message is not None:
                heard = message["pattern"] or message["channel"]
                self._sort(message["type"], heard, message["channel"], message["data"])
            with self._lock:
                wanted = set(self._wanted)
            for topic in wanted - asked:
                (line.psubscribe if _is_pattern(topic) else line.subscribe)(topic)
            for topic in asked - wanted:
                (line.punsubscribe if _is_pattern(topic) else line.unsubscribe)(topic)
                with self._lock:
                    self._open.discard(topic)
            asked = wanted

    def _sort(self, kind: str, topic: bytes, channel: bytes, data: Any) -> None:
        if kind in ("subscribe", "psubscribe"):
            with self._lock:
                self._open.add(topic)
                for queue in self._wanted.get(topic, ()):
                    queue.open.set()
        elif kind in ("message", "pmessage") and topic != self._wake:
            with self._lock:
                queues = tuple(self._wanted.get(topic, ()))
            frames = _frames(self._keys, channel, data) if queues else None
            for queue in queues:
                queue.put(frames) if frames is not None else queue.lose()


def _is_pattern(topic: bytes) -> bool:
    """True for the topic of all runs; a run's own ends with its id."""
    return topic.endswith(b"*")


def _mark(key: bytes, topic: bytes, frames: bytes) -> bytes:
    """Return what shows that a holder of the key published these frames on this topic."""
    signed = b"%d:%b%b" % (len(topic), topic, frames)
    return blake2b(signed, key=key, digest_size=_MARK_BYTES).digest()


def _frames(keys: Sequence[bytes], topic: bytes, data: bytes) -> list[dict[str, Any]] | None:
    """Return the frames of a message; None when it is not one of ours."""
    mark, told = data[:_MARK_BYTES], data[_MARK_BYTES:]
    if not any(compare_digest(mark, _mark(key, topic, told)) for key in keys):
        return None
    try:
        frames = orjson.loads(told)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(frames, list):
        return None
    ours = all(isinstance(f, dict) and type(f.get("seq")) is int for f in frames)
    return frames if ours else None
