"""The shapes of what a process says of itself."""

from __future__ import annotations

from marshmallow import Schema, fields


class AliveSchema(Schema):
    """The process answers."""

    status = fields.String(metadata={"enum": ["alive"]})


class ReadySchema(Schema):
    """What the process can reach."""

    status = fields.String(metadata={"enum": ["ready", "degraded"]})
    postgres = fields.Boolean()
    redis = fields.Boolean()
    revision = fields.Integer(metadata={"description": "The schema's revision."})


class VersionSchema(Schema):
    """The release and the API's version."""

    version = fields.String()
    api = fields.String()
