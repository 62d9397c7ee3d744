"""Outputs too large for the record: kept as an artifact of their run, and named in their place."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson

from orchestrator.ports.runtime import Artifacts

_KEPT_OUTSIDE = "$artifact"


def fetched(artifacts: Artifacts, output: Any) -> Any:
    """Return an output as its node made it. NotFound when its artifact is gone."""
    if isinstance(output, dict) and set(output) == {_KEPT_OUTSIDE}:
        run_id, name = output[_KEPT_OUTSIDE].split("/")
        _, data = artifacts.get(UUID(run_id), name)
        return orjson.loads(data)
    return output


def fitting(
    artifacts: Artifacts, run_id: UUID, name: str, node_id: str, output: Any, most_bytes: int
) -> Any:
    """Return an output, or what names it once it is kept outside for its size."""
    data = orjson.dumps(output)
    if len(data) <= most_bytes:
        return output
    artifacts.put(run_id, name, data, "application/json", node_id)
    # With the run's id: a later run may take the output over.
    return {_KEPT_OUTSIDE: f"{run_id}/{name}"}
