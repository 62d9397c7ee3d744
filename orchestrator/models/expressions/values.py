"""What expressions do with values: operators and conversions over JSON, times, durations.

What an operator looks at or makes is charged to the evaluation's meter.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from orchestrator.errors import ExpressionError
from orchestrator.models.expressions.meter import Meter
from orchestrator.models.expressions.times import rfc3339, seconds_text, shown

MAX_TEXT = 10_000_000
INT_LIMIT = 2**63


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


def within(value: Any, name: str = "") -> Any:
    """A number as it is; ExpressionError for an integer that CEL does not have."""
    if isinstance(value, int) and not -INT_LIMIT <= value < INT_LIMIT:
        where = f"{name}: " if name else ""
        raise ExpressionError(
            f"{where}out of range: the result does not fit a 64-bit integer; use double(x)"
        )
    return value


def add(meter: Meter, a: Any, b: Any) -> Any:
    if number(a) and number(b):
        return within(a + b)
    if isinstance(a, str) and isinstance(b, str):
        make_text(meter, len(a) + len(b))
        return a + b
    if isinstance(a, list) and isinstance(b, list):
        meter.make_list(len(a) + len(b))
        return a + b
    if isinstance(a, datetime | timedelta) and isinstance(b, timedelta):
        return a + b
    if isinstance(a, timedelta) and isinstance(b, datetime):
        return a + b
    hint = "; use string(x)" if isinstance(a, str) or isinstance(b, str) else ""
    raise ExpressionError(f"cannot add {kind(a)} and {kind(b)}{hint}")


def make_text(meter: Meter, size: int, name: str = "it") -> None:
    """Charge for a text of so many characters, before it is made."""
    if size > MAX_TEXT:
        raise ExpressionError(f"{name} makes a text longer than {MAX_TEXT} characters")
    meter.make_text(size)


def subtract(a: Any, b: Any) -> Any:
    if number(a) and number(b):
        return within(a - b)
    if isinstance(a, datetime) and isinstance(b, datetime | timedelta):
        return a - b
    if isinstance(a, timedelta) and isinstance(b, timedelta):
        return a - b
    raise ExpressionError(f"cannot subtract {kind(b)} from {kind(a)}")


def multiply(a: Any, b: Any) -> Any:
    if number(a) and number(b):
        return within(a * b)
    raise ExpressionError(f"cannot multiply {kind(a)} by {kind(b)}")


def divide(a: Any, b: Any) -> Any:
    """Exact: 6 / 2 is 3 and 7 / 2 is 3.5, for JSON writes 10.0 as 10; int(7 / 2) cuts."""
    if not (number(a) and number(b)):
        raise ExpressionError(f"cannot divide {kind(a)} by {kind(b)}")
    if b == 0:
        raise ExpressionError("division by zero")
    whole = isinstance(a, int) and isinstance(b, int) and a % b == 0
    return within(a // b) if whole else a / b


def remainder(a: Any, b: Any) -> Any:
    if not (number(a) and number(b)):
        raise ExpressionError(f"cannot take {kind(a)} modulo {kind(b)}")
    if b == 0:
        raise ExpressionError("modulo by zero")
    if isinstance(a, int) and isinstance(b, int):
        return abs(a) % abs(b) * (-1 if a < 0 else 1)
    return math.fmod(a, b)


def equal(meter: Meter, a: Any, b: Any) -> bool:
    """Numbers by value; a bool never equals a number; different types are unequal."""
    if isinstance(a, str) and isinstance(b, str):
        if len(a) != len(b):
            return False
        meter.charge(len(a) >> 6)
        return a == b
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return False
        meter.charge(len(a))
        return all(equal(meter, x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if len(a) != len(b):
            return False
        meter.charge(len(a))
        return all(has_key(meter, b, k) and equal(meter, a[k], b[k]) for k in a)
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b)


def has_key(meter: Meter, holder: Mapping[Any, Any], key: Any) -> bool:
    """Whether a map has a key. Python takes true for 1; for CEL they are two keys."""
    if isinstance(key, list | dict) or key not in holder:
        return False
    if isinstance(key, str):
        return True
    meter.charge(len(holder))
    truth = isinstance(key, bool)
    return any(known == key and isinstance(known, bool) is truth for known in holder)


def among(meter: Meter, value: Any, items: list[Any]) -> bool:
    """Whether a list holds a value."""
    for item in items:
        meter.charge(1)
        if equal(meter, value, item):
            return True
    return False


def before(meter: Meter, a: Any, b: Any) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        meter.charge(min(len(a), len(b)) >> 6)
        return a < b
    for types in (bool, datetime, timedelta):
        if isinstance(a, types) and isinstance(b, types):
            return bool(a < b)  # type: ignore[operator]
    if number(a) and number(b):
        return bool(a < b)
    raise ExpressionError(f"cannot compare {kind(a)} with {kind(b)}")


def as_json(meter: Meter, value: Any) -> str:
    """Compact JSON; times as RFC 3339, durations as `5s`."""
    text = json.dumps(plain(meter, value), ensure_ascii=False, separators=(",", ":"))
    make_text(meter, len(text))
    return text


def plain(meter: Meter, value: Any) -> Any:
    """`value` in JSON types only; ExpressionError for what JSON has not: NaN and infinity, half
    of a surrogate pair, and two keys that are the same text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        meter.charge(1)
        meter.make_text(len(value))
        return _whole_text(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError(f"the result holds {value}, which is no JSON number")
        return value
    if isinstance(value, list | tuple):
        meter.charge(1)
        meter.make_list(len(value))
        return [plain(meter, item) for item in value]
    if isinstance(value, Mapping):
        return _plain_map(meter, value)
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, timedelta):
        return seconds_text(value)
    raise ExpressionError(f"the result holds a {type(value).__name__}, which is no JSON value")


def _plain_map(meter: Meter, value: Mapping[Any, Any]) -> dict[str, Any]:
    meter.charge(1)
    meter.make_map(len(value))
    made = {_key(meter, key): plain(meter, item) for key, item in value.items()}
    if len(made) < len(value):
        raise ExpressionError("two keys of a map are the same in JSON, where all keys are text")
    return made


def _key(meter: Meter, key: Any) -> str:
    if isinstance(key, str):
        meter.charge(len(key) >> 6)
        return _whole_text(key)
    return json.dumps(key) if isinstance(key, bool | int) else str(key)


def _whole_text(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            half = "the result holds half of a surrogate pair, which is no text"
            raise ExpressionError(half) from None
    return text


def refuse_half_characters(meter: Meter, value: Any) -> None:
    """ExpressionError for a text, or a key, with half of a surrogate pair."""
    plain(meter, value)


def identity(meter: Meter, value: Any) -> str:
    """A text that two values share just when they are equal."""
    text = json.dumps(_tagged(meter, value), ensure_ascii=True, separators=(",", ":"))
    meter.make_text(len(text))
    return text


def _tagged(meter: Meter, value: Any) -> Any:
    """`value` so that equal ones are the same JSON: 1.0 as 1, keys in order, times marked."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        meter.make_list(len(value))
        return ["list", *(_tagged(meter, item) for item in value)]
    if isinstance(value, Mapping):
        meter.make_map(len(value))
        meter.charge(len(value) * len(value).bit_length())
        pairs = ((json.dumps(key), _tagged(meter, item)) for key, item in value.items())
        return ["map", *sorted(pairs, key=lambda pair: pair[0])]
    if isinstance(value, datetime | timedelta):
        return [kind(value), plain(meter, value)]
    meter.charge(1)
    if isinstance(value, str):
        meter.make_text(len(value))
    return value


def _number(text: str, convert: Callable[[str], Any], name: str) -> Any:
    try:
        if len(text) > 400 or "_" in text:
            raise ValueError
        return convert(text)
    except (ValueError, OverflowError):
        raise ExpressionError(f"{name}() cannot read {text[:40]!r}") from None


def to_int(value: Any) -> int:
    if isinstance(value, str):
        return int(within(_number(value, int, "int")))
    if isinstance(value, datetime):
        return int(value.timestamp())
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError(f"int() cannot take {value}")
    if number(value):
        return int(within(int(value)))
    raise bad("int()", value)


def to_double(value: Any) -> float:
    if isinstance(value, str):
        return float(_number(value, float, "double"))
    if number(value):
        return float(value)
    raise bad("double()", value)


def to_text(meter: Meter, value: Any) -> str:
    if isinstance(value, str):
        return value
    found = plain(meter, value)
    return found if isinstance(found, str) else as_json(meter, found)


def to_bool(value: Any) -> bool:
    known = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) < 6 and value.lower() in known:
        return known[value.lower()]
    raise ExpressionError(f"bool() cannot read {shown(value)}")


def values_of(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ExpressionError(f"{name}() takes a list, not {kind(value)}")
    return value


def ordered(meter: Meter, items: Sequence[Any], keys: Sequence[Any]) -> list[Any]:
    """The items in the order of their keys, of which there is one each; equal ones as they were."""
    rounds = max(1, len(keys).bit_length())
    kinds = set(map(type, keys))
    by: Callable[[int], Any]
    meter.make_list(len(items))
    if kinds <= {int, float} or kinds == {str}:
        meter.charge(len(keys) * rounds)
        if kinds == {str}:
            meter.charge(sum(len(key) >> 6 for key in keys) * rounds)
        by = keys.__getitem__
    else:

        def compare(a: int, b: int) -> int:
            meter.charge(1)
            if before(meter, keys[a], keys[b]):
                return -1
            return int(before(meter, keys[b], keys[a]))

        by = functools.cmp_to_key(compare)
    return [items[no] for no in sorted(range(len(keys)), key=by)]
