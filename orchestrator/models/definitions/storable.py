"""What a definition or an input may hold, through whichever door it comes.

The API's reader refuses the same in a body; YAML, the Python client and runs in memory come here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from orchestrator.errors import Problem
from orchestrator.models.definitions.json_schema import place

MAX_DEPTH = 64
MAX_PARTS = 1_000_000
#: Beyond this, JavaScript and float8 change an integer without a word.
MAX_INT = 2**53
#: Numbers that may be beyond it, NUL, and NaN, which is written as null.
_DOUBTFUL = re.compile(rb"[0-9]{16}|\\u0000|null")


def unstorable(document: Any) -> Iterator[Problem]:
    """What no database or JSON reader keeps: NUL, half characters, NaN, integers beyond ±2^53,
    bottomless nesting."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    parts = 1
    while waiting and parts <= MAX_PARTS:
        path, item = waiting.pop()
        if len(path) > MAX_DEPTH:
            text = f"nested more than {MAX_DEPTH} deep; flatten it"
            yield Problem(place(path[:8]), "too_deep", text)
        elif isinstance(item, Mapping):
            named = [key for key in item if isinstance(key, str) and not _broken(key)]
            parts += len(named)
            doubtful = [key for key in named if not _plain(item[key])]
            waiting += [((*path, key), item[key]) for key in doubtful]
            if len(named) < len(item):
                text = "a field's name must be text without NUL or half characters"
                yield Problem(place(path), "bad_text", text)
        elif isinstance(item, list):
            parts += len(item)
            waiting += [((*path, no), value) for no, value in enumerate(item) if not _plain(value)]
        elif isinstance(item, str) and _broken(item):
            text = "holds NUL or half of a surrogate pair; remove it"
            yield Problem(place(path), "bad_text", text)
        elif isinstance(item, float) and not math.isfinite(item):
            yield Problem(place(path), "bad_number", "NaN and infinity are no JSON numbers")
        elif isinstance(item, int) and abs(item) > MAX_INT:
            # All digits of a number of a million digits would take a while.
            shown = item if abs(item) < 10**30 else "a number"
            text = f"{shown} is beyond ±2^53; write it as text, in quotes"
            yield Problem(place(path), "integer_too_large", text)
    if parts > MAX_PARTS:
        yield Problem("", "too_large", f"more than {MAX_PARTS} values; split it")


def surely_storable(value: Any) -> bytes | None:
    """The JSON of a value that holds nothing unstorable; None where `unstorable` has to look."""
    try:
        raw = orjson.dumps(value)
    except (TypeError, ValueError):
        return None
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH or _DOUBTFUL.search(raw):
        return None
    return raw


def _plain(value: Any) -> bool:
    """Tell whether a value holds nothing else and is surely storable: most are."""
    kind = type(value)
    if kind is str:
        return value.isascii() and "\0" not in value
    return kind is bool or value is None or (kind is int and -MAX_INT <= value <= MAX_INT)


def _broken(text: str) -> bool:
    if text.isascii():
        return "\0" in text
    return "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text)
