"""The shapes of what is wrong: an error, its findings, and why one of many could not be done."""

from __future__ import annotations

from marshmallow import Schema, fields


class ProblemItem(Schema):
    """One finding of a refused request."""

    path = fields.String(metadata={"description": "Where, as in `nodes[3].data.config.url`."})
    node = fields.String(allow_none=True, metadata={"description": "The node it belongs to."})
    code = fields.String(metadata={"description": "Stable: clients branch on it."})
    message = fields.String(metadata={"description": "Names the remedy."})


class Refusal(Schema):
    """Why one of many could not be done."""

    code = fields.String(metadata={"description": "Stable: clients branch on it."})
    message = fields.String(metadata={"description": "Names the remedy."})


class ProblemSchema(Schema):
    """An error, as RFC 9457 says."""

    type = fields.String()
    title = fields.String()
    status = fields.Integer()
    code = fields.String(metadata={"description": "Stable: clients branch on it."})
    detail = fields.String(metadata={"description": "What a person can do about it."})
    instance = fields.String()
    request_id = fields.String(allow_none=True)
    problems = fields.List(fields.Nested(ProblemItem))
