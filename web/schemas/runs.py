"""The shapes of requests and answers; what a definition looks like is not told here."""

from __future__ import annotations

from typing import Any, ClassVar

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from orchestrator.models.runs.run import ASKED_TRIGGERS, Run, RunState, Trigger
from orchestrator.models.runs.task import Task, TaskState
from orchestrator.services.runs.log_search import LEVELS
from web.schemas.fields import (
    MAX_PAGE,
    MAX_SEQ,
    BoundedList,
    Moment,
    NumberCursor,
    PageQuery,
    Whole,
    Words,
    any_json,
    at,
)
from web.schemas.frames import frames

RUN_STATES = [str(s) for s in RunState]
TASK_STATES = [str(s) for s in TaskState]


def _tag(value: str) -> None:
    if not value.strip() or not value.isprintable():
        raise ValidationError("a tag is printable text that is not blank")


def tag_list() -> fields.List[str]:
    """Return a field of tags: each 1 to 64 printable characters, at most 20."""
    tag = fields.String(validate=[validate.Length(1, 64), _tag])
    return BoundedList(tag, load_default=list, validate=validate.Length(max=20))


class RunsFilter(Schema):
    """Which runs: all that is given must hold, of states any; a run carries all of the tags."""

    workflow_id = fields.UUID(load_default=None)
    state = Words(RUN_STATES, load_default=list)
    trigger = fields.String(load_default=None, validate=validate.OneOf([str(t) for t in Trigger]))
    since = Moment(load_default=None)
    until = Moment(load_default=None)
    tags = tag_list()


class RunsQuery(PageQuery, RunsFilter):
    """Which runs, newest first."""


class HistoryQuery(PageQuery):
    """Which runs of one workflow."""

    state = Words(RUN_STATES, load_default=list)


class TasksQuery(Schema):
    """Which tasks of a run, in the order of the plan."""

    limit = Whole(load_default=MAX_PAGE, validate=validate.Range(1, MAX_PAGE))
    cursor = NumberCursor(load_default=None)


class TaskQuery(Schema):
    """Which instance of a node that was fanned out."""

    map_index = Whole(load_default=None, validate=validate.Range(0, 2**31 - 1))


class EventsQuery(Schema):
    """Events from a `seq` on."""

    after = Whole(load_default=0, validate=validate.Range(0, MAX_SEQ))
    limit = Whole(load_default=1000, validate=validate.Range(1, 1000))


class LogsQuery(EventsQuery):
    """Log lines: at least as grave as `level`, of one node."""

    level = fields.String(load_default="debug", validate=validate.OneOf(LEVELS))
    node = fields.String(load_default=None, validate=validate.Length(1, 64))
    q = fields.String(load_default=None, validate=validate.Length(1, 200))


class WaitQuery(Schema):
    """How long an answer may wait for its run to end, seconds."""

    wait = Whole(load_default=0, validate=validate.Range(0, 60))


class StartBody(Schema):
    """How to start a run."""

    #: Read by `openapi.StrictParser`: no body is an empty one.
    may_be_absent: ClassVar[bool] = True

    input = any_json("Values by name, as the workflow's `inputs` say.")
    tags = tag_list()
    #: Without a default: a key's digest is of what was sent.
    trigger = fields.String(
        validate=validate.OneOf([str(t) for t in ASKED_TRIGGERS]),
        metadata={"description": "`manual` where a person starts it; else `api`."},
    )


class ExecuteBody(StartBody):
    """A run of a saved workflow, or of a definition that comes along."""

    may_be_absent: ClassVar[bool] = False

    workflow_id = fields.UUID()
    definition = fields.Dict(keys=fields.String())

    @validates_schema
    def _one_of_two(self, data: dict[str, Any], **_: Any) -> None:
        if ("workflow_id" in data) == ("definition" in data):
            raise ValidationError("give `workflow_id` or `definition`, one of the two")


class RunRow(Schema):
    """A run in a list."""

    id = fields.UUID()
    workflow_id = fields.UUID()
    workflow_name = fields.String()
    version = fields.Integer()
    state = fields.String(metadata={"enum": RUN_STATES})
    trigger = fields.String(metadata={"enum": [str(t) for t in Trigger]})
    tags = fields.List(fields.String())
    error = fields.Raw(allow_none=True, metadata={"type": "object", "nullable": True})
    origin_run_id = fields.UUID(allow_none=True)
    created_at = at()
    started_at = at(nullable=True)
    finished_at = at(nullable=True)
    duration_ms = fields.Integer(allow_none=True)
    counts = fields.Dict(keys=fields.String(), values=fields.Integer())
    seq = fields.Integer(metadata={"description": "The run's last event."})

    def dump(self, obj: Run, **_: Any) -> dict[str, Any]:
        """Return the model's own document: of a list, without what may be large."""
        return obj.document(large=False)


class RunSchema(RunRow):
    """A run."""

    input = any_json("What it was started with.")
    output = any_json("What its leaves came back with, by node id.")

    def dump(self, obj: Run, **_: Any) -> dict[str, Any]:
        """Return the model's own document."""
        return obj.document()


class RunPage(Schema):
    """A page of runs, newest first."""

    items = fields.List(fields.Nested(RunRow))
    next_cursor = fields.String(allow_none=True)


class TaskSchema(Schema):
    """One node inside one run."""

    run_id = fields.UUID()
    node_id = fields.String()
    map_index = fields.Integer(allow_none=True)
    type = fields.String()
    state = fields.String(metadata={"enum": TASK_STATES})
    reason = fields.String(allow_none=True)
    attempt = fields.Integer()
    max_attempts = fields.Integer()
    queued_at = at(nullable=True)
    started_at = at(nullable=True)
    finished_at = at(nullable=True)
    duration_ms = fields.Integer(allow_none=True)
    worker = fields.String(allow_none=True)
    output = any_json("What the handler came back with.")
    error = fields.Raw(allow_none=True, metadata={"type": "object", "nullable": True})
    waiting_for = fields.Raw(
        metadata={"type": "object", "nullable": True, "description": "What holds it back."}
    )

    def dump(self, obj: Task, **_: Any) -> dict[str, Any]:
        """Return the model's own document."""
        return obj.document()


class TaskPage(Schema):
    """A page of tasks, in the order of the plan."""

    items = fields.List(fields.Nested(TaskSchema))
    next_cursor = fields.String(allow_none=True)


class AttemptSchema(Schema):
    """One try of a task."""

    attempt = fields.Integer()
    state = fields.String()
    queued_at = at(nullable=True)
    started_at = at(nullable=True)
    finished_at = at(nullable=True)
    worker = fields.String(allow_none=True)
    error = fields.Raw(allow_none=True, metadata={"type": "object", "nullable": True})


class AttemptList(Schema):
    """All attempts of a task, oldest first; the last is the current one."""

    items = fields.List(fields.Nested(AttemptSchema))
    next_cursor = fields.String(allow_none=True)


class FramePage(Schema):
    """Frames exactly as the socket sends them, in `seq` order. Poll with `after=next_cursor`."""

    items = frames()
    next_cursor = fields.Integer(allow_none=True)


class ArtifactSchema(Schema):
    """A file that a run left behind."""

    name = fields.String()
    content_type = fields.String()
    size_bytes = fields.Integer()
    node_id = fields.String(allow_none=True)


class ArtifactList(Schema):
    """The files of a run, by name."""

    items = fields.List(fields.Nested(ArtifactSchema))
    next_cursor = fields.String(allow_none=True)
