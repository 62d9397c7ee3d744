"""The life of an attempt in a pool child: claim, inputs, handler under its deadline, outcome.

Deliberately knows nothing of Celery: `messages.py` hands it ids and turns its answer into `Ignore`.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
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
from workers.capture import Capture
from workers.handlers import Context, StopRequested, TaskArtifacts, fill_config, run_handler
from workers.identity import Identity
from workers.stopping import StopSwitch

log = logging.getLogger(__name__)

#: How an output that is too large for Postgres is named in its place.
_KEPT_OUTSIDE = "$artifact"
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
        moved = self._core.store.moves.claim(run_id, wanted, claim_id=uuid4(), owner=self._owner)
        if moved is None:
            return False
        self._engine.claimed(moved)
        work = deque(moved.claimed)
        plan, failure = self._plan(moved)
        hops, until = 0, time.monotonic() + self._inline_s
        while work:
            claim = work.popleft()
            go_on = not work and hops < self._inline and time.monotonic() < until
            take = Take(owner=self._owner, queues=self._queues, limit=1) if go_on else None
            if plan is None:
                settled = self._insist(self._engine.fail, claim, failure)
            else:
                settled = self._attempt(claim, plan, moved.input, take)
            if settled is not None:
                work.extend(settled.claimed)
            hops += 1
        self._refill()
        return True

    def _plan(self, moved: Moved) -> tuple[Plan | None, TaskError]:
        try:
            plan = self._insist(self._engine.plan, moved.workflow_id, moved.version)
        except ZQError as error:
            return None, TaskError(code="bad_plan", message=error.detail)
        return plan, TaskError(code="none", message="")

    def _attempt(self, claim: Claim, plan: Plan, input: Any, take: Take | None) -> Moved | None:
        def sink(lines: list[LogLine]) -> bool:
            return self._engine.append_logs(claim, lines)

        with Capture(sink, claim.task_no, self._core.settings.limits.log_line_bytes) as capture:
            outcome = self._outcome(claim, plan, input)
        lines = capture.drain()
        if outcome is None:
            # Nobody wants the attempt any more: in a run that is being cancelled this ends it.
            return self._insist(self._engine.give_up, claim, logs=lines)
        settled: Moved | None = self._insist(
            self._engine.report, claim, outcome, plan, logs=lines, take=take
        )
        if settled is None or not settled.accepted:
            log.info(
                "run %s task %s attempt %s was lost", claim.run_id, claim.task_no, claim.attempt
            )
        return settled

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
