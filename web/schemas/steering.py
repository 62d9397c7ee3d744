"""The shapes of steering: retry one run, cancel or retry many."""

from __future__ import annotations

from typing import Any, ClassVar

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from orchestrator.models.runs.task import MARKS, TaskState
from orchestrator.services.runs.bulk import MAX_RUNS
from web.schemas.fields import Count, Flag, IdCursor, any_json
from web.schemas.problems import Refusal
from web.schemas.runs import RUN_STATES, RunSchema, RunsFilter, WaitQuery

_FILTERS = ("workflow_id", "state", "trigger", "since", "until", "tags")


class VersionWanted(fields.Field[Any]):
    """A version's number, or `latest`; absent: the run's own."""

    def __init__(self) -> None:
        super().__init__(
            load_default=None,
            allow_none=True,
            metadata={
                "description": "This version of the workflow, or `latest`.",
                "oneOf": [{"type": "integer", "minimum": 1}, {"enum": ["latest"]}],
            },
        )

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        number = isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31
        if not number and value != "latest":
            raise ValidationError("is a version's number, or `latest`")
        return value


class RetryBody(Schema):
    """What to run again."""

    #: Read by `openapi.StrictParser`: no body is an empty one.
    may_be_absent: ClassVar[bool] = True

    from_node = fields.String(
        data_key="from",
        load_default=None,
        validate=validate.Length(1, 64),
        metadata={"description": "This node runs again too, with all that depends on it."},
    )
    version = VersionWanted()
    input = any_json("Another input; null or absent: the run's own.", load_default=None)


class RetryQuery(WaitQuery):
    """How to answer."""

    dry_run = Flag(load_default=False, metadata={"description": "Start nothing, only say what."})


class RetryVerdict(Schema):
    """What becomes of one node."""

    node_id = fields.String()
    verdict = fields.String(metadata={"enum": ["taken over", "runs again"]})
    reason = fields.String(allow_none=True, metadata={"description": "Why it runs again."})


class RetryCheck(Schema):
    """What a retry would do, node by node."""

    version = fields.Integer(metadata={"description": "The version that would run."})
    newer_version = fields.Integer(allow_none=True)
    taken_over = fields.Integer(metadata={"description": "How many nodes."})
    nodes = fields.List(fields.Nested(RetryVerdict))


class RetriedRun(RunSchema):
    """The new run, and what it has of the old one."""

    newer_version = fields.Integer(
        allow_none=True, metadata={"description": "The newest version, if that is not what runs."}
    )
    taken_over = fields.Integer(metadata={"description": "How many nodes did not run again."})


def _printable(text: str) -> None:
    if not text.strip() or not text.isprintable():
        raise ValidationError("a reason is printable text that is not blank")


class MarkBody(Schema):
    """How a task has ended, says whoever marks it."""

    state = fields.String(required=True, validate=validate.OneOf(sorted(MARKS)))
    output = any_json("What the task put out; only with `succeeded`.")
    reason = fields.String(
        load_default=None,
        allow_none=True,
        validate=[validate.Length(1, 500), _printable],
        metadata={"description": "Why, for whoever reads the run's events."},
    )

    @validates_schema
    def _output_of_success(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("output") is not None and data.get("state") != TaskState.SUCCEEDED:
            raise ValidationError("only a task that succeeded has an output", "output")
        output = data.get("output")
        if isinstance(output, dict) and "$artifact" in output:
            # So the record names an output that is kept outside: nobody may point it elsewhere.
            raise ValidationError("`$artifact` is the record's own word", "output")


class BulkBody(RunsFilter):
    """Which runs, as `GET /runs` takes them; at least one filter must be given."""

    limit = Count(
        load_default=100,
        validate=validate.Range(1, MAX_RUNS),
        metadata={"minimum": 1, "maximum": MAX_RUNS},
    )
    cursor = IdCursor(load_default=None, metadata={"description": "`next_cursor` of the last."})
    dry = Flag(load_default=False, metadata={"description": "Only say what would be done."})

    @validates_schema
    def _some_filter(self, data: dict[str, Any], **_: Any) -> None:
        if not any(data.get(name) for name in _FILTERS):
            raise ValidationError(f"name at least one of: {', '.join(_FILTERS)}")


class BulkRetryBody(BulkBody):
    """Which runs, and which version of their workflows."""

    version = VersionWanted()


class BulkItem(Schema):
    """What became of one run."""

    run_id = fields.UUID()
    state = fields.String(metadata={"enum": RUN_STATES})
    new_run_id = fields.UUID(allow_none=True, metadata={"description": "What replaces it."})
    error = fields.Nested(Refusal, allow_none=True)


class BulkResult(Schema):
    """What was done, newest run first. Go on with `cursor=next_cursor` while there is `more`."""

    items = fields.List(fields.Nested(BulkItem))
    dry = fields.Boolean()
    more = fields.Boolean()
    next_cursor = fields.String(allow_none=True)
