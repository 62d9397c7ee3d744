"""A Context as the runtime would make it, for tests that call one handler."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.models.egress import rules
from orchestrator.models.runs.task import Failure, Outcome, Value
from workers.handlers import Context, TaskArtifacts, fill_config, run_handler

NOW = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)
#: Where the servers of tests listen.
LOOPBACK = rules("127.0.0.0/8, [::1]")
RUN_ID = UUID("01890000-0000-7000-8000-000000000001")


def context(type_: str = "noop", *, timeout_s: float = 10.0, **changes: Any) -> Context:
    """A first call of attempt 1 of node `n`; `changes` are fields of Context."""
    given: dict[str, Any] = {
        "run_id": RUN_ID,
        "node_id": "n",
        "attempt": 1,
        "map_index": None,
        "type": type_,
        "scope": {"inputs": {}, "nodes": {}, "run": {}, "now": NOW},
        "resumed": None,
        "started_at": NOW,
        "now": NOW,
        "deadline": time.monotonic() + timeout_s,
        "log": logging.getLogger("zq.node.n"),
        "artifacts": TaskArtifacts(MemoryArtifacts(), RUN_ID, "n"),
        "egress": LOOPBACK,
    }
    return Context(**(given | changes))


def call(type_: str, config: Mapping[str, Any], **changes: Any) -> Outcome:
    """Fill the config and run the handler, as the runtime does."""
    made = context(type_, **changes)
    return run_handler(type_, fill_config(type_, config, made.scope), made)


def value_of(outcome: Outcome) -> Any:
    """The output of an outcome that must be a value."""
    assert isinstance(outcome, Value), outcome
    return outcome.output


def failure_of(outcome: Outcome, code: str, *, retryable: bool) -> str:
    """The message of an outcome that must be this failure."""
    assert isinstance(outcome, Failure), outcome
    assert (outcome.error.code, outcome.retryable) == (code, retryable), outcome
    return outcome.error.message
