"""The JSON form of a definition as marshmallow schemas; the API's OpenAPI is made from them.

Shape only. React Flow's own keys on nodes and edges (`EDITOR_KEYS`) are dropped silently,
since the editor saves what it shows; any other unknown field is refused.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from marshmallow import RAISE, ValidationError, fields, post_load, validate

from orchestrator.models.definitions import node as rules
from orchestrator.models.definitions.node import Backoff, OnLost, TriggerRule
from orchestrator.models.text import normal_name
from orchestrator.services.definitions.plain_shape import Items, ShapeSchema

REFUSED_RULES = ("one_success", "one_failed", "always")
MAX_NAME = 120
NODE_EDITOR_KEYS = frozenset(
    "measured selected dragging width height positionAbsolute sourcePosition targetPosition "
    "resizing zIndex className style hidden draggable selectable connectable deletable".split()
)
EDGE_EDITOR_KEYS = frozenset(
    "markerEnd markerStart animated selected label labelStyle style className targetHandle zIndex "
    "hidden selectable deletable reconnectable interactionWidth data".split()
)
#: Invisible, reordering, unassigned or private characters, and line or paragraph ends.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def _about(text: str, **more: Any) -> dict[str, Any]:
    return {"description": text, **more}


#: Categories of what a name is made of: letters, numbers, and symbols such as emoji.
_SAID = ("L", "N", "So")
#: Files that Windows does not let one make, whatever comes after a dot.
_DEVICES = frozenset(
    ["con", "nul", "prn", "aux", *(f"{kind}{no}" for kind in ("com", "lpt") for no in range(1, 10))]
)
#: What every object of JavaScript has already.
_INHERITED = frozenset({"__proto__", "constructor", "prototype"})


def _usable_name(value: str) -> None:
    """Raises ValidationError for what cannot be a file's name, a word of a command line, or a key
    of an object: names become all three."""
    if value.startswith("-"):
        raise ValidationError("must not start with '-': it would read as an option")
    if "/" in value or "\\" in value:
        raise ValidationError("must hold no '/' and no '\\': names become file names")
    if not any(unicodedata.category(letter).startswith(_SAID) for letter in value):
        raise ValidationError("must hold a letter or a digit")
    if value.partition(".")[0].rstrip().lower() in _DEVICES:
        raise ValidationError("is a device on Windows, so no file can have it; add a word")
    if value in _INHERITED:
        raise ValidationError("means something else in JavaScript; add a word")


def printable_name(value: str) -> None:
    """Raises ValidationError unless people can see, type and tell apart the name."""
    if not value.strip():
        raise ValidationError("give it a name that is not only spaces")
    if len(value) > MAX_NAME:
        raise ValidationError(f"at most {MAX_NAME} characters")
    if value != value.strip():
        raise ValidationError("remove the spaces at its ends")
    if any(unicodedata.category(letter) in _UNSEEN for letter in value):
        raise ValidationError("remove control, invisible or text-direction characters")
    _usable_name(value)


def _visible_text(value: str) -> None:
    if any(unicodedata.category(letter) == "Cc" and letter not in "\n\t\r" for letter in value):
        raise ValidationError("remove its control characters")


def _queue(value: str) -> None:
    if not rules.QUEUE.match(value):
        raise ValidationError("starts with a-z and holds at most 63 of a-z 0-9 _ . -")


def _error_code(value: str) -> None:
    if not rules.ERROR_CODE.match(value):
        raise ValidationError("an error code such as http_status or timeout")


def _trigger_rule(value: str) -> None:
    known = ", ".join(TriggerRule)
    if value in REFUSED_RULES:
        text = f"'{value}' may fire before every upstream task has settled; use one of {known}"
        raise ValidationError(text)
    if value not in list(TriggerRule):
        raise ValidationError(f"must be one of {known}")


class Number(fields.Float):
    """A JSON number: text and booleans are refused rather than converted."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid")
        super()._deserialize(value, attr, data, **kwargs)
        return value


class Flag(fields.Boolean):
    """true or false, and nothing that merely looks like it."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


def _count(low: int, high: int, text: str) -> fields.Integer:
    within = validate.Range(low, high)
    return fields.Integer(strict=True, validate=within, metadata=_about(text))


def _seconds(high: float, text: str, *, least: float = 0, nullable: bool = False) -> Number:
    within = validate.Range(least, high, min_inclusive=least > 0 or not nullable)
    return Number(validate=within, allow_none=nullable, metadata=_about(text))


def _one_of(values: type[Backoff | OnLost], text: str) -> fields.String:
    return fields.String(validate=validate.OneOf(list(values)), metadata=_about(text))


class RetrySchema(ShapeSchema):
    """How a failed task is tried again; what is left out is as `settings.retry` says."""

    class Meta:
        unknown = RAISE

    max_attempts = _count(1, rules.MAX_ATTEMPTS, "Attempts in all, the first included.")
    delay_s = _seconds(rules.MAX_DELAY_S, "Seconds before the second attempt.")
    backoff = _one_of(Backoff, "How the delay grows.")
    max_delay_s = _seconds(rules.MAX_DELAY_S, "No delay is longer.")
    jitter = Flag(metadata=_about("Shorten each delay by up to half, at random."))
    on_lost = _one_of(OnLost, "When its worker died: try again (3 times), or fail.")
    unless = fields.List(
        fields.String(validate=_error_code),
        validate=validate.Length(max=50),
        metadata=_about("Error codes not worth another attempt."),
    )


class SettingsSchema(ShapeSchema):
    """What holds for the whole workflow."""

    class Meta:
        unknown = RAISE

    timeout_s = _seconds(30 * 24 * 3600.0, "Deadline of a run, in seconds.", nullable=True)
    retry = fields.Nested(RetrySchema)
    output = fields.String(
        allow_none=True,
        validate=validate.Length(min=1),
        metadata=_about("CEL for the run's output; else the leaves' outputs by node id."),
    )


class PositionSchema(ShapeSchema):
    """Where the editor shows the node."""

    class Meta:
        unknown = RAISE

    x = Number(required=True)
    y = Number(required=True)


class NodeDataSchema(ShapeSchema):
    """What the node does, and how."""

    class Meta:
        unknown = RAISE

    label = fields.String(
        allow_none=True,
        validate=[validate.Length(max=200), _visible_text],
        metadata=_about("Title."),
    )
    config = fields.Dict(
        keys=fields.String(), metadata=_about("As the type's schema at /nodes/types says.")
    )
    retry = fields.Nested(RetrySchema, allow_none=True)
    timeout_s = _seconds(
        rules.MAX_TIMEOUT_S, "Deadline of one attempt; 300 when left out.", nullable=True
    )
    trigger_rule = fields.String(
        validate=_trigger_rule,
        metadata=_about("When it may start.", enum=list(TriggerRule), default="all_success"),
    )
    queue = fields.String(validate=_queue, metadata=_about("Workers of this queue run it."))
    priority = _count(0, rules.MAX_PRIORITY, "0 to 9; higher starts first.")


class NodeSchema(ShapeSchema):
    """A vertex, in React Flow's shape."""

    EDITOR_KEYS = NODE_EDITOR_KEYS

    class Meta:
        unknown = RAISE

    id = fields.String(required=True, metadata=_about("Letters, digits, _ and -; at most 64."))
    type = fields.String(required=True, metadata=_about("One of /nodes/types."))
    position = fields.Nested(PositionSchema)
    data = fields.Nested(NodeDataSchema)


class EdgeSchema(ShapeSchema):
    """`target` waits for `source`; with `sourceHandle`, only if that branch is taken."""

    EDITOR_KEYS = EDGE_EDITOR_KEYS

    class Meta:
        unknown = RAISE

    id = fields.String(validate=validate.Length(1, 200), metadata=_about("Made when left out."))
    source = fields.String(required=True, metadata=_about("A node's id."))
    target = fields.String(required=True, metadata=_about("A node's id."))
    type = fields.String(allow_none=True, metadata=_about("For programs that draw the workflow."))
    source_handle = fields.String(
        data_key="sourceHandle", allow_none=True, metadata=_about("A branch's handle.")
    )


class WorkflowSchema(ShapeSchema):
    """A workflow's definition."""

    class Meta:
        unknown = RAISE

    name = fields.String(
        required=True,
        validate=printable_name,
        metadata=_about(
            "Unique; 1 to 120 characters. Names become file names: no `/`, no leading `-`, and"
            " not the name of a device on Windows."
        ),
    )
    description = fields.String(
        allow_none=True, validate=[validate.Length(max=10_000), _visible_text]
    )
    inputs = fields.Dict(
        keys=fields.String(), allow_none=True, metadata=_about("JSON Schema of a run's input.")
    )
    settings = fields.Nested(SettingsSchema, allow_none=True)
    nodes = Items(NodeSchema, required=True)
    edges = Items(EdgeSchema)

    @post_load
    def one_form(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {**data, "name": normal_name(data["name"])}


FIELD_NAMES = sorted(
    {
        known.data_key or name
        for schema in (
            WorkflowSchema,
            SettingsSchema,
            RetrySchema,
            NodeSchema,
            NodeDataSchema,
            EdgeSchema,
        )
        for name, known in schema().fields.items()
    }
)
