"""Field types of queries and bodies that marshmallow does not have."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import marshmallow as ma

_DIGITS = re.compile(r"[0-9]{1,16}\Z")
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)
MAX_SEQ = 2**53


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


class Cursor(ma.fields.String):
    """Where the last page ended: opaque text that only this server makes, one id or number."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        try:
            raw = base64.b64decode(str(value) + "=" * (-len(value) % 4), b"-_", validate=True)
            if raw[:1] == b"u":
                return UUID(bytes=raw[1:])
            if raw[:1] == b"n" and len(raw) == 5:
                return int(struct.unpack(">i", raw[1:])[0])
        except (ValueError, binascii.Error):
            pass
        raise ma.ValidationError("take `next_cursor` of the last page as it is, or leave it out")


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
    raw = b"u" + last.bytes if isinstance(last, UUID) else b"n" + struct.pack(">i", last)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


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
