"""The functions an expression may call, by name; each also as a method: `f(x)` is `x.f()`.

Deliberately no I/O, no clock, no randomness: `now()` is the time the scope was made with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from orchestrator.errors import ExpressionError
from orchestrator.models.expressions import values as v
from orchestrator.models.expressions.values import Charge, bad, kind, values_of

_MANY = 64


class Function(NamedTuple):
    run: Callable[..., Any]
    least: int
    most: int
    #: Gets the allowance as its first argument.
    charged: bool


FUNCTIONS: dict[str, Function] = {}


def _function(
    name: str, least: int, most: int | None = None, *, charged: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(run: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS[name] = Function(run, least, least if most is None else most, charged)
        return run

    return register


def _texts(name: str, *values: Any) -> None:
    if not all(isinstance(value, str) for value in values):
        raise bad(f"{name}()", *values)


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 10**9:
        raise bad(f"{name}()", value)
    return value


@_function("size", 1)
def _size(value: Any) -> int:
    if isinstance(value, str | list | Mapping):
        return len(value)
    raise bad("size()", value)


@_function("sum", 1, charged=True)
def _sum(charge: Charge, value: Any) -> Any:
    items = values_of(value, "sum")
    charge(len(items))
    wrong = next((item for item in items if not v.number(item)), None)
    if wrong is not None or None in items:
        raise ExpressionError(f"sum() found a {kind(wrong)} in the list; filter it out first")
    if all(isinstance(item, int) for item in items):
        return v.subtract(sum(items), 0)
    return math.fsum(items)


@_function("avg", 1, charged=True)
def _avg(charge: Charge, value: Any) -> Any:
    total = _sum(charge, value)
    if not value:
        raise ExpressionError("avg() of an empty list; test size(x) > 0 first")
    return total / len(value)


def _extreme(name: str, better: Callable[[Any, Any], bool]) -> Callable[..., Any]:
    def run(charge: Charge, *values: Any) -> Any:
        items = values_of(values[0], name) if len(values) == 1 else list(values)
        charge(len(items))
        if not items:
            raise ExpressionError(f"{name}() of an empty list; test size(x) > 0 first")
        best = items[0]
        for item in items:
            best = item if better(item, best) else best
        return best

    return run


_function("min", 1, _MANY, charged=True)(_extreme("min", v.before))
_function("max", 1, _MANY, charged=True)(_extreme("max", lambda a, b: v.before(b, a)))


@_function("join", 1, 2, charged=True)
def _join(charge: Charge, value: Any, separator: Any = "") -> str:
    _texts("join", separator)
    parts = [v.to_text(charge, item) for item in values_of(value, "join")]
    size = sum(map(len, parts)) + len(separator) * len(parts)
    if size > v.MAX_TEXT:
        raise ExpressionError(f"join() makes a text longer than {v.MAX_TEXT} characters")
    charge(len(parts) + size // 64)
    return str(separator).join(parts)


@_function("round", 1, 2)
def _round(value: Any, digits: Any = 0) -> Any:
    if not v.number(value) or not math.isfinite(value) or not 0 <= _whole("round", digits) <= 15:
        raise bad("round()", value, digits)
    return round(value, digits) if digits else v.to_int(round(value))


def _rounding(name: str, by: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def run(value: Any) -> Any:
        if not v.number(value) or not math.isfinite(value):
            raise bad(f"{name}()", value)
        return by(value)

    return run


_function("floor", 1)(_rounding("floor", math.floor))
_function("ceil", 1)(_rounding("ceil", math.ceil))
_function("abs", 1)(_rounding("abs", abs))


def _map_of(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise bad(f"{name}()", value)
    return value


_function("keys", 1)(lambda value: list(_map_of("keys", value)))
_function("values", 1)(lambda value: list(_map_of("values", value).values()))
_function("items", 1)(
    lambda value: [{"key": k, "value": x} for k, x in _map_of("items", value).items()]
)


@_function("merge", 2, _MANY, charged=True)
def _merge(charge: Charge, *values: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for value in values:
        charge(len(_map_of("merge", value)))
        merged |= value
    return merged


def _field(row: Any, by: Any) -> Any:
    if not isinstance(row, Mapping) or by not in row:
        raise ExpressionError(f"an item has no field {str(by)[:80]!r}")
    return row[by]


@_function("sort", 1, 2, charged=True)
def _sort(charge: Charge, value: Any, by: Any = None) -> list[Any]:
    items = values_of(value, "sort")
    charge(len(items) * max(1, len(items).bit_length()))
    if by is None:
        return v.ordered(items)
    by_key = [(_field(row, by), no) for no, row in enumerate(items)]
    order = v.ordered({key: None for key, _ in by_key})
    rank = {key: no for no, key in enumerate(order)}
    return [items[no] for _, no in sorted((rank[key], no) for key, no in by_key)]


_function("reverse", 1)(lambda value: values_of(value, "reverse")[::-1])


@_function("distinct", 1, charged=True)
def _distinct(charge: Charge, value: Any) -> list[Any]:
    return list({v.as_json(charge, item): item for item in values_of(value, "distinct")}.values())


@_function("flatten", 1, charged=True)
def _flatten(charge: Charge, value: Any) -> list[Any]:
    flat: list[Any] = []
    for item in values_of(value, "flatten"):
        charge(len(item) if isinstance(item, list) else 1)
        flat.extend(item if isinstance(item, list) else [item])
    return flat


@_function("group_by", 2, charged=True)
def _group_by(charge: Charge, value: Any, by: Any) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for row in values_of(value, "group_by"):
        charge(1)
        groups.setdefault(v.to_text(charge, _field(row, by)), []).append(row)
    return groups


@_function("range", 1, 2, charged=True)
def _range(charge: Charge, start: Any, end: Any = None) -> list[int]:
    low, high = (0, start) if end is None else (start, end)
    span = range(_whole("range", low), _whole("range", high))
    charge(len(span))
    return list(span)


@_function("slice", 2, 3)
def _slice(value: Any, start: Any, end: Any = None) -> Any:
    if not isinstance(value, str | list):
        raise bad("slice()", value)
    return value[_whole("slice", start) : None if end is None else _whole("slice", end)]


FUNCTIONS["substring"] = FUNCTIONS["slice"]


@_function("get", 2, 3)
def _get(value: Any, key: Any, default: Any = None) -> Any:
    """`get(map, "key", default)`: for a field that may be missing."""
    if isinstance(value, list) and isinstance(key, int):
        return value[key] if 0 <= key < len(value) else default
    return value.get(key, default) if isinstance(value, Mapping) else default


@_function("coalesce", 1, _MANY)
def _coalesce(*values: Any) -> Any:
    """The first value that is not null."""
    return next((value for value in values if value is not None), None)


def _on_text(name: str, run: Callable[[str], Any]) -> None:
    def checked(value: Any) -> Any:
        _texts(name, value)
        return run(value)

    _function(name, 1)(checked)


for _name in ("lower", "upper"):
    _on_text(_name, getattr(str, _name))
    FUNCTIONS[f"{_name}Ascii"] = FUNCTIONS[_name]
_on_text("trim", str.strip)


@_function("split", 2, charged=True)
def _split(charge: Charge, value: Any, separator: Any) -> list[str]:
    _texts("split", value, separator)
    parts = value.split(separator) if separator else list(value)
    charge(len(parts))
    return list(parts)


@_function("replace", 3, charged=True)
def _replace(charge: Charge, value: Any, old: Any, new: Any) -> str:
    _texts("replace", value, old, new)
    size = len(value) + value.count(old) * len(new)
    if size > v.MAX_TEXT:
        raise ExpressionError(f"replace() makes a text longer than {v.MAX_TEXT} characters")
    charge(1 + size // 64)
    return str(value.replace(old, new))


@_function("contains", 2, charged=True)
def _contains(charge: Charge, value: Any, part: Any) -> bool:
    if isinstance(value, list):
        charge(len(value))
        return any(v.equal(charge, item, part) for item in value)
    _texts("contains", value, part)
    return part in value


@_function("startsWith", 2)
def _starts(value: Any, part: Any) -> bool:
    _texts("startsWith", value, part)
    return bool(value.startswith(part))


@_function("endsWith", 2)
def _ends(value: Any, part: Any) -> bool:
    _texts("endsWith", value, part)
    return bool(value.endswith(part))


@_function("parse_json", 1)
def _parse_json(value: Any) -> Any:
    _texts("parse_json", value)
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ExpressionError(f"parse_json() cannot read {value[:40]!r}") from None


@_function("now", 0)
def _now(moment: Any) -> datetime:
    if not isinstance(moment, datetime):
        raise ExpressionError("now() is not known here: this expression has no time")
    return moment


_function("json", 1, charged=True)(v.as_json)
_function("string", 1, charged=True)(v.to_text)
_function("int", 1)(v.to_int)
_function("double", 1)(v.to_double)
_function("bool", 1)(v.to_bool)
_function("timestamp", 1)(v.timestamp)
_function("duration", 1)(v.duration)
_function("matches", 2)(v.matches)
_function("type", 1)(kind)
_function("dyn", 1)(lambda value: value)

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


def _part(name: str, read: Callable[[datetime], int]) -> None:
    def run(value: Any) -> int:
        if not isinstance(value, datetime):
            raise ExpressionError(f"{name}() takes a timestamp(), not {kind(value)}")
        return read(value.astimezone(UTC))

    _function(name, 1)(run)


for _name, _read in _PARTS.items():
    _part(_name, _read)
