"""One attempt: its inputs, its handler under a deadline, and the outcome whatever happens.

Touches the record only to read what upstream nodes put out; who settles the outcome is elsewhere.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

from orchestrator.errors import HandlerError, ZQError
from orchestrator.models.definitions.node import Node
from orchestrator.models.definitions.plan import Plan, PlanNode
from orchestrator.models.egress import Egress
from orchestrator.models.runs.large_output import name_of
from orchestrator.models.runs.task import Cancelled, Claim, Failure, Outcome, TaskError, Value
from orchestrator.ports.runtime import Artifacts, Clock
from orchestrator.services.runs import large_outputs
from orchestrator.services.secrets.masking import Masker
from workers.child import secrets
from workers.child.secrets import Resolver
from workers.handlers import (
    Context,
    StopRequested,
    TaskArtifacts,
    failure,
    fill_config,
    run_handler,
)

log = logging.getLogger(__name__)

#: Errors that another attempt would only repeat.
_HOPELESS = frozenset({"expression_error", "too_large", "quota_exceeded"})

Call = Callable[[Node, Mapping[str, Any], Context], Outcome]


def _handler(node: Node, config: Mapping[str, Any], context: Context) -> Outcome:
    return run_handler(node.type, config, context)


class Attempts:
    """Works out outcomes. `watching(claim, seconds)` raises StopRequested inside its block when the
    time is over or nobody wants the outcome any more; `call` does a node's work."""

    def __init__(
        self,
        *,
        outputs: Callable[[UUID, Sequence[int]], Mapping[int, Any]],
        artifacts: Artifacts,
        clock: Clock,
        watching: Callable[[Claim, float], AbstractContextManager[object]],
        output_bytes: int,
        egress: Egress,
        secrets: Resolver,
        call: Call = _handler,
    ) -> None:
        self._outputs = outputs
        self._artifacts = artifacts
        self._clock = clock
        self._watching = watching
        self._output_bytes = output_bytes
        self._egress = egress
        self._secrets = secrets
        self._call = call

    def outcome(self, claim: Claim, plan: Plan, input: Any) -> Outcome | None:
        """Return how the attempt ends; None when nobody wants it any more."""
        task = plan.node_of(claim)
        try:
            scope = self._scope(claim, plan, input)
            with self._watching(claim, task.timeout_s):
                if task.secrets or task.variables:
                    outcome = self._hidden(claim, task, scope)
                else:
                    outcome = self._worked(claim, task, scope, None)
            return self.kept(claim, task.node.id, outcome)
        except StopRequested as stop:
            if stop.reason == "cancelled":
                return Cancelled()
            if stop.reason != "timeout":
                return None
            message = f"the attempt ran longer than its timeout of {task.timeout_s:g} s"
            return Failure(error=TaskError(code="timeout", message=message), timed_out=True)
        except HandlerError as error:
            return failure.of(error)
        except ZQError as error:
            known = TaskError(code=error.code, message=error.detail)
            return Failure(error=known, retryable=error.code not in _HOPELESS)
        except Exception as error:
            # Not the handler's: without an end here the attempt would hang until its deadline.
            # What it says is for whoever runs this; it may be a statement of ours.
            log.exception("run %s task %s", claim.run_id, claim.task_no)
            message = f"the worker made a mistake ({type(error).__name__}); its log says more"
            return Failure(error=TaskError(code="internal_error", message=message))

    def _worked(
        self, claim: Claim, task: PlanNode, scope: Mapping[str, Any], masker: Masker | None
    ) -> Outcome:
        context = self._context(claim, task.node, scope, task.timeout_s, masker)
        config = fill_config(task.node.type, task.node.config, scope, context.deadline)
        return self._call(task.node, config, context)

    def _hidden(self, claim: Claim, task: PlanNode, scope: Mapping[str, Any]) -> Outcome:
        """Do the work of a node that reads secrets or variables; none of them gets out."""
        try:
            found = self._secrets.resolve(claim.run_id, task)
        except ZQError as error:
            return failure.of(error)
        with secrets.hiding(found.masker):
            try:
                outcome = self._worked(claim, task, {**scope, **found.scope}, found.masker)
            except Exception as error:
                if not isinstance(error, ZQError):
                    log.exception("run %s task %s", claim.run_id, claim.task_no)
                outcome = failure.of(error)
            return secrets.hidden(found.masker, outcome, task)

    def _context(
        self,
        claim: Claim,
        node: Node,
        scope: Mapping[str, Any],
        timeout_s: float,
        masker: Masker | None,
    ) -> Context:
        now = self._clock.now()
        return Context(
            run_id=claim.run_id,
            node_id=node.id,
            attempt=claim.attempt,
            map_index=None,
            type=node.type,
            scope=scope,
            resumed=claim.resumed,
            started_at=claim.started_at or now,
            now=now,
            deadline=time.monotonic() + timeout_s,
            log=logging.getLogger(f"zq.node.{node.id}"),
            artifacts=TaskArtifacts(self._artifacts, claim.run_id, node.id, masker),
            egress=self._egress,
        )

    def _scope(self, claim: Claim, plan: Plan, input: Any) -> dict[str, Any]:
        needs = plan.node_of(claim).needs
        outputs = self._outputs(claim.run_id, needs) if needs else {}
        return {
            "inputs": input or {},
            "nodes": large_outputs.by_node(self._artifacts, claim.run_id, plan, outputs),
            "run": {"id": str(claim.run_id), "attempt": claim.attempt},
            "now": self._clock.now(),
        }

    def kept(self, claim: Claim, node_id: str, outcome: Outcome) -> Outcome:
        """Keep a large output outside the record, and name it in its place."""
        if not isinstance(outcome, Value):
            return outcome
        name = name_of(claim.task_no, claim.attempt)
        output = large_outputs.fitting(
            self._artifacts, claim.run_id, name, node_id, outcome.output, self._output_bytes
        )
        return Value(output=output)
