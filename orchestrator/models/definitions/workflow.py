"""A saved definition: nodes, edges, settings, and the inputs a run of it takes.

Knows meaning, not shape: `services/definitions.py` reads JSON and YAML into it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import orjson

from orchestrator.errors import Problem, gathered, one_document
from orchestrator.models.definitions import json_schema
from orchestrator.models.definitions.node import Node, RetryPolicy
from orchestrator.models.definitions.schema_defaults import unknown_names, with_defaults
from orchestrator.models.definitions.storable import surely_storable, unstorable


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
    with one_document():
        return _checked(workflow.inputs, given)


def _checked(schema: dict[str, Any], given: dict[str, Any]) -> tuple[Any, list[Problem]]:
    raw = surely_storable(given)
    if raw is None:
        if found := gathered(unstorable({"input": given})):
            return given, found
        raw = orjson.dumps(given)
    if not schema:
        return given, []
    try:
        known = json_schema.prepared(schema)
        filled = given
        if known.fills:
            filled = with_defaults(schema, given)
            raw = orjson.dumps(filled)
        if known.takes_long(schema, filled, len(raw) // 2 + 1):
            text = "is too much work to check against `inputs`; send less, or simplify the schema"
            return given, [Problem("input", "invalid_input", text)]
    except ValueError as error:
        return given, [Problem("inputs", "invalid_input_schema", str(error))]
    wrong = json_schema.problems(known.validator, filled, "input", "invalid_input")
    return filled, gathered(chain(unknown_names(schema, given), wrong))
