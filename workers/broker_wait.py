"""The worker's consumer, which goes on showing life while it waits for the broker.

Celery waits for a broker in its main loop, where no timer fires meanwhile; to whoever watches from
outside that looks like a hang. But what the worker holds is safe: a message is only a hint.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from celery.worker import state
from celery.worker.consumer import Consumer

log = logging.getLogger(__name__)

_SHOW_EVERY_S = 1.0
#: One try to connect takes a few bounded waits; a longer one is a hang after all.
_LONGEST_TRY_S = 60.0
#: Pauses between tries, seconds: a fleet goes on soon after the broker is back.
_FIRST_PAUSE_S, _PAUSE_STEP_S, _LONGEST_PAUSE_S = 1, 1, 5


class Wait:
    """Shows life from a thread between `begin` and `end`, as long as `turn` is called."""

    def __init__(
        self, show: Callable[[], None], *, every_s: float = _SHOW_EVERY_S,
        longest_s: float = _LONGEST_TRY_S,
    ) -> None:  # fmt: skip
        self._show = show
        self._every_s = every_s
        self._longest_s = longest_s
        self._turned = 0.0
        self._over: threading.Event | None = None

    def begin(self) -> None:
        """Begin, or go on."""
        self.turn()
        if self._over is None:
            self._over = threading.Event()
            args = (self._over,)
            threading.Thread(target=self._run, args=args, name="zq-wait", daemon=True).start()

    def turn(self) -> None:
        """Say that the main loop still tries."""
        self._turned = time.monotonic()

    def end(self) -> None:
        """The main loop turns by itself again."""
        if self._over is not None:
            self._over.set()
            self._over = None

    def _run(self, over: threading.Event) -> None:
        while not over.wait(self._every_s):
            if time.monotonic() - self._turned < self._longest_s:
                self._show()


class PatientConsumer(Consumer):
    """Celery's consumer with a `Wait` around whatever it does until the main loop turns."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        controller: Any = named["controller"]
        self._wait = Wait(controller.zq_pulse.show)

    def start(self) -> None:
        """Connect, and work until told to stop."""
        self._wait.begin()
        try:
            super().start()
        finally:
            self._wait.end()

    def on_ready(self) -> None:
        """Go over to the main loop, whose timer pulses."""
        self._wait.end()
        super().on_ready()

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Say so, and wait."""
        self._wait.begin()
        super().on_connection_error_before_connected(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Clean up, which may take a few timeouts, and wait."""
        self._wait.begin()
        super().on_connection_error_after_connected(exc)

    def ensure_connected(self, conn: Any) -> Any:
        """Return the connection once it stands; SystemExit when the worker is to stop."""

        def failed(error: Exception, pause_s: float) -> None:
            log.error("no broker at %s: %s; next try in %g s", conn.as_uri(), error, pause_s)

        connected = conn.ensure_connection(
            failed, None, _FIRST_PAUSE_S, _PAUSE_STEP_S, _LONGEST_PAUSE_S, callback=self._turn
        )
        self.first_connection_attempt = False
        return connected

    def _turn(self) -> None:
        self._wait.turn()
        state.maybe_shutdown()
