"""The functions an expression may call, by name; each also as a method: `f(x)` is `x.f()`.

Deliberately no I/O, no clock, no randomness: `now()` is the time the scope was made with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.errors import ExpressionError
from orchestrator.models.expressions import text_functions, time_functions
from orchestrator.models.expressions import values as v
from orchestrator.models.expressions.meter import Meter
from orchestrator.models.expressions.registry import FUNCTIONS, MANY, Price, function
from orchestrator.models.expressions.times import shown
from orchestrator.models.expressions.values import bad, kind, values_of

__all__ = ["FUNCTIONS", "text_functions", "time_functions"]


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 10**9:
        raise bad(f"{name}()", value)
    return value


@function("size", Price.FIXED, 1)
def _size(value: Any) -> int:
    if isinstance(value, str | list | Mapping):
        return len(value)
    raise bad("size()", value)


@function("sum", Price.OWN, 1)
def _sum(meter: Meter, value: Any) -> Any:
    items = values_of(value, "sum")
    meter.charge(len(items))
    wrong = next((item for item in items if not v.number(item)), None)
    if wrong is not None or None in items:
        raise ExpressionError(f"sum() found a {kind(wrong)} in the list; filter it out first")
    if all(isinstance(item, int) for item in items):
        return v.subtract(sum(items), 0)
    return math.fsum(items)


@function("avg", Price.OWN, 1)
def _avg(meter: Meter, value: Any) -> Any:
    total = _sum(meter, value)
    if not value:
        raise ExpressionError("avg() of an empty list; test size(x) > 0 first")
    return total / len(value)


def _extreme(name: str, better: Callable[[Meter, Any, Any], bool]) -> Callable[..., Any]:
    def run(meter: Meter, *values: Any) -> Any:
        items = values_of(values[0], name) if len(values) == 1 else list(values)
        meter.charge(len(items))
        if not items:
            raise ExpressionError(f"{name}() of an empty list; test size(x) > 0 first")
        best = items[0]
        for item in items:
            best = item if better(meter, item, best) else best
        return best

    return run


function("min", Price.OWN, 1, MANY)(_extreme("min", v.before))
function("max", Price.OWN, 1, MANY)(_extreme("max", lambda m, a, b: v.before(m, b, a)))


@function("round", Price.FIXED, 1, 2)
def _round(value: Any, digits: Any = 0) -> Any:
    if not v.number(value) or not math.isfinite(value) or not 0 <= _whole("round", digits) <= 15:
        raise bad("round()", value, digits)
    return round(value, digits) if digits else v.within(round(value), "round()")


def _rounding(name: str, by: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def run(value: Any) -> Any:
        if not v.number(value) or not math.isfinite(value):
            raise bad(f"{name}()", value)
        return v.within(by(value), f"{name}()")

    return run


function("floor", Price.FIXED, 1)(_rounding("floor", math.floor))
function("ceil", Price.FIXED, 1)(_rounding("ceil", math.ceil))
function("abs", Price.FIXED, 1)(_rounding("abs", abs))


def _map_of(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise bad(f"{name}()", value)
    return value


function("keys", Price.READS, 1)(lambda value: list(_map_of("keys", value)))
function("values", Price.READS, 1)(lambda value: list(_map_of("values", value).values()))


@function("items", Price.OWN, 1)
def _items(meter: Meter, value: Any) -> list[dict[str, Any]]:
    pairs = _map_of("items", value).items()
    meter.make_list(len(pairs))
    # Each is a map of two.
    meter.make_map(3 * len(pairs))
    return [{"key": key, "value": item} for key, item in pairs]


@function("merge", Price.OWN, 2, MANY)
def _merge(meter: Meter, *values: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for value in values:
        meter.make_map(len(_map_of("merge", value)))
        merged |= value
    return merged


def _field(row: Any, by: Any) -> Any:
    if not isinstance(row, Mapping) or by not in row:
        raise ExpressionError(f"an item has no field {shown(by)}")
    return row[by]


@function("sort", Price.OWN, 1, 2)
def _sort(meter: Meter, value: Any, by: Any = None) -> list[Any]:
    items = values_of(value, "sort")
    return v.ordered(meter, items, items if by is None else [_field(row, by) for row in items])


function("reverse", Price.READS, 1)(lambda value: values_of(value, "reverse")[::-1])


@function("distinct", Price.OWN, 1)
def _distinct(meter: Meter, value: Any) -> list[Any]:
    """The first of each that are equal, as `==` says."""
    found: dict[str, Any] = {}
    for item in values_of(value, "distinct"):
        meter.charge(1)
        found.setdefault(v.identity(meter, item), item)
    meter.make_list(len(found))
    return list(found.values())


@function("flatten", Price.OWN, 1)
def _flatten(meter: Meter, value: Any) -> list[Any]:
    flat: list[Any] = []
    for item in values_of(value, "flatten"):
        inner = item if isinstance(item, list) else [item]
        meter.make_list(len(inner))
        flat.extend(inner)
    return flat


@function("group_by", Price.OWN, 2)
def _group_by(meter: Meter, value: Any, by: Any) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for row in values_of(value, "group_by"):
        meter.make_map(1)
        groups.setdefault(v.to_text(meter, _field(row, by)), []).append(row)
    return groups


@function("range", Price.OWN, 1, 2)
def _range(meter: Meter, start: Any, end: Any = None) -> list[int]:
    low, high = (0, start) if end is None else (start, end)
    span = range(_whole("range", low), _whole("range", high))
    meter.make_list(len(span))
    return list(span)


@function("slice", Price.OWN, 2, 3)
def _slice(meter: Meter, value: Any, start: Any, end: Any = None) -> Any:
    if not isinstance(value, str | list):
        raise bad("slice()", value)
    size = len(value)
    low, high, _ = slice(
        _whole("slice", start), None if end is None else _whole("slice", end)
    ).indices(size)
    (meter.make_text if isinstance(value, str) else meter.make_list)(max(0, high - low))
    return value[low:high] if high > low else value[:0]


FUNCTIONS["substring"] = FUNCTIONS["slice"]


@function("get", Price.OWN, 2, 3)
def _get(meter: Meter, value: Any, key: Any, default: Any = None) -> Any:
    """`get(map, "key", default)`: for a field that may be missing."""
    if isinstance(value, list) and v.number(key) and key in range(len(value)):
        return value[int(key)]
    if isinstance(value, Mapping) and v.has_key(meter, value, key):
        return value[key]
    return default


@function("coalesce", Price.FIXED, 1, MANY)
def _coalesce(*values: Any) -> Any:
    """The first value that is not null."""
    return next((value for value in values if value is not None), None)


function("int", Price.FIXED, 1)(v.to_int)
function("double", Price.FIXED, 1)(v.to_double)
function("bool", Price.FIXED, 1)(v.to_bool)
function("type", Price.FIXED, 1)(kind)
function("dyn", Price.FIXED, 1)(lambda value: value)
