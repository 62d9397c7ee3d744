"""Beats for a worker and watches over its children, from outside the worker's own process.

Three rules: no beat while the main loop is silent; a child that dies gives its attempts up at once;
an attempt that must stop is asked first, then killed. And whatever Postgres does, or does not: the
watch goes on, and stops its worker before the lease is over.
"""

from __future__ import annotations

import json
import logging
import shutil
import signal
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from orchestrator import __version__, settings
from orchestrator.bootstrap.fleet import FleetCore
from orchestrator.errors import StoreUnavailable
from orchestrator.ports.fleet import Beat, Held, Pulse
from orchestrator.process import log_lines
from workers import busy_marks
from workers.identity import CARD, CLOSING, Identity, identity
from workers.stop_notes import STOP_SIGNAL, is_noted, leave_note
from workers.supervisor.background import BackgroundQuery
from workers.supervisor.poller import Poller, Seen, children_of, lives
from workers.supervisor.record import Record

log = logging.getLogger(__name__)

#: Seconds between looks while a child is missing, or where the system does not tell of ends.
_LOOK_EVERY_S = 0.25
#: Seconds of silence of the worker's main loop after which it is no sign of life any more.
_SILENCE_S = 5.0
#: Seconds before the end of its lease at which a worker stops, and what a late beat is given.
_MARGIN_S = 1.0
#: Seconds for saying goodbye.
_FAREWELL_S = 3.0
#: Seconds until a thread that was left behind is taken to have come to its end.
_STUCK_S = 600.0
#: Seconds that a child needs beyond a statement's time limit to show that it goes on.
_MARK_MARGIN_S = 10.0

_NO_ANSWER = "no beat has reached Postgres for almost a lease"

#: An attempt: run, task, number.
Key = tuple[UUID, int, int]


@dataclass(slots=True, kw_only=True)
class _Asked:
    """An attempt that was asked to stop, and when."""

    at: float
    reason: str


class Watchdog:
    """Watches one incarnation of a worker until it is gone."""

    def __init__(self, core: Record, me: Identity, main_pid: int, pulse_fd: int) -> None:
        self._core = core
        self._me = me
        self._settings = core.settings.worker
        self._main = main_pid
        self._poller = Poller(pulse_fd)
        self._main_tells = self._poller.watch(main_pid)
        #: Beats have a thread of their own: ending an attempt may have to wait for a lock.
        self._beats = BackgroundQuery("zq-beats", self._poller.wake)
        self._ends = BackgroundQuery("zq-ends", self._poller.wake)
        #: The processes that own attempts: the pool's children, or the one with the threads.
        self._children: set[int] = set()
        #: Children that have ended and still stand in the system's list.
        self._ended: set[int] = set()
        self._threads = False
        #: Attempts of threads that would not stop, and when they were left behind.
        self._stuck: dict[Key, float] = {}
        self._closing = False
        self._gone = False
        #: Why the worker must not go on.
        self._verdict = ""
        self._card: dict[str, Any] | None = None
        self._asked: dict[Key, _Asked] = {}
        #: Attempts that are being taken away.
        self._ending: set[Key] = set()
        self._last_pulse = self._last_good = time.monotonic()
        self._next_beat = 0.0
        #: When the beat was sent that has no answer yet, and whether its line was cut.
        self._sent_at: float | None = None
        self._cut = False
        #: When the last beat reached the record; the health page shows its age.
        self.beaten_at: float | None = None

    def run(self) -> None:
        """Return when the worker's main process is gone, or was made to go."""
        try:
            while True:
                self._heed(self._poller.wait(self._pause_s()))
                if self._gone:
                    break
                if not self._goes_on():
                    self._kill_worker()
                    break
        finally:
            self._farewell()
            self._poller.close()

    def _pause_s(self) -> float:
        """Return the seconds until there is something to do, if nothing happens before."""
        now = time.monotonic()
        if self._card is None:
            return _LOOK_EVERY_S
        due = [] if self._closing else [self._last_pulse + _SILENCE_S + self._settings.lease_s]
        if self._sent_at is not None:
            due.append(self._deadline())
            if not self._cut:
                due.append(self._sent_at + self._core.answer_s)
        elif self._silent_s(now) <= _SILENCE_S:
            due.append(self._next_beat)
        if self._must_look():
            due.append(now + _LOOK_EVERY_S)
        return max(0.0, min(due, default=now + _LOOK_EVERY_S) - now)

    def _must_look(self) -> bool:
        """Whether nobody will say that there is something to see."""
        if not self._main_tells:
            return True
        few = self._card is not None and len(self._children) < self._card["slots"]
        return few and not self._closing and not self._threads

    def _heed(self, seen: Seen) -> None:
        if seen.pulse is not None:
            self._last_pulse = time.monotonic()
            if not seen.pulse or CLOSING in seen.pulse:
                self._closing = True
                self._poller.deaf()
        self._gone = self._has_ended(seen.ended)
        if not self._gone and (seen.ended or self._must_look()):
            self._look(seen.ended)
        self._beats.take()
        self._ends.take()

    def _has_ended(self, ended: Collection[int] = ()) -> bool:
        """Whether the worker's main process has ended."""
        return self._main in ended if self._main_tells else not lives(self._main)

    def _look(self, ended: Collection[int] = ()) -> None:
        """Notice children that have died since the last look."""
        listed = {self._main} if self._threads else children_of(self._main)
        if not listed and self._poller.has_ended(self._main):
            # It took them along: heard of next.
            return
        self._ended = (self._ended | set(ended)) & listed
        now = listed - self._ended
        if not self._poller.sees_ends:
            now = {pid for pid in now if lives(pid)}
        busy_marks.forget(self._me.folder, self._children - now)
        for pid in self._children - now:
            self._poller.forget(pid)
            self._ends.give(partial(self._give_up, pid), lambda _: None, partial(_not_yet, pid))
        if not self._threads:
            for pid in now - self._children:
                self._poller.watch(pid)
        self._children = now

    def _give_up(self, pid: int) -> None:
        for held in self._core.fleet.of_child(self._me.id, pid):
            log.warning("child %s died in run %s", pid, held.claim.run_id)
            self._core.conclude(held)

    def _goes_on(self) -> bool:
        """Beat if it is right to; False when the worker must not go on."""
        now = time.monotonic()
        card = self._read_card()
        if card is None:
            return True
        silent_s = self._silent_s(now)
        if silent_s >= _SILENCE_S + self._settings.lease_s:
            self._verdict = f"its main loop has shown no sign of life for {silent_s:.0f} s"
        if self._verdict:
            return False
        if self._sent_at is None:
            # No sign of life is given for a silent one; when the fleet has given it up, it starts
            # anew.
            if silent_s <= _SILENCE_S and now >= self._next_beat:
                self._beat(card, now)
            return True
        if not self._cut and now >= self._sent_at + self._core.answer_s:
            self._cut = True
            self._core.cut()
        if now >= self._deadline():
            self._verdict = _NO_ANSWER
        return not self._verdict

    def _silent_s(self, now: float) -> float:
        return 0.0 if self._closing else now - self._last_pulse

    def _deadline(self) -> float:
        """Return when an answer comes too late. On the other side of a cut line our lease runs
        out: the worker stops before somebody else starts."""
        end = self._last_good + self._settings.lease_s - _MARGIN_S
        return max(end, (self._sent_at or 0.0) + _MARGIN_S)

    def _beat(self, card: dict[str, Any], now: float) -> None:
        self._look()
        self._sent_at, self._cut = now, False
        self._next_beat = now + self._settings.beat_s
        sign = self._sign(card)
        self._beats.give(lambda: self._core.fleet.beat(sign), self._beaten, self._unbeaten)

    def _beaten(self, pulse: Pulse) -> None:
        # The lease began somewhere between the beat and its answer.
        self._last_good = self._sent_at or self._last_good
        self.beaten_at = time.monotonic()
        self._sent_at = None
        if not pulse.alive:
            self._verdict = "the fleet gave it up"
        self._stop_what_must(pulse)
        self._stop_silent(pulse)

    def _unbeaten(self, error: Exception) -> None:
        now, self._sent_at = time.monotonic(), None
        if not isinstance(error, StoreUnavailable):
            log.error("a beat failed; the next one follows", exc_info=error)
        elif error.extra.get("refused"):
            # A server that refuses has nobody to give our work to.
            self._last_good = now
        if now - self._last_good >= self._settings.lease_s - _MARGIN_S:
            self._verdict = _NO_ANSWER

    def _read_card(self) -> dict[str, Any] | None:
        if self._card is None:
            path = self._me.folder / CARD
            if path.exists():
                self._card = json.loads(path.read_text())
                self._threads = bool(self._card["threads"])
                # Before its first beat it has no lease, and no work.
                self._last_good = time.monotonic()
        return self._card

    def _sign(self, card: dict[str, Any]) -> Beat:
        return Beat(
            id=self._me.id,
            name=self._me.name,
            host=self._me.host,
            pid=self._main,
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
                self._force(held, key)
        self._asked = {key: asked for key, asked in self._asked.items() if key in current}

    def _stop_silent(self, pulse: Pulse) -> None:
        """Kill children that are busy, own no attempt and do not move on: their slots are lost."""
        if self._threads:
            return
        # Those of a living claim are judged by its deadline.
        owners = {held.owner.pid for held in pulse.held if held.verdict != "taken"}
        statement_s = self._core.settings.database.statement_timeout_s + _MARK_MARGIN_S
        for pid in self._children - owners:
            silent_s = busy_marks.silent_s(self._me.folder, pid)
            if silent_s > max(self._settings.silent_s, statement_s):
                log.warning("child %s has not moved on for %.0f s: killed", pid, silent_s)
                self._poller.send(pid, signal.SIGKILL)

    def _ask(self, held: Held) -> None:
        pid = held.owner.pid
        if pid not in self._children:
            return
        # To a handler it is one thing: nobody wants its outcome.
        reason = "lost" if held.verdict in {None, "taken"} else str(held.verdict)
        try:
            leave_note(self._me.folder, pid, held.claim, reason, alone=not self._threads)
        except OSError as error:
            log.warning("child %s could not be asked to stop: %s", pid, error)
            return
        if not self._threads:
            self._poller.send(pid, STOP_SIGNAL)

    def _force(self, held: Held, key: Key) -> None:
        """Take the attempt away first, so that the child's last words change nothing; then kill."""
        if key in self._ending:
            return
        self._ending.add(key)

        def taken(away: bool) -> None:
            self._ending.discard(key)
            if away and held.owner.pid in self._children:
                self._end(held)

        def failed(error: Exception) -> None:
            self._ending.discard(key)
            _not_yet(held.owner.pid, error)

        self._ends.give(lambda: self._core.conclude(held), taken, failed)

    def _end(self, held: Held) -> None:
        if self._threads:
            self._leave_stuck(held)
            return
        log.warning("child %s did not stop in time (%s): killed", held.owner.pid, held.verdict)
        self._poller.send(held.owner.pid, signal.SIGKILL)

    def _force_taken(self, held: Held, pulse: Pulse) -> None:
        """The record has no more to take away; the child is killed if it never left the handler.

        Its note is still there then, and no attempt of another claim is under way in it.
        """
        pid, claim_id = held.owner.pid, held.claim.claim_id
        others = any(
            h.verdict != "taken" and h.owner.pid == pid and h.claim.claim_id != claim_id
            for h in pulse.held
        )
        noted = is_noted(self._me.folder, pid, held.claim, alone=not self._threads)
        if pid not in self._children or not noted or (others and not self._threads):
            return
        if (held.claim.run_id, held.claim.task_no, held.claim.attempt) not in self._stuck:
            self._end(held)

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
            self._poller.send(self._main, signal.SIGKILL)

    def _kill_worker(self) -> None:
        log.error("worker %s ends and starts anew: %s", self._me.name, self._verdict)
        for pid in [*(self._children | children_of(self._main)), self._main]:
            self._poller.send(pid, signal.SIGKILL)

    def _farewell(self) -> None:
        if self._sent_at is not None:
            self._core.cut()
        try:
            told = self._beats.last(lambda: self._core.fleet.leave(self._me.id), _FAREWELL_S)
        except Exception as error:
            log.warning("could not say goodbye, the lease will run out: %s", error)
        else:
            if not told:
                self._core.cut()
                log.warning("could not say goodbye in time, the lease will run out")
        self._ends.stop()
        shutil.rmtree(self._me.folder, ignore_errors=True)


def _not_yet(pid: int, error: Exception) -> None:
    """Upkeep sees it too: the child is missing in the next beat, or far past its deadline."""
    if isinstance(error, StoreUnavailable):
        log.warning("the attempts of child %s could not be ended: %s", pid, error)
    else:
        log.error("the attempts of child %s could not be ended", pid, exc_info=error)


def main() -> None:
    """Watch over a plain worker: `python -m workers.supervisor.watchdog MAIN_PID PULSE_FD`."""
    configured = settings.load()
    log_lines.set_up(configured.log_level)
    for number in (signal.SIGINT, signal.SIGTERM):
        # The worker it watches gets the same signal and may take its time to end.
        signal.signal(number, signal.SIG_IGN)
    Watchdog(FleetCore(configured), identity(), int(sys.argv[1]), int(sys.argv[2])).run()


if __name__ == "__main__":
    main()
