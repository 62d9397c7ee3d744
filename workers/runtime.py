"""The life of an attempt in a pool child: claim, inputs, handler under its deadline, outcome.

Deliberately knows nothing of Celery: `messages.py` hands it ids and turns its answer into `Ignore`.
"""

from __future__ import annotations

import logging
import os
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
import tenacity

from orchestrator.bootstrap import Core
from orchestrator.errors import StoreUnavailable, ZQError
from orchestrator.models.plan import Plan
from orchestrator.models.task import Claim, Failure, Outcome, TaskError, Value
from orchestrator.ports.store import LogLine, Moved, Owner, Take
from workers.batch import Batch, HandBack
from workers.capture import Capture
from workers.handlers import Context, StopRequested, TaskArtifacts, fill_config, run_handler
from workers.identity import Identity
from workers.stopping import StopSwitch

log = logging.getLogger(__name__)

#: How an output that is too large for Postgres is named in its place.
_KEPT_OUTSIDE = "$artifact"
#: Runs whose plan a child has at hand when a message comes.
_RUNS_KNOWN = 64
#: Errors that another attempt would only repeat.
_HOPELESS = frozenset({"expression_error", "too_large"})


class Runtime:
    """Works on attempts, one at a time, in one process."""

    def __init__(self, core: Core, identity: Identity) -> None:
        self._core = core
        self._engine = core.engine
        settings = core.settings.worker
        self._owner = Owner(worker_id=identity.id, pid=os.getpid())
        self._queues = tuple(q.strip() for q in settings.queues.split(",") if q.strip())
        self._inline = settings.inline
        self._inline_s = settings.inline_s
        self._announcer = core.engine.announcer
        self._hand_back = HandBack(settings.hand_back_s)
        self._known: OrderedDict[UUID, Plan] = OrderedDict()
        self._switch = StopSwitch(identity.desk, self._owner.pid)
        self._switch.install()
        # What was computed is kept until the record takes it, or somebody else owns the attempt.
        self._insist = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(StoreUnavailable),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=2),
            before_sleep=tenacity.before_sleep_log(log, logging.WARNING),
            reraise=True,
        )

    def execute(self, run_id: UUID, wanted: Sequence[tuple[int, int]]) -> bool:
        """Claim the attempts that are still to be had and work on them; False when none was.

        With Postgres away nothing is claimed: StoreUnavailable, and upkeep announces them again.
        """
        batch, won = Batch(wanted), False
        while rest := batch.take(self._first(run_id, batch)):
            moved = self._core.store.moves.claim(run_id, rest, claim_id=uuid4(), owner=self._owner)
            if moved is None:
                continue
            won = True
            self._engine.claimed(moved)
            self._work(moved, batch)
        if won:
            self._refill()
        return won

    def _first(self, run_id: UUID, batch: Batch) -> int:
        """Return how many to claim at first: one, until the run's plan and its pace are known."""
        plan = self._known.get(run_id)
        return self._slice(plan, batch) if plan else 1

    def _slice(self, plan: Plan, batch: Batch) -> int:
        following = batch.peek()
        return (
            self._announcer.pace.together(plan.nodes[following].node.type) if following >= 0 else 1
        )

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
            outcome = self._outcome(claim, plan, input)
        self._announcer.pace.note(plan.nodes[claim.task_no].node.type, time.monotonic() - began)
        return outcome, capture.drain()

    def _outcome(self, claim: Claim, plan: Plan, input: Any) -> Outcome | None:
        node, timeout_s = plan.nodes[claim.task_no].node, plan.nodes[claim.task_no].timeout_s
        deadline = time.monotonic() + timeout_s
        try:
            scope = self._scope(claim, plan, input)
            with self._switch.watching(claim, timeout_s):
                config = fill_config(node.type, node.config, scope)
                outcome = run_handler(
                    node.type, config, self._context(claim, node.id, node.type, scope, deadline)
                )
            return self._fitting(claim, node.id, outcome)
        except StopRequested as stop:
            if stop.reason == "timeout":
                message = f"the attempt ran longer than its timeout of {timeout_s:g} s"
                error = TaskError(code="timeout", message=message)
                return Failure(error=error, timed_out=True)
            return None
        except ZQError as error:
            known = TaskError(code=error.code, message=error.detail)
            return Failure(error=known, retryable=error.code not in _HOPELESS)
        except Exception as error:
            # Not the handler's: without an end here the attempt would hang until its deadline.
            log.exception("run %s task %s", claim.run_id, claim.task_no)
            unknown = TaskError(code="internal_error", message=f"{type(error).__name__}: {error}")
            return Failure(error=unknown)

    def _context(
        self, claim: Claim, node_id: str, type_: str, scope: Mapping[str, Any], deadline: float
    ) -> Context:
        return Context(
            run_id=claim.run_id,
            node_id=node_id,
            attempt=claim.attempt,
            map_index=None,
            type=type_,
            scope=scope,
            resumed=claim.resumed,
            started_at=claim.started_at or datetime.now(UTC),
            now=datetime.now(UTC),
            deadline=deadline,
            log=logging.getLogger(f"zq.node.{node_id}"),
            artifacts=TaskArtifacts(self._core.artifacts, claim.run_id, node_id),
        )

    def _scope(self, claim: Claim, plan: Plan, input: Any) -> dict[str, Any]:
        needs = plan.nodes[claim.task_no].needs
        outputs = self._insist(self._core.store.reads.outputs, claim.run_id, needs)
        return {
            "inputs": input or {},
            "nodes": {
                plan.nodes[no].node.id: {"output": self._fetched(output)}
                for no, output in outputs.items()
            },
            "run": {"id": str(claim.run_id), "attempt": claim.attempt},
            "now": self._core.clock.now(),
        }

    def _fetched(self, output: Any) -> Any:
        if isinstance(output, dict) and set(output) == {_KEPT_OUTSIDE}:
            run_id, name = output[_KEPT_OUTSIDE].split("/")
            _, data = self._core.artifacts.get(UUID(run_id), name)
            return orjson.loads(data)
        return output

    def _fitting(self, claim: Claim, node_id: str, outcome: Outcome) -> Outcome:
        """Keep a large output outside Postgres, and name it in its place."""
        if not isinstance(outcome, Value):
            return outcome
        data = orjson.dumps(outcome.output)
        if len(data) <= self._core.settings.limits.output_bytes:
            return outcome
        name = f"output-{claim.task_no}-{claim.attempt}.json"
        self._core.artifacts.put(claim.run_id, name, data, "application/json", node_id)
        # With the run's id: a later run may take the output over.
        return Value(output={_KEPT_OUTSIDE: f"{claim.run_id}/{name}"})

    def _refill(self) -> None:
        try:
            for queue in self._queues:
                self._engine.refill_if_low(queue)
        except StoreUnavailable as error:
            log.info("refill waits for upkeep: %s", error)
