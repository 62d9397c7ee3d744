"""The shapes of searching log lines, in the record and live."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from orchestrator.services.runs.log_search import LEVELS
from web.schemas.fields import MAX_PAGE, Count, LineCursor, Moment, Whole
from web.schemas.frames import frames

_LIMIT = validate.Range(1, MAX_PAGE)


class LineFilter(Schema):
    """Which log lines: all that is given must hold; `level` and what is graver."""

    run_id = fields.UUID(load_default=None)
    workflow_id = fields.UUID(load_default=None)
    node = fields.String(load_default=None, validate=validate.Length(1, 64))
    level = fields.String(load_default=LEVELS[0], validate=validate.OneOf(LEVELS))
    q = fields.String(
        load_default=None,
        validate=validate.Length(1, 200),
        metadata={"description": "Part of the message, in any case."},
    )


class LogStreamQuery(LineFilter):
    """Which live lines."""

    ticket = fields.String(
        load_default=None,
        metadata={"description": "Of `POST /auth/ticket`, where no header can be sent."},
    )


class LogSearch(LineFilter):
    """Which lines of the record."""

    since = Moment(load_default=None)
    until = Moment(load_default=None)
    cursor = LineCursor(load_default=None)


class LogHistoryQuery(LogSearch):
    """Which part of the lines, newest first."""

    limit = Whole(load_default=100, validate=_LIMIT)


class LogQueryBody(LogSearch):
    """Which part of the lines, newest first."""

    limit = Count(load_default=100, validate=_LIMIT, metadata={"minimum": 1, "maximum": MAX_PAGE})
    run_ids = fields.List(fields.UUID(), load_default=list, validate=validate.Length(max=100))


class LinePage(Schema):
    """Log lines as the socket sends them, newest first.

    A page may be short or empty and still have a `next_cursor`: rare lines take several requests.
    """

    items = frames("LogFrame")
    next_cursor = fields.String(allow_none=True)
