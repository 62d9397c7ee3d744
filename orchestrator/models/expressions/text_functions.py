"""The functions of texts, of JSON, and of what goes into a URL."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import jsonschema_rs

from orchestrator.errors import ExpressionError
from orchestrator.models.expressions import values as v
from orchestrator.models.expressions.meter import Meter
from orchestrator.models.expressions.registry import FUNCTIONS, Price, function
from orchestrator.models.expressions.values import bad, kind, values_of

_MAX_PATTERN = 1000
_KEPT_PATTERNS = 256
#: A pattern's engine takes up to 5 ms to make, also where it turns out to be too large.
_PATTERN_STEPS = 5000
_patterns: dict[str, Any] = {}


def _texts(name: str, *values: Any) -> None:
    if not all(isinstance(value, str) for value in values):
        raise bad(f"{name}()", *values)


@function("join", Price.OWN, 1, 2)
def _join(meter: Meter, value: Any, separator: Any = "") -> str:
    _texts("join", separator)
    items = values_of(value, "join")
    meter.make_list(len(items))
    parts = [v.to_text(meter, item) for item in items]
    v.make_text(meter, sum(map(len, parts)) + len(separator) * len(parts), "join()")
    return str(separator).join(parts)


def _on_text(name: str, run: Callable[[str], Any]) -> None:
    def checked(value: Any) -> Any:
        _texts(name, value)
        return run(value)

    function(name, Price.READS, 1)(checked)


for _name in ("lower", "upper"):
    _on_text(_name, getattr(str, _name))
    FUNCTIONS[f"{_name}Ascii"] = FUNCTIONS[_name]
_on_text("trim", str.strip)


@function("split", Price.OWN, 2)
def _split(meter: Meter, value: Any, separator: Any) -> list[str]:
    _texts("split", value, separator)
    meter.charge(len(value) >> 6)
    count = value.count(separator) + 1 if separator else len(value)
    # Each part is a text of its own, of some 50 bytes and what it holds.
    meter.make_list(count)
    meter.make(50 * count + len(value))
    return value.split(separator) if separator else list(value)


@function("replace", Price.OWN, 3)
def _replace(meter: Meter, value: Any, old: Any, new: Any) -> str:
    _texts("replace", value, old, new)
    meter.charge(len(value) >> 6)
    found = value.count(old)
    # Finding nothing is cheap; each find costs its part of a copy.
    meter.charge(found >> 2)
    v.make_text(meter, len(value) + found * len(new), "replace()")
    return str(value.replace(old, new))


@function("contains", Price.OWN, 2)
def _contains(meter: Meter, value: Any, part: Any) -> bool:
    if isinstance(value, list):
        return v.among(meter, part, value)
    _texts("contains", value, part)
    meter.charge((len(value) + len(part)) >> 6)
    return part in value


@function("startsWith", Price.OWN, 2)
def _starts(meter: Meter, value: Any, part: Any) -> bool:
    _texts("startsWith", value, part)
    meter.charge(len(part) >> 6)
    return bool(value.startswith(part))


@function("endsWith", Price.OWN, 2)
def _ends(meter: Meter, value: Any, part: Any) -> bool:
    _texts("endsWith", value, part)
    meter.charge(len(part) >> 6)
    return bool(value.endswith(part))


def _engine(meter: Meter, pattern: str) -> Any:
    """Linear time whatever the pattern: the regex engine that schemas use, without backtracking."""
    known = _patterns.get(pattern)
    if known is not None:
        return known
    meter.charge(_PATTERN_STEPS)
    try:
        made = jsonschema_rs.Draft202012Validator(
            {"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions(size_limit=1_000_000)
        )
    except Exception as error:
        raise ExpressionError(f"matches() cannot read the pattern {pattern[:80]!r}") from error
    if len(_patterns) >= _KEPT_PATTERNS:
        _patterns.clear()
    _patterns[pattern] = made
    return made


@function("matches", Price.OWN, 2)
def _matches(meter: Meter, text: Any, pattern: Any) -> bool:
    if not (isinstance(text, str) and isinstance(pattern, str) and len(pattern) <= _MAX_PATTERN):
        raise bad("matches()", text, pattern)
    meter.charge(len(text) >> 4)
    return bool(_engine(meter, pattern).is_valid(text))


@function("parse_json", Price.OWN, 1)
def _parse_json(meter: Meter, value: Any) -> Any:
    _texts("parse_json", value)
    # No more values than these signs, and one; each costs as much as an entry of a map.
    meter.charge(len(value) >> 6)
    count = 1 + value.count(",") + value.count("[") + value.count("{")
    meter.make_map(count)
    meter.make(len(value))
    try:
        found = json.loads(
            value,
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except (ValueError, RecursionError):
        raise ExpressionError(f"parse_json() cannot read {value[:40]!r}") from None
    if "\\u" in value:
        v.refuse_half_characters(meter, found)
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        again = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ExpressionError(f"parse_json(): the key {again[:80]!r} is given twice")
    return found


def _whole(text: str) -> int:
    if len(text) > 20:
        raise ExpressionError(f"parse_json(): {text[:24]} is out of range of a 64-bit integer")
    return int(v.within(int(text), "parse_json()"))


def _finite(text: str) -> float:
    number = float(text)
    if math.isfinite(number):
        return number
    raise ExpressionError(f"parse_json(): {text[:24]} is out of range of a double")


@function("url_encode", Price.OWN, 1)
def _url_encode(meter: Meter, value: Any) -> str:
    """RFC 3986: all but letters, digits and `-._~` as UTF-8 in `%XX`."""
    if isinstance(value, list | Mapping) or value is None:
        raise bad("url_encode()", value)
    text = v.to_text(meter, value)
    meter.charge(2 + (len(text) >> 4))
    v.make_text(meter, 3 * len(text), "url_encode()")
    return quote(text, safe="")


@function("url_query", Price.OWN, 1)
def _url_query(meter: Meter, value: Any) -> str:
    """`a=1&a=2&b=x%20y` of a map; a list repeats its key, a null is left out."""
    if not isinstance(value, Mapping):
        raise bad("url_query()", value)
    pairs: list[str] = []
    for key, given in value.items():
        meter.charge(1)
        name = _url_encode(meter, key)
        for item in given if isinstance(given, list) else [given]:
            if item is None:
                continue
            if isinstance(item, list | Mapping):
                raise ExpressionError(f"url_query(): {name[:80]!r} holds a {kind(item)}")
            v.make_text(meter, 64 + len(name), "url_query()")
            pairs.append(f"{name}={_url_encode(meter, item)}")
    return "&".join(pairs)


function("json", Price.OWN, 1)(v.as_json)
function("string", Price.OWN, 1)(v.to_text)
