"""The functions of times and durations, as CEL's standard has them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.errors import ExpressionError
from orchestrator.models.expressions import times
from orchestrator.models.expressions.meter import Meter
from orchestrator.models.expressions.registry import Price, function
from orchestrator.models.expressions.values import kind

_PARTS: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda t: t.year,
    "getMonth": lambda t: t.month - 1,
    "getDate": lambda t: t.day,
    "getDayOfMonth": lambda t: t.day - 1,
    "getDayOfWeek": lambda t: t.isoweekday() % 7,
    "getDayOfYear": lambda t: t.timetuple().tm_yday - 1,
    "getHours": lambda t: t.hour,
    "getMinutes": lambda t: t.minute,
    "getSeconds": lambda t: t.second,
    "getMilliseconds": lambda t: t.microsecond // 1000,
}
#: Reading a time or a duration.
_READ_STEPS = 4
#: What these four give for a duration is the whole of it in that unit.
_UNITS = {"getHours": "h", "getMinutes": "m", "getSeconds": "s", "getMilliseconds": "ms"}


def _part(name: str, read: Callable[[datetime], int]) -> None:
    unit = _UNITS.get(name)

    def run(meter: Meter, value: Any, *zones: Any) -> int:
        if unit is not None and isinstance(value, timedelta):
            if zones:
                raise ExpressionError(f"{name}() of a duration takes no time zone")
            return times.in_units(value, unit)
        if not isinstance(value, datetime):
            wants = "a timestamp() or duration()" if unit else "a timestamp()"
            raise ExpressionError(f"{name}() takes {wants}, not {kind(value)}")
        return read(value.astimezone(_zone(meter, *zones) if zones else UTC))

    function(name, Price.OWN, 1, 2)(run)


def _zone(meter: Meter, name: Any) -> Any:
    if not isinstance(name, str) or len(name) > 64:
        raise ExpressionError("a time zone is a text such as Europe/Oslo or +02:00")
    meter.charge(times.ZONE_STEPS)
    return times.zone(name)


for _name, _read in _PARTS.items():
    _part(_name, _read)


@function("now", Price.FIXED, 0)
def _now(moment: Any) -> datetime:
    if not isinstance(moment, datetime):
        raise ExpressionError("now() is not known here: this expression has no time")
    return moment


@function("timestamp", Price.OWN, 1)
def _timestamp(meter: Meter, value: Any) -> datetime:
    meter.charge(_READ_STEPS)
    return times.timestamp(value)


@function("duration", Price.OWN, 1)
def _duration(meter: Meter, value: Any) -> timedelta:
    meter.charge(_READ_STEPS)
    return times.duration(value)
