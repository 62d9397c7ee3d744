"""Outputs too large for the record: kept as an artifact of their run, and named in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson

from orchestrator.models.definitions.plan import Plan
from orchestrator.models.runs.large_output import file_of, is_marker, marker
from orchestrator.ports.runtime import Artifacts


def fetched(artifacts: Artifacts, run_id: UUID, output: Any) -> Any:
    """Return an output of a run as its node made it; no file but this very run's is ever opened.

    NotFound when its artifact is gone.
    """
    name = file_of(run_id, output)
    return output if name is None else orjson.loads(artifacts.get(run_id, name)[1])


def by_node(
    artifacts: Artifacts, run_id: UUID, plan: Plan, outputs: Mapping[int, Any]
) -> dict[str, Any]:
    """Return what an expression sees as `nodes`: outputs, by the number of their task."""
    return {
        plan.node_of(no).node.id: {"output": fetched(artifacts, run_id, output)}
        for no, output in outputs.items()
    }


def fitting(
    artifacts: Artifacts, run_id: UUID, name: str, node_id: str, output: Any, most_bytes: int
) -> Any:
    """Return an output, or what names it once it is kept outside for its size.

    Kept outside is also one that looks like such a name itself: read as one, it would open a file.
    """
    data = orjson.dumps(output)
    if len(data) <= most_bytes and not is_marker(output):
        return output
    artifacts.put(run_id, name, data, "application/json", node_id)
    return marker(run_id, name)
