"""A worker's signs of life for Flower, sent aside: the main loop never waits for Redis to take one.

Celery sends them from its main loop, which tries again there while Redis says nothing; from outside
that is a hang, and the worker would be killed with all its work.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Any

from celery.events import EventDispatcher
from kombu import Producer

log = logging.getLogger(__name__)

#: The newest are kept while Redis is away; an old sign of life tells nothing.
_MOST_KEPT = 16
#: Seconds between two tries, and for the last words of a worker that ends.
_PAUSE_S, _LAST_WORDS_S = 1.0, 1.0


class AsideDispatcher(EventDispatcher):
    """Celery's dispatcher of events, whose thread has a connection to the broker of its own."""

    def __init__(self, *args: Any, **named: Any) -> None:
        self._kept: deque[tuple[Any, str]] = deque(maxlen=_MOST_KEPT)
        self._changed = threading.Condition()
        self._sending = False
        self._ended = False
        self._thread: threading.Thread | None = None
        super().__init__(*args, **named)

    def _publish(self, event: Any, producer: Any, routing_key: str, **_: Any) -> None:
        if producer is None:
            return
        with self._changed:
            self._kept.append((event, routing_key))
            self._ended = False
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="zq-flower", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self) -> None:
        """Send what is kept, within a second; then nothing more."""
        super().close()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not (self._kept or self._sending), _LAST_WORDS_S)

    def _run(self) -> None:
        while self._wait():
            try:
                self._send_all()
            except Exception as error:
                # Whatever it is: the worker's work does not hang on it.
                log.warning("Flower is not told of this worker for now: %s", error)
                with self._changed:
                    self._sending = False
                    self._changed.wait_for(lambda: self._ended, _PAUSE_S)
                    if self._ended:
                        self._kept.clear()

    def _wait(self) -> bool:
        """Return once there is something to send; False when there will be nothing more."""
        with self._changed:
            self._sending = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._kept or self._ended)
            self._sending = bool(self._kept)
            return self._sending

    def _send_all(self) -> None:
        # Its type hints know half of it.
        me: Any = self
        with me.app.connection_for_write() as connection:
            # Left to itself a publication would wait for a broker that is away.
            connection.ensure_connection(max_retries=1)
            producer = Producer(
                connection, exchange=me.exchange, serializer=me.serializer, auto_declare=False
            )
            while True:
                with self._changed:
                    if not self._kept:
                        return
                    event, routing_key = self._kept.popleft()
                producer.publish(
                    event, routing_key=routing_key, exchange=me.exchange.name,
                    declare=[me.exchange], headers=me.headers, delivery_mode=me.delivery_mode,
                )  # fmt: skip
