"""The shapes of secrets, whose values only ever come in, and of variables."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import orjson
from marshmallow import Schema, ValidationError, fields, validate

from web.schemas.fields import MAX_PAGE, Whole, any_json, at

_DESCRIPTION = validate.Length(0, 500)
_MOST_CHARS = 65_536


class NamesCursor(fields.String):
    """Where the last page of named things ended, in opaque text that only this server makes."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        try:
            text = str(value)
            raw = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
            found = orjson.loads(raw[1:]) if raw[:1] == b"t" else None
            if (
                isinstance(found, list)
                and len(found) == 2
                and all(isinstance(each, str) and "\0" not in each for each in found)
            ):
                return found[0], found[1]
        except (ValueError, binascii.Error):
            pass
        raise ValidationError("take `next_cursor` of the last page as it is, or leave it out")


def names_cursor(name: str, environment: str = "") -> str:
    """Return the cursor of the page that follows the thing of this name."""
    raw = b"t" + orjson.dumps([name, environment])
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class NamesQuery(Schema):
    """Which part of a list, by name."""

    limit = Whole(load_default=50, validate=validate.Range(1, MAX_PAGE))
    cursor = NamesCursor(load_default=None)


class SecretBody(Schema):
    """A secret's value, which no answer ever holds."""

    value = fields.String(
        required=True,
        load_only=True,
        validate=validate.Length(4, _MOST_CHARS),
        metadata={"writeOnly": True, "description": "At least 4 characters, at most 64 KB."},
    )
    description = fields.String(
        load_default=None, validate=_DESCRIPTION, metadata={"description": "Left out: as it was."}
    )


class SecretSchema(Schema):
    """A secret without its value; what is null is not known where it is kept."""

    name = fields.String()
    description = fields.String()
    version = fields.Integer(
        allow_none=True, metadata={"description": "Counts the values it has had."}
    )
    created_at = at(nullable=True)
    updated_at = at(nullable=True)


class SecretPage(Schema):
    """A page of secrets, by name."""

    items = fields.List(fields.Nested(SecretSchema))
    next_cursor = fields.String(allow_none=True)


class VariablesQuery(NamesQuery):
    """Which variables."""

    environment = fields.String(
        load_default=None,
        validate=validate.Length(0, 32),
        metadata={"description": "Only those of exactly this one; empty: those of all."},
    )


class EnvironmentQuery(Schema):
    """Of which environment; empty, as when left out: of all."""

    environment = fields.String(load_default="", validate=validate.Length(0, 32))


class VariableBody(Schema):
    """A variable's value."""

    value = any_json("Any JSON value, at most 64 KB.", required=True)
    environment = fields.String(
        load_default="",
        validate=validate.Length(0, 32),
        metadata={"description": "Whose it is alone; empty: of all environments."},
    )
    description = fields.String(
        load_default=None, validate=_DESCRIPTION, metadata={"description": "Left out: as it was."}
    )


class VariableSchema(Schema):
    """A variable."""

    name = fields.String()
    environment = fields.String()
    value = any_json("Any JSON value.")
    description = fields.String()
    created_at = at()
    updated_at = at()


class VariablePage(Schema):
    """A page of variables, by name and environment."""

    items = fields.List(fields.Nested(VariableSchema))
    next_cursor = fields.String(allow_none=True)
