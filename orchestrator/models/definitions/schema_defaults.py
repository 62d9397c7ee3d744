"""What a JSON Schema makes of a value before it is checked: defaults filled in, 3.0 as 3.

Also whether defaults fit their own schemas, and which names an input may have.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.errors import Problem, did_you_mean
from orchestrator.models.definitions import json_schema
from orchestrator.models.definitions.schema_size import (
    MAX_DEPTH,
    MAX_VISITS,
    References,
    TooComplex,
)

#: The most parts that defaults add to one value, those inside defaults included.
MAX_FILLED = 200_000
_MAX_INT = 2**53
_OPENS = ("additionalProperties", "patternProperties", "unevaluatedProperties")
_MISSING: Any = object()
_Path = tuple[str | int, ...]


def with_defaults(schema: Any, value: Any) -> Any:
    """`value` with the `default` of each missing property, also inside what a default filled in.

    A number such as 3.0 where the schema says `integer` becomes 3. TooComplex where defaults
    unfold without end.
    """
    return _Filling(schema).filled(schema, value, 0)


class _Filling:
    def __init__(self, root: Any) -> None:
        self.references = References(root)
        self._left = MAX_FILLED
        self._visits = MAX_VISITS

    def filled(self, schema: Any, value: Any, depth: int) -> Any:
        self._visits -= 1
        if self._visits < 0:
            raise TooComplex("too much work to fill in its defaults")
        if not isinstance(schema, Mapping):
            return value
        if depth > MAX_DEPTH:
            raise TooComplex("defaults that unfold without end")
        for inner in self.alike(schema):
            value = self.filled(inner, value, depth + 1)
        if isinstance(value, float):
            whole = value.is_integer() and abs(value) <= _MAX_INT
            return int(value) if whole and self._wants_integer(schema, 0) else value
        if isinstance(value, dict):
            return self._fields(schema, value, depth)
        return self._items(schema, value, depth) if isinstance(value, list) else value

    def alike(self, schema: Mapping[str, Any]) -> Iterator[Any]:
        """The schemas that hold for the same value without a condition."""
        yield from self.references.of(schema)
        if isinstance(inner := schema.get("allOf"), list):
            yield from inner

    def default(self, schema: Any, depth: int = 0) -> Any:
        """The default of a schema, its own or of what it refers to; _MISSING without one."""
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
            return _MISSING
        if "default" in schema:
            return schema["default"]
        found = (self.default(inner, depth + 1) for inner in self.alike(schema))
        return next((value for value in found if value is not _MISSING), _MISSING)

    def _wants_integer(self, schema: Any, depth: int) -> bool:
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
            return False
        types = schema.get("type", ())
        named = {types} if isinstance(types, str) else set(types)
        if named:
            return "integer" in named and "number" not in named
        choices = [
            inner
            for word in ("anyOf", "oneOf")
            if isinstance(schema.get(word), list)
            for inner in schema[word]
        ]
        return any(self._wants_integer(inner, depth + 1) for inner in choices)

    def _fields(self, schema: Mapping[str, Any], value: dict[str, Any], depth: int) -> Any:
        named = schema.get("properties")
        named = named if isinstance(named, Mapping) else {}
        made = dict(value)
        for name, inner in named.items():
            if name in made:
                made[name] = self.filled(inner, made[name], depth + 1)
            elif (default := self.default(inner)) is not _MISSING:
                self._left -= _parts(default)
                if self._left < 0:
                    raise TooComplex(f"defaults of more than {MAX_FILLED:,} parts for one value")
                made[name] = self.filled(inner, copy.deepcopy(default), depth + 1)
        if isinstance(others := schema.get("additionalProperties"), Mapping):
            for name in value.keys() - named.keys():
                made[name] = self.filled(others, made[name], depth + 1)
        return made

    def _items(self, schema: Mapping[str, Any], value: list[Any], depth: int) -> Any:
        first = schema.get("prefixItems")
        first = first if isinstance(first, list) else []
        made = [
            self.filled(inner, item, depth + 1) for inner, item in zip(first, value, strict=False)
        ]
        return made + [
            self.filled(schema.get("items"), item, depth + 1) for item in value[len(made) :]
        ]


def _parts(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_parts, value.values()))
    return 1 + sum(map(_parts, value)) if isinstance(value, list) else 1


def default_problems(schema: Any, validator: json_schema.Validator) -> Iterator[Problem]:
    """Each default that does not fit its own schema."""
    example = _Example(schema)
    value = example.of(schema, (), ())
    if not example.places or validator.is_valid(value):
        return
    for error in validator.iter_errors(value):
        for at, pointers in example.places:
            own = any(_starts(error.schema_path, pointer) for pointer in pointers)
            if own and _starts(error.instance_path, at):
                path = json_schema.place([*pointers[0], "default"], "inputs")
                text = f"does not fit its own schema: {error.message[:300]}"
                yield Problem(path, "invalid_default", text)
                break


class _Example:
    """Makes a value that holds each default of a schema, and notes where."""

    def __init__(self, root: Any) -> None:
        self._filling = _Filling(root)
        #: Where each default stands in the value, and the places of its schema.
        self.places: list[tuple[_Path, list[_Path]]] = []

    def of(self, part: Any, at: _Path, pointer: _Path) -> Any:
        """_MISSING where there is no default below `part`."""
        if not isinstance(part, Mapping):
            return _MISSING
        default = self._filling.default(part)
        if default is not _MISSING and at:
            self.places.append((at, [pointer, *_pointers(part)]))
            return self._filling.filled(part, copy.deepcopy(default), 0)
        named = part.get("properties")
        found = {
            name: self.of(inner, (*at, name), (*pointer, "properties", name))
            for name, inner in (named.items() if isinstance(named, Mapping) else ())
        }
        made = {name: value for name, value in found.items() if value is not _MISSING}
        if made:
            return made
        item = self.of(part.get("items"), (*at, 0), (*pointer, "items"))
        return _MISSING if item is _MISSING else [item]


def _pointers(schema: Mapping[str, Any]) -> Iterator[_Path]:
    """Where what a schema refers to stands: the validator names those places in its errors."""
    for word in ("$ref", "$dynamicRef"):
        if isinstance(reference := schema.get(word), str):
            yield tuple(reference.removeprefix("#/").split("/"))


def _starts(path: Sequence[str | int], start: _Path) -> bool:
    return tuple(map(str, path[: len(start)])) == tuple(map(str, start))


def unknown_names(schema: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[Problem]:
    """The names of an input that its schema does not declare.

    A schema without any property takes all names; so does one that says something of other names
    (`additionalProperties: true`).
    """
    known: dict[str, None] = {}
    if _declared(schema, References(schema), known, 0) and known:
        for name in given:
            if name not in known:
                near = did_you_mean(name, list(known))
                text = (
                    f"is not declared in `inputs`{near or '; declare it, or remove it'}"
                    " (`additionalProperties: true` takes any name)"
                )
                yield Problem(f"input.{name[:100]}", "unknown_input", text)


def _declared(schema: Any, references: References, known: dict[str, None], depth: int) -> bool:
    """Collect the names; False where others are spoken of."""
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return True
    if any(word in schema for word in _OPENS):
        return False
    if isinstance(named := schema.get("properties"), Mapping):
        known.update(dict.fromkeys(named))
    inner: list[Any] = [*references.of(schema)]
    for word in ("allOf", "anyOf", "oneOf"):
        inner += schema[word] if isinstance(schema.get(word), list) else []
    inner += [schema[word] for word in ("if", "then", "else") if word in schema]
    if isinstance(depending := schema.get("dependentSchemas"), Mapping):
        inner += depending.values()
    return all(_declared(part, references, known, depth + 1) for part in inner)
