"""Times and durations of expressions, exact to the microsecond; what is finer is cut."""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from orchestrator.errors import ExpressionError

_US = timedelta(microseconds=1)
_UNITS_US: dict[str, Fraction] = {
    "h": Fraction(3_600_000_000),
    "m": Fraction(60_000_000),
    "s": Fraction(1_000_000),
    "ms": Fraction(1000),
    "us": Fraction(1),
    "ns": Fraction(1, 1000),
}
_PART = r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|us|ns|s)"
_DURATION = re.compile(rf"-?(?:{_PART})+\Z")
_PARTS = re.compile(_PART)
_OFFSET = re.compile(r"([+-]?)([0-9]{2}):([0-9]{2})\Z")
#: Files of the time zones are read for a new name.
ZONE_STEPS = 200


def rfc3339(value: datetime) -> str:
    """A time in UTC: whole seconds, else milliseconds, else microseconds."""
    moment = value.astimezone(UTC).replace(tzinfo=None)
    if not moment.microsecond:
        return f"{moment.isoformat(timespec='seconds')}Z"
    exact = "milliseconds" if moment.microsecond % 1000 == 0 else "microseconds"
    return f"{moment.isoformat(timespec=exact)}Z"


def seconds_text(value: timedelta) -> str:
    """A duration as `90s` or `1234.5678s`, which `duration()` reads back to the same."""
    whole_us = value // _US
    seconds, part_us = divmod(abs(whole_us), 1_000_000)
    part = f".{part_us:06d}".rstrip("0") if part_us else ""
    return f"{'-' if whole_us < 0 else ''}{seconds}{part}s"


def in_units(value: timedelta, unit: str) -> int:
    """The whole `h`, `m`, `s` or `ms` of a duration, cut toward zero."""
    whole = abs(value // _US) // int(_UNITS_US[unit])
    return -whole if value < timedelta() else whole


def duration(value: Any) -> timedelta:
    """A duration of `1h30m`, of seconds as a number, or of a duration."""
    try:
        if isinstance(value, timedelta):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return timedelta(seconds=value)
        if isinstance(value, str) and len(value) < 64 and _DURATION.match(value):
            parts = _PARTS.findall(value)
            exact_us = int(sum(Fraction(amount) * _UNITS_US[unit] for amount, unit in parts))
            return timedelta(microseconds=-exact_us if value[0] == "-" else exact_us)
    except (ValueError, OverflowError):
        pass
    raise ExpressionError(f"duration() cannot read {shown(value)}; write 1h30m or 90s")


def timestamp(value: Any) -> datetime:
    """A time of RFC 3339 text, of Unix seconds, or of a time."""
    if isinstance(value, datetime):
        return value
    try:
        if isinstance(value, str) and len(value) < 64:
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise ExpressionError(f"timestamp() cannot read {shown(value)}; use RFC 3339")


@functools.lru_cache(64)
def zone(name: str) -> tzinfo:
    """The zone `Europe/Oslo`, or `+02:00` from UTC. ExpressionError for what is none."""
    found = _OFFSET.match(name)
    try:
        if found is None:
            return ZoneInfo(name)
        ahead = timedelta(hours=int(found[2]), minutes=int(found[3]))
        return timezone(-ahead if found[1] == "-" else ahead)
    except (ValueError, OSError, LookupError):
        text = f"there is no time zone {name[:40]!r}; write Europe/Oslo or +02:00"
        raise ExpressionError(text) from None


def shown(value: Any) -> str:
    """A value in a message: never a whole list or map, whose text may be long to make."""
    if isinstance(value, str):
        return repr(value[:40])
    if value is None or isinstance(value, bool | int | float):
        return str(value)[:40]
    return "a list or map" if isinstance(value, list | dict) else type(value).__name__
