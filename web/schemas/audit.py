"""The shapes of the audit log: filters, entries, and the verdict over a chain."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from orchestrator.models.audit import Head
from web.schemas.fields import MAX_PAGE, Moment, NumberCursor, Whole, at

_TEXT = validate.Length(1, 500)
_DIGEST = r"^[0-9a-f]{64}$"


def digest(description: str, **more: Any) -> fields.String:
    """Return a field of a hex SHA-256, for answers."""
    return fields.String(metadata={"description": description, "pattern": _DIGEST}, **more)


class AuditQuery(Schema):
    """Which entries: all that is given must hold."""

    since = Moment(load_default=None)
    until = Moment(load_default=None)
    principal = fields.String(
        load_default=None, validate=_TEXT, metadata={"description": "Its name or its id."}
    )
    action = fields.String(load_default=None, validate=_TEXT)
    resource = fields.String(load_default=None, validate=_TEXT)
    resource_id = fields.String(load_default=None, validate=_TEXT)


class AuditListQuery(AuditQuery):
    """Which part of the entries, newest first."""

    limit = Whole(load_default=50, validate=validate.Range(1, MAX_PAGE))
    cursor = NumberCursor(load_default=None)


class AuditExportQuery(AuditQuery):
    """Which entries, and in what form."""

    format = fields.String(load_default="ndjson", validate=validate.OneOf(["ndjson", "csv"]))


class Anchor(fields.String):
    """A head as it was kept: its number, a colon, its digest."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        no, _, digest = str(value).partition(":")
        fits = no.isascii() and no.isdigit() and len(no) < 16 and len(digest) == 64
        if fits and set(digest) <= set("0123456789abcdef"):
            return Head(no=int(no), digest=bytes.fromhex(digest))
        raise ValidationError("give NUMBER:DIGEST, as `head` of an earlier answer has them")


class VerifyQuery(Schema):
    """What to compare the chain with."""

    anchor = Anchor(
        load_default=None,
        metadata={
            "description": "A head that was kept outside, as NUMBER:DIGEST.",
            "pattern": "^[0-9]{1,15}:[0-9a-f]{64}$",
        },
    )


class AuditEntrySchema(Schema):
    """One entry. With `digest` of the entry before it, everything here gives its own `digest`."""

    no = fields.Integer(metadata={"description": "Counts from 1 in each tenant, without gaps."})
    at = at()
    principal_id = fields.UUID(allow_none=True)
    principal_kind = fields.String(metadata={"enum": ["user", "key", "system", "unknown"]})
    principal = fields.String(metadata={"description": "Its name at that time."})
    action = fields.String(metadata={"description": "The operation, such as `runs.cancel_run`."})
    resource = fields.String(metadata={"description": "A kind of thing, such as `workflow`."})
    resource_id = fields.String()
    before = digest("Of the resource as it was.", allow_none=True)
    after = digest("Of the resource as it is since.", allow_none=True)
    detail = fields.String(metadata={"description": "Why, such as a sign-in's reason."})
    address = fields.String()
    request_id = fields.String()
    digest = fields.Function(
        lambda entry: entry.digest.hex(), metadata={"type": "string", "pattern": _DIGEST}
    )


class AuditPage(Schema):
    """A page of entries, newest first."""

    items = fields.List(fields.Nested(AuditEntrySchema))
    next_cursor = fields.String(allow_none=True)


class HeadSchema(Schema):
    """The end of a chain. Kept outside, it is an anchor."""

    no = fields.Integer()
    digest = fields.Function(
        lambda head: head.digest.hex(), metadata={"type": "string", "pattern": _DIGEST}
    )


class VerdictSchema(Schema):
    """Whether the audit log is as it was written."""

    valid = fields.Boolean()
    entries = fields.Integer(metadata={"description": "How many were found right, from the first."})
    first_bad = fields.Integer(
        allow_none=True,
        metadata={"description": "The first one edited, inserted, swapped or missing."},
    )
    reason = fields.String(allow_none=True)
    head = fields.Nested(HeadSchema, allow_none=True)
