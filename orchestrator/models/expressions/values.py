"""What expressions do with values: operators and conversions over JSON, times, durations.

A list or text that a function makes is charged to the expression's allowance (`charge`).
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema_rs

from orchestrator.errors import ExpressionError

MAX_TEXT = 10_000_000
_INT_LIMIT = 2**63
Charge = Callable[[int], None]


def kind(value: Any) -> str:
    """The name CEL's `type()` gives a value."""
    match value:
        case None:
            return "null_type"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "double"
        case str():
            return "string"
        case list() | tuple():
            return "list"
        case Mapping():
            return "map"
        case datetime():
            return "timestamp"
        case timedelta():
            return "duration"
    return type(value).__name__


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def bad(what: str, *values: Any) -> ExpressionError:
    return ExpressionError(f"{what} does not take {' and '.join(map(kind, values))}")


def _within(value: Any) -> Any:
    if isinstance(value, int) and not -_INT_LIMIT <= value < _INT_LIMIT:
        raise ExpressionError("the result does not fit a 64-bit integer; use double(x)")
    return value


def add(charge: Charge, a: Any, b: Any) -> Any:
    if number(a) and number(b):
        return _within(a + b)
    if isinstance(a, str) and isinstance(b, str):
        _long(charge, len(a) + len(b))
        return a + b
    if isinstance(a, list) and isinstance(b, list):
        charge(len(a) + len(b))
        return a + b
    if isinstance(a, datetime | timedelta) and isinstance(b, timedelta):
        return a + b
    if isinstance(a, timedelta) and isinstance(b, datetime):
        return a + b
    hint = "; use string(x)" if isinstance(a, str) or isinstance(b, str) else ""
    raise ExpressionError(f"cannot add {kind(a)} and {kind(b)}{hint}")


def _long(charge: Charge, size: int) -> None:
    if size > MAX_TEXT:
        raise ExpressionError(f"it makes a text longer than {MAX_TEXT} characters")
    charge(size // 64)


def subtract(a: Any, b: Any) -> Any:
    if number(a) and number(b):
        return _within(a - b)
    if isinstance(a, datetime) and isinstance(b, datetime | timedelta):
        return a - b
    if isinstance(a, timedelta) and isinstance(b, timedelta):
        return a - b
    raise ExpressionError(f"cannot subtract {kind(b)} from {kind(a)}")


def multiply(a: Any, b: Any) -> Any:
    if number(a) and number(b):
        return _within(a * b)
    raise ExpressionError(f"cannot multiply {kind(a)} by {kind(b)}")


def divide(a: Any, b: Any) -> Any:
    """Exact: 6 / 2 is 3 and 7 / 2 is 3.5, for JSON writes 10.0 as 10; int(7 / 2) cuts."""
    if not (number(a) and number(b)):
        raise ExpressionError(f"cannot divide {kind(a)} by {kind(b)}")
    if b == 0:
        raise ExpressionError("division by zero")
    whole = isinstance(a, int) and isinstance(b, int) and a % b == 0
    return _within(a // b) if whole else a / b


def remainder(a: Any, b: Any) -> Any:
    if not (number(a) and number(b)):
        raise ExpressionError(f"cannot take {kind(a)} modulo {kind(b)}")
    if b == 0:
        raise ExpressionError("modulo by zero")
    if isinstance(a, int) and isinstance(b, int):
        return abs(a) % abs(b) * (-1 if a < 0 else 1)
    return math.fmod(a, b)


def equal(charge: Charge, a: Any, b: Any) -> bool:
    """Numbers by value; a bool never equals a number; different types are unequal."""
    if isinstance(a, list) and isinstance(b, list):
        charge(len(a))
        return len(a) == len(b) and all(equal(charge, x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        charge(len(a))
        return len(a) == len(b) and all(k in b and equal(charge, a[k], b[k]) for k in a)
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b)


def before(a: Any, b: Any) -> bool:
    for types in (str, bool, datetime, timedelta):
        if isinstance(a, types) and isinstance(b, types):
            return bool(a < b)  # type: ignore[operator]
    if number(a) and number(b):
        return bool(a < b)
    raise ExpressionError(f"cannot compare {kind(a)} with {kind(b)}")


def rfc3339(value: datetime) -> str:
    moment = value.astimezone(UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(20 - 1, "0")
    return f"{text}.{moment.microsecond // 1000:03d}Z" if moment.microsecond else f"{text}Z"


def as_json(charge: Charge, value: Any) -> str:
    """Compact JSON; times as RFC 3339, durations as `5s`."""
    text = json.dumps(plain(charge, value), ensure_ascii=False, separators=(",", ":"))
    _long(charge, len(text))
    return text


def plain(charge: Charge, value: Any) -> Any:
    """`value` in JSON types only. Raises for NaN and infinity, which JSON has not."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        charge(1 + len(value) // 64)
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError(f"the result holds {value}, which is no JSON number")
        return value
    if isinstance(value, list | tuple):
        charge(1 + len(value))
        return [plain(charge, item) for item in value]
    if isinstance(value, Mapping):
        charge(1 + len(value))
        return {_key(key): plain(charge, item) for key, item in value.items()}
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    raise ExpressionError(f"the result holds a {type(value).__name__}, which is no JSON value")


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    return json.dumps(key) if isinstance(key, bool | int) else str(key)


def _number(text: str, convert: Callable[[str], Any], name: str) -> Any:
    try:
        if len(text) > 400 or "_" in text:
            raise ValueError
        return convert(text)
    except (ValueError, OverflowError):
        raise ExpressionError(f"{name}() cannot read {text[:40]!r}") from None


def to_int(value: Any) -> int:
    if isinstance(value, str):
        return int(_within(_number(value, int, "int")))
    if isinstance(value, datetime):
        return int(value.timestamp())
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError(f"int() cannot take {value}")
    if number(value):
        return int(_within(int(value)))
    raise bad("int()", value)


def to_double(value: Any) -> float:
    if isinstance(value, str):
        return float(_number(value, float, "double"))
    if number(value):
        return float(value)
    raise bad("double()", value)


def to_text(charge: Charge, value: Any) -> str:
    if isinstance(value, str):
        return value
    found = plain(charge, value)
    return found if isinstance(found, str) else as_json(charge, found)


def to_bool(value: Any) -> bool:
    known = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise ExpressionError(f"bool() cannot read {str(value)[:40]!r}")


def timestamp(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    try:
        if isinstance(value, str) and len(value) < 64:
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if number(value):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise ExpressionError(f"timestamp() cannot read {str(value)[:40]!r}; use RFC 3339")


_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"-?(?:\d+(?:\.\d+)?(?:h|ms|m|us|ns|s))+\Z")


def duration(value: Any) -> timedelta:
    try:
        if isinstance(value, timedelta):
            return value
        if number(value):
            return timedelta(seconds=value)
        if isinstance(value, str) and len(value) < 64 and _DURATION.match(value):
            parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|us|ns|s)", value)
            seconds = sum(float(amount) * _UNITS_S[unit] for amount, unit in parts)
            return timedelta(seconds=-seconds if value[0] == "-" else seconds)
    except (ValueError, OverflowError):
        pass
    raise ExpressionError(f"duration() cannot read {str(value)[:40]!r}; write 1h30m or 90s")


@functools.lru_cache(256)
def _pattern(pattern: str) -> Any:
    """Linear time whatever the pattern: the regex engine that schemas use, without backtracking."""
    try:
        return jsonschema_rs.Draft202012Validator(
            {"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions(size_limit=1_000_000)
        )
    except Exception as error:
        raise ExpressionError(f"matches() cannot read the pattern {pattern[:80]!r}") from error


def matches(text: Any, pattern: Any) -> bool:
    if not (isinstance(text, str) and isinstance(pattern, str) and len(pattern) <= 1000):
        raise bad("matches()", text, pattern)
    return bool(_pattern(pattern).is_valid(text))


def values_of(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ExpressionError(f"{name}() takes a list, not {kind(value)}")
    return value


def ordered(items: Iterable[Any]) -> list[Any]:
    def compare(a: Any, b: Any) -> int:
        return -1 if before(a, b) else int(before(b, a))

    return sorted(items, key=functools.cmp_to_key(compare))
