"""The one way a JSON text becomes a value: everything doubtful is refused, with its place.

What passes can be stored: no NUL, no lone surrogate, no number that Postgres or a browser changes.
What is fine is read once, by orjson; only what may not be is read again, slowly, to name its place.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson

from orchestrator.errors import BadRequest, Problem

MAX_DEPTH = 64
#: Beyond this, JavaScript and float8 change an integer without a word.
MAX_INT = 2**53
#: The most values in a text: each costs some 100 bytes and 0.3 µs.
MAX_VALUES = 1_000_000
BOM = b"\xef\xbb\xbf"
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
#: Numbers that may be beyond ±2^53, or no double at all.
_DOUBTFUL = re.compile(rb"[0-9]{16}|[eE]\+?[0-9]{3}")


class _Refused(Exception):
    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message


def parse(raw: bytes, what: str = "the body") -> Any:
    """Return the value of a JSON text in UTF-8. BadRequest for all that is not plain JSON.

    `what` it is stands in the message.
    """
    if raw.startswith(BOM):
        raise _bad("bom", f"{what} starts with a byte order mark; send plain UTF-8")
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_VALUES:
        raise _bad("too_many_values", f"{what} has more than {MAX_VALUES:,} values; send less")
    try:
        # orjson refuses bad UTF-8, lone surrogates, NaN and endless nesting before any recursion.
        value = orjson.loads(raw)
    except ValueError as error:
        raise _malformed(raw, error, what) from None
    keys = _keys(value)
    bare = _STRING.sub(b"", raw)
    if b"\\u0000" in raw or keys != bare.count(b":") or _DOUBTFUL.search(bare):
        value = _read_slowly(raw)
        _check_values(value, nul=b"\\u0000" in raw)
    return value


def _keys(value: Any) -> int:
    """Return how many keys all objects have together. BadRequest for nesting beyond MAX_DEPTH."""
    count, level = 0, [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        objects = [found for found in level if type(found) is dict]
        count += sum(map(len, objects))
        level = [
            inner
            for found in level
            for inner in (found.values() if type(found) is dict else found)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return count
    _check_values(value, nul=False)
    return count


def _read_slowly(raw: bytes) -> Any:
    try:
        return json.loads(
            raw,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except _Refused as refused:
        raise _bad(refused.code, refused.message) from None
    except RecursionError:
        raise _bad("too_deep", f"nested deeper than {MAX_DEPTH} levels; flatten it") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        again = next(key for key, count in counts.items() if count > 1)
        raise _Refused("duplicate_key", f"the key {again[:100]!r} is given twice; keep one")
    return found


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > MAX_INT:
        raise _Refused(
            "integer_too_large",
            f"the integer {text[:24]} is beyond ±2^53; send it as a string",
        )
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Refused("not_finite", f"the number {text[:24]} is too large for a double")
    return value


def _constant(text: str) -> float:
    raise _Refused("not_finite", f"{text} is no JSON number; leave it out or send null")


def _malformed(raw: bytes, error: ValueError, what: str) -> BadRequest:
    for word in (b"NaN", b"Infinity"):
        if word in raw and not isinstance(error, UnicodeDecodeError):
            return _bad("malformed", f"{what} is no JSON ({error}); JSON has no {word.decode()}")
    return _bad("malformed", f"{what} is no JSON: {str(error)[:200]}")


def _check_values(value: Any, *, nul: bool) -> None:
    """Refuse nesting beyond MAX_DEPTH, and NUL in a key or string where the text may hold one."""
    level = [("", value)]
    for depth in range(1, MAX_DEPTH + 2):
        if nul:
            _refuse_nul(level)
        if depth > MAX_DEPTH:
            _refuse_containers(level)
        level = [child for path, inner in level for child in _children(path, inner)]
        if not level:
            return


def _refuse_containers(level: list[tuple[str, Any]]) -> None:
    for path, value in level:
        if isinstance(value, dict | list):
            message = f"nested deeper than {MAX_DEPTH} levels; flatten it"
            raise _bad("too_deep", message, path[:200])


def _children(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}.{key[:64]}" if path else key[:64], inner
    elif isinstance(value, list):
        for no, inner in enumerate(value):
            yield f"{path}[{no}]", inner


def _refuse_nul(level: list[tuple[str, Any]]) -> None:
    for path, value in level:
        keys = value if isinstance(value, dict) else ()
        if (isinstance(value, str) and "\0" in value) or any("\0" in key for key in keys):
            raise _bad("nul", "NUL (\\u0000) cannot be stored; remove it", path.replace("\0", "?"))


def _bad(code: str, message: str, path: str = "") -> BadRequest:
    return BadRequest(message, problems=[Problem(path, code, message)])
