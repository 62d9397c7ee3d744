"""Reads at once what plainly fits a schema, as marshmallow would read it in twenty times the time.

What is in any doubt is left to marshmallow, which knows how to say what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from marshmallow import Schema, ValidationError, fields

from orchestrator.errors import MAX_PROBLEMS
from orchestrator.models.definitions.storable import MAX_INT

Read = Callable[[Any], Any]


class _Doubtful(Exception):
    """Marshmallow has to look."""


class ShapeSchema(Schema):
    """A schema that drops `EDITOR_KEYS`, and tells of unknown fields no more than are told."""

    #: What the editor adds, and no reader needs.
    EDITOR_KEYS: frozenset[str] = frozenset()

    def load(self, data: Any, **more: Any) -> Any:
        """Read a document; ValidationError as marshmallow's own."""
        return super().load(self._told(data), **more)

    def _told(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        known = {field.data_key or name for name, field in self.fields.items()}
        strange = [key for key in data if key not in known]
        left_out = {key for key in strange if key in self.EDITOR_KEYS}
        # Each costs marshmallow 30 µs, and nobody is told of more.
        left_out.update([key for key in strange if key not in left_out][MAX_PROBLEMS + 1 :])
        if not left_out:
            return data
        return {key: value for key, value in data.items() if key not in left_out}


class Items(fields.List[Any]):
    """A list of things of one schema; no more wrong ones are read than are told."""

    def __init__(self, schema: type[ShapeSchema], **more: Any) -> None:
        super().__init__(fields.Nested(schema), **more)
        self._plainly = _of_schema(schema())

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> list[Any]:
        if not isinstance(value, list):
            raise self.make_error("invalid")
        found: list[Any] = []
        errors: dict[int, Any] = {}
        for no, item in enumerate(value):
            try:
                found.append(self._plainly(item))
                continue
            except (_Doubtful, ValidationError):
                pass
            try:
                found.append(self.inner.deserialize(item, **kwargs))
            except ValidationError as error:
                errors[no] = error.messages
                if error.valid_data is not None:
                    found.append(error.valid_data)
                if len(errors) > MAX_PROBLEMS:
                    break
        if errors:
            raise ValidationError(cast("Any", errors), valid_data=cast("Any", found))
        return found


def _of_schema(schema: Schema) -> Read:
    """Return a reader of objects; it raises _Doubtful or ValidationError. Hooks are not called."""
    known: dict[str, tuple[str, Read]] = {}
    needed: list[str] = []
    for name, field in schema.fields.items():
        key = field.data_key or name
        known[key] = (field.attribute or name, _of_field(field))
        if field.required:
            needed.append(key)
    dropped = schema.EDITOR_KEYS if isinstance(schema, ShapeSchema) else frozenset()

    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise _Doubtful
        made = {}
        for key, inner in value.items():
            if (found := known.get(key)) is not None:
                made[found[0]] = found[1](inner)
            elif key not in dropped:
                raise _Doubtful
        for key in needed:
            if key not in value:
                raise _Doubtful
        return made

    return read


def _of_field(field: fields.Field[Any]) -> Read:
    inner = _unjudged(field)
    checks, nullable = tuple(field.validators), field.allow_none

    def read(value: Any) -> Any:
        if value is None:
            if nullable:
                return None
            raise _Doubtful
        value = inner(value)
        for check in checks:
            check(value)
        return value

    return read


def _unjudged(field: fields.Field[Any]) -> Read:
    """Return a reader of a field's type alone."""
    match field:
        case fields.Nested():
            return _of_schema(field.schema)
        case fields.List():
            one = _of_field(field.inner)
            return lambda value: [one(item) for item in _exactly(list, value)]
        case fields.Dict():
            return _object
        case fields.String():
            return lambda value: _exactly(str, value)
        case fields.Integer():
            return lambda value: _exactly(int, value)
        case fields.Boolean():
            return lambda value: _exactly(bool, value)
        case fields.Float():
            return _number
    raise TypeError(f"no reader of {type(field).__name__}")


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise _Doubtful
    return value


def _object(value: Any) -> dict[str, Any]:
    if type(value) is not dict or not all(type(key) is str for key in value):
        raise _Doubtful
    return dict(value)


def _number(value: Any) -> float:
    fits = type(value) is int and abs(value) <= MAX_INT
    if not fits and not (type(value) is float and math.isfinite(value)):
        raise _Doubtful
    return cast("float", value)
