"""Field types that marshmallow does not have, and what the shapes share."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import marshmallow as ma
from marshmallow import Schema, fields, validate

from orchestrator.models.runs.event import rfc3339

_DIGITS = re.compile(r"[0-9]{1,16}\Z")
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)
MAX_SEQ = 2**53
_LINE = struct.Struct(">q16sq")


class Whole(ma.fields.Integer):
    """A whole number in a query, in plain digits: no sign, no `1_000`, no `1e3`, no `1.0`."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> int:
        if not isinstance(value, str) or not _DIGITS.match(value):
            raise ma.ValidationError("give a whole number in digits, 0 or more")
        return int(value)


class Moment(ma.fields.AwareDateTime):
    """A time in a query: RFC 3339 with its offset, from 1970 to 9998."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        try:
            moment = super()._deserialize(value, attr, data, **kwargs)
            if _EARLIEST <= moment < _LATEST:
                return moment.astimezone(UTC)
        except (ma.ValidationError, ValueError, OverflowError):
            pass
        raise ma.ValidationError("give an RFC 3339 time with its offset: 2026-01-31T08:00:00Z")


#: How a number is packed, by the length of the cursor: most need only the shorter form.
_NUMBERS = {5: ">i", 9: ">q"}


class Cursor(ma.fields.String):
    """Where the last page ended: opaque text that only this server makes, one id or number."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        try:
            raw = base64.b64decode(str(value) + "=" * (-len(str(value)) % 4), b"-_", validate=True)
            if raw[:1] == b"u":
                return UUID(bytes=raw[1:])
            if raw[:1] == b"n" and len(raw) in _NUMBERS:
                return int(struct.unpack(_NUMBERS[len(raw)], raw[1:])[0])
        except (ValueError, binascii.Error):
            pass
        raise ma.ValidationError("take `next_cursor` of the last page as it is, or leave it out")


class Flag(ma.fields.Boolean):
    """True or false and nothing that looks like it; in a query the words `true` and `false`."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        for known in (True, False):
            if value is known or (isinstance(value, str) and value == str(known).lower()):
                return known
        raise ma.ValidationError("give true or false")


class Count(ma.fields.Integer):
    """A whole number in a body: no text, no `1.0`, no `true`."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        if type(value) is not int:
            raise ma.ValidationError("give a whole number")
        return value


class LineCursor(ma.fields.String):
    """Where the last page of log lines ended: a time, a run and a `seq` in opaque text."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        try:
            raw = base64.b64decode(str(value) + "=" * (-len(str(value)) % 4), b"-_", validate=True)
            if raw[:1] == b"l":
                micros, run_id, seq = _LINE.unpack(raw[1:])
                at = _EARLIEST + timedelta(microseconds=micros)
                if 0 <= seq <= MAX_SEQ and _EARLIEST <= at < _LATEST:
                    return at, UUID(bytes=run_id), seq
        except (ValueError, binascii.Error, struct.error, OverflowError):
            pass
        raise ma.ValidationError("take `next_cursor` of the last page as it is, or leave it out")


def line_cursor(place: tuple[datetime, UUID, int]) -> str:
    """Return the cursor of the page that follows this log line."""
    at, run_id, seq = place
    micros = (at - _EARLIEST) // timedelta(microseconds=1)
    raw = b"l" + _LINE.pack(micros, run_id.bytes, seq)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class IdCursor(Cursor):
    """A cursor over things with ids."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        return _only(UUID, super()._deserialize(value, attr, data, **kwargs))


class NumberCursor(Cursor):
    """A cursor over numbered things."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        return _only(int, super()._deserialize(value, attr, data, **kwargs))


def cursor(last: UUID | int) -> str:
    """Return the cursor of the page that follows the thing with this id or number."""
    if isinstance(last, UUID):
        raw = b"u" + last.bytes
    else:
        raw = b"n" + struct.pack(">i" if -(2**31) <= last < 2**31 else ">q", last)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class BoundedList(ma.fields.List[Any]):
    """A list whose length is judged before its items are: a million of them take seconds."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> list[Any]:
        if isinstance(value, list):
            for check in self.validators:
                if isinstance(check, validate.Length):
                    check(value)
        return super()._deserialize(value, attr, data, **kwargs)


class Words(ma.fields.List[str]):
    """A filter of several words: repeated, separated by commas, or both."""

    def __init__(self, known: list[str], **kwargs: Any) -> None:
        super().__init__(ma.fields.String(metadata={"enum": known}), **kwargs)
        self._known = known

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> list[Any]:
        given = super()._deserialize(value, attr, data, **kwargs)
        words = [word.strip() for text in given for word in str(text).split(",")]
        for word in words:
            if word not in self._known:
                known = ", ".join(self._known)
                raise ma.ValidationError(f"{word[:40]!r} is none of: {known}")
        return words


def _only(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ma.ValidationError("this cursor belongs to another list; leave it out")
    return value


MAX_PAGE = 200


class At(fields.Field[Any]):
    """A time that leaves the product: RFC 3339 UTC with milliseconds."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else rfc3339(value)


def at(**more: Any) -> At:
    """Return a field of a time, for answers."""
    return At(metadata={"type": "string", "format": "date-time", **more})


def any_json(description: str, **more: Any) -> fields.Raw:
    """Return a field of any JSON value."""
    return fields.Raw(metadata={"description": description}, allow_none=True, **more)


class PageQuery(Schema):
    """Which part of a list."""

    limit = Whole(load_default=50, validate=validate.Range(1, MAX_PAGE))
    cursor = IdCursor(load_default=None)
