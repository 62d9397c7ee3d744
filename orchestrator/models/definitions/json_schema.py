"""JSON Schema (2020-12): check values and schemas, fill defaults, readable messages.

Never fetches: a `$ref` to a URL or a file is a problem of the schema.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import jsonschema_rs

from orchestrator.errors import Problem, did_you_mean

MAX_SCHEMA_NODES = 5000
MAX_DEPTH = 64
Validator = jsonschema_rs.Draft202012Validator


def _no_fetching(uri: str) -> Any:
    raise ValueError(f"$ref may only point inside this schema (#/...), not to {uri[:80]}")


def compiled(schema: dict[str, Any]) -> Validator:
    """A validator with linear-time patterns; raises ValueError with the reason."""
    try:
        return jsonschema_rs.Draft202012Validator(
            schema,
            validate_formats=True,
            retriever=_no_fetching,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=1_000_000),
        )
    except Exception as error:
        where = place(getattr(error, "instance_path", None) or ())
        text = getattr(error, "message", None) or str(error)
        raise ValueError(f"{where}: {text}".lstrip(".: ")[:300]) from None


def place(path: Iterable[str | int], start: str = "") -> str:
    """['cases', 0, 'when'] as `start.cases[0].when`."""
    text = start
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text if start else text.lstrip(".")


def problems(
    validator: Validator,
    value: Any,
    path: str,
    code: str,
    node: str | None = None,
    schema: Any = None,
) -> list[Problem]:
    """What in `value` does not fit; empty when all does. `schema` lets it suggest names."""
    if validator.is_valid(value):
        return []
    return [
        Problem(place(at, path), code, message, node)
        for error in validator.iter_errors(value)
        for at, message in _told(error, schema)
    ]


def _told(error: Any, schema: Any) -> list[tuple[list[str | int], str]]:
    at = list(error.instance_path)
    kind = error.kind
    match _kind(error):
        case "AdditionalProperties":
            known = _properties(schema, error.schema_path)
            return [([*at, name], _unknown(name, known)) for name in kind.unexpected]
        case "Required":
            return [([*at, kind.property], "is required; add it")]
        case "AnyOf" if closest := _closest(kind.context):
            return [told for inner in closest for told in _told(inner, schema)]
        case "OneOfNotValid" | "OneOfMultipleValid":
            needed = _alternatives(error) or "the alternatives of its schema"
            return [(at, f"needs exactly one of {needed}")]
        case "Not":
            return [(at, "has two fields that exclude each other; leave one out")]
    return [(at, error.message[:300])]


def _closest(alternatives: list[list[Any]]) -> list[Any]:
    """The alternative worth explaining: one of the right type, and never the `{{ }}` one."""
    wanted = [errors for errors in alternatives if "\\{\\{" not in str(errors)]
    fitting = [errors for errors in wanted if "Type" not in map(_kind, errors)]
    return next(iter(fitting or wanted), [])


def _kind(error: Any) -> str:
    return type(error.kind).__name__


def _properties(schema: Any, path: list[str | int]) -> list[str]:
    for step in path[:-1]:
        try:
            schema = schema[step]
        except (LookupError, TypeError):
            return []
    return list(schema.get("properties", ())) if isinstance(schema, Mapping) else []


def _unknown(name: str, known: list[str]) -> str:
    return f"is not a known field{did_you_mean(name, known) or '; remove it'}"


def _alternatives(error: Any) -> str:
    names = [
        inner.kind.property
        for branch in getattr(error.kind, "context", [])
        for inner in branch
        if _kind(inner) == "Required"
    ]
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def too_complex(value: Any) -> str | None:
    """Why a schema is too large or too deep to be handed to the validator, or None."""
    waiting = [(value, 0)]
    count = 0
    while waiting:
        item, depth = waiting.pop()
        count += 1
        if depth > MAX_DEPTH:
            return f"nested more than {MAX_DEPTH} deep"
        if count > MAX_SCHEMA_NODES:
            return f"more than {MAX_SCHEMA_NODES} parts"
        if isinstance(item, dict):
            waiting += [(inner, depth + 1) for inner in item.values()]
        elif isinstance(item, list):
            waiting += [(inner, depth + 1) for inner in item]
    return None


def with_defaults(schema: Any, value: Any) -> Any:
    """`value` with the `default` of each missing property, at every level of `properties`."""
    if not isinstance(schema, Mapping):
        return value
    if isinstance(value, dict) and isinstance(schema.get("properties"), Mapping):
        filled = dict(value)
        for name, inner in schema["properties"].items():
            if name in filled:
                filled[name] = with_defaults(inner, filled[name])
            elif isinstance(inner, Mapping) and "default" in inner:
                filled[name] = copy.deepcopy(inner["default"])
        return filled
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [with_defaults(schema["items"], item) for item in value]
    return value
