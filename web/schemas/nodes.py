"""The shapes of trying things out: a node on its own, and an expression."""

from __future__ import annotations

from typing import Any

import orjson
from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from orchestrator.models.expressions.expression import ROOTS
from web.schemas.fields import (
    Count,
    Moment,
    any_json,
)
from web.schemas.frames import frames
from web.schemas.runs import RUN_STATES

#: Longer texts belong into a node, not into a preview.
MAX_TEXT = 8192
MAX_PARTS = 50
MAX_SCOPE_BYTES = 256 * 1024


class NodeTestBody(Schema):
    """What the node is given."""

    config = fields.Dict(keys=fields.String(), load_default=dict)
    input = fields.Dict(
        keys=fields.String(),
        load_default=dict,
        metadata={"description": "The `inputs` that the config's expressions read."},
    )
    timeout_s = Count(
        load_default=30, validate=validate.Range(1, 60), metadata={"minimum": 1, "maximum": 60}
    )


class NodeTestResult(Schema):
    """How the one node of a run of its own ended; it has been cancelled if it took too long."""

    run_id = fields.UUID()
    state = fields.String(metadata={"enum": RUN_STATES})
    output = any_json("What the handler came back with.")
    error = fields.Raw(allow_none=True, metadata={"type": "object", "nullable": True})
    logs = frames("LogFrame", metadata={"description": "The first 200 lines."})
    duration_ms = fields.Integer(allow_none=True)


class PreviewBody(Schema):
    """An expression, or a text with `{{ expressions }}`; and what their names stand for."""

    expression = fields.String(validate=validate.Length(1, MAX_TEXT))
    template = fields.String(validate=validate.Length(0, MAX_TEXT))
    scope = fields.Dict(
        keys=fields.String(validate=validate.OneOf(ROOTS)),
        load_default=dict,
        metadata={
            "description": "At most 256 KB.",
            "example": {"inputs": {"n": 1}, "nodes": {"a": {"output": 2}}},
        },
    )
    now = Moment(load_default=None, metadata={"description": "What `now()` gives."})

    @validates_schema
    def _one_of_two(self, data: dict[str, Any], **_: Any) -> None:
        if ("expression" in data) == ("template" in data):
            raise ValidationError("give `expression` or `template`, one of the two")
        if data.get("template", "").count("{{") > MAX_PARTS:
            raise ValidationError(f"more than {MAX_PARTS} expressions in one text")
        if len(orjson.dumps(data["scope"])) > MAX_SCOPE_BYTES:
            raise ValidationError(f"larger than {MAX_SCOPE_BYTES >> 10} KB", "scope")


class PreviewProblem(Schema):
    """Why there is no value."""

    code = fields.String()
    message = fields.String()
    position = fields.Integer(
        allow_none=True,
        metadata={"description": "The character it is about, counted from 1, where it has one."},
    )


class PreviewResult(Schema):
    """The value, or why there is none."""

    valid = fields.Boolean()
    value = any_json("In JSON types.")
    problem = fields.Nested(PreviewProblem, allow_none=True)


class NodeTypeSchema(Schema):
    """What an editor needs to know of a node type."""

    type = fields.String(metadata={"description": "What a node's `type` says."})
    title = fields.String()
    description = fields.String()
    config_schema = fields.Dict(
        metadata={"description": "A JSON Schema of `data.config`, good enough for a form."}
    )
    output_schema = fields.Dict(metadata={"description": "A JSON Schema of the task's output."})
    example = fields.Dict(metadata={"description": "A config that validates as it stands."})


class NodeTypeList(Schema):
    """The catalogue of node types."""

    items = fields.List(fields.Nested(NodeTypeSchema))
    next_cursor = fields.String(allow_none=True)
