"""Node types at work: type -> handler, and the one way to call a handler.

A handler takes its filled config and a Context and returns an Outcome; it never touches the record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from orchestrator.errors import HandlerError
from orchestrator.models.definitions import validation
from orchestrator.models.definitions.catalogue import CATALOGUE, expression_fields
from orchestrator.models.expressions import expression
from orchestrator.models.plain_json import BadValue, plain
from orchestrator.models.runs.task import Failure, Outcome, TaskError, Value, Wait
from workers.handlers import failure
from workers.handlers.context import Context, StopRequested, TaskArtifacts

__all__ = [
    "HANDLERS",
    "Context",
    "Handler",
    "StopRequested",
    "TaskArtifacts",
    "fill_config",
    "run_handler",
]

Handler = Callable[[Mapping[str, Any], Context], Outcome]
Place = tuple[str | int, ...]


def _handler(type_: str) -> Handler:
    """Return `run` of the type's module, or of `handler` in the type's folder."""
    module = import_module(f"workers.handlers.{type_}")
    if hasattr(module, "__path__"):
        module = import_module(f"workers.handlers.{type_}.handler")
    handler: Handler = module.run
    return handler


HANDLERS: Mapping[str, Handler] = MappingProxyType({name: _handler(name) for name in CATALOGUE})


def fill_config(
    type_: str, config: Mapping[str, Any], scope: Mapping[str, Any], until: float | None = None
) -> dict[str, Any]:
    """Return `config` with every `{{ }}` replaced; fields of bare CEL stay as they are.

    The handler evaluates those itself, from `context.scope`. ExpressionError on the first failure,
    and when it is not done `until` then, on `time.monotonic()`'s clock.
    What expressions gave must fit the type's schema, as what stands in a file must: HandlerError
    `bad_config` names the first field that does not.
    """
    kind = CATALOGUE.get(type_)
    found = expression_fields(dict(config), kind.config_schema) if kind else []
    bare = {path for path, _ in found}
    filled: dict[str, Any] = (
        _fill_around(dict(config), (), bare, scope, until)
        if bare
        else expression.fill(dict(config), scope, until=until)
    )
    if kind and filled != config and (first := validation.filled_problem(type_, filled)):
        raise HandlerError("bad_config", f"{first.path}: {first.message}", retryable=False)
    return filled


def _fill_around(
    value: Any, at: Place, bare: set[Place], scope: Mapping[str, Any], until: float | None
) -> Any:
    if at in bare:
        return value
    if isinstance(value, dict):
        return {k: _fill_around(v, (*at, k), bare, scope, until) for k, v in value.items()}
    if isinstance(value, list):
        return [_fill_around(v, (*at, no), bare, scope, until) for no, v in enumerate(value)]
    return expression.fill(value, scope, until=until)


def run_handler(type_: str, config: Mapping[str, Any], context: Context) -> Outcome:
    """Do a node's work and say how it ended; whatever it raised is a Failure.

    Only `cancelled` and `lost` (StopRequested) and KeyboardInterrupt come out as exceptions.
    An output or memo that is no plain JSON is the failure `bad_output`.
    """
    try:
        try:
            handler = HANDLERS.get(type_)
            if handler is None:
                return _refused("unknown_type", f"this worker has no handler for type {type_!r}")
            return _checked(handler(config, context))
        except (StopRequested, KeyboardInterrupt):
            raise
        except BaseException as error:
            # A `finally` of the handler may have failed because it was being stopped.
            if stop := failure.stop_behind(error):
                raise stop from None
            return _logged(failure.of(error), context)
    except StopRequested as stop:
        if stop.reason != "timeout":
            raise
        return failure.timed_out(stop)


def _logged(failed: Failure, context: Context) -> Failure:
    """Tell an exception's traceback in the task's log too, where it is searched for."""
    if failed.error.traceback:
        context.log.error("%s\n%s", failed.error.message, failed.error.traceback)
    return failed


def _checked(outcome: Outcome) -> Outcome:
    try:
        if isinstance(outcome, Value):
            return Value(output=plain(outcome.output))
        if isinstance(outcome, Wait):
            return Wait(seconds=outcome.seconds, memo=plain(dict(outcome.memo)))
    except BadValue as bad:
        return _refused("bad_output", str(bad))
    return outcome


def _refused(code: str, message: str) -> Failure:
    return Failure(error=TaskError(code=code, message=message), retryable=False)
