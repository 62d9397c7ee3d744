"""A saved definition: nodes, edges, settings, and the inputs a run of it takes.

Knows meaning, not shape: `services/definitions.py` reads JSON and YAML into it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import Problem
from orchestrator.models.definitions import json_schema
from orchestrator.models.definitions.node import Node, RetryPolicy


@dataclass(frozen=True, slots=True)
class Edge:
    """`target` waits for `source`; with a handle, only if the source's branch takes it."""

    id: str
    source: str
    target: str
    source_handle: str | None = None


@dataclass(frozen=True, slots=True)
class WorkflowSettings:
    """`timeout_s` bounds a whole run; `retry` holds for nodes without their own."""

    timeout_s: float | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    #: Bare CEL for the run's output; None: the leaves' outputs by node id.
    output: str | None = None


@dataclass(frozen=True, slots=True)
class Workflow:
    """One immutable version. Node order matters: a task's number is its node's index."""

    name: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...] = ()
    description: str = ""
    #: JSON Schema of a run's input; {} takes any object.
    inputs: dict[str, Any] = field(default_factory=dict)
    settings: WorkflowSettings = field(default_factory=WorkflowSettings)


def check_input(workflow: Workflow, value: Any) -> tuple[Any, list[Problem]]:
    """A run's input with the schema's defaults filled in, and what does not fit `inputs`.

    None counts as {}. Never fails: a schema that cannot be read is a problem too.
    """
    given = {} if value is None else value
    if not isinstance(given, dict):
        text = "must be an object, such as {}"
        return given, [Problem("input", "invalid_input", text)]
    if not workflow.inputs:
        return given, []
    filled = json_schema.with_defaults(workflow.inputs, given)
    try:
        validator = json_schema.compiled(workflow.inputs)
    except ValueError as error:
        return filled, [Problem("inputs", "invalid_input_schema", str(error))]
    return filled, json_schema.problems(validator, filled, "input", "invalid_input")
