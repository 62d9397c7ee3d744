"""What an attempt is given of secrets and variables, and the hiding of it while the attempt works.

Values stay in this process: nothing here writes, and what an attempt brings back passes `hidden`.
"""

from __future__ import annotations

import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from orchestrator.errors import HandlerError
from orchestrator.models.definitions.catalogue import CATALOGUE
from orchestrator.models.definitions.node import Node
from orchestrator.models.definitions.plan import PlanNode
from orchestrator.models.runs.task import Cancelled, Failure, Outcome, Skip, TaskError, Value, Wait
from orchestrator.models.secret import refused
from orchestrator.services.secrets.masking import Masker
from workers.child import capture_hub
from workers.handlers.failure import MASKER

#: How long a value is believed, in seconds: so long a changed one may still be used.
KEPT_S = 30.0
_SETS_KEPT = 256
_RUNS_KEPT = 1024
_MASKERS_KEPT = 64

#: A key as a map in an expression has it: quoted, and followed by a colon.
_QUOTED_KEY = re.compile(r"""(?:'([^'\\]*)'|"([^"\\]*)")\s*:""")

Look = Callable[[UUID, Sequence[str]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Resolved:
    """What one node's config may read."""

    scope: Mapping[str, Mapping[str, Any]]
    #: Hides the secrets among it; None where there are none.
    masker: Masker | None


class Resolver:
    """Looks values up under the run's own tenant; only the names that a node mentions.

    For one thread: without locks, which a StopRequested could leave taken.
    """

    def __init__(
        self,
        *,
        secrets: Look,
        variables: Look,
        tenant_of: Callable[[UUID], UUID],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secrets = secrets
        self._variables = variables
        self._tenant_of = tenant_of
        self._clock = clock
        self._kept: OrderedDict[Any, tuple[float, Resolved]] = OrderedDict()
        self._maskers: OrderedDict[frozenset[str], Masker] = OrderedDict()
        self._tenants: OrderedDict[UUID, UUID] = OrderedDict()

    def resolve(self, run_id: UUID, task: PlanNode) -> Resolved:
        """Return what the node may read.

        HandlerError `unknown_secret`, `unknown_variable` or `bad_secret`, none worth another
        attempt; SecretsUnavailable, StoreUnavailable, SecretUnreadable.
        """
        tenant_id = self._tenant(run_id)
        key = tenant_id, task.secrets, task.variables
        now = self._clock()
        while self._kept and next(iter(self._kept.values()))[0] <= now:
            self._kept.popitem(last=False)
        kept = self._kept.get(key)
        if kept is not None:
            return kept[1]
        found = self._looked_up(tenant_id, task)
        self._kept[key] = now + KEPT_S, found
        while len(self._kept) > _SETS_KEPT:
            self._kept.popitem(last=False)
        return found

    def _looked_up(self, tenant_id: UUID, task: PlanNode) -> Resolved:
        secrets = self._secrets(tenant_id, task.secrets) if task.secrets else {}
        variables = self._variables(tenant_id, task.variables) if task.variables else {}
        for name in task.secrets:
            if name not in secrets:
                raise _unknown("secret", name, f"set it with `zq secrets set {name}`")
            if why := refused(secrets[name]):
                told = f"the value of secret {name} {why}; set it anew"
                raise HandlerError("bad_secret", told, retryable=False)
        for name in task.variables:
            if name not in variables:
                raise _unknown("variable", name, f"set it with `zq variables set {name} VALUE`")
        return Resolved(
            {"secrets": dict(secrets), "vars": dict(variables)},
            self._masker(frozenset(secrets.values())) if secrets else None,
        )

    def _masker(self, values: frozenset[str]) -> Masker:
        """Return the masker of some values: the same until one of them changes."""
        masker = self._maskers.pop(values, None) or Masker(values)
        self._maskers[values] = masker
        while len(self._maskers) > _MASKERS_KEPT:
            self._maskers.popitem(last=False)
        return masker

    def _tenant(self, run_id: UUID) -> UUID:
        known = self._tenants.get(run_id)
        if known is None:
            known = self._tenants[run_id] = self._tenant_of(run_id)
            while len(self._tenants) > _RUNS_KEPT:
                self._tenants.popitem(last=False)
        return known


def _unknown(kind: str, name: str, remedy: str) -> HandlerError:
    message = f"there is no {kind} {name} in this tenant and environment; {remedy}"
    return HandlerError(f"unknown_{kind}", message, retryable=False)


@contextmanager
def hiding(masker: Masker | None) -> Iterator[None]:
    """Hide values in whatever this process logs inside the block, and in what its task says."""
    if masker is None:
        yield
        return
    capture = capture_hub.current.get()
    if capture is not None:
        capture.hide(masker)
    token = MASKER.set(masker)
    _own_logs.begin(masker)
    try:
        yield
    finally:
        _own_logs.end(masker)
        MASKER.reset(token)


def hidden(masker: Masker | None, outcome: Outcome, task: PlanNode) -> Outcome:
    """Return an outcome with every value masked; a masked memo is what the next call gets.

    What the definition itself says is no secret, and what it is steered by: a branch's handles,
    keys that the config names, and error codes stay as they are.
    """
    if masker is None:
        return outcome
    node = task.node
    match outcome:
        case Value() if CATALOGUE[node.type].handles(node.config):
            return outcome
        case Value():
            return Value(output=masker.value(outcome.output, _words(node)))
        case Failure(error=error):
            code = error.code
            # Only a function has codes that it makes up itself.
            if node.type == "python" and code not in task.retry.unless:
                code = code if masker.error(code) == code else "error"
            frames = masker.error(error.traceback) if error.traceback else None
            told = TaskError(code=code, message=masker.error(error.message), traceback=frames)
            return replace(outcome, error=told)
        case Skip(reason=reason):
            return Skip(reason=masker.error(reason))
        case Wait(memo=memo):
            return Wait(seconds=outcome.seconds, memo=masker.value(dict(memo), _words(node)))
        case Cancelled():
            return outcome


def _words(node: Node) -> frozenset[str]:
    """Return the keys that a node's config names, in itself or in its expressions, and those that
    its type's output always has."""
    output = CATALOGUE[node.type].output_schema.get("properties", ())
    found: set[str] = set(output)
    waiting: list[Any] = [node.config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            found |= item.keys()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, str):
            found |= {single or double for single, double in _QUOTED_KEY.findall(item)}
    return frozenset(found)


class _OwnLogs(logging.Filter):
    """Masks what the worker itself logs; on the root logger's handlers while attempts need it.

    What the task says is kept out of there altogether: it is in the task's own lines, where a
    secret is found also in pieces.
    """

    def __init__(self) -> None:
        super().__init__()
        self._maskers: list[Masker] = []
        self._handlers: list[logging.Handler] = []

    def begin(self, masker: Masker) -> None:
        """Hide these values too."""
        self._maskers.append(masker)
        for handler in logging.getLogger().handlers:
            if self not in handler.filters:
                handler.addFilter(self)
                self._handlers.append(handler)

    def end(self, masker: Masker) -> None:
        """Hide them no more."""
        self._maskers.remove(masker)
        if not self._maskers:
            while self._handlers:
                self._handlers.pop().removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the worker's own records pass, masked; a traceback may become part of the text."""
        if capture_hub.hub.current() is not None:
            return False
        for masker in self._maskers:
            try:
                text = record.getMessage()
            except Exception:
                # Wrong arguments: logging tells of them itself, with the arguments.
                record.msg, record.args, text = "a log line that cannot be formatted", (), ""
            if record.exc_info:
                told = logging.Formatter().formatException(record.exc_info)
                if masker.error(told) != told:
                    text = f"{text}\n{masker.error(told)}"
                    record.exc_info = record.exc_text = None
            if text and (shown := masker.text(text)) != record.msg:
                record.msg, record.args = shown, ()
        return True


_own_logs = _OwnLogs()
