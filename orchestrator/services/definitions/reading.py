"""Reads definitions in the API's JSON form (React Flow's shape) and writes them back.

Shape is marshmallow's, meaning is `problems_of`; both report all they find.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from marshmallow import ValidationError

from orchestrator.errors import (
    InvalidDefinition,
    Problem,
    did_you_mean,
    gathered,
    one_document,
)
from orchestrator.models.definitions.json_schema import place
from orchestrator.models.definitions.node import Backoff, Node, OnLost, RetryPolicy, TriggerRule
from orchestrator.models.definitions.saved import WorkflowStatus
from orchestrator.models.definitions.storable import unstorable
from orchestrator.models.definitions.validation import MAX_EDGES, MAX_NODES, find
from orchestrator.models.definitions.workflow import Edge, Workflow, WorkflowSettings
from orchestrator.services.definitions import yaml_form
from orchestrator.services.definitions.schemas import (
    FIELD_NAMES,
    REFUSED_RULES,
    EdgeSchema,
    NodeSchema,
    RetrySchema,
    SettingsSchema,
    WorkflowSchema,
)
from orchestrator.services.definitions.yaml_form import to_yaml

__all__ = [
    "EdgeSchema",
    "NodeSchema",
    "RetrySchema",
    "SettingsSchema",
    "WorkflowSchema",
    "from_yaml",
    "read_definition",
    "read_stored",
    "shape_of",
    "taken_status",
    "to_yaml",
]
#: What is no number for every reader hides nothing else.
_NUMBERS = frozenset({"bad_number", "integer_too_large"})
_SCHEMA = WorkflowSchema()


def read_definition(document: Any) -> Workflow:
    """The workflow a JSON document describes.

    Raises InvalidDefinition with every problem: of shape first, then of meaning, as far as
    what has the right shape can be judged.
    """
    with one_document():
        workflow, found = _judged(document)
    if found or workflow is None:
        raise InvalidDefinition(found)
    return workflow


def _judged(document: Any) -> tuple[Workflow | None, list[Problem]]:
    if not isinstance(document, Mapping):
        text = 'send an object: {"name": ..., "nodes": [...], "edges": [...]}'
        return None, [Problem("", "invalid_field", text)]
    # Before anything else: reading the shape of a million edges takes a minute.
    found = gathered(_too_many(document)) or gathered(unstorable(document))
    if any(problem.code not in _NUMBERS for problem in found):
        return None, found
    try:
        loaded: Any = _SCHEMA.load(document)
        shape: Iterable[Problem] = ()
    except ValidationError as error:
        shape = _shape_problems(error.messages, document)
        loaded = error.valid_data
    fits = shape == () or _judgeable(loaded, document)
    workflow = _workflow(loaded) if fits else None
    meaning = () if workflow is None else find(workflow)
    return workflow, gathered(chain(found, shape, meaning))


def from_yaml(text: str) -> dict[str, Any]:
    """The JSON form of a YAML definition; edges from `needs`, positions by layer.

    A document whose `nodes` is a list is taken as the JSON form already. Raises
    InvalidDefinition for what has no JSON form, with all else that is wrong; without that, the
    rest is `read_definition`'s to judge.
    """
    with one_document():
        made, found = yaml_form.read(text)
        if found:
            _, more = _judged({key: value for key, value in made.items() if key != "status"})
            raise InvalidDefinition([*found, *yaml_form.beside(found, more)])
    return made


def taken_status(document: dict[str, Any]) -> tuple[dict[str, Any], WorkflowStatus | None]:
    """The definition without the status that may stand beside it, and that; InvalidDefinition."""
    if "status" not in document:
        return document, None
    given = document["status"]
    known = [str(s) for s in WorkflowStatus]
    rest = {name: value for name, value in document.items() if name != "status"}
    if given not in known:
        message = f"the status must be one of: {', '.join(known)}"
        with one_document():
            _, more = _judged(rest)
        raise InvalidDefinition([Problem("status", "bad_status", message), *more])
    return rest, WorkflowStatus(given)


def _too_many(document: Mapping[str, Any]) -> Iterator[Problem]:
    for name, most in (("nodes", MAX_NODES), ("edges", MAX_EDGES)):
        given = document.get(name)
        if isinstance(given, list) and len(given) > most:
            text = f"{len(given)} {name}; at most {most} are allowed"
            yield Problem(name, f"too_many_{name}", text)


def read_stored(document: Mapping[str, Any]) -> Workflow:
    """A definition that `shape_of` wrote: read without judging it again."""
    return _workflow(document)


def _workflow(loaded: Mapping[str, Any]) -> Workflow:
    settings = loaded.get("settings") or {}
    general = _retry(settings.get("retry"), RetryPolicy())
    return Workflow(
        name=loaded.get("name", ""),
        description=loaded.get("description") or "",
        inputs=dict(loaded.get("inputs") or {}),
        settings=WorkflowSettings(settings.get("timeout_s"), general, settings.get("output")),
        nodes=tuple(_node(node, general) for node in loaded.get("nodes") or ()),
        edges=tuple(_edge(edge) for edge in loaded.get("edges") or ()),
    )


def _node(node: Mapping[str, Any], general: RetryPolicy) -> Node:
    data = node.get("data") or {}
    position = node.get("position") or {}
    return Node(
        id=node["id"],
        type=node["type"],
        label=data.get("label") or "",
        config=dict(data.get("config") or {}),
        retry=_retry(data["retry"], general) if data.get("retry") else None,
        timeout_s=data.get("timeout_s"),
        trigger_rule=TriggerRule(data.get("trigger_rule") or TriggerRule.ALL_SUCCESS),
        queue=data.get("queue") or "default",
        priority=5 if data.get("priority") is None else data["priority"],
        position=(position.get("x", 0.0), position.get("y", 0.0)),
    )


def _retry(given: Mapping[str, Any] | None, general: RetryPolicy) -> RetryPolicy:
    """What is not given is as the workflow's settings say."""
    given = given or {}
    return RetryPolicy(
        max_attempts=given.get("max_attempts", general.max_attempts),
        delay_s=given.get("delay_s", general.delay_s),
        backoff=Backoff(given.get("backoff", general.backoff)),
        max_delay_s=given.get("max_delay_s", general.max_delay_s),
        jitter=given.get("jitter", general.jitter),
        on_lost=OnLost(given.get("on_lost", general.on_lost)),
        unless=tuple(given.get("unless", general.unless)),
    )


def _edge(edge: Mapping[str, Any]) -> Edge:
    # Loaded by the schema, or as it was stored.
    handle = edge.get("source_handle") or edge.get("sourceHandle")
    name = f"{edge['source']}{f'.{handle}' if handle else ''}->{edge['target']}"
    return Edge(edge.get("id") or name, edge["source"], edge["target"], handle)


def shape_of(workflow: Workflow) -> dict[str, Any]:
    """The JSON form: what `read_definition` takes, with every default written out."""
    settings: dict[str, Any] = {"retry": _retry_shape(workflow.settings.retry)}
    if workflow.settings.timeout_s is not None:
        settings["timeout_s"] = workflow.settings.timeout_s
    if workflow.settings.output is not None:
        settings["output"] = workflow.settings.output
    return {
        "name": workflow.name,
        "description": workflow.description,
        "inputs": workflow.inputs,
        "settings": settings,
        "nodes": [_node_shape(node) for node in workflow.nodes],
        "edges": [
            {
                "id": edge.id,
                "source": edge.source,
                "target": edge.target,
                "type": "default",
                "sourceHandle": edge.source_handle,
            }
            for edge in workflow.edges
        ],
    }


def _node_shape(node: Node) -> dict[str, Any]:
    data: dict[str, Any] = {
        "label": node.label,
        "config": node.config,
        "trigger_rule": node.trigger_rule.value,
        "queue": node.queue,
        "priority": node.priority,
    }
    if node.retry is not None:
        data["retry"] = _retry_shape(node.retry)
    if node.timeout_s is not None:
        data["timeout_s"] = node.timeout_s
    position = {"x": node.position[0], "y": node.position[1]}
    return {"id": node.id, "type": node.type, "position": position, "data": data}


def _retry_shape(retry: RetryPolicy) -> dict[str, Any]:
    return {
        "max_attempts": retry.max_attempts,
        "delay_s": retry.delay_s,
        "backoff": retry.backoff.value,
        "max_delay_s": retry.max_delay_s,
        "jitter": retry.jitter,
        "on_lost": retry.on_lost.value,
        "unless": list(retry.unless),
    }


def _shape_problems(
    messages: Any, document: Mapping[str, Any], path: tuple[str | int, ...] = ()
) -> Iterator[Problem]:
    if isinstance(messages, Mapping):
        for key, inner in messages.items():
            step = path if key == "_schema" else (*path, key)
            yield from _shape_problems(inner, document, step)
        return
    for message in messages:
        yield _shape_problem(str(message), document, path)


def _shape_problem(
    message: str, document: Mapping[str, Any], path: tuple[str | int, ...]
) -> Problem:
    node: Any = None
    value: Any = document
    for no, step in enumerate(path):
        try:
            value = value[step]
        except (LookupError, TypeError):
            value = None
        if no == 1 and path[0] == "nodes" and isinstance(value, Mapping):
            node = value.get("id")
    name = str(path[-1]) if path else ""
    code = "invalid_field"
    if message == "Unknown field.":
        code = "unknown_field"
        message = f"is not a known field{did_you_mean(name, FIELD_NAMES) or '; remove it'}"
    elif message.startswith("Missing data"):
        code, message = "missing_field", "is required; add it"
    elif name == "trigger_rule" and isinstance(value, str) and value in REFUSED_RULES:
        code = "unsupported_trigger_rule"
    return Problem(place(path), code, message, node if isinstance(node, str) else None)


def _judgeable(loaded: Any, document: Mapping[str, Any]) -> bool:
    """Whether what could be read is whole enough that judging it invents no problems."""
    if not isinstance(loaded, dict):
        return False
    for part, needed in (("nodes", ("id", "type")), ("edges", ("source", "target"))):
        given, read = document.get(part) or [], loaded.get(part) or []
        if not isinstance(given, list) or len(given) != len(read):
            return False
        if not all(isinstance(item, dict) and all(map(item.get, needed)) for item in read):
            return False
    if not loaded.get("nodes"):
        return False
    pairs = zip(loaded["nodes"], document["nodes"], strict=True)
    return all("config" in _data(item) or "config" not in _data(given) for item, given in pairs)


def _data(node: Any) -> Mapping[str, Any]:
    data = node.get("data") if isinstance(node, Mapping) else None
    return data if isinstance(data, Mapping) else {}
