"""Works on the runs of a memory core in the caller's thread: the real handlers, or pinned outputs.

Time is not waited for: when nothing is left to do, the clock jumps to the next timer. Takes no
signals and starts no process; what stops a handler at its deadline is given by the caller.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from uuid import uuid4

from orchestrator.bootstrap.memory import MemoryCore
from orchestrator.errors import InvalidDefinition, Problem, did_you_mean
from orchestrator.models.definitions.node import Node
from orchestrator.models.definitions.plan import Plan
from orchestrator.models.egress import Egress
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.plain_json import BadValue, plain
from orchestrator.models.runs.task import Claim, Failure, Outcome, Skip, TaskError, Value
from orchestrator.ports.moves import LogLine, Owner, Release
from orchestrator.settings import Limits
from workers import functions
from workers.child.attempt import Attempts
from workers.child.capture import Capture
from workers.child.secrets import Resolver
from workers.handlers import Context, run_handler
from workers.handlers.failure import of as failure_of

#: Stops a handler at its timeout (seconds) by raising StopRequested inside it.
Watching = Callable[[float], AbstractContextManager[object]]
#: A node's output; or an exception that its attempts fail with; or a function of the filled config
#: that returns the one or raises the other.
Pin = Any
_LINE_BYTES = 16_384


class MemoryWorker:
    """The one worker of a core. A pinned node's handler is not called, its config is not read."""

    def __init__(
        self,
        core: MemoryCore,
        pins: Mapping[str, Pin] | None = None,
        watching: Watching | None = None,
        egress: Egress = Egress(),  # noqa: B008
        secrets: Mapping[str, str] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        self._core = core
        kept = {"secrets": dict(secrets or {}), "vars": dict(variables or {})}
        self._pins = dict(pins or {})
        self._watching: Watching = watching or contextlib.nullcontext
        self._owner = Owner(worker_id=uuid4(), pid=0)
        self._attempts = Attempts(
            outputs=core.store.reads.outputs,
            artifacts=core.artifacts,
            clock=core.clock,
            watching=lambda _claim, timeout_s: self._watching(timeout_s),
            output_bytes=Limits().output_bytes,
            egress=egress,
            secrets=Resolver(
                secrets=lambda _tenant, names: _among(names, kept["secrets"]),
                variables=lambda _tenant, names: _among(names, kept["vars"]),
                tenant_of=lambda _run: DEFAULT_TENANT,
            ),
            call=self._call,
        )
        self._work: deque[Release] = deque()

    def step(self) -> bool:
        """Do the next thing of any run; False when nothing is left that moves by itself."""
        self._work.extend(self._core.announced())
        if self._work:
            self._execute(self._work.popleft())
            return True
        due_s = self._core.store.fleet.next_due_s()
        if due_s is None:
            return False
        self._core.clock.skip(due_s)
        done = self._core.upkeep.round()
        self._work.extend(self._core.announced())
        return bool(self._work) or not done.idle

    def _execute(self, release: Release) -> None:
        wanted = [(release.task_no, release.attempt)]
        moved = self._core.store.moves.claim_attempts(
            release.run_id, wanted, claim_id=uuid4(), owner=self._owner
        )
        if moved is None:
            return
        engine = self._core.engine
        engine.claimed(moved)
        plan = engine.plan(moved.workflow_id, moved.version)
        for claim in moved.claimed:

            def sink(lines: list[LogLine], claim: Claim = claim) -> bool:
                return engine.append_logs(claim, lines)

            with _streams_kept(), Capture(sink, claim.task_no, _LINE_BYTES) as capture:
                outcome = self._outcome(claim, plan, moved.input)
            engine.report(claim, outcome, plan, logs=capture.drain())

    def _outcome(self, claim: Claim, plan: Plan, input: Any) -> Outcome:
        node_id = plan.node_of(claim).node.id
        if node_id in self._pins and not callable(self._pins[node_id]):
            return self._attempts.kept(claim, node_id, _pinned(self._pins[node_id]))
        outcome = self._attempts.outcome(claim, plan, input)
        if outcome is None:
            raise RuntimeError("nobody but the deadline stops a handler here")
        return outcome

    def _call(self, node: Node, config: Mapping[str, Any], context: Context) -> Outcome:
        if node.id in self._pins:
            return _called(self._pins[node.id], config)
        return run_handler(node.type, config, context)


def _among(names: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _called(pin: Callable[[Mapping[str, Any]], Any], config: Mapping[str, Any]) -> Outcome:
    try:
        return _pinned(pin(config))
    except Exception as error:
        return _pinned(error)


def _pinned(pin: Pin) -> Outcome:
    if isinstance(pin, functions.Skip):
        return Skip(reason=pin.reason)
    if isinstance(pin, functions.Fail):
        error = TaskError(code=pin.code, message=pin.message)
        return Failure(error=error, retryable=pin.retryable, retry_after_s=pin.retry_after_s)
    if isinstance(pin, Exception):
        return failure_of(pin)
    try:
        return Value(output=plain(pin))
    except BadValue as bad:
        error = TaskError(code="bad_output", message=f"the pinned output: {bad}")
        return Failure(error=error, retryable=False)


@contextlib.contextmanager
def _streams_kept() -> Iterator[None]:
    """Give the caller's streams and log level back: capture leaves its own in place."""
    root, streams = logging.getLogger(), (sys.stdout, sys.stderr)
    level = root.level
    if level in {logging.WARNING, logging.NOTSET}:
        root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(level)
        sys.stdout, sys.stderr = streams


def refuse_unknown(pins: Mapping[str, Pin], definition: Mapping[str, Any]) -> None:
    """Raise InvalidDefinition for pins of nodes that the definition does not have."""
    nodes = definition.get("nodes")
    known = [n["id"] for n in nodes if "id" in n] if isinstance(nodes, list) else []
    problems = [
        Problem("pins", "unknown_node", f"there is no node {id!r}{did_you_mean(id, known)}")
        for id in pins
        if id not in known
    ]
    if problems:
        raise InvalidDefinition(problems, "What is pinned does not fit the workflow.")
