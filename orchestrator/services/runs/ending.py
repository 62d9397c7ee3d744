"""How an attempt ends: from what its handler came back with and its node's retry policy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from orchestrator.models.definitions.node import MAX_DELAY_S
from orchestrator.models.definitions.plan import Plan
from orchestrator.models.runs.task import (
    Cancelled,
    Claim,
    Failure,
    Outcome,
    Skip,
    TaskError,
    TaskState,
    Value,
)
from orchestrator.ports.moves import Ending


def ending_of(claim: Claim, outcome: Outcome, plan: Plan, chance: Callable[[], float]) -> Ending:
    """Return the ending an outcome asks for; `chance` yields [0, 1) for the jitter of a retry."""
    base = Ending(task_no=claim.task_no, attempt=claim.attempt, state=TaskState.SUCCEEDED)
    if isinstance(outcome, Value):
        return replace(base, output=outcome.output)
    if isinstance(outcome, Skip):
        error = TaskError(code="skipped", message=outcome.reason).as_dict()
        return replace(base, state=TaskState.SKIPPED, error=error)
    if isinstance(outcome, Failure):
        return _after_failure(claim, outcome, plan, chance)
    if isinstance(outcome, Cancelled):
        return cancelled(claim)
    memo = dict(outcome.memo)
    return replace(base, state=TaskState.WAITING, output=memo, delay_s=outcome.seconds)


def _after_failure(
    claim: Claim, outcome: Failure, plan: Plan, chance: Callable[[], float]
) -> Ending:
    policy = plan.node_of(claim).retry
    base = failed(claim, outcome.error)
    # A lost attempt is not an error of the node: it does not use up max_attempts.
    tries = claim.attempt - claim.losses
    if outcome.retryable and policy.retries(tries, outcome.error.code):
        delay_s = max(policy.delay_after(tries, chance), _asked_s(outcome.retry_after_s))
        return replace(base, state=TaskState.RETRYING, delay_s=delay_s)
    return replace(base, state=TaskState.TIMED_OUT) if outcome.timed_out else base


def _asked_s(seconds: float | None) -> float:
    """Return how long to wait at a handler's wish: whatever it is, 0 to a day."""
    if seconds is None or math.isnan(seconds):
        return 0.0
    return min(max(seconds, 0.0), MAX_DELAY_S)


def failed(claim: Claim, error: TaskError) -> Ending:
    """Return the ending of an attempt that failed for good."""
    return Ending(
        task_no=claim.task_no,
        attempt=claim.attempt,
        state=TaskState.FAILED,
        error=error.as_dict(),
    )


def cancelled(claim: Claim) -> Ending:
    """Return the ending of an attempt that was stopped because its run is being cancelled.

    What would go on elsewhere becomes `cancelled` there, and nothing went wrong.
    """
    return Ending(task_no=claim.task_no, attempt=claim.attempt, state=TaskState.RETRYING)


def lost(claim: Claim) -> Ending:
    """Return the ending of an attempt that has no owner any more; its row's policy decides."""
    error = TaskError(
        code="worker_lost", message="the worker that held this attempt is gone"
    ).as_dict()
    return Ending(
        task_no=claim.task_no,
        attempt=claim.attempt,
        state="lost",
        error=error,
        delay_s=min(60.0, 2.0**claim.losses) if claim.losses else 0.0,
    )
