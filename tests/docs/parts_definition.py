"""The definition as tables: fields from the marshmallow schemas, configs from the catalogue."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

from marshmallow import Schema, fields, validate

from orchestrator.models.definitions import validation, workflow
from orchestrator.models.definitions.catalogue import CATALOGUE, EXPRESSION_FORMAT, FILLED
from orchestrator.models.definitions.node import (
    DEFAULT_PRIORITY,
    DEFAULT_QUEUE,
    DEFAULT_TIMEOUT_S,
    RetryPolicy,
    TriggerRule,
)
from orchestrator.models.runs.rules import rule_met
from orchestrator.services.definitions import reading as definitions
from orchestrator.services.definitions import schemas
from orchestrator.services.definitions import yaml_form as definition_yaml
from orchestrator.services.definitions.plain_shape import Items

#: What the code says elsewhere than in a field's metadata.
_ABOUT = {
    "description": "Free text; at most 10,000 characters.",
    "settings": "What holds for the whole workflow: see below.",
    "nodes": "The vertices: see below. 1 to 10,000.",
    "edges": "Who waits for whom: see below. At most 100,000.",
    "retry": "See [retry](#retry).",
    "position": "For programs that draw the workflow: `x` and `y`.",
    "data": "What the node does, and how: see below.",
}
_KINDS: dict[type, str] = {
    schemas.Number: "number",
    schemas.Flag: "boolean",
    fields.Integer: "whole number",
    fields.String: "text",
    fields.Dict: "object",
    fields.List: "list",
    Items: "list",
    fields.Nested: "object",
}
_DATA_DEFAULTS = {
    "label": "",
    "config": {},
    "timeout_s": DEFAULT_TIMEOUT_S,
    "trigger_rule": TriggerRule.ALL_SUCCESS.value,
    "queue": DEFAULT_QUEUE,
    "priority": DEFAULT_PRIORITY,
    "retry": "the workflow's",
}


def _table(schema: type[Schema], defaults: dict[str, Any]) -> str:
    lines = ["| field | kind | default | meaning |", "|---|---|---|---|"]
    for name, field in schema().fields.items():
        shown = field.data_key or name
        default = "required" if field.required else _default(defaults.get(name))
        about = field.metadata.get("description") or _ABOUT.get(name, "")
        told = " ".join([str(about), *_limits(field)])
        lines.append(f"| `{shown}` | {_KINDS[type(field)]} | {default} | {told} |")
    return "\n".join(lines)


def _default(value: Any) -> str:
    if value is None or value == "" or value == () or value == {}:
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    return value if value == _DATA_DEFAULTS["retry"] else f"`{value}`"


def _limits(field: fields.Field[Any]) -> list[str]:
    found = []
    for rule in field.validators:
        if isinstance(rule, validate.Range):
            low = f"{'At least' if rule.min_inclusive else 'Above'} {rule.min:g}"
            found.append(f"{low}, at most {int(rule.max):,}.")
        elif isinstance(rule, validate.OneOf):
            found.append("One of " + ", ".join(f"`{choice}`" for choice in rule.choices) + ".")
    return found


workflow_fields = partial(_table, schemas.WorkflowSchema, {})
settings_fields = partial(_table, schemas.SettingsSchema, {})
node_fields = partial(_table, schemas.NodeSchema, {})
data_fields = partial(_table, schemas.NodeDataSchema, _DATA_DEFAULTS)
edge_fields = partial(_table, schemas.EdgeSchema, {})


def retry_fields() -> str:
    """Return the retry policy's fields with the defaults of the model."""
    policy = RetryPolicy()
    names = schemas.RetrySchema().fields
    return _table(schemas.RetrySchema, {name: getattr(policy, name) for name in names})


def trigger_rules() -> str:
    """Return the truth table: what each rule says to two upstream tasks that have ended."""
    ends = ("succeeded", "failed", "skipped")
    pairs = [pair for pair in product(ends, ends) if ends.index(pair[0]) <= ends.index(pair[1])]
    heads = [f"{a} + {b}" if a != b else f"both {a}" for a, b in pairs]
    lines = [f"| rule | {' | '.join(heads)} |", "|---" * (len(pairs) + 1) + "|"]
    for rule in TriggerRule:
        cells = ["runs" if met(rule, pair) else "–" for pair in pairs]
        lines.append(f"| `{rule}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def met(rule: TriggerRule, ends: tuple[str, ...]) -> bool:
    """Return whether a task with this rule starts after upstream tasks that ended so."""
    return rule_met(rule, len(ends), ends.count("failed"), ends.count("skipped"))


def node_types() -> str:
    """Return the list of types."""
    lines = ["| type | does |", "|---|---|"]
    lines += [f"| [`{kind.name}`](#{kind.name}) | {kind.description} |" for kind in _types()]
    return "\n".join(lines)


def config_tables() -> dict[str, Callable[[], str]]:
    """Return a maker of the config's table for each type."""
    return {
        kind.name: partial(_config, kind.config_schema, kind.output_schema) for kind in _types()
    }


def _types() -> list[Any]:
    return list(CATALOGUE.values())


def _config(schema: dict[str, Any], output: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = [
        line
        for name, inner in schema.get("properties", {}).items()
        for line in _rows(name, inner, required=name in required)
    ]
    lines = ["| config | kind | default | meaning |", "|---|---|---|---|", *rows]
    table = "\n".join(lines) if rows else "It takes no config."
    return f"{table}\n\nOutput: {_output(output)}"


def _rows(name: str, schema: dict[str, Any], *, required: bool) -> list[str]:
    given = schema.get("default", _inner(schema).get("default"))
    given = json.dumps(given) if isinstance(given, list) else given
    default = "required" if required else _default(given)
    found = [f"| `{name}` | {kind(schema)} | {default} | {schema.get('description', '')} |"]
    items = _inner(schema).get("items", {})
    for inner, part in items.get("properties", {}).items():
        needed = inner in items.get("required", [])
        found += _rows(f"{name}[].{inner}", part, required=needed)
    return found


def _inner(schema: dict[str, Any]) -> dict[str, Any]:
    wanted = [part for part in schema.get("anyOf", ()) if part != FILLED]
    return wanted[0] if len(wanted) == 1 else schema


def kind(schema: dict[str, Any]) -> str:
    """Return the kind of value a schema takes, for people."""
    inner = _inner(schema)
    if schema.get("format") == EXPRESSION_FORMAT:
        return "CEL, no braces"
    if "enum" in inner:
        return ", ".join(f"`{word}`" for word in inner["enum"])
    if "anyOf" in inner:
        return " or ".join(dict.fromkeys(kind(part) for part in inner["anyOf"]))
    found = inner.get("type", "any value")
    words = {"string": "text", "integer": "whole number", "array": "list"}
    names = [found] if isinstance(found, str) else found
    text = " or ".join(words.get(name, name) for name in names)
    low, high = inner.get("minimum"), inner.get("maximum")
    return f"{text}, {low:,} to {high:,}" if low is not None and high is not None else text


def _output(schema: dict[str, Any]) -> str:
    properties = schema.get("properties")
    if properties:
        parts = [f"`{name}` ({kind(part)})" for name, part in properties.items()]
        return f"an object with {', '.join(parts)}."
    return "an empty object." if schema.get("type") == "object" else schema["description"]


def problem_codes() -> str:
    """Return the codes that a definition's problems may have, found in the code itself."""
    found: set[str] = set()
    for module in (validation, workflow, definitions, definition_yaml):
        for call in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(call, ast.Call):
                found |= _codes(call)
            elif isinstance(call, ast.Return | ast.Assign) and isinstance(call.value, ast.Tuple):
                found |= _words(call.value.elts[:1])
            elif isinstance(call, ast.Assign) and getattr(call.targets[0], "id", "") == "code":
                found |= _words([call.value])
    return ", ".join(f"`{code}`" for code in sorted(found))


def _codes(call: Any) -> set[str]:
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    where = {"Problem": slice(1, 2), "_refuse": slice(0, 1), "problems": slice(3, 4)}
    return _words(call.args[where[name]]) if name in where else set()


def _words(nodes: Any) -> set[str]:
    values = {getattr(node, "value", None) for node in nodes}
    return {v for v in values if isinstance(v, str) and ("_" in v or v == "cycle")}
