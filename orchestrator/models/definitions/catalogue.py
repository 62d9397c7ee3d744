"""The catalogue of node types: what each takes and gives, as JSON Schema good enough for a form.

A type's work is done by its handler in `workers/handlers/`; nothing here runs anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

Schema = dict[str, Any]

#: A field marked with this format is bare CEL, without `{{ }}`.
EXPRESSION_FORMAT = "expression"
FILLED: Schema = {
    "type": "string",
    "pattern": r"^\s*\{\{[\s\S]*\}\}\s*$",
    "title": "Expression",
    "description": "`{{ expression }}` whose value is used.",
}


def no_handles(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Every edge of the node is plain."""
    return ()


def branch_handles(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The handles a branch may take: those of its cases and its default, each once."""
    cases = config.get("cases")
    named = [case.get("handle") for case in cases if isinstance(case, Mapping)] if cases else []
    named.append(config.get("default"))
    return tuple(dict.fromkeys(handle for handle in named if isinstance(handle, str)))


@dataclass(frozen=True, slots=True)
class NodeType:
    """What an editor and the validator need to know of a type."""

    name: str
    title: str
    description: str
    config_schema: Schema
    output_schema: Schema
    handles: Callable[[Mapping[str, Any]], tuple[str, ...]]
    #: A config that validates as it stands.
    example: dict[str, Any]


def _or_filled(schema: Schema) -> Schema:
    """`schema`, or a string that is one `{{ expression }}`."""
    outer: Schema = {
        key: schema[key] for key in ("title", "description", "default") if key in schema
    }
    inner = {key: value for key, value in schema.items() if key not in outer}
    return {**outer, "anyOf": [inner, FILLED]}


def _object(required: list[str], /, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


def _expression(title: str, description: str) -> Schema:
    return {
        "type": "string",
        "format": EXPRESSION_FORMAT,
        "minLength": 1,
        "title": title,
        "description": description,
    }


_HANDLE: Schema = {
    "type": "string",
    "pattern": "^[A-Za-z_][A-Za-z0-9_-]{0,63}$",
    "title": "Handle",
    "description": "Edges with this `sourceHandle` are taken.",
}
_SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
#: What a CSV column may be told to hold.
_CSV_TYPES: Schema = {
    "anyOf": [
        {"enum": ["auto", "none"]},
        {
            "type": "object",
            "additionalProperties": {"enum": ["string", "integer", "number", "boolean"]},
        },
    ],
    "default": "auto",
    "title": "Types",
    "description": "`auto`: numbers where they read the same when written again; `none`: all text;"
    " or `string`, `integer`, `number`, `boolean` by column, the rest as with `auto`.",
}

_HTTP = _object(
    ["url"],
    method=_or_filled(
        {
            "enum": _METHODS,
            "default": "GET",
            "title": "Method",
            "description": "The HTTP method.",
        }
    ),
    url={
        "type": "string",
        "minLength": 1,
        "maxLength": 8192,
        "title": "URL",
        "description": "Where to; may hold `{{ expressions }}`.",
    },
    headers=_or_filled(
        {
            "type": "object",
            "propertyNames": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$"},
            "additionalProperties": _SCALAR,
            "title": "Headers",
            "description": "Request headers by name; one that is null is not sent.",
        }
    ),
    query=_or_filled(
        {
            "type": "object",
            "additionalProperties": {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]},
            "title": "Query",
            "description": "More for the URL's own query, over the same name; a list repeats it.",
        }
    ),
    json={"title": "JSON body", "description": "Any JSON value; sent as application/json."},
    body={
        "type": "string",
        "title": "Body",
        "description": "A body sent as it is; give `json` or `body`, not both.",
    },
    parse=_or_filled(
        {
            "enum": ["auto", "json", "text", "csv"],
            "default": "auto",
            "title": "Parse the answer as",
            "description": "`auto` goes by content type; `csv` gives a list of row objects.",
        }
    ),
    csv=_or_filled(
        {
            **_object(
                [],
                types=_or_filled(_CSV_TYPES),
                delimiter=_or_filled(
                    {
                        "type": "string",
                        "pattern": r'^[^"\r\n]$',
                        "title": "Delimiter",
                        "description": "One character; a comma, or a tab for TSV, when left out.",
                    }
                ),
                header=_or_filled(
                    {
                        "anyOf": [
                            {"type": "boolean"},
                            {"type": "array", "items": {"type": "string"}, "minItems": 1},
                        ],
                        "default": True,
                        "title": "Header",
                        "description": "The first line has the names; `false`: they are c1, c2, …;"
                        " or a list of the names.",
                    }
                ),
            ),
            "title": "CSV",
            "description": "How rows are read.",
        }
    ),
    charset={
        "type": "string",
        "minLength": 1,
        "maxLength": 400,
        "title": "Charset",
        "description": "Of the answer, whatever it says itself; UTF-8 where neither says one.",
    },
    expect=_or_filled(
        {
            "type": "array",
            "minItems": 1,
            "default": ["200-299"],
            "title": "Expected status",
            "description": 'Codes (204) and ranges ("200-299") that count as success.',
            "items": {
                "anyOf": [
                    {"type": "integer", "minimum": 100, "maximum": 599},
                    {"type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$"},
                ]
            },
        }
    ),
    follow_redirects=_or_filled(
        {
            "type": "boolean",
            "default": False,
            "title": "Follow redirects",
            "description": "Off by default: a redirect is then an unexpected status.",
        }
    ),
)
_HTTP["not"] = {"required": ["json", "body"]}

_WAIT = _object(
    [],
    seconds=_or_filled(
        {
            "type": "number",
            "minimum": 0,
            "maximum": 31_536_000,
            "title": "Seconds",
            "description": "How long to wait.",
        }
    ),
    until={
        "type": "string",
        "minLength": 1,
        "title": "Until",
        "description": "RFC 3339 time (2026-01-31T08:00:00Z), or an expression that gives one.",
    },
)
_WAIT["oneOf"] = [{"required": ["seconds"]}, {"required": ["until"]}]

_BRANCH = _object(
    ["cases"],
    cases={
        "type": "array",
        "minItems": 1,
        "maxItems": 100,
        "title": "Cases",
        "description": "Tried in order; the first that holds is taken (all, with `many`).",
        "items": _object(
            ["when", "handle"],
            when=_expression("When", "CEL that gives true or false, without braces."),
            handle=_HANDLE,
        ),
    },
    default={
        **_HANDLE,
        "title": "Default",
        "description": "Taken when no case holds; without it the node then takes none.",
    },
    many=_or_filled(
        {
            "type": "boolean",
            "default": False,
            "title": "Take many",
            "description": "Take every case that holds, not only the first.",
        }
    ),
)

_TYPES = (
    NodeType(
        "noop",
        "No operation",
        "Does nothing; joins or names a point of the graph.",
        _object([]),
        _object([]),
        no_handles,
        {},
    ),
    NodeType(
        "wait",
        "Wait",
        "Waits for some time, or until a time, without holding a worker.",
        _WAIT,
        _object(["waited_s"], waited_s={"type": "number"}),
        no_handles,
        {"seconds": 5},
    ),
    NodeType(
        "http",
        "HTTP request",
        "Sends one HTTP request; its answer (at most 10 MB) is the output.",
        _HTTP,
        _object(
            ["status", "headers", "body"],
            status={"type": "integer"},
            headers={"type": "object", "additionalProperties": {"type": "string"}},
            body={"description": "As `parse` says: JSON value, text, or a list of rows."},
        ),
        no_handles,
        {"method": "GET", "url": "https://example.org/sales?day={{ inputs.day }}"},
    ),
    NodeType(
        "transform",
        "Transform",
        "Computes a value from inputs and outputs with one CEL expression.",
        _object(["expression"], expression=_expression("Expression", "CEL, without braces.")),
        {"description": "The expression's value."},
        no_handles,
        {"expression": "sum(nodes.fetch.output.body.map(row, double(row.amount)))"},
    ),
    NodeType(
        "branch",
        "Branch",
        "Decides which of its outgoing edges are taken.",
        _BRANCH,
        _object(["taken"], taken={"type": "array", "items": {"type": "string"}}),
        branch_handles,
        {"cases": [{"when": "nodes.total.output > 100", "handle": "big"}], "default": "small"},
    ),
    NodeType(
        "python",
        "Python function",
        "Calls a function that the deployment registered by name.",
        _object(
            ["function"],
            function={
                "type": "string",
                "pattern": "^[A-Za-z_][A-Za-z0-9_.:-]{0,199}$",
                "title": "Function",
                "description": "The name it was registered under.",
            },
            args=_or_filled(
                {
                    "type": "object",
                    "default": {},
                    "title": "Arguments",
                    "description": "Keyword arguments.",
                }
            ),
        ),
        {"description": "What the function returns."},
        no_handles,
        {"function": "reports.chart", "args": {"rows": "{{ nodes.total.output }}"}},
    ),
)

CATALOGUE: Mapping[str, NodeType] = MappingProxyType({kind.name: kind for kind in _TYPES})


def expression_fields(value: Any, schema: Schema) -> list[tuple[tuple[str | int, ...], str]]:
    """Where `value` holds bare CEL by `schema`, as (path, source); the rest may hold `{{ }}`."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    if schema.get("format") == EXPRESSION_FORMAT and isinstance(value, str):
        found.append(((), value))
    elif isinstance(value, dict):
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                found += [((key, *at), s) for at, s in expression_fields(value[key], inner)]
    elif isinstance(value, list) and "items" in schema:
        for no, item in enumerate(value):
            found += [((no, *at), s) for at, s in expression_fields(item, schema["items"])]
    return found
