"""The shapes of versions, their differences, imports, and of what is done to many workflows."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from orchestrator.models.definitions.saved import WorkflowStatus
from web.schemas.fields import (
    MAX_PAGE,
    BoundedList,
    Count,
    Flag,
    NumberCursor,
    PageQuery,
    Whole,
    Words,
    any_json,
    at,
)
from web.schemas.problems import ProblemItem, Refusal

_NUMBER = validate.Range(1, 2**31 - 1)


class VersionsQuery(Schema):
    """Which part of a workflow's versions, newest first."""

    limit = Whole(load_default=50, validate=validate.Range(1, MAX_PAGE))
    cursor = NumberCursor(load_default=None)


class VersionRow(Schema):
    """A version in a list."""

    version = fields.Integer()
    created_at = at()


class VersionPage(Schema):
    """A page of versions, newest first."""

    items = fields.List(fields.Nested(VersionRow))
    next_cursor = fields.String(allow_none=True)


class DiffQuery(Schema):
    """Which two versions; by default the newest and the one before `to`."""

    older = Whole(data_key="from", load_default=None, validate=_NUMBER)
    newer = Whole(data_key="to", load_default=None, validate=_NUMBER)


class ChangeSchema(Schema):
    """One difference."""

    kind = fields.String(metadata={"enum": ["added", "removed", "changed"]})
    path = fields.String(metadata={"description": "Where, as in `nodes.fetch.data.config.url`."})
    before = any_json("The value in `from`; null for what was added.")
    after = any_json("The value in `to`; null for what was removed.")


class DiffSchema(Schema):
    """What changed from one version to another."""

    older = fields.Integer(data_key="from")
    newer = fields.Integer(data_key="to")
    nodes = fields.List(fields.Nested(ChangeSchema))
    edges = fields.List(fields.Nested(ChangeSchema))
    settings = fields.List(fields.Nested(ChangeSchema))
    inputs = fields.List(fields.Nested(ChangeSchema))
    about = fields.List(fields.Nested(ChangeSchema), metadata={"description": "Name and such."})
    text = fields.String(
        allow_none=True,
        metadata={"description": "The YAML as a unified diff; null where it is very long."},
    )


class RollbackBody(Schema):
    """Which version to save again as the newest."""

    version = Count(required=True, validate=_NUMBER, metadata={"minimum": 1, "maximum": 2**31 - 1})


class ExportQuery(Schema):
    """In which form."""

    format = fields.String(load_default="yaml", validate=validate.OneOf(["yaml", "json"]))


class ImportQuery(Schema):
    """Whether a workflow of this name gets a new version, where there is one."""

    update = Flag(load_default=False)


class ActivateBody(Schema):
    """Which workflows."""

    workflow_ids = BoundedList(fields.UUID(), required=True, validate=validate.Length(1, MAX_PAGE))


class ActivatedItem(Schema):
    """What became of one workflow."""

    workflow_id = fields.UUID()
    status = fields.Enum(WorkflowStatus, by_value=True, allow_none=True)
    version = fields.Integer(allow_none=True)
    error = fields.Nested(Refusal, allow_none=True)


class ActivatedList(Schema):
    """What became of each workflow, in the order of the request."""

    items = fields.List(fields.Nested(ActivatedItem))
    next_cursor = fields.String(allow_none=True)


class WorkflowsQuery(PageQuery):
    """Which workflows."""

    q = fields.String(load_default=None, validate=validate.Length(1, 200))
    name = fields.String(load_default=None, validate=validate.Length(1, 200))
    status = Words([str(s) for s in WorkflowStatus], load_default=list)


class WorkflowRow(Schema):
    """A workflow in a list."""

    id = fields.UUID()
    name = fields.String()
    description = fields.String()
    status = fields.Enum(WorkflowStatus, by_value=True)
    version = fields.Integer()
    created_at = at()
    updated_at = at()


class WorkflowPage(Schema):
    """A page of workflows, newest first."""

    items = fields.List(fields.Nested(WorkflowRow))
    next_cursor = fields.String(allow_none=True)


class ValidationResult(Schema):
    """Whether a definition could be saved, and all that is wrong with it."""

    valid = fields.Boolean()
    problems = fields.List(fields.Nested(ProblemItem))
