"""Times in the terminal: told in its own time zone with the zone's mark, and read from words."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_SPAN = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def clock(at: str) -> str:
    """Return an RFC 3339 time as the local time of day: `14:03:07.250+02`; `Z` is UTC."""
    local = datetime.fromisoformat(at).astimezone()
    return f"{local.isoformat(timespec='milliseconds')[11:23]}{_zone(local)}"


def moment(at: str | None) -> str:
    """Return an RFC 3339 time as local date and time: `2026-12-01 14:03:07+02`."""
    if not at:
        return ""
    local = datetime.fromisoformat(at).astimezone()
    return f"{local.isoformat(' ', 'seconds')[:19]}{_zone(local)}"


def _zone(local: datetime) -> str:
    mark = local.isoformat()[-6:]
    return "Z" if mark == "+00:00" else mark.removesuffix(":00")


def span(text: str) -> timedelta | None:
    """Return a length of time as people write it, `90s`, `12h`, `2d`; None for what is none."""
    found = _SPAN.fullmatch(text)
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None


class When(click.ParamType[str]):
    """A time as the API takes it: given as a time, or as how long ago or ahead.

    A time without a zone is the terminal's.
    """

    name = "time"

    def __init__(self, *, ahead: bool = False) -> None:
        self._sign = 1 if ahead else -1

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from orchestrator.models.runs.event import rfc3339

        length = span(value)
        try:
            if length is None:
                return rfc3339(datetime.fromisoformat(value).astimezone(UTC))
            return rfc3339(datetime.now(UTC) + self._sign * length)
        except (ValueError, OverflowError):
            self.fail(f"{value!r}: write a time, or how long: 90d, 12h", param, ctx)
