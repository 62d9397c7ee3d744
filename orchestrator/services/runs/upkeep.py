"""Upkeep: finds in the record what a crash, a lost message or a passing hour left to be done.

Any number of schedulers may run it: every step is a guarded move, so two that meet do it once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from orchestrator.errors import ServiceUnavailable, StoreUnavailable, ZQError
from orchestrator.models.ids import time_of
from orchestrator.models.runs.run import RunState
from orchestrator.models.runs.task import Failure, TaskError
from orchestrator.ports.dispatch import Dispatcher
from orchestrator.ports.fleet import Held
from orchestrator.ports.runtime import Artifacts, Clock
from orchestrator.ports.store import Store
from orchestrator.process.stop_signal import StopSignal
from orchestrator.services.runs.engine import WorkflowEngine
from orchestrator.settings import Upkeep as UpkeepSettings
from orchestrator.settings import Worker as WorkerSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

_BATCH = 500
#: Seconds from a notification to the look at what is due: less than from one round to the next.
_LET_BEGIN_S = 0.2
_TIDY_EVERY = timedelta(hours=1)
_TIDY_AGAIN = timedelta(minutes=5)
_KEYS_OLDER_S = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round of upkeep did, as counts."""

    expired_workers: int = 0
    lost_attempts: int = 0
    due: int = 0
    released: int = 0
    repeated: int = 0
    overdue_runs: int = 0
    settled_runs: int = 0

    @property
    def idle(self) -> bool:
        """True when there was nothing to do."""
        return self == Round()


class Upkeep:
    """One round after another while a run is live; asleep in LISTEN when none is."""

    def __init__(
        self,
        store: Store,
        engine: WorkflowEngine,
        dispatcher: Dispatcher,
        clock: Clock,
        settings: UpkeepSettings,
        worker: WorkerSettings,
        *,
        artifacts: Artifacts | None = None,
        keep_days: int = 0,
    ) -> None:
        self._store = store
        self._engine = engine
        self._dispatcher = dispatcher
        self._clock = clock
        self._settings = settings
        self._worker = worker
        self._artifacts = artifacts
        self._keep_days = keep_days
        self._tidied: datetime | None = None
        #: When workers were asked to end a run.
        self._asked: dict[UUID, datetime] = {}
        self._pruning: threading.Thread | None = None

    def run_forever(self, stop: StopSignal, *, alive: Callable[[], None] = lambda: None) -> None:
        """Work until `stop` is set; with Postgres away, try again every second.

        `alive` is told of each round that came to its end, and of each second of sleep after it.
        """
        while not stop.is_set():
            try:
                self.round()
                alive()
                self._sleep(stop, alive)
            except StoreUnavailable as error:
                log.warning("upkeep waits for Postgres: %s", error)
                stop.wait(1.0)
            except Exception:
                # Whatever it is, the other runs still need looking after.
                log.exception("a round of upkeep failed")
                stop.wait(1.0)

    def _sleep(self, stop: StopSignal, alive: Callable[[], None]) -> None:
        """Return when a round has something to do; a notification only makes it look again."""
        since = self._clock.now()
        while not stop.is_set():
            due_s = self._store.fleet.next_due_s(self._worker.lease_s)
            if due_s is None:
                longest = self._settings.rest_s
            else:
                slept_s = (self._clock.now() - since).total_seconds()
                longest = min(max(due_s, self._settings.every_s - slept_s), self._settings.rest_s)
            if self._heard(stop, longest, alive):
                # What has just begun is none of upkeep's business yet, and needs the processor.
                stop.wait(min(_LET_BEGIN_S, self._settings.every_s))
                continue
            if due_s is not None or self._untidy():
                return

    def _heard(self, stop: StopSignal, longest_s: float, alive: Callable[[], None]) -> bool:
        """Sleep until a notification comes (True), the time is over or a stop is asked for."""
        slept_s = 0.0
        # In slices, so that whoever asks is told that this goes on.
        while slept_s < longest_s and not stop.is_set():
            slice_s = min(1.0, longest_s - slept_s)
            if self._store.listen(slice_s, stop.fileno()):
                return True
            slept_s += slice_s
            alive()
        return False

    def _untidy(self) -> bool:
        return self._tidied is None or self._clock.now() - self._tidied > _TIDY_EVERY

    def round(self) -> Round:
        """Do everything that is due, once; return what was done."""
        expired = self._store.fleet.expire(self._worker.lease_s)
        done = Round(
            expired_workers=expired,
            lost_attempts=self._give_up(),
            overdue_runs=self._overdue(),
            due=self._due(),
            released=self._release(),
            repeated=self._repeat(),
            settled_runs=self._settle(),
        )
        if not done.idle:
            log.debug("upkeep: %s", done)
        # Last: no run waits for it, nor for what keeps it from being done.
        self._tidy()
        return done

    def _tidy(self) -> None:
        now = self._clock.now()
        if not self._untidy():
            return
        self._tidied = now
        try:
            self._prune(now)
            self._store.fleet.tidy(now, _KEYS_OLDER_S)
        except ZQError as error:
            log.warning("the record could not be tidied: %s", error)
            self._tidied = now - _TIDY_EVERY + _TIDY_AGAIN
        except Exception:
            log.exception("the record could not be tidied")
            self._tidied = now - _TIDY_EVERY + _TIDY_AGAIN

    def _prune(self, now: datetime) -> None:
        busy = self._pruning is not None and self._pruning.is_alive()
        if self._artifacts is None or self._keep_days == 0 or busy:
            return
        before = now - timedelta(days=self._keep_days)
        needed = self._store.fleet.oldest_needed()
        if needed is not None:
            before = min(before, time_of(needed))
        # Beside the rounds: an object store may take minutes, and no run must wait for that.
        self._pruning = threading.Thread(
            target=_prune, args=(self._artifacts, before), name="prune", daemon=True
        )
        self._pruning.start()

    def _give_up(self) -> int:
        held = self._store.fleet.ownerless(_BATCH, self._worker.lease_s)
        return _each("end an attempt without an owner", self.conclude, held)

    def conclude(self, held: Held) -> bool:
        """End an attempt that nobody works on any more, by its verdict: cancelled with its run,
        timed out, or lost."""
        if held.verdict == "cancelled":
            moved = self._engine.stopped(held.claim)
            return bool(moved and moved.accepted)
        if held.verdict == "timeout":
            plan = self._engine.plan_of_run(held.claim.run_id)
            if plan is not None:
                error = TaskError(code="timeout", message="the attempt ran past its deadline")
                failure = Failure(error=error, timed_out=True)
                moved = self._engine.report(held.claim, failure, plan)
                return bool(moved and moved.accepted)
        moved = self._engine.give_up(held.claim)
        return bool(moved and moved.accepted)

    def _overdue(self) -> int:
        runs = self._store.fleet.overdue_runs(_BATCH)
        return _each("time a run out", self._time_out, runs)

    def _time_out(self, run_id: UUID) -> bool:
        moved = self._store.moves.cancel_run(run_id, RunState.TIMED_OUT)
        if moved is not None:
            self._engine.announce(moved)
        return moved is not None

    def _due(self) -> int:
        due = self._store.fleet.due(_BATCH, self._engine.quotas.others())
        return _each("queue what is due", lambda one: self._engine.queue(*one), due.items())

    def _release(self) -> int:
        queues = self._store.fleet.ready_queues()
        released = _each("refill a queue", self._engine.refill, queues)
        for moved in self._engine.quotas.waiting():
            self._engine.announce(moved)
            released += len(moved.queued)
        return released

    def _repeat(self) -> int:
        # A queue that still holds announcements is left alone for longer; one that cannot be
        # looked at, because Redis is away, altogether.
        depths = {q: self._dispatcher.depth(q) for q in self._store.fleet.waiting_queues()}
        quiet = [q for q, depth in depths.items() if depth == 0]
        busy = [q for q, depth in depths.items() if depth]
        known = [*quiet, *busy]
        patience_s = self._settings.unclaimed_s
        releases = [
            *(self._store.fleet.unclaimed(quiet, patience_s, _BATCH) if quiet else ()),
            *(self._store.fleet.unclaimed(busy, 10 * patience_s, _BATCH) if busy else ()),
            *(self._store.fleet.passed_over(known, patience_s, _BATCH) if known else ()),
        ]
        self._engine.reopen({r.run_id for r in releases})
        self._engine.release(releases)
        return len(releases)

    def _settle(self) -> int:
        now = self._clock.now()
        # A worker that was asked for a run's output has some time for it.
        since = now - timedelta(seconds=self._settings.unclaimed_s)
        self._asked = {run: at for run, at in self._asked.items() if at > since}
        runs = self._store.fleet.settled_runs(_BATCH, tuple(self._asked))
        ended = _each("end a run", lambda run: self._engine.settle_run(*run) is not None, runs)
        self._asked |= {run: now for run, _, _ in runs}
        return ended


def _each(what: str, step: Callable[[T], int], things: Iterable[T]) -> int:
    """Do one thing after another; one that cannot be done must not keep the others waiting."""
    done = 0
    for thing in things:
        try:
            done += step(thing)
        except Exception as error:
            if isinstance(error, StoreUnavailable) and not error.extra.get("undone"):
                raise
            log.exception("upkeep could not %s: %s", what, thing)
    return done


def _prune(artifacts: Artifacts, before: datetime) -> None:
    try:
        gone = artifacts.prune(before)
    except (OSError, ServiceUnavailable) as error:
        log.warning("old artifacts stay for another hour: %s", error)
    else:
        if gone:
            log.info("removed the artifacts of %s runs from before %s", gone, before.isoformat())
