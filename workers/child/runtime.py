"""The life of an attempt in a pool child: claim, inputs, handler under its deadline, outcome.

Deliberately knows nothing of Celery: `messages.py` hands it ids and turns its answer into `Ignore`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID, uuid4

import tenacity

from orchestrator.adapters.http import client as guarded_http
from orchestrator.bootstrap.core import Core
from orchestrator.errors import StoreUnavailable, ZQError
from orchestrator.models.definitions.plan import Plan
from orchestrator.models.runs.task import Claim, Outcome, TaskError
from orchestrator.ports.moves import LogLine, Moved, Owner, Take
from workers.busy_marks import BusyMark
from workers.child.attempt import Attempts
from workers.child.batch import Batch, HandBack
from workers.child.capture import Capture
from workers.child.secrets import Resolver
from workers.child.stopping import StopSwitch
from workers.child.thread_stopping import ThreadStops
from workers.identity import Identity

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Runs whose plan a child has at hand when a message comes.
_RUNS_KNOWN = 64


class Runtime:
    """Works on attempts in one process: one at a time, or in a pool of threads one in each."""

    def __init__(self, core: Core, identity: Identity) -> None:
        self._core = core
        self._engine = core.engine
        settings = core.settings.worker
        self._owner = Owner(worker_id=identity.id, pid=os.getpid())
        self._queues = tuple(q.strip() for q in settings.queues.split(",") if q.strip())
        self._inline = settings.inline
        self._inline_s = settings.inline_s
        if threading.current_thread() is threading.main_thread():
            switch = StopSwitch(identity.folder, self._owner.pid)
            switch.install()
            watching = switch.watching
        else:
            watching = ThreadStops(identity.folder).watching
        self._announcer = core.engine.announcer
        self._attempts = Attempts(
            outputs=lambda run_id, needs: self._insist(core.store.reads.outputs, run_id, needs),
            artifacts=core.artifacts,
            clock=core.clock,
            watching=watching,
            output_bytes=core.settings.limits.output_bytes,
            egress=guarded_http.egress(core.settings),
            secrets=Resolver(
                secrets=lambda tenant_id, names: self._insist(
                    core.secrets.values, tenant_id, names
                ),
                variables=lambda tenant, names: self._insist(core.variables.values, tenant, names),
                tenant_of=lambda run_id: self._insist(core.store.reads.owners, [run_id])[run_id][0],
            ),
        )
        self._hand_back = HandBack(settings.hand_back_s)
        self._mark = BusyMark(identity.folder, self._owner.pid)
        self._known: OrderedDict[UUID, Plan] = OrderedDict()
        self._lock = threading.Lock()
        self._patience = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(StoreUnavailable),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=2),
            before_sleep=self._waits,
            reraise=True,
        )

    def _waits(self, state: tenacity.RetryCallState) -> None:
        self._mark.busy()
        tenacity.before_sleep_log(log, logging.WARNING)(state)

    def _insist(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Call until Postgres answers: what was computed is kept until the record takes it, or
        somebody else owns the attempt."""
        try:
            return work(*arguments, **named)
        except StoreUnavailable:
            return self._patience(work, *arguments, **named)

    def execute(self, run_id: UUID, wanted: Sequence[tuple[int, int]]) -> bool:
        """Claim the attempts that are still to be had and work on them; False when none was.

        With Postgres away it waits: a claim without an answer may have been committed, and the same
        one again brings what it holds.
        """
        self._mark.busy()
        try:
            return self._execute(run_id, wanted)
        finally:
            self._mark.idle()

    def _execute(self, run_id: UUID, wanted: Sequence[tuple[int, int]]) -> bool:
        batch, won = Batch(wanted), False
        while rest := batch.take(self._first(run_id, batch)):
            claim_id = uuid4()
            moved = self._insist(
                self._core.store.moves.claim_attempts,
                run_id,
                rest,
                claim_id=claim_id,
                owner=self._owner,
            )
            if moved is None:
                continue
            won = True
            try:
                self._engine.claimed(moved)
                self._work(moved, batch)
            except Exception:
                log.exception("run %s: gives up what it holds", run_id)
                self._let_go(claim_id)
        if won:
            self._refill()
        return won

    def _let_go(self, claim_id: UUID) -> None:
        """Give up whatever a claim holds: under a living owner nobody else would look for it."""
        of_child = self._core.store.fleet.of_child
        for held in self._insist(of_child, self._owner.worker_id, self._owner.pid):
            if held.claim.claim_id == claim_id:
                self._insist(self._core.upkeep.conclude, held)

    def _first(self, run_id: UUID, batch: Batch) -> int:
        """Return how many to claim at first: one, until the run's plan and its pace are known."""
        plan = self._known.get(run_id)
        return self._slice(plan, batch) if plan else 1

    def _slice(self, plan: Plan, batch: Batch) -> int:
        following = batch.peek()
        if following < 0:
            return 1
        return self._announcer.pace.together(plan.node_of(following).node.type)

    def _work(self, moved: Moved, batch: Batch) -> None:
        """Work on what was claimed, and on what each commit claims next, while there is time."""
        plan, failure = self._plan(moved)
        if plan is None:
            for claim in moved.claimed:
                self._insist(self._engine.fail, claim, failure)
            return
        self._remember(moved.run_id, plan)
        if len(batch):
            run_id = moved.run_id
            self._hand_back.watch(batch, lambda rest: self._announcer.hand_back(run_id, plan, rest))
        hops, until = 0, time.monotonic() + self._inline_s
        claims: tuple[Claim, ...] = moved.claimed
        while claims:
            hops += len(claims)
            go_on = hops <= self._inline and time.monotonic() < until
            settled = self._slice_of(claims, plan, moved.input, batch, go_on=go_on)
            claims = settled.claimed if settled is not None else ()

    def _slice_of(
        self, claims: Sequence[Claim], plan: Plan, input: Any, batch: Batch, *, go_on: bool
    ) -> Moved | None:
        """Run the handlers of a slice, then settle it and claim the next in one commit."""
        outcomes: list[tuple[Claim, Outcome | None]] = []
        lines: list[LogLine] = []
        for claim in claims:
            outcome, said = self._attempt(claim, plan, input)
            self._mark.busy()
            outcomes.append((claim, outcome))
            lines += said
        following = tuple(batch.take(self._slice(plan, batch)))
        take = Take(
            owner=self._owner,
            queues=self._queues,
            limit=self._inline_width(plan) if go_on and not following else 0,
            next=following,
        )
        settled: Moved | None = self._insist(
            self._engine.report_all, outcomes, plan, logs=lines, take=take
        )
        if settled is None or len(settled.accepted) < len(claims):
            log.info("run %s: an attempt of this worker was lost", claims[0].run_id)
        return settled

    def _inline_width(self, plan: Plan) -> int:
        """Return how many ready successors to go on with: several only where all are short."""
        return min(self._announcer.pace.together(type_) for type_ in plan.types)

    def _plan(self, moved: Moved) -> tuple[Plan | None, TaskError]:
        try:
            plan = self._insist(self._engine.plan, moved.workflow_id, moved.version)
        except ZQError as error:
            return None, TaskError(code="bad_plan", message=error.detail)
        return plan, TaskError(code="none", message="")

    def _remember(self, run_id: UUID, plan: Plan) -> None:
        with self._lock:
            self._known[run_id] = plan
            while len(self._known) > _RUNS_KNOWN:
                self._known.popitem(last=False)

    def _attempt(
        self, claim: Claim, plan: Plan, input: Any
    ) -> tuple[Outcome | None, list[LogLine]]:
        """Return how the handler ended (None: nobody wants it any more) and what it said."""

        def sink(lines: list[LogLine]) -> bool:
            return self._engine.append_logs(claim, lines)

        began = time.monotonic()
        with Capture(sink, claim.task_no, self._core.settings.limits.log_line_bytes) as capture:
            outcome = self._attempts.outcome(claim, plan, input)
        self._announcer.pace.note(plan.node_of(claim).node.type, time.monotonic() - began)
        return outcome, capture.drain()

    def _refill(self) -> None:
        try:
            for queue in self._queues:
                self._engine.refill_if_low(queue)
        except StoreUnavailable as error:
            log.info("refill waits for upkeep: %s", error)
