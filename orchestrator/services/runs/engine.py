"""Runs: start, claim, report, cancel, settle. Commit first; tell the world after.

What is published here is a hint that may be lost: `upkeep` finds in the record what a crash
swallowed. Nothing in this module talks to Redis or Celery but through the ports.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from orchestrator.errors import InvalidDefinition, NotFound, ServiceUnavailable, StoreUnavailable
from orchestrator.models.definitions.plan import Plan
from orchestrator.models.runs.run import Run, StartRequest
from orchestrator.models.runs.task import Claim, Outcome, TaskError
from orchestrator.ports.dispatch import Dispatcher
from orchestrator.ports.live import Observer
from orchestrator.ports.moves import Ending, LogLine, Moved, Release, Take
from orchestrator.ports.runtime import Artifacts, Clock
from orchestrator.ports.store import Store
from orchestrator.services.quotas import Quotas
from orchestrator.services.runs.announcing import Announcer, Pace
from orchestrator.services.runs.ending import cancelled, ending_of, failed, lost
from orchestrator.services.runs.output import RunOutput
from orchestrator.services.runs.plans import Plans
from orchestrator.services.runs.starting import Started, Starting

log = logging.getLogger(__name__)

#: Seconds between two looks at a queue's backlog by one process.
_LOOK_S = 0.1
#: Seconds that a worker has for a run's output before another one tries.
OUTPUT_LEASE_S = 30.0
#: Seconds until it is tried again where what it reads is away.
OUTPUT_AGAIN_S = 2.0
_PLAIN = StartRequest()


class WorkflowEngine:
    """The use cases of a run. Safe to share between threads."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        observers: Sequence[Observer],
        clock: Clock,
        artifacts: Artifacts,
        *,
        window: int = 1000,
        input_bytes: int = 1_048_576,
        chance: Callable[[], float] = random.random,
        pace: Pace | None = None,
        quotas: Quotas | None = None,
        quick_starts: bool = True,
        works: bool = True,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._observers = observers
        self._clock = clock
        self._window = window
        self._chance = chance
        self._plans = Plans(store.reads)
        self.announcer = Announcer(dispatcher, pace or Pace())
        self.quotas = quotas or Quotas(store, {}, clock)
        self.starting = Starting(
            store, clock, self._plans, self.quotas, self.room,
            input_bytes=input_bytes, quick=quick_starts,
        )  # fmt: skip
        self._output = RunOutput(store.reads, artifacts, clock)
        #: What tenants wrote is evaluated in workers alone, which can be killed.
        self._works = works
        self._looked: dict[str, datetime] = {}

    def start(self, tenant_id: UUID, workflow_id: UUID, asked: StartRequest = _PLAIN) -> Started:
        """Store a run of a workflow and announce its first tasks.

        NotFound, InvalidDefinition (the input does not fit), IllegalMove (archived). With Redis
        away the run is stored all the same and starts when Redis is back.
        """
        return self._begun(self.starting.start(tenant_id, workflow_id, asked))

    def execute(
        self, tenant_id: UUID, document: Mapping[str, Any], asked: StartRequest = _PLAIN
    ) -> Started:
        """Start a run of a definition that came with the request; it is kept but not listed."""
        return self._begun(self.starting.execute(tenant_id, document, asked))

    def _begun(self, done: Started) -> Started:
        if done.moved is not None:
            self.announce(done.moved)
        return done

    def plan(self, workflow_id: UUID, version: int) -> Plan:
        """Return a version's plan; compiled once a process, since versions never change."""
        return self._plans.get(workflow_id, version)

    def plan_of_run(self, run_id: UUID) -> Plan | None:
        """Return the plan a run is pinned to; None for an unknown run."""
        pinned = self._store.reads.pinned(run_id)
        return self.plan(*pinned) if pinned else None

    def room(self, queues: Iterable[str]) -> int:
        """Return how many announcements fit into the fullest of the queues."""
        depths = [self._dispatcher.depth(queue) or 0 for queue in queues]
        return max(0, self._window - max(depths, default=0))

    def claimed(self, moved: Moved) -> Moved:
        """Tell the world of a claim."""
        self.quotas.remember(moved)
        self._tell(moved)
        return moved

    def report(
        self,
        claim: Claim,
        outcome: Outcome,
        plan: Plan,
        *,
        logs: Sequence[LogLine] = (),
        take: Take | None = None,
    ) -> Moved | None:
        """Settle one attempt: see `report_all`."""
        return self.report_all([(claim, outcome)], plan, logs=logs, take=take)

    def report_all(
        self,
        outcomes: Sequence[tuple[Claim, Outcome | None]],
        plan: Plan,
        *,
        logs: Sequence[LogLine] = (),
        take: Take | None = None,
    ) -> Moved | None:
        """Settle attempts of one claim with what their handlers came back with.

        None for an outcome: nobody wants it any more (see `give_up`). Attempts that somebody else
        owns by now are not in `accepted`, and nothing was changed for them.
        """
        endings = [
            ending_of(claim, outcome, plan, self._chance) if outcome is not None else lost(claim)
            for claim, outcome in outcomes
        ]
        first = outcomes[0][0]
        room, take = self.quotas.within(first.run_id, self.room(plan.queues), take)
        moved = self._store.moves.settle_attempts(
            first.run_id, first.claim_id, endings, logs=logs, take=take, room=room
        )
        if moved is not None:
            self.announce(moved)
            self._at_once(moved, endings)
        return moved

    def append_logs(self, claim: Claim, lines: Sequence[LogLine]) -> bool:
        """Record log lines of a running attempt; False when the claim is not current any more."""
        moved = self._store.moves.settle_attempts(claim.run_id, claim.claim_id, [], logs=lines)
        if moved is not None:
            self._tell(moved)
        return bool(moved and moved.events)

    def give_up(self, claim: Claim) -> Moved | None:
        """Record that an attempt has no owner any more: `lost`, then retrying or failed."""
        return self._end(claim, lost(claim))

    def stopped(self, claim: Claim) -> Moved | None:
        """Record that an attempt was stopped because its run is being cancelled."""
        return self._end(claim, cancelled(claim))

    def fail(self, claim: Claim, error: TaskError) -> Moved | None:
        """End an attempt as failed whatever its policy says: its plan cannot be read."""
        return self._end(claim, failed(claim, error))

    def _end(self, claim: Claim, ending: Ending) -> Moved | None:
        room, _ = self.quotas.within(claim.run_id, self._window, None)
        moved = self._store.moves.settle_attempts(claim.run_id, claim.claim_id, [ending], room=room)
        if moved is not None:
            self.announce(moved)
            self._at_once(moved, [ending])
        return moved

    def _at_once(self, moved: Moved, endings: Sequence[Ending]) -> None:
        """Queue what goes on without a delay; upkeep, which does it otherwise, looks once a second.

        The settle stands, so its caller must not hear of it when this fails: upkeep will do it.
        """
        due = [e.task_no for e in endings if e.delay_s == 0 and e.task_no in moved.accepted]
        if not due or not self.quotas.within(moved.run_id, len(due), None)[0]:
            return
        try:
            self.queue(moved.run_id, due)
        except ServiceUnavailable as error:
            log.warning("run %s: upkeep will go on with it: %s", moved.run_id, error)

    def announce(self, moved: Moved) -> None:
        """Tell everybody what was committed, then do what it has made possible."""
        self._tell(moved)
        self._follow(moved)

    def _tell(self, moved: Moved) -> None:
        """Tell watchers, then the chord and the workers. A run may start with tasks settled."""
        for observer in self._observers:
            observer.notify(moved.events)
        self._dispatcher.tell(moved, self._messages(moved) if moved.queued else (), self.plan)
        if moved.stored_bytes:
            self.quotas.count_record(moved.tenant_id, moved.stored_bytes)

    def _messages(self, moved: Moved) -> Sequence[Sequence[Release]]:
        try:
            plan = self.plan(moved.workflow_id, moved.version)
        except (InvalidDefinition, NotFound, StoreUnavailable):
            # Whoever claims it will read its plan, or fail it with a reason.
            return [[release] for release in moved.queued]
        return self.announcer.pace.grouped(moved.queued, plan)

    def _follow(self, moved: Moved) -> None:
        """Do what a commit has made possible: end its run, queue what waits for a quota.

        The commit stands, so its caller must not hear of a run that cannot be ended just now.
        """
        if moved.open == 0 and not moved.ended_run:
            try:
                self.settle_run(moved.run_id, moved.workflow_id, moved.version)
            except ServiceUnavailable as error:
                log.warning("run %s: upkeep will end it: %s", moved.run_id, error)
            except Exception:
                log.exception("run %s: upkeep will try to end it", moved.run_id)
        for more in self.quotas.after(moved):
            self.announce(more)

    def finish_run(self, run_id: UUID) -> Moved | None:
        """The chord's body: end the run if all its tasks have ended; most runs have by then."""
        pinned = self._store.reads.unfinished(run_id)
        return self.settle_run(run_id, *pinned) if pinned else None

    def settle_run(self, run_id: UUID, workflow_id: UUID, version: int) -> Moved | None:
        """End a run whose tasks have all ended; harmless at any time and any number of times.

        The last settle ends most runs by itself; what is left are those that crashed in between,
        and those whose output is computed by an expression: a worker does that, one at a time.
        """
        output: Any = None
        error: Mapping[str, Any] | None = None
        try:
            plan = self.plan(workflow_id, version)
        except (InvalidDefinition, NotFound) as bad:
            error = TaskError(code="bad_plan", message=bad.detail).as_dict()
        else:
            if plan.output is not None:
                if not self._works:
                    self._dispatcher.finish(run_id)
                    return None
                tries = self._store.moves.take_output(run_id, OUTPUT_LEASE_S)
                if tries is None:
                    return None
                try:
                    output, error = self._output.of(run_id, plan, tries)
                except ServiceUnavailable:
                    self._store.moves.leave_output(run_id, OUTPUT_AGAIN_S)
                    raise
        moved = self._store.moves.end_run(run_id, output, error)
        if moved is not None:
            self._tell(moved)
        return moved

    def queue(self, run_id: UUID, task_nos: Sequence[int]) -> int:
        """Queue ready and due tasks of a run and announce them; return how many."""
        moved = self._store.moves.queue_tasks(run_id, task_nos)
        if moved is None:
            return 0
        self.announce(moved)
        return len(moved.queued)

    def refill(self, queue: str) -> int:
        """Queue as much of a queue's backlog as there is room for; return how much."""
        room = self.room([queue])
        if room == 0:
            return 0
        backlog = self._store.fleet.backlog(queue, room, self.quotas.others())
        return sum(self.queue(run_id, numbers) for run_id, numbers in backlog.items())

    def refill_if_low(self, queue: str) -> int:
        """Refill a queue that has run low; looks at the record at most ten times a second."""
        now = self._clock.now()
        looked = self._looked.get(queue)
        if looked is not None and (now - looked).total_seconds() < _LOOK_S:
            return 0
        self._looked[queue] = now
        return self.refill(queue) if self.room([queue]) > self._window // 2 else 0

    def reopen(self, run_ids: Iterable[UUID]) -> None:
        """Set the chord sizes of runs nobody has claimed: Redis was away when they started."""
        for run_id in run_ids:
            size = self._store.reads.unstarted(run_id)
            if size is not None:
                self._dispatcher.open(run_id, size)

    def release(self, releases: Sequence[Release]) -> bool:
        """Announce attempts once more, each alone; a repeated announcement is harmless."""
        return self.announcer.again(releases)

    def run(self, tenant_id: UUID, run_id: UUID) -> Run:
        """Return a run; NotFound."""
        found = self._store.reads.run(tenant_id, run_id)
        if found is None:
            raise NotFound(f"there is no run {run_id}")
        return found
