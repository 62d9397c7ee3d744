"""Saying in good time that a route or a field will go: headers, and a mark in the API document.

`Deprecation` (RFC 9745), `Sunset` (RFC 8594) and `Link` name the day it was given up, the day it
stops working, and the page that says what to use instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any, TypeVar

import marshmallow as ma
from flask import Flask, Response, g
from werkzeug.http import http_date

View = TypeVar("View", bound=Callable[..., Any])
_NOTICE = "zq_notice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing that will go. Times carry their zone; `sunset` is six months later or more."""

    since: datetime
    sunset: datetime
    #: What to use instead, for a person.
    instead: str
    #: The page of the policy or of the change.
    link: str

    @property
    def text(self) -> str:
        """Return the sentence of the API document."""
        return f"Deprecated since {self.since:%Y-%m-%d}, gone on {self.sunset:%Y-%m-%d}: " + (
            self.instead
        )


def install(app: Flask) -> None:
    """Put the notices of whatever a request used on its answer."""

    @app.after_request
    def say(response: Response) -> Response:
        notices: list[Notice] = g.get(_NOTICE, [])
        if notices:
            since = min(n.since for n in notices).astimezone(UTC)
            sunset = min(n.sunset for n in notices).astimezone(UTC)
            response.headers["Deprecation"] = f"@{int(since.timestamp())}"
            response.headers["Sunset"] = http_date(sunset)
            for link in sorted({n.link for n in notices}):
                response.headers.add("Link", f'<{link}>; rel="deprecation"; type="text/html"')
        return response


def note(notice: Notice) -> None:
    """Remember that this request used something deprecated."""
    g.setdefault(_NOTICE, []).append(notice)


def noting(notice: Notice, view: View) -> View:
    """Return a view that notes its use, whatever it answers."""

    @wraps(view)
    def noted(*args: Any, **kwargs: Any) -> Any:
        note(notice)
        return view(*args, **kwargs)

    return noted  # type: ignore[return-value]


def deprecated(field: ma.fields.Field[Any], notice: Notice) -> ma.fields.Field[Any]:
    """Mark a field of a query or a body; requests that send it are told."""
    description = field.metadata.get("description", "")
    field.metadata = {
        **field.metadata,
        "deprecated": True,
        "description": f"{description} {notice.text}".strip(),
        _NOTICE: notice,
    }
    return field


def note_fields(schema: ma.Schema, given: Mapping[str, Any]) -> None:
    """Note the deprecated fields among those that a request gives."""
    for name, field in schema.fields.items():
        notice = field.metadata.get(_NOTICE)
        if notice is not None and (field.data_key or name) in given:
            note(notice)
