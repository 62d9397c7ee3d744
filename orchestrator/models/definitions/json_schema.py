"""JSON Schema (2020-12): check values and schemas, with readable messages.

Never fetches: a `$ref` to a URL or a file is a problem of the schema.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jsonschema_rs
import orjson

from orchestrator.errors import Problem, did_you_mean
from orchestrator.models.definitions import schema_size

_MAX_KEPT_BYTES = 16_384
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
) -> Iterator[Problem]:
    """What in `value` does not fit; nothing when all does. `schema` lets it suggest names."""
    if validator.is_valid(value):
        return
    for error in validator.iter_errors(value):
        for at, message in _told(error, schema):
            yield Problem(place(at, path), code, message, node)


def _told(error: Any, schema: Any) -> Iterator[tuple[list[str | int], str]]:
    at = list(error.instance_path)
    kind = error.kind
    match _kind(error):
        case "AdditionalProperties":
            known = _properties(schema, error.schema_path)
            yield from (([*at, name], _unknown(name, known)) for name in kind.unexpected)
        case "Required":
            yield [*at, kind.property], "is required; add it"
        case "AnyOf" if closest := _closest(kind.context):
            for inner in closest:
                yield from _told(inner, schema)
        case "OneOfNotValid" | "OneOfMultipleValid":
            needed = _alternatives(error) or "the alternatives of its schema"
            yield at, f"needs exactly one of {needed}"
        case "Not":
            yield at, "has two fields that exclude each other; leave one out"
        case _:
            yield at, error.message[:300]


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


class Prepared(NamedTuple):
    """A schema of a tenant's, fit to be used."""

    validator: Validator
    #: With every `$ref` unfolded.
    size: int
    recursive: bool
    #: Whether it may change a value: it has defaults, or asks for whole numbers.
    fills: bool

    def takes_long(self, schema: Any, value: Any, parts: int) -> bool:
        """Whether a value with at most so many parts is too much work to check."""
        if not self.recursive and parts * self.size <= schema_size.MAX_VISITS:
            return False
        return schema_size.too_many_visits(schema, value)


def prepared(schema: dict[str, Any]) -> Prepared:
    """A schema's validator and size; ValueError with the reason where it is of no use."""
    try:
        text = orjson.dumps(schema)
    except (TypeError, ValueError):
        raise ValueError("it is no plain JSON") from None
    return (_kept if len(text) <= _MAX_KEPT_BYTES else _prepared)(text)


def _prepared(text: bytes) -> Prepared:
    schema = orjson.loads(text)
    try:
        size, recursive = schema_size.unfolded(schema)
    except schema_size.TooComplex as error:
        raise ValueError(f"the schema has {error}; simplify it") from None
    fills = b'"default"' in text or b'"integer"' in text
    return Prepared(compiled(schema), size, recursive, fills)


#: A start checks its input against the same schema as the one before it.
_kept = functools.lru_cache(256)(_prepared)
