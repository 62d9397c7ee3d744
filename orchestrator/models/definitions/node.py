"""One vertex of a definition: what it does, when it may start, and how often it is tried.

Pure data and rules. What a type's handler does lives in `workers/handlers/`.
"""

from __future__ import annotations

import math
import random as random_module
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tenacity import RetryCallState, wait_exponential, wait_fixed, wait_incrementing

from orchestrator.models.definitions.catalogue import CATALOGUE, NodeType

__all__ = ["CATALOGUE", "Backoff", "Node", "NodeType", "OnLost", "RetryPolicy", "TriggerRule"]

#: Not what every object of JavaScript has already: ids become keys.
NODE_ID = re.compile(r"(?!(?:__proto__|constructor|prototype)\Z)[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
QUEUE = re.compile(r"[a-z][a-z0-9_.-]{0,62}\Z")
ERROR_CODE = re.compile(r"[a-z][a-z0-9_.]{0,63}\Z")

DEFAULT_TIMEOUT_S = 300.0
MAX_TIMEOUT_S = 7 * 24 * 3600.0
MAX_ATTEMPTS = 100
MAX_DELAY_S = 24 * 3600.0
#: How many workers may die under one task before it fails, when `on_lost` is `retry`.
MAX_LOSSES = 3
DEFAULT_QUEUE = "default"
DEFAULT_PRIORITY = 5
MAX_PRIORITY = 9
_NO_CALL: Any = None


class TriggerRule(StrEnum):
    """When a task may start, once *every* upstream task has settled.

    Rules that may fire earlier (`one_success`, `one_failed`, `always`) are no members:
    a definition that names one gets the problem `unsupported_trigger_rule`.
    """

    ALL_SUCCESS = "all_success"
    ALL_DONE = "all_done"
    ALL_FAILED = "all_failed"
    NONE_FAILED = "none_failed"
    NONE_FAILED_MIN_ONE_SUCCESS = "none_failed_min_one_success"
    NONE_SKIPPED = "none_skipped"


class Backoff(StrEnum):
    FIXED = "fixed"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


class OnLost(StrEnum):
    """What happens to a task whose worker died: try again, or fail as `worker_lost`."""

    RETRY = "retry"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a task is tried.

    `max_attempts` counts attempts that ended in an error; lost ones are counted apart.
    With `max_attempts=1, on_lost=fail` a handler runs at most once.
    """

    max_attempts: int = 1
    delay_s: float = 1.0
    backoff: Backoff = Backoff.EXPONENTIAL
    max_delay_s: float = 60.0
    jitter: bool = True
    on_lost: OnLost = OnLost.RETRY
    #: Error codes that another attempt would not cure.
    unless: tuple[str, ...] = ()

    @property
    def max_losses(self) -> int:
        return MAX_LOSSES if self.on_lost is OnLost.RETRY else 0

    def retries(self, attempt: int, code: str) -> bool:
        """Whether attempt number `attempt`, failed with `code`, is followed by another."""
        return attempt < self.max_attempts and code not in self.unless

    def delay_after(self, attempt: int, random: Callable[[], float] | None = None) -> float:
        """Seconds to wait after attempt `attempt` (from 1) before the next; <= `max_delay_s`.

        Jitter takes away up to half, so that a fleet that failed together does not come
        back together. `random` yields [0, 1) and defaults to the process's own source.
        """
        tried = RetryCallState(_NO_CALL, None, (), {})
        tried.attempt_number = min(max(attempt, 1), 1_000_000)
        delay_s = min(self._wait()(tried), self.max_delay_s)
        if self.jitter:
            delay_s *= 1.0 - 0.5 * (random or random_module.random)()
        return max(delay_s, 0.0) if math.isfinite(delay_s) else self.max_delay_s

    def _wait(self) -> Callable[[RetryCallState], float]:
        match self.backoff:
            case Backoff.FIXED:
                return wait_fixed(self.delay_s)
            case Backoff.LINEAR:
                return wait_incrementing(self.delay_s, self.delay_s, self.max_delay_s)
            case Backoff.EXPONENTIAL:
                return wait_exponential(multiplier=self.delay_s, max=self.max_delay_s)


@dataclass(frozen=True, slots=True)
class Node:
    """A vertex of a workflow. `config` may hold `{{ expressions }}`, filled by the worker."""

    id: str
    type: str
    label: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    #: None: the workflow's `settings.retry` holds.
    retry: RetryPolicy | None = None
    #: None: `DEFAULT_TIMEOUT_S`. A task always has a deadline.
    timeout_s: float | None = None
    trigger_rule: TriggerRule = TriggerRule.ALL_SUCCESS
    queue: str = DEFAULT_QUEUE
    #: 0..9; higher starts first.
    priority: int = DEFAULT_PRIORITY
    position: tuple[float, float] = (0.0, 0.0)
