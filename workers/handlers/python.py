"""`python`: calls a function that the deployment registered by name; never code of a definition."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import HandlerError
from orchestrator.models.plain_json import BadValue, plain
from orchestrator.models.runs.task import Failure, Outcome, Skip, TaskError, Value, Wait
from workers import functions
from workers.handlers.config import kind_of
from workers.handlers.context import Context


def run(config: Mapping[str, Any], context: Context) -> Outcome:
    """Call the function with `args` as keyword arguments; its return value is the output.

    HandlerError `unknown_function` or `bad_arguments` before the call; `bad_output` after it.
    """
    found = functions.find(str(config["function"]))
    arguments = _arguments(found, config.get("args"), context)
    try:
        value = found.call(**arguments)
    except (functions.Wait, functions.Skip, functions.Fail) as told:
        value = told
    if isinstance(value, functions.Wait):
        return Wait(seconds=value.seconds, memo=value.memo)
    if isinstance(value, functions.Skip):
        return Skip(reason=value.reason)
    if isinstance(value, functions.Fail):
        return Failure(
            error=TaskError(code=value.code, message=value.message),
            retryable=value.retryable,
            retry_after_s=value.retry_after_s,
        )
    if inspect.iscoroutine(value):
        # Closed, or Python warns about it on somebody else's log.
        value.close()
    return Value(output=value)


def _arguments(found: functions.Registered, given: Any, context: Context) -> dict[str, Any]:
    if given is not None and not isinstance(given, dict):
        raise _bad(found, f"`args` needs an object, but its expression gave {kind_of(given)}")
    try:
        # A copy: what a function does to its arguments must not reach other tasks.
        arguments: dict[str, Any] = plain(given or {})
    except BadValue as bad:
        raise _bad(found, f"args{str(bad)[1:]}") from None
    if found.wants_context:
        if "context" in arguments:
            raise _bad(found, "`context` is given by the worker, not by `args`")
        arguments["context"] = context
    try:
        found.signature.bind(**arguments)
    except TypeError as error:
        shown = found.signature.replace(return_annotation=inspect.Signature.empty)
        raise _bad(found, f"{error}; it takes {str(shown)[:300]}") from None
    return arguments


def _bad(found: functions.Registered, why: str) -> HandlerError:
    return HandlerError("bad_arguments", f"{found.name}: {why}", retryable=False)
