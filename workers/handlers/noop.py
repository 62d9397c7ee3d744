"""`noop`: does nothing; joins or names a point of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.models.runs.task import Outcome, Value
from workers.handlers.context import Context


def run(config: Mapping[str, Any], context: Context) -> Outcome:
    """Return `{}`."""
    return Value(output={})
