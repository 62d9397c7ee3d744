"""`branch`: decides by CEL conditions which of its outgoing edges are taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import ExpressionError
from orchestrator.models.expressions import expression
from orchestrator.models.runs.task import Outcome, Value
from workers.handlers.config import kind_of, read
from workers.handlers.context import Context


def run(config: Mapping[str, Any], context: Context) -> Outcome:
    """Return `{"taken": [handles]}`: the first case that holds, or with `many` each of them.

    When none holds it is the default's, and nothing without one. Cases after the first that
    holds are not evaluated, so a later one may rely on an earlier one.
    """
    many = read(config, "many", bool, False)
    taken: list[str] = []
    for no, case in enumerate(config.get("cases") or ()):
        if _holds(no, case, context) and case["handle"] not in taken:
            taken.append(case["handle"])
            if not many:
                break
    default = config.get("default")
    if not taken and default is not None:
        taken.append(default)
    return Value(output={"taken": taken})


def _holds(no: int, case: Mapping[str, Any], context: Context) -> bool:
    holds = expression.evaluate(case["when"], context.scope, until=context.deadline)
    if isinstance(holds, bool):
        return holds
    raise ExpressionError(
        f"config.cases[{no}].when needs true or false, but gave {kind_of(holds)};"
        " compare it with something"
    )
