"""The shapes of frames, as the sockets send them and lists of events have them.

Documents only: `Event.frame` makes frames, and a test compares the two.
"""

from __future__ import annotations

from typing import Any

from flask_smorest import Api
from marshmallow import Schema, fields

from orchestrator.models.runs.run import RunState
from orchestrator.models.runs.task import TaskState
from orchestrator.services.runs.log_search import LEVELS

_MOMENT = {"type": "string", "format": "date-time"}


def _kind(word: str) -> fields.String:
    return fields.String(required=True, metadata={"enum": [word]})


def _seq() -> fields.Integer:
    return fields.Integer(
        required=True, metadata={"description": "1, 2, 3, … in each run, without gaps."}
    )


def _at() -> fields.Raw:
    return fields.Raw(required=True, metadata=_MOMENT)


class MoveError(Schema):
    """Why an attempt or a run did not end well."""

    code = fields.String(required=True)
    message = fields.String()
    node_id = fields.String(metadata={"description": "Of a run: the first node that failed."})


class RunFrame(Schema):
    """A move of the run. After an end state the socket closes."""

    seq = _seq()
    kind = _kind("run")
    run_id = fields.UUID(required=True)
    state = fields.String(required=True, metadata={"enum": [str(s) for s in RunState]})
    error = fields.Nested(MoveError)
    at = _at()


class TaskFrame(Schema):
    """A move of a task. Fields that are not required are there where they mean something."""

    seq = _seq()
    kind = _kind("task")
    run_id = fields.UUID(required=True)
    node_id = fields.String(required=True)
    map_index = fields.Integer(required=True, allow_none=True)
    state = fields.String(required=True, metadata={"enum": [str(s) for s in TaskState]})
    attempt = fields.Integer(required=True)
    error = fields.Nested(MoveError)
    reason = fields.String(metadata={"description": "Why it was skipped, lost or marked."})
    delay_s = fields.Float(metadata={"description": "Seconds until it goes on by itself."})
    duration_ms = fields.Integer()
    marked_by = fields.String(metadata={"description": "Who settled it by hand."})
    origin_run_id = fields.UUID(metadata={"description": "It was taken over from this run."})
    at = _at()


class LogFrame(Schema):
    """A line that a handler wrote."""

    seq = _seq()
    kind = _kind("log")
    run_id = fields.UUID(required=True)
    node_id = fields.String(required=True)
    map_index = fields.Integer(required=True, allow_none=True)
    attempt = fields.Integer(required=True)
    level = fields.String(required=True, metadata={"enum": list(LEVELS)})
    message = fields.String(required=True)
    at = _at()


class GapFrame(Schema):
    """Only on the socket of a run: these events are not kept any more."""

    kind = _kind("gap")
    # `from` is a word of Python's.
    from_ = fields.Integer(required=True, data_key="from")
    to = fields.Integer(required=True)


_FRAMES = {"RunFrame": RunFrame, "TaskFrame": TaskFrame, "LogFrame": LogFrame, "GapFrame": GapFrame}


def _one_of(*names: str) -> dict[str, Any]:
    places = {name: f"#/components/schemas/{name}" for name in names}
    kinds = {name.removesuffix("Frame").lower(): place for name, place in places.items()}
    return {
        "oneOf": [{"$ref": place} for place in places.values()],
        "discriminator": {"propertyName": "kind", "mapping": kinds},
    }


def describe(api: Api) -> None:
    """Put the frames into the document; `frame_of` and the socket's route point at them."""
    for name, schema in _FRAMES.items():
        api.spec.components.schema(name, schema=schema)
    api.spec.components.schema("Frame", _one_of("RunFrame", "TaskFrame", "LogFrame"))
    api.spec.components.schema("SocketFrame", _one_of(*_FRAMES))


def frames(name: str = "Frame", **more: Any) -> fields.List[Any]:
    """Return a field of frames; they pass through as they are."""
    inner = fields.Raw(metadata={"allOf": [{"$ref": f"#/components/schemas/{name}"}]})
    return fields.List(inner, **more)
