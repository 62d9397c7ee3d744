"""Upkeep: finds in the record what a crash, a lost message or a passing hour left to be done.

Any number of schedulers may run it: every step is a guarded move, so two that meet do it once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.errors import StoreUnavailable
from orchestrator.models.run import RunState
from orchestrator.models.task import Failure, TaskError
from orchestrator.ports.dispatch import Dispatcher
from orchestrator.ports.runtime import Clock
from orchestrator.ports.store import Held, Store
from orchestrator.services.workflow_engine import WorkflowEngine
from orchestrator.settings import Upkeep as UpkeepSettings
from orchestrator.settings import Worker as WorkerSettings

log = logging.getLogger(__name__)

_BATCH = 500
_TIDY_EVERY = timedelta(hours=1)
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
    ) -> None:
        self._store = store
        self._engine = engine
        self._dispatcher = dispatcher
        self._clock = clock
        self._settings = settings
        self._worker = worker
        self._tidied: datetime | None = None

    def run_forever(
        self, stop: threading.Event, *, alive: Callable[[], None] = lambda: None
    ) -> None:
        """Work until `stop` is set; with Postgres away, try again every second."""
        while not stop.is_set():
            alive()
            try:
                self.round()
                self._sleep(stop)
            except StoreUnavailable as error:
                log.warning("upkeep waits for Postgres: %s", error)
                stop.wait(1.0)

    def _sleep(self, stop: threading.Event) -> None:
        due_s = self._store.fleet.next_due_s()
        if due_s is None:
            longest = self._settings.rest_s
        else:
            longest = min(max(due_s, self._settings.every_s), self._settings.rest_s)
        slept = 0.0
        # In slices, so that a stop is not kept waiting by a long sleep.
        while slept < longest and not stop.is_set():
            slice_s = min(1.0, longest - slept)
            if self._store.listen(slice_s):
                return
            slept += slice_s

    def round(self) -> Round:
        """Do everything that is due, once; return what was done."""
        self._tidy()
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
        return done

    def _tidy(self) -> None:
        now = self._clock.now()
        if self._tidied is None or now - self._tidied > _TIDY_EVERY:
            self._store.fleet.tidy(now, _KEYS_OLDER_S)
            self._tidied = now

    def _give_up(self) -> int:
        held = self._store.fleet.ownerless(_BATCH, self._worker.lease_s)
        return sum(self.conclude(one) for one in held)

    def conclude(self, held: Held) -> bool:
        """End an attempt that nobody works on any more, by its verdict: timed out or lost."""
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
        for run_id in runs:
            moved = self._store.moves.cancel(run_id, RunState.TIMED_OUT)
            if moved is not None:
                self._engine.announce(moved)
        return len(runs)

    def _due(self) -> int:
        due = self._store.fleet.due(_BATCH)
        return sum(self._engine.queue(run_id, numbers) for run_id, numbers in due.items())

    def _release(self) -> int:
        return sum(self._engine.refill(queue) for queue in self._store.fleet.ready_queues())

    def _repeat(self) -> int:
        # A queue that still holds announcements is left alone for longer; one that cannot be
        # looked at, because Redis is away, altogether.
        depths = {q: self._dispatcher.depth(q) for q in self._store.fleet.waiting_queues()}
        quiet = [q for q, depth in depths.items() if depth == 0]
        busy = [q for q, depth in depths.items() if depth]
        patience_s = self._settings.unclaimed_s
        releases = [
            *(self._store.fleet.unclaimed(quiet, patience_s, _BATCH) if quiet else ()),
            *(self._store.fleet.unclaimed(busy, 10 * patience_s, _BATCH) if busy else ()),
        ]
        self._engine.reopen({r.run_id for r in releases})
        self._engine.release(releases)
        return len(releases)

    def _settle(self) -> int:
        runs = self._store.fleet.settled_runs(_BATCH)
        return sum(self._engine.settle_run(*run) is not None for run in runs)
