"""Beats for a worker and watches over its children, from outside the worker's own process.

Three rules: no beat while the main loop is silent; a child that dies gives its attempts up at once;
an attempt that must stop is asked first, then killed.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil

from orchestrator import __version__, log_lines, settings
from orchestrator.errors import StoreUnavailable
from orchestrator.fleet_core import FleetCore
from orchestrator.ports.store import Beat, Held, Pulse
from workers.identity import CARD, CLOSING, Identity, identity
from workers.linux import children_of
from workers.stopping import STOP_SIGNAL, is_noted, leave_note

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.25
#: Seconds of silence of the worker's main loop after which it is no sign of life any more.
_SILENCE_S = 5.0
#: Seconds until a thread that was left behind is taken to have come to its end.
_STUCK_S = 600.0


@dataclass(slots=True, kw_only=True)
class _Asked:
    """An attempt that was asked to stop, and when."""

    at: float
    reason: str


class Watch:
    """Watches one incarnation of a worker until it is gone."""

    def __init__(self, core: FleetCore, me: Identity, main_pid: int, pulse_fd: int) -> None:
        self._core = core
        self._me = me
        self._settings = core.settings.worker
        self._main = psutil.Process(main_pid)
        self._pulse_fd = pulse_fd
        #: The processes that own attempts: the pool's children, or the one with the threads.
        self._children: set[int] = set()
        self._threads = False
        #: Attempts of threads that would not stop, and when they were left behind.
        self._stuck: dict[tuple[UUID, int, int], float] = {}
        self._closing = False
        self._card: dict[str, Any] | None = None
        self._asked: dict[tuple[UUID, int, int], _Asked] = {}
        self._last_pulse = self._last_good = time.monotonic()
        self._next_beat = 0.0
        #: When the last beat reached the record; the health page shows its age.
        self.beaten_at: float | None = None

    def run(self) -> None:
        """Return when the worker's main process is gone, or was made to go."""
        while not self._gone():
            self._look()
            if time.monotonic() >= self._next_beat and not self._beat():
                self._kill_worker()
                break
        self._farewell()

    def _gone(self) -> bool:
        """Read pulses for a moment; True when the worker's main process has ended."""
        ready, _, _ = select.select(
            [] if self._closing else [self._pulse_fd], [], [], _LOOK_EVERY_S
        )
        if ready:
            said = os.read(self._pulse_fd, 4096)
            self._closing = not said or CLOSING in said
            self._last_pulse = time.monotonic()
        return not self._main.is_running() or self._main.status() == psutil.STATUS_ZOMBIE

    def _look(self) -> None:
        """Notice children that have died since the last look."""
        now = {self._main.pid} if self._threads else children_of(self._main.pid)
        if not self._main.is_running():
            return
        for pid in self._children - now:
            try:
                for held in self._core.fleet.of_child(self._me.id, pid):
                    log.warning("child %s died in run %s", pid, held.claim.run_id)
                    self._core.conclude(held)
            except StoreUnavailable:
                # Upkeep sees it too: the child is missing in the next beat.
                log.warning("child %s died while Postgres is away", pid)
        self._children = now

    def _beat(self) -> bool:
        """Beat if it is right to; False when the worker must not go on."""
        now = time.monotonic()
        card = self._read_card()
        if card is None:
            return True
        silent_s = 0.0 if self._closing else now - self._last_pulse
        if silent_s > _SILENCE_S:
            # No sign of life is given for it; when the fleet has given it up, it starts anew.
            return silent_s < _SILENCE_S + self._settings.lease_s
        self._next_beat = now + self._settings.beat_s
        try:
            pulse = self._core.fleet.beat(self._sign(card))
        except StoreUnavailable as error:
            # A server that refuses has nobody to give our work to. Silence may be a cut line,
            # and on its other side our lease runs out: stop before somebody else starts.
            if error.extra.get("refused"):
                self._last_good = now
            return now - self._last_good < self._settings.lease_s - 1
        self._last_good = self.beaten_at = now
        self._stop_what_must(pulse)
        return pulse.alive

    def _read_card(self) -> dict[str, Any] | None:
        if self._card is None:
            path = self._me.desk / CARD
            if path.exists():
                self._card = json.loads(path.read_text())
                self._threads = bool(self._card["threads"])
        return self._card

    def _sign(self, card: dict[str, Any]) -> Beat:
        return Beat(
            id=self._me.id,
            name=self._me.name,
            host=self._me.host,
            pid=self._main.pid,
            version=__version__,
            queues=tuple(card["queues"]),
            slots=card["slots"],
            children=tuple(sorted(self._children)),
        )

    def _stop_what_must(self, pulse: Pulse) -> None:
        current = set()
        for held in pulse.held:
            if held.verdict is None:
                continue
            key = (held.claim.run_id, held.claim.task_no, held.claim.attempt)
            current.add(key)
            asked = self._asked.get(key)
            if asked is None:
                self._asked[key] = _Asked(at=time.monotonic(), reason=held.verdict)
                self._ask(held)
            elif time.monotonic() - asked.at < self._settings.grace_s:
                continue
            elif held.verdict == "taken":
                self._force_taken(held, pulse)
            else:
                self._force(held)
        self._asked = {key: asked for key, asked in self._asked.items() if key in current}

    def _ask(self, held: Held) -> None:
        if held.owner.pid not in self._children:
            return
        # To a handler it is one thing: nobody wants its outcome.
        reason = "lost" if held.verdict in {None, "taken"} else str(held.verdict)
        leave_note(self._me.desk, held.owner.pid, held.claim, reason, alone=not self._threads)
        if not self._threads:
            os.kill(held.owner.pid, STOP_SIGNAL)

    def _force(self, held: Held) -> None:
        """Take the attempt away first, so that the child's last words change nothing; then kill."""
        if self._core.conclude(held) and held.owner.pid in self._children:
            if self._threads:
                self._leave_stuck(held)
                return
            log.warning("child %s did not stop in time (%s): killed", held.owner.pid, held.verdict)
            os.kill(held.owner.pid, signal.SIGKILL)

    def _force_taken(self, held: Held, pulse: Pulse) -> None:
        """The record has no more to take away; the child is killed if it never left the handler.

        Its note is still there then, and no attempt of another claim is under way in it.
        """
        pid, claim_id = held.owner.pid, held.claim.claim_id
        others = any(
            h.verdict != "taken" and h.owner.pid == pid and h.claim.claim_id != claim_id
            for h in pulse.held
        )
        noted = is_noted(self._me.desk, pid, held.claim, alone=not self._threads)
        if pid not in self._children or not noted or (others and not self._threads):
            return
        if self._threads:
            if (held.claim.run_id, held.claim.task_no, held.claim.attempt) not in self._stuck:
                self._leave_stuck(held)
            return
        log.warning("child %s did not stop in time (%s): killed", pid, held.verdict)
        os.kill(pid, signal.SIGKILL)

    def _leave_stuck(self, held: Held) -> None:
        """A thread cannot be killed, and its process works for many: it goes if half are stuck."""
        claim, now = held.claim, time.monotonic()
        self._stuck = {key: at for key, at in self._stuck.items() if now - at < _STUCK_S}
        self._stuck[claim.run_id, claim.task_no, claim.attempt] = now
        log.warning(
            "run %s task %s did not stop in time (%s): its thread is left behind, %s so far",
            claim.run_id, claim.task_no, held.verdict, len(self._stuck),
        )  # fmt: skip
        if 2 * len(self._stuck) >= (self._card or {})["slots"]:
            os.kill(self._main.pid, signal.SIGKILL)

    def _kill_worker(self) -> None:
        log.error("worker %s was given up by the fleet: it ends and starts anew", self._me.name)
        for process in [*self._main.children(), self._main]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue

    def _farewell(self) -> None:
        try:
            self._core.fleet.leave(self._me.id)
        except StoreUnavailable as error:
            log.warning("could not say goodbye, the lease will run out: %s", error)
        for path in self._me.desk.glob("*"):
            path.unlink(missing_ok=True)
        Path(self._me.desk).rmdir()


def main() -> None:
    """Watch over a plain `celery worker`: `python -m workers.watch MAIN_PID PULSE_FD`."""
    configured = settings.load()
    log_lines.set_up(configured.log_level)
    for number in (signal.SIGINT, signal.SIGTERM):
        # The worker it watches gets the same signal and may take its time to end.
        signal.signal(number, signal.SIG_IGN)
    Watch(FleetCore(configured), identity(), int(sys.argv[1]), int(sys.argv[2])).run()


if __name__ == "__main__":
    main()
