"""`transform`: computes a value from inputs and outputs with one CEL expression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.models.expressions import expression
from orchestrator.models.runs.task import Outcome, Value
from workers.handlers.context import Context


def run(config: Mapping[str, Any], context: Context) -> Outcome:
    """Return the expression's value; ExpressionError ends the task."""
    return Value(
        output=expression.evaluate(config["expression"], context.scope, until=context.deadline)
    )
